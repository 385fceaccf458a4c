#include "tools/splice_hash_options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <charconv>
#include <optional>

#include "libsplice/base/limits.hpp"

namespace splice::tools {
namespace {

namespace po = boost::program_options;

constexpr std::string_view kUsage =
    "Usage: splice-hash --bridge NAME=ADDRESS[,weight=N] ... [options] [INPUT ...]\n"
    "Says which bridge a request gets, and its second and third choice. Each INPUT, or each line of "
    "standard\n"
    "input, is what the hash key is taken from: a URI (/a?b or http://host/a), or the header's value (hdr), "
    "the\n"
    "server name (sni) or the client's address (source).\n";

constexpr std::string_view kExamples =
    "\nExamples:\n"
    "  splice-hash --bridge b1=192.168.33.20 --bridge b2=192.168.33.21 /index.html /logo.png\n"
    "  splice-hash --bridge b1=10.0.0.1 --bridge b2=10.0.0.2,weight=3 --spread\n"
    "  awk '{print $7}' access.log | splice-hash --bridge b1=10.0.0.1 --bridge b2=10.0.0.2 \\\n"
    "      --bridge b3=10.0.0.3 --hash-key 'uri depth 2' --without b2\n"
    "  splice-hash --algorithm ketama --bridge b1=10.0.0.1:443 --bridge b2=10.0.0.2:443 /index.html\n";

FlagGroups make_groups() {
    using Texts = std::vector<std::string>;
    FlagGroups groups;
    groups.emplace_back("Placement")
        .add_options()  //
        ("bridge", po::value<Texts>()->value_name("NAME=ADDRESS[,weight=N]")->composing(),
         "a bridge that may be chosen; repeat it for each. ketama hashes the ADDRESS, and takes it with a "
         "port "
         "where nginx's `server` line has one; the others hash the NAME")  //
        ("algorithm", po::value<std::string>()->value_name("NAME")->default_value("rendezvous"),
         "rendezvous, maglev, ketama or jump")  //
        ("hash-key", po::value<std::string>()->value_name("RULE")->default_value("uri"),
         "uri, path, host+uri (each with `depth N`, `len N`), url_param(NAME), hdr(NAME), sni or source")  //
        ("rows", po::value<std::string>()->value_name("N")->default_value(std::to_string(kTableRows)),
         "rows of the placement table (ketama: the ring's points)");
    groups.emplace_back("Output").add_options()  //
        ("without", po::value<Texts>()->value_name("NAME")->composing(),
         "show what moves when this bridge leaves; may be repeated")  //
        ("spread", po::bool_switch(),
         "print the share of each bridge instead of the keys; without any INPUT of a million sample URIs");
    return groups;
}

template <class Number>
std::optional<Number> parse_number(std::string_view text, Number min, Number max) {
    Number number{};
    const char* const first = text.data();
    const char* const last = first + text.size();
    const auto [stopped, error] = std::from_chars(first, last, number);
    if (error != std::errc{} || stopped != last || number < min || number > max) return std::nullopt;
    return number;
}

// "b1=192.168.33.20,weight=2". The address may have a port, for ketama.
std::expected<PlacementMember, std::string> parse_bridge(std::string_view text) {
    const auto wrong = [&](std::string_view why) {
        return std::unexpected(fmt::format("--bridge {}: {}", text, why));
    };
    const auto equals = text.find('=');
    if (equals == std::string_view::npos || equals == 0) return wrong("expected NAME=ADDRESS[,weight=N]");
    PlacementMember member{.name = std::string(text.substr(0, equals)), .server = {}};
    std::string_view rest = text.substr(equals + 1);
    const auto comma = rest.find(',');
    member.server = rest.substr(0, comma);
    if (!IpAddress::parse(member.server)) {
        if (!Endpoint::parse(member.server)) return wrong(IpAddress::parse(member.server).error());
    }
    if (comma == std::string_view::npos) return member;
    rest.remove_prefix(comma + 1);
    constexpr std::string_view kWeight = "weight=";
    if (!rest.starts_with(kWeight)) return wrong("behind the address only weight=N is known");
    const auto weight = parse_number<std::uint32_t>(rest.substr(kWeight.size()), 1, kMaxWeight);
    if (!weight) return wrong(fmt::format("a weight is a number from 1 to {}", kMaxWeight));
    member.weight = *weight;
    return member;
}

std::expected<std::vector<PlacementMember>, std::string> parse_bridges(const Flags& flags) {
    if (!flags.contains("bridge")) {
        return std::unexpected("--bridge is missing: name at least one, as in --bridge b1=192.168.33.20");
    }
    std::vector<PlacementMember> bridges;
    for (const std::string& text : flags["bridge"].as<std::vector<std::string>>()) {
        auto bridge = parse_bridge(text);
        if (!bridge) return std::unexpected(std::move(bridge.error()));
        if (bridges.size() == kMaxBridges) {
            return std::unexpected(fmt::format("--bridge: more than {} bridges", kMaxBridges));
        }
        bridge->bridge = static_cast<std::uint16_t>(bridges.size());
        bridges.push_back(*std::move(bridge));
    }
    return bridges;
}

std::expected<std::vector<std::string>, std::string> parse_without(
    const Flags& flags, const std::vector<PlacementMember>& bridges) {
    if (!flags.contains("without")) return {};
    auto names = flags["without"].as<std::vector<std::string>>();
    for (const std::string& name : names) {
        if (std::ranges::find(bridges, name, &PlacementMember::name) == bridges.end()) {
            return std::unexpected(fmt::format("--without {}: no --bridge has that name", name));
        }
    }
    return names;
}

std::expected<HashOptions, std::string> judge(const Flags& flags) {
    HashOptions options;
    auto bridges = parse_bridges(flags);
    if (!bridges) return std::unexpected(std::move(bridges.error()));
    options.bridges = *std::move(bridges);

    const auto algorithm = parse_algorithm(flags["algorithm"].as<std::string>());
    if (!algorithm)
        return std::unexpected("--algorithm " + flags["algorithm"].as<std::string>() + ": " +
                               algorithm.error());
    options.algorithm = *algorithm;

    auto rule = HashKeyRule::parse(flags["hash-key"].as<std::string>());
    if (!rule) return std::unexpected("--hash-key: " + rule.error());
    options.rule = *std::move(rule);

    const auto& rows_text = flags["rows"].as<std::string>();
    const auto rows = parse_number<std::uint32_t>(rows_text, 1, kMaxTableRows);
    if (!rows) {
        return std::unexpected(
            fmt::format("--rows {}: expected a number from 1 to {}", rows_text, kMaxTableRows));
    }
    options.rows = *rows;

    auto without = parse_without(flags, options.bridges);
    if (!without) return std::unexpected(std::move(without.error()));
    options.without = *std::move(without);
    options.spread = flags["spread"].as<bool>();
    if (flags.contains(kInput)) options.inputs = flags[kInput].as<std::vector<std::string>>();
    return options;
}

}  // namespace

std::expected<std::variant<HashOptions, Notice>, std::string> parse_hash_options(int argc, char** argv) {
    return parse_options({"splice-hash", kUsage, kExamples}, make_groups(), argc, argv, judge);
}

}  // namespace splice::tools
