#include "tools/splicectl/options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/program_options.hpp>
#include <charconv>
#include <typeinfo>

#include "tools/splicectl/limits.hpp"

namespace splice::control {
namespace {

namespace po = boost::program_options;

constexpr const char* kDefaultApi = "127.0.0.1:10001";

constexpr std::string_view kUsage =
    "Usage: splicectl [options] COMMAND [ARGUMENT]...\n"
    "Asks a running balancer over its API, and changes the states and weights of its bridges.\n\n"
    "  status                 whether it serves, its services, and what needs attention\n"
    "  check [SERVICE]        asks every bridge now: does it answer, do secret, clock, number, services fit\n"
    "  services               the services\n"
    "  bridges [SERVICE]      the bridges: state, weight, health, share of the keys, connections\n"
    "  explain URL            which bridge a request for URL gets now, and why\n"
    "  drain BRIDGE           no new connections; those that it has go on\n"
    "  down BRIDGE            no new connections; those that it has are reset at their next packet\n"
    "  ready BRIDGE           takes connections again\n"
    "  weight BRIDGE WEIGHT   0 to 256: its share of the keys, relative to the others; 0 takes no new ones\n"
    "  reset BRIDGE           its state and its weight are those of the configuration file again\n"
    "  flows                  connections in the balancer's table\n"
    "  watch                  the bridges, and connections per second, again and again until Ctrl-C\n\n"
    "BRIDGE is its name, where one service alone has a bridge of that name, or SERVICE/BRIDGE. What drain,\n"
    "down, ready and weight set goes before the configuration file, and outlives a restart, until `reset`.\n";

constexpr std::string_view kExamples =
    "\nExamples:\n"
    "  splicectl status\n"
    "  splicectl check\n"
    "  splicectl explain http://192.168.33.100/img/cat.jpg\n"
    "  splicectl drain web/b2 && splicectl watch\n"
    "  splicectl --all-services drain b2\n"
    "  splicectl --format json flows --service web --bridge b2 --limit 5000\n"
    "  splicectl --api unix:/run/splicelb/api bridges\n"
    "\nExit code: 0; 1 when the balancer did not answer, or refused, or `check` found something wrong; 2 for "
    "a "
    "wrong command line.\n";

// What a command takes besides the flags of all.
struct CommandSpec {
    Command command;
    std::string_view name;
    std::size_t least, most;     // words after it
    std::string_view arguments;  // how the usage calls them
};
constexpr std::array kCommands = {
    CommandSpec{Command::status, "status", 0, 0, ""},
    CommandSpec{Command::check, "check", 0, 1, "[SERVICE]"},
    CommandSpec{Command::services, "services", 0, 0, ""},
    CommandSpec{Command::bridges, "bridges", 0, 1, "[SERVICE]"},
    CommandSpec{Command::explain, "explain", 1, 1, "URL"},
    CommandSpec{Command::drain, "drain", 1, 1, "BRIDGE"},
    CommandSpec{Command::ready, "ready", 1, 1, "BRIDGE"},
    CommandSpec{Command::down, "down", 1, 1, "BRIDGE"},
    CommandSpec{Command::weight, "weight", 2, 2, "BRIDGE WEIGHT"},
    CommandSpec{Command::reset, "reset", 1, 1, "BRIDGE"},
    CommandSpec{Command::flows, "flows", 0, 0, ""},
    CommandSpec{Command::watch, "watch", 0, 0, ""},
};

const CommandSpec& spec_of(Command command) noexcept {
    return *std::ranges::find(kCommands, command, &CommandSpec::command);
}

tools::FlagGroups make_groups() {
    const auto text = [](const char* name) { return po::value<std::string>()->value_name(name); };
    tools::FlagGroups groups;
    groups.emplace_back("Every command")
        .add_options()  //
        ("api", text("ADDRESS:PORT|unix:PATH"),
         "the balancer's `api.listen`. Default: the environment's SPLICELB_API, or 127.0.0.1:10001")(
            "token-file", text("FILE"), "the file with the balancer's token, where it asks for one")(
            "format", text("table|json"), "json: as the API has it, for programs. Default: table");
    groups.emplace_back("Some").add_options()  //
        ("service", text("NAME"), "check, bridges, explain, flows, watch and changes: this service")(
            "all-services", po::bool_switch(), "changes: in every service that has a bridge of that name")(
            "source", text("ADDRESS"), "explain: the client's, for services that choose by it")(
            "header", po::value<std::vector<std::string>>()->value_name("NAME:VALUE"),
            "explain: a header of the request, for services that choose by it; may be given again")(
            "bridge", text("NAME"), "flows: only this bridge's")("client", text("ADDRESS[:PORT]"),
                                                                 "flows: only this client's")(
            "limit", text("COUNT"), "flows: at most so many, 1 to 1000000. Default: 100")(
            "interval", text("SECONDS"), "watch: between two looks, 0.1 to 3600. Default: 2")(
            "count", text("COUNT"), "watch: end after so many looks");
    return groups;
}

// A flag and the commands that take it.
bool takes(Command command, std::string_view flag) noexcept {
    using enum Command;
    const bool changes = is_change(command);
    if (flag == "service")
        return changes || command == check || command == bridges || command == explain || command == flows ||
               command == watch;
    if (flag == "all-services") return changes;
    if (flag == "source" || flag == "header") return command == explain;
    if (flag == "bridge" || flag == "client" || flag == "limit") return command == flows;
    return command == watch;  // interval, count
}

std::string text_of(const tools::Flags& flags, const std::string& name) {
    return flags.contains(name) ? flags[name].as<std::string>() : std::string();
}

std::unexpected<std::string> wrong(std::string_view what, std::string_view value, std::string_view expected) {
    return std::unexpected(fmt::format("{}: '{}': expected {}", what, value, expected));
}

// All of the text, as a number in these bounds.
template <class Number>
std::optional<Number> number_of(const std::string& text, Number least, Number most) {
    Number number{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    // Not a number is in no bounds.
    if (error != std::errc() || end != text.data() + text.size() || !(number >= least && number <= most))
        return std::nullopt;
    return number;
}

std::expected<CommandSpec, std::string> command_of(const std::vector<std::string>& words) {
    std::string known;
    for (const CommandSpec& each : kCommands)
        known += fmt::format("{}{}", known.empty() ? "" : ", ", each.name);
    if (words.empty()) return std::unexpected("a command is missing: " + known);
    const auto found = std::ranges::find(kCommands, words[0], &CommandSpec::name);
    if (found == kCommands.end())
        return std::unexpected(fmt::format("{}: no such command; there are {}", words[0], known));
    const std::size_t given = words.size() - 1;
    if (given < found->least)
        return std::unexpected(fmt::format("{}: expected {} {}", words[0], words[0], found->arguments));
    if (given > found->most)
        return std::unexpected(fmt::format("{}: one word too many: {}; expected {}{}{}", words[0],
                                           words[found->most + 1], words[0], found->most == 0 ? "" : " ",
                                           found->arguments));
    return *found;
}

// BRIDGE or SERVICE/BRIDGE. Beside a flag that says of which service, all of it is the bridge's name.
std::expected<void, std::string> take_bridge(Options& options, const std::string& word) {
    const bool said = !options.service.empty() || options.all_services;
    const std::size_t slash = said ? std::string::npos : word.rfind('/');
    options.bridge = slash == std::string::npos ? word : word.substr(slash + 1);
    if (options.bridge.empty() || slash == 0) return wrong("BRIDGE", word, "BRIDGE or SERVICE/BRIDGE");
    if (slash != std::string::npos) options.service = word.substr(0, slash);
    return {};
}

std::expected<void, std::string> take_words(Options& options, const std::vector<std::string>& words) {
    if ((options.command == Command::bridges || options.command == Command::check) && words.size() == 2) {
        if (!options.service.empty())
            return std::unexpected(words[0] + ": --service names a service already");
        options.service = words[1];
    }
    if (options.command == Command::explain) options.url = words[1];
    if (!is_change(options.command)) return {};
    if (auto taken = take_bridge(options, words[1]); !taken) return taken;
    if (options.command != Command::weight) return {};
    const auto weight = number_of(words[2], 0U, kMaxWeight);
    if (!weight) return wrong("WEIGHT", words[2], "0 to 256 (reset takes back what was set)");
    options.weight = *weight;
    return {};
}

std::expected<void, std::string> take_numbers(Options& options, const tools::Flags& flags) {
    if (flags.contains("limit")) {
        const auto limit = number_of(text_of(flags, "limit"), 1UZ, kMaxFlowsShown);
        if (!limit) return wrong("--limit", text_of(flags, "limit"), "1 to 1000000");
        options.limit = *limit;
    }
    if (flags.contains("count")) {
        const auto looks = number_of<std::uint64_t>(text_of(flags, "count"), 1, kMaxLooks);
        if (!looks) return wrong("--count", text_of(flags, "count"), "a number of looks, at least 1");
        options.looks = *looks;
    }
    if (flags.contains("interval")) {
        const auto seconds = number_of(text_of(flags, "interval"), kMinInterval, kMaxInterval);
        if (!seconds) return wrong("--interval", text_of(flags, "interval"), "seconds, 0.1 to 3600");
        options.interval = *seconds;
    }
    return {};
}

std::expected<Options, std::string> judge(const tools::Flags& flags, const char* environment) {
    const auto words = flags.contains(tools::kInput) ? flags[tools::kInput].as<std::vector<std::string>>()
                                                     : std::vector<std::string>();
    const auto spec = command_of(words);
    if (!spec) return std::unexpected(spec.error());
    Options options;
    options.command = spec->command;
    for (const auto& [name, value] : flags) {
        if (name == tools::kInput || name == "api" || name == "token-file" || name == "format") continue;
        if (value.defaulted()) continue;
        if (!takes(options.command, name))
            return std::unexpected(fmt::format("--{}: not with {}", name, spec->name));
        if (value.value().type() == typeid(std::string) && value.as<std::string>().empty())
            return std::unexpected(fmt::format("--{}: expected something, not nothing", name));
    }
    const bool named = flags.contains("api");
    const bool from_environment = !named && environment != nullptr && *environment != '\0';
    const std::string where = named              ? text_of(flags, "api")
                              : from_environment ? std::string(environment)
                                                 : std::string(kDefaultApi);
    const auto api = ApiAddress::parse(where);
    if (!api)
        return std::unexpected(fmt::format("{}: '{}': {}",
                                           from_environment ? "the environment's SPLICELB_API" : "--api",
                                           where, api.error()));
    options.api = *api;
    options.token_file = text_of(flags, "token-file");
    if (flags.contains("token-file") && options.token_file.empty())
        return std::unexpected("--token-file: expected a file's name");
    if (const std::string format = text_of(flags, "format"); format == "json")
        options.format = OutputFormat::json;
    else if (flags.contains("format") && format != "table")
        return wrong("--format", format, "table or json");
    options.service = text_of(flags, "service");
    options.bridge = text_of(flags, "bridge");
    options.client = text_of(flags, "client");
    options.source = text_of(flags, "source");
    if (flags.contains("header")) options.headers = flags["header"].as<std::vector<std::string>>();
    for (const std::string& header : options.headers) {
        if (header.find(':') == std::string::npos || header.starts_with(':'))
            return wrong("--header", header, "NAME:VALUE");
    }
    options.all_services = flags["all-services"].as<bool>();
    if (options.all_services && !options.service.empty())
        return std::unexpected("--all-services: not together with --service");
    if (auto taken = take_numbers(options, flags); !taken) return std::unexpected(taken.error());
    if (auto taken = take_words(options, words); !taken) return std::unexpected(taken.error());
    return options;
}

}  // namespace

std::string_view to_string(Command command) noexcept {
    return spec_of(command).name;
}

bool is_change(Command command) noexcept {
    using enum Command;
    return command == drain || command == ready || command == down || command == weight || command == reset;
}

std::expected<std::variant<Options, tools::Notice>, std::string> parse_options(int argc, char** argv,
                                                                               const char* environment) {
    return tools::parse_options({"splicectl", kUsage, kExamples}, make_groups(), argc, argv,
                                [&](const tools::Flags& flags) { return judge(flags, environment); });
}

}  // namespace splice::control
