#include "tools/hash/options.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/program_options.hpp>
#include <tuple>

#include "libsplice/base/quoted.hpp"
#include "libsplice/config/values.hpp"
#include "tools/hash/log_values.hpp"

namespace splice::hash {
namespace {

namespace po = boost::program_options;
using tools::FlagGroups;
using tools::Flags;
using tools::Notice;
using Texts = std::vector<std::string>;
template <class T>
using Judged = std::expected<T, OptionsError>;

struct Subcommand {
    std::string_view name;
    Question question;
    std::string_view words;
};

constexpr std::array kSubcommands = {
    Subcommand{"map", Question::map, "which bridge each request gets, and its second and third choice"},
    Subcommand{"explain", Question::explain, "the same, step by step: request, key, hash, row, choices"},
    Subcommand{"balance", Question::balance,
               "requests, bytes and distinct objects of each bridge, hot keys, and how sure that is"},
    Subcommand{"disrupt", Question::disrupt,
               "what moves when bridges leave, join or change weight, beside the least possible"},
    Subcommand{"compare", Question::compare, "algorithms, keys and table sizes side by side in one pass"},
    Subcommand{"cache", Question::cache,
               "simulated hit ratios of the bridges' caches, also through a bridge's loss and return"},
    Subcommand{"generate", Question::generate, "seeded traffic: Zipf popularity, sizes, drift"},
};

constexpr std::string_view kUsage =
    "Usage: splice-hash SUBCOMMAND (--config FILE | --bridge NAME=ADDRESS[,weight=N] ...) [options] [LOG "
    "...]\n"
    "What a fleet's hashing does to the requests of a log. It chooses as the balancer does: the same "
    "parsers,\n"
    "hash and tables. A LOG is a file, plain or packed by gzip or zstd; \"-\", or none, is standard input.\n";

constexpr std::string_view kExamples =
    "\nExamples:\n"
    "  splice-hash balance --config /etc/splicelb/balancer.yaml access.log access.log.1.gz\n"
    "  splice-hash explain --bridge b1=192.168.33.20 --bridge b2=192.168.33.21 --url /index.html\n"
    "  splice-hash disrupt --config balancer.yaml --without b2 access.log\n"
    "  splice-hash compare --config balancer.yaml --algorithms rendezvous,maglev --keys 'uri;path;uri depth "
    "2' "
    "access.log\n"
    "  splice-hash generate --requests 1000000 --objects 50000 --seed 7 | splice-hash balance --config "
    "balancer.yaml\n";

std::string list_of_subcommands() {
    std::string text = "\nSubcommands (splice-hash SUBCOMMAND --help lists the flags):\n";
    for (const Subcommand& each : kSubcommands) text += fmt::format("  {:<9} {}\n", each.name, each.words);
    return text;
}

void add_fleet_flags(FlagGroups& groups) {
    groups.emplace_back("Placement")
        .add_options()  //
        ("config", po::value<std::string>()->value_name("FILE"),
         "the balancer's configuration: its service's bridges, key and algorithm. --hash-key, --algorithm "
         "and "
         "--rows given beside it go before it")  //
        ("service", po::value<std::string>()->value_name("NAME"),
         "which service of the configuration, when it has several")  //
        ("bridge", po::value<Texts>()->value_name("NAME=ADDRESS[,weight=N]")->composing(),
         "a bridge that may be chosen; repeat it for each. ketama hashes the ADDRESS, and takes it with a "
         "port "
         "where nginx's `server` line has one; the others hash the NAME")  //
        ("algorithm", po::value<std::string>()->value_name("NAME"),
         "rendezvous, maglev, ketama or jump (default: rendezvous)")  //
        ("hash-key", po::value<std::string>()->value_name("RULE"),
         "uri, path, host, url_param(NAME), hdr(NAME) or several joined as in host+uri, with `depth N`, "
         "`len N`, `query(sort,include=NAME,exclude=NAME)`, `normalise` or `decode`; or sni or source "
         "(default: uri)")  //
        ("subset", po::value<std::string>()->value_name("N"),
         "with the key sni: each name has N bridges, and the client's address one of them")  //
        ("rows", po::value<std::string>()->value_name("N"),
         "rows of the placement table (default: 65536; ketama has its ring's points)");
}

void add_input_flags(FlagGroups& groups) {
    groups.emplace_back("Input").add_options()  //
        ("url", po::value<Texts>()->value_name("URL")->composing(),
         "a request by itself; may be repeated. With the key hdr, sni or source: that value")  //
        ("log-format", po::value<std::string>()->value_name("NAME"),
         "plain, common, combined, json, w3c, trace (time,object,bytes) or keys (splice-replay --keys); "
         "default: told by each file's first line")  //
        ("fields", po::value<std::string>()->value_name("MEANING=FIELD[,...]"),
         "json and w3c: which field is the uri, path, query, request, method, host, source, port, "
         "connection, bytes, time, date, status, ttl or hdr(NAME); the usual names are known");
}

void add_output_flags(FlagGroups& groups) {
    groups.emplace_back("Output").add_options()  //
        ("format", po::value<std::string>()->value_name("NAME")->default_value("table"),
         "table, json or csv")                                        //
        ("quiet", po::bool_switch(), "no progress on the terminal");  //
}

// As the service's keys of these names.
void add_weighing_flags(FlagGroups& groups) {
    groups.emplace_back("What moves an opening from its first choice (default: what --config says)")
        .add_options()  //
        ("bounded-load", po::value<std::string>()->value_name("FACTOR"),
         "a bridge above FACTOR times the mean load passes keys to their next choice; or off")  //
        ("warmup", po::value<std::string>()->value_name("SHARE"),
         "that share of openings goes to the second choice, as in 2% or 0.02; or off")  //
        ("spread", po::value<std::string>()->value_name("N"),
         "hot keys are spread over their first N choices; or off")  //
        ("hot-keys", po::value<std::string>()->value_name("N"),
         "how many keys are hot (default: 64; with --spread)");
}

void add_cache_flags(FlagGroups& groups) {
    groups.emplace_back("Caches").add_options()  //
        ("sizes", po::value<std::string>()->value_name("SIZE[,...]"),
         "what one bridge's cache holds, as in 128MiB,2GiB")  //
        ("policies", po::value<std::string>()->value_name("NAME[,...]")->default_value("lru"),
         "lru, fifo, clock, sieve, s3-fifo, w-tinylfu")  //
        ("ttl", po::value<std::string>()->value_name("TIME"),
         "how long an answer is fresh where the log does not tell (default: for ever)")  //
        ("che", po::bool_switch(), "Che's approximation beside LRU; takes memory for each object of the log");
    groups.emplace_back("Routing").add_options()  //
        ("routing", po::value<std::string>()->value_name("NAME[,...]")->default_value("hash"),
         "hash, random, round-robin, keep-alive (the first request of a connection chooses for the "
         "others)")  //
        ("keep-alive", po::value<std::string>()->value_name("TIME")->default_value("65s"),
         "after so long without a request a connection has ended");
    add_weighing_flags(groups);
    groups.emplace_back("Ranges").add_options()  //
        ("ranges", po::value<std::string>()->value_name("NAME")->default_value("whole"),
         "what a request for a part of an object fetches and stores: whole (the object), slices, or pass "
         "(the part, which is not stored)")  //
        ("slice", po::value<std::string>()->value_name("SIZE")->default_value("1MiB"),
         "with --ranges slices: how large a slice is");
    groups.emplace_back("Failures")
        .add_options()  //
        ("lose", po::value<Texts>()->value_name("NAME@TIME[-TIME]")->composing(),
         "the bridge fails, and returns, so long after the log's start: b2@1h-2h")  //
        ("return-warm", po::bool_switch(), "it returns with what its cache held")   //
        ("slow-start", po::value<std::string>()->value_name("TIME")->default_value("0s"),
         "over so long its rows come back to it")  //
        ("interval", po::value<std::string>()->value_name("TIME"),
         "of the hit ratio over time (default: 60s with --lose, else none)");
}

FlagGroups groups_of(Question question) {
    FlagGroups groups;
    if (question == Question::generate) {
        groups.emplace_back("Traffic").add_options()                                                       //
            ("requests", po::value<std::string>()->value_name("N")->default_value("1000000"), "how many")  //
            ("objects", po::value<std::string>()->value_name("N")->default_value("100000"),
             "how many at any one time")  //
            ("zipf", po::value<std::string>()->value_name("S")->default_value("0.9"),
             "the object of rank r is asked as often as 1/r^S")  //
            ("seed", po::value<std::string>()->value_name("N")->default_value("1"),
             "the same seed gives the same traffic")  //
            ("mean-size", po::value<std::string>()->value_name("SIZE")->default_value("32KiB"),
             "the mean of the objects' sizes, which are lognormal")  //
            ("sigma", po::value<std::string>()->value_name("X")->default_value("1.5"),
             "the spread of the sizes' logarithms; 0: all are equal")  //
            ("rate", po::value<std::string>()->value_name("N")->default_value("1000"),
             "requests a second, on the average")  //
            ("lifetime", po::value<std::string>()->value_name("TIME")->default_value("0s"),
             "after so long another object takes an object's rank; 0s: popularity does not drift")  //
            ("as", po::value<std::string>()->value_name("FORMAT")->default_value("trace"),
             "trace (time,object,bytes), plain (URLs) or combined");
        return groups;
    }
    add_fleet_flags(groups);
    add_input_flags(groups);
    if (question == Question::balance) {
        groups.emplace_back("Balance").add_options()  //
            ("top", po::value<std::string>()->value_name("N")->default_value(std::to_string(kHotShown)),
             "how many hot keys to show");
        add_weighing_flags(groups);
    } else if (question == Question::disrupt) {
        groups.emplace_back("Change").add_options()  //
            ("without", po::value<Texts>()->value_name("NAME")->composing(),
             "this bridge leaves; may be repeated")  //
            ("add", po::value<Texts>()->value_name("NAME=ADDRESS[,weight=N]")->composing(),
             "this bridge joins; may be repeated")  //
            ("weight", po::value<Texts>()->value_name("NAME=N")->composing(),
             "this bridge has another weight; 0: it takes nothing")  //
            ("shadow-key", po::value<std::string>()->value_name("RULE"),
             "requests are hashed by this key then (default: the service's shadow, when nothing else "
             "changes)")
            //
            ("shadow-algorithm", po::value<std::string>()->value_name("NAME"),
             "or placed by this algorithm")  //
            ("ramp", po::value<std::string>()->value_name("SHARE"),
             "of that share of the rows alone, as in 10% or 0.1");
    } else if (question == Question::cache) {
        add_cache_flags(groups);
    } else if (question == Question::compare) {
        groups.emplace_back("Variants")
            .add_options()  //
            ("algorithms", po::value<std::string>()->value_name("NAME[,...]"),
             "algorithms to compare (default: all that the weights allow)")  //
            ("keys", po::value<std::string>()->value_name("RULE[;...]"),
             "keys to compare (default: the service's)")  //
            ("table-rows", po::value<std::string>()->value_name("N[,...]"),
             "table sizes to compare (default: the service's)")  //
            ("without", po::value<Texts>()->value_name("NAME")->composing(),
             "what this bridge's loss moves (default: the mean over each bridge's)");
    }
    add_output_flags(groups);
    return groups;
}

constexpr std::array kRoutings = {Routing::hash, Routing::random, Routing::round_robin, Routing::keep_alive};

// Caches are larger than what parse_size() knows.
std::optional<std::uint64_t> cache_size(std::string_view text) {
    struct Unit {
        std::string_view name;
        int shift;
    };
    constexpr std::array kUnits = {Unit{"TiB", 40}, Unit{"GiB", 30}, Unit{"MiB", 20}, Unit{"KiB", 10}};
    int shift = 0;
    for (const Unit& unit : kUnits) {
        if (!text.ends_with(unit.name)) continue;
        text.remove_suffix(unit.name.size());
        shift = unit.shift;
        break;
    }
    const auto number = whole_number(text);
    if (!number || *number == 0 || *number > (~0ULL >> shift)) return {};
    return *number << shift;
}

OptionsError wrong(std::string text) {
    return {std::move(text), false};
}

std::unexpected<OptionsError> refuse(std::string_view flag, std::string_view given, std::string_view why) {
    return std::unexpected(wrong(fmt::format("{} {}: {}", flag, on_one_line(given), why)));
}

const std::string* find(const Flags& flags, const char* name) {
    return flags.contains(name) ? &flags[name].as<std::string>() : nullptr;
}

const Texts& all_of(const Flags& flags, const char* name) {
    static const Texts kNone;
    return flags.contains(name) ? flags[name].as<Texts>() : kNone;
}

Judged<std::uint64_t> whole(const Flags& flags, const char* name, std::uint64_t least, std::uint64_t most) {
    const auto& text = flags[name].as<std::string>();
    const auto number = whole_number(text);
    if (!number || *number < least || *number > most)
        return refuse(fmt::format("--{}", name), text,
                      fmt::format("expected a number from {} to {}", least, most));
    return *number;
}

Judged<double> fraction(const Flags& flags, const char* name, double least, double most) {
    const auto& text = flags[name].as<std::string>();
    const auto number = decimal_number(text);
    if (!number || *number < least || *number > most)
        return refuse(fmt::format("--{}", name), text,
                      fmt::format("expected a number from {} to {}", least, most));
    return *number;
}

Judged<FleetSpec> configured_fleet(const Flags& flags, const std::string& path) {
    const auto config = load_balancer_config(path);
    if (!config)
        return std::unexpected(
            OptionsError{config.error().text, config.error().kind == ConfigFailure::Kind::unreadable});
    const auto& services = config->services;
    if (const std::string* name = find(flags, "service")) {
        const auto found = std::ranges::find(services, *name, &ServiceConfig::name);
        if (found == services.end()) return refuse("--service", *name, path + " has no service of that name");
        return fleet_of(*found);
    }
    if (services.size() == 1) return fleet_of(services.front());
    std::string names;
    for (const ServiceConfig& service : services)
        names.append(names.empty() ? "" : ", ").append(service.name);
    return std::unexpected(
        wrong(fmt::format("--config {}: expected --service with one of its services: {}", path, names)));
}

Judged<FleetSpec> given_fleet(const Flags& flags) {
    FleetSpec fleet;
    if (find(flags, "service") != nullptr)
        return std::unexpected(wrong("--service: only a --config has services"));
    if (all_of(flags, "bridge").empty())
        return std::unexpected(wrong(
            "--bridge is missing: name at least one, as in --bridge b1=192.168.33.20, or give --config"));
    for (const std::string& text : all_of(flags, "bridge")) {
        auto member = parse_member(text);
        if (!member) return refuse("--bridge", text, member.error());
        if (auto added = add_member(fleet, *std::move(member)); !added)
            return refuse("--bridge", text, added.error());
    }
    return fleet;
}

Judged<std::uint32_t> parse_rows(std::string_view flag, std::string_view text) {
    const auto rows = whole_number(text);
    if (!rows || *rows < 1 || *rows > kMaxTableRows)
        return refuse(flag, text, fmt::format("expected a number from 1 to {}", kMaxTableRows));
    return static_cast<std::uint32_t>(*rows);
}

Judged<FleetSpec> judge_fleet(const Flags& flags) {
    const std::string* config = find(flags, "config");
    if (config != nullptr && flags.contains("bridge"))
        return std::unexpected(
            wrong("--bridge: the bridges are those of --config; leave one of the two out"));
    auto fleet = config != nullptr ? configured_fleet(flags, *config) : given_fleet(flags);
    if (!fleet) return fleet;
    if (const std::string* text = find(flags, "algorithm")) {
        const auto algorithm = parse_algorithm(*text);
        if (!algorithm) return refuse("--algorithm", *text, algorithm.error());
        fleet->algorithm = *algorithm;
    }
    if (const std::string* text = find(flags, "hash-key")) {
        auto rule = HashKeyRule::parse(*text);
        if (!rule) return refuse("--hash-key", *text, rule.error());
        fleet->key = *std::move(rule);
        fleet->protocol = natural_protocol(fleet->key.kind);
    }
    if (const std::string* text = find(flags, "subset")) {
        const auto subset = parse_subset(*text);
        if (!subset) return refuse("--subset", *text, subset.error());
        if (fleet->key.kind != KeyKind::sni)
            return refuse("--subset", *text, "expected --hash-key sni, whose names are spread over a subset");
        fleet->subset = *subset;
    }
    if (fleet->key.kind != KeyKind::sni) fleet->subset = 0;  // --hash-key went before the configuration's
    if (fleet->shadow && flags.contains("hash-key")) fleet->shadow.reset();  // it was another key's
    if (const std::string* text = find(flags, "rows")) {
        const auto rows = parse_rows("--rows", *text);
        if (!rows) return std::unexpected(rows.error());
        fleet->rows = *rows;
    }
    if (std::ranges::all_of(fleet->bridges, [](const auto& bridge) { return bridge.weight == 0; }))
        return std::unexpected(
            wrong("--config: every bridge has weight 0 or is not ready, so none takes a request"));
    if (const auto placed = fleet->place(); !placed)
        return std::unexpected(wrong((config != nullptr ? "--config: " : "--bridge: ") + placed.error()));
    if (fleet->shadow) {
        if (const auto placed = fleet->as_shadow().place(); !placed)
            return std::unexpected(wrong("--config: shadow: " + placed.error()));
    }
    return fleet;
}

// A value of the service, another one in its place, or none. `parse` gives a value or the expected form.
template <class T, class Parse>
Judged<void> judge_weight_flag(const Flags& flags, const char* name, T& value, const Parse& parse) {
    const std::string* text = find(flags, name);
    if (text == nullptr) return {};
    if (*text == "off") {
        value = {};
        return {};
    }
    const auto parsed = parse(*text);
    if (!parsed) return refuse(fmt::format("--{}", name), *text, parsed.error() + ", or off");
    value = *parsed;
    return {};
}

Judged<void> judge_weighing(const Flags& flags, Weighing& weighing) {
    if (auto bound = judge_weight_flag(flags, "bounded-load", weighing.bounded_load, parse_bounded_load);
        !bound)
        return bound;
    if (auto share = judge_weight_flag(flags, "warmup", weighing.warmup, parse_share); !share) return share;
    if (auto spread = judge_weight_flag(flags, "spread", weighing.spread, parse_subset); !spread)
        return spread;
    if (find(flags, "hot-keys") == nullptr) return {};
    if (weighing.spread == 0)
        return std::unexpected(
            wrong("--hot-keys: expected --spread beside it, over how many choices they are spread"));
    const auto hot = whole(flags, "hot-keys", 1, kMaxTop);
    if (!hot) return std::unexpected(hot.error());
    weighing.hot_keys = *hot;
    return {};
}

// The headers that the keys take.
Judged<std::vector<std::string>> judge_headers(const Options& options) {
    std::vector<std::string> headers = options.fleet.key.headers();
    const auto add = [&](const HashKeyRule& rule) {
        for (std::string& name : rule.headers()) {
            if (std::ranges::find(headers, name) == headers.end()) headers.push_back(std::move(name));
        }
    };
    if (options.fleet.shadow) add(options.fleet.shadow->key);
    if (options.disrupt.shadow) add(options.disrupt.shadow->key);
    for (const HashKeyRule& rule : options.compare.keys) add(rule);
    if (headers.size() > kMaxHeaders)
        return std::unexpected(wrong(fmt::format(
            "{}: expected at most {} headers in all keys together, got {}",
            options.compare.keys.empty() ? "--shadow-key" : "--keys", kMaxHeaders, headers.size())));
    return headers;
}

Judged<void> judge_inputs(const Flags& flags, Options& options) {
    options.inputs.urls = all_of(flags, "url");
    options.inputs.paths = all_of(flags, tools::kInput);
    if (options.inputs.paths.empty() && options.inputs.urls.empty()) {
        if (isatty(STDIN_FILENO) != 0)
            return std::unexpected(
                wrong("no LOG: name a file or give --url (\"-\" reads from the terminal)"));
        options.inputs.paths.emplace_back(kStandardInput);
    }
    for (const std::string& path : options.inputs.paths) {
        if (const auto size = size_of_log(path); !size) return std::unexpected(wrong(size.error()));
    }
    if (const std::string* text = find(flags, "log-format")) {
        const auto format = parse_log_format(*text);
        if (!format) return refuse("--log-format", *text, format.error());
        options.rules.format = *format;
    }
    options.rules.line.key = options.fleet.key;
    auto headers = judge_headers(options);
    if (!headers) return std::unexpected(headers.error());
    options.rules.line.headers = *std::move(headers);
    if (const std::string* text = find(flags, "fields")) {
        auto fields = FieldNames::parse(*text, options.rules.line.headers);
        if (!fields) return refuse("--fields", *text, fields.error());
        options.rules.line.fields = *std::move(fields);
    }
    return {};
}

Judged<OutputFormat> judge_format(const Flags& flags) {
    const auto& text = flags["format"].as<std::string>();
    if (text == "table") return OutputFormat::table;
    if (text == "json") return OutputFormat::json;
    if (text == "csv") return OutputFormat::csv;
    return refuse("--format", text, "expected table, json or csv");
}

Judged<std::vector<std::size_t>> judge_without(const Flags& flags, const FleetSpec& fleet) {
    std::vector<std::size_t> without;
    for (const std::string& name : all_of(flags, "without")) {
        const auto bridge = fleet.find(name);
        if (!bridge) return refuse("--without", name, bridge.error());
        without.push_back(*bridge);
    }
    return without;
}

// What serves then: as the flags say, or the configuration's shadow when nothing else changes.
Judged<void> judge_shadow(const Flags& flags, const FleetSpec& fleet, DisruptOptions& options) {
    const std::string* key = find(flags, "shadow-key");
    const std::string* algorithm = find(flags, "shadow-algorithm");
    const bool others = !options.without.empty() || !options.joining.empty() || !options.weights.empty();
    if (key != nullptr || algorithm != nullptr)
        options.shadow = ShadowSpec{.key = fleet.key, .algorithm = fleet.algorithm};
    else if (!others)
        options.shadow = fleet.shadow;
    if (key != nullptr) {
        auto rule = HashKeyRule::parse(*key);
        if (!rule) return refuse("--shadow-key", *key, rule.error());
        if (!key_fits(fleet.protocol, rule->kind) && fleet.protocol != natural_protocol(rule->kind))
            return refuse("--shadow-key", *key,
                          fmt::format("expected a key of the same traffic as {}", fleet.key.to_string()));
        options.shadow->key = *std::move(rule);
    }
    if (algorithm != nullptr) {
        const auto parsed = parse_algorithm(*algorithm);
        if (!parsed) return refuse("--shadow-algorithm", *algorithm, parsed.error());
        options.shadow->algorithm = *parsed;
    }
    const std::string* ramp = find(flags, "ramp");
    if (ramp == nullptr) return {};
    if (!options.shadow)
        return std::unexpected(
            wrong("--ramp: expected --shadow-key or --shadow-algorithm beside it, to which it moves rows"));
    const auto share = parse_share(*ramp);
    if (!share || *share == 0)
        return refuse("--ramp", *ramp, share ? "expected more than nothing" : share.error());
    options.shadow->ramp = *share;
    return {};
}

Judged<DisruptOptions> judge_disrupt(const Flags& flags, const FleetSpec& fleet) {
    DisruptOptions options;
    auto without = judge_without(flags, fleet);
    if (!without) return std::unexpected(without.error());
    options.without = *std::move(without);
    FleetSpec after = fleet;
    for (const std::string& text : all_of(flags, "add")) {
        auto member = parse_member(text);
        if (!member) return refuse("--add", text, member.error());
        if (auto added = add_member(after, *std::move(member)); !added)
            return refuse("--add", text, added.error());
        options.joining.push_back(after.bridges.back());
    }
    for (const std::string& text : all_of(flags, "weight")) {
        std::string_view rest = text;
        const auto bridge = fleet.find(take_until(rest, '='));
        if (!bridge) return refuse("--weight", text, bridge.error());
        const auto weight = whole_number(rest);
        if (!weight || *weight > kMaxWeight)
            return refuse("--weight", text,
                          fmt::format("expected NAME=N with a weight from 0 to {}", kMaxWeight));
        options.weights.emplace_back(*bridge, static_cast<std::uint32_t>(*weight));
    }
    if (auto shadow = judge_shadow(flags, fleet, options); !shadow) return std::unexpected(shadow.error());
    if (options.without.empty() && options.joining.empty() && options.weights.empty() && !options.shadow)
        return std::unexpected(wrong(
            "disrupt: say what changes: --without, --add, --weight, --shadow-key or --shadow-algorithm"));
    after = fleet_after(fleet, options);
    if (std::ranges::all_of(after.bridges, [](const auto& bridge) { return bridge.weight == 0; }))
        return std::unexpected(wrong("--without: no bridge is left"));
    if (const auto placed = after.place(); !placed)
        return std::unexpected(wrong("disrupt: " + placed.error()));
    if (after.shadow) {
        if (const auto placed = after.as_shadow().place(); !placed)
            return std::unexpected(wrong("disrupt: " + placed.error()));
    }
    return options;
}

Judged<CompareOptions> judge_compare(const Flags& flags, const FleetSpec& fleet) {
    CompareOptions options;
    if (const std::string* text = find(flags, "algorithms")) {
        for (std::string_view rest = *text; !rest.empty();) {
            const std::string_view one = take_until(rest, ',');
            const auto algorithm = parse_algorithm(one);
            if (!algorithm) return refuse("--algorithms", one, algorithm.error());
            options.algorithms.push_back(*algorithm);
        }
    } else {
        for (const Algorithm algorithm :
             {Algorithm::rendezvous, Algorithm::maglev, Algorithm::ketama, Algorithm::jump}) {
            FleetSpec tried = fleet;
            tried.algorithm = algorithm;
            if (tried.place()) options.algorithms.push_back(algorithm);
        }
    }
    if (const std::string* text = find(flags, "keys")) {
        for (std::string_view rest = *text; !rest.empty();) {
            const std::string_view one = take_until(rest, ';');
            auto rule = HashKeyRule::parse(one);
            if (!rule) return refuse("--keys", one, rule.error());
            options.keys.push_back(*std::move(rule));
        }
    }
    if (options.keys.empty()) options.keys.push_back(fleet.key);
    if (const std::string* text = find(flags, "table-rows")) {
        for (std::string_view rest = *text; !rest.empty();) {
            const auto rows = parse_rows("--table-rows", take_until(rest, ','));
            if (!rows) return std::unexpected(rows.error());
            options.rows.push_back(*rows);
        }
    }
    if (options.rows.empty()) options.rows.push_back(fleet.rows);
    auto without = judge_without(flags, fleet);
    if (!without) return std::unexpected(without.error());
    options.without = *std::move(without);
    if (options.algorithms.size() * options.keys.size() * options.rows.size() > kMaxVariants)
        return std::unexpected(wrong(fmt::format("compare: more than {} variants", kMaxVariants)));
    return options;
}

Judged<std::vector<std::uint64_t>> judge_sizes(const Flags& flags) {
    const std::string* text = find(flags, "sizes");
    if (text == nullptr)
        return std::unexpected(wrong("--sizes is missing: one cache's size, as in --sizes 1GiB"));
    std::vector<std::uint64_t> sizes;
    for (std::string_view rest = *text; !rest.empty();) {
        const std::string_view one = take_until(rest, ',');
        const auto size = cache_size(one);
        if (!size) return refuse("--sizes", one, "expected a size such as 128MiB, 2GiB or 1TiB");
        sizes.push_back(*size);
    }
    return sizes;
}

Judged<Duration> duration(const Flags& flags, const char* name) {
    const auto& text = flags[name].as<std::string>();
    const auto time = parse_duration(text);
    if (!time) return refuse(fmt::format("--{}", name), text, time.error());
    return *time;
}

// "b2@1h-2h"
Judged<void> judge_loss(const std::string& text, const FleetSpec& fleet, bool warm, CacheOptions& options) {
    std::string_view rest = text;
    const auto bridge = fleet.find(take_until(rest, '@'));
    if (!bridge) return refuse("--lose", text, bridge.error());
    const auto from = parse_duration(take_until(rest, '-'));
    if (!from) return refuse("--lose", text, "expected NAME@TIME[-TIME] such as b2@1h-2h");
    using Kind = cache::FleetEvent::Kind;
    const auto index = static_cast<std::uint16_t>(*bridge);
    options.events.push_back({*from, Kind::lost, index});
    if (rest.empty()) return {};
    const auto until = parse_duration(rest);
    if (!until || *until <= *from)
        return refuse("--lose", text, "expected a return that is later, as in b2@1h-2h");
    options.events.push_back({*until, warm ? Kind::returned_warm : Kind::returned_cold, index});
    return {};
}

Judged<void> judge_lists(const Flags& flags, CacheOptions& options) {
    for (std::string_view rest = flags["policies"].as<std::string>(); !rest.empty();) {
        const std::string_view one = take_until(rest, ',');
        const auto policy = cache::policy_named(one);
        if (!policy)
            return refuse("--policies", one, "expected lru, fifo, clock, sieve, s3-fifo or w-tinylfu");
        options.policies.push_back(*policy);
    }
    for (std::string_view rest = flags["routing"].as<std::string>(); !rest.empty();) {
        const std::string_view one = take_until(rest, ',');
        const auto found =
            std::ranges::find(kRoutings, one, [](Routing routing) { return to_string(routing); });
        if (found == kRoutings.end())
            return refuse("--routing", one, "expected hash, random, round-robin or keep-alive");
        options.routings.push_back(*found);
    }
    if (options.policies.empty()) return refuse("--policies", "", "expected at least one");
    if (options.routings.empty()) return refuse("--routing", "", "expected at least one");
    return {};
}

Judged<void> judge_ranges(const Flags& flags, CacheOptions& options) {
    const auto& name = flags["ranges"].as<std::string>();
    if (name == "slices")
        options.ranges = cache::Ranges::slices;
    else if (name == "pass")
        options.ranges = cache::Ranges::pass;
    else if (name != "whole")
        return refuse("--ranges", name, "expected whole, slices or pass");
    const auto& size = flags["slice"].as<std::string>();
    const auto slice = cache_size(size);
    if (!slice) return refuse("--slice", size, "expected a size such as 1MiB");
    options.slice_bytes = *slice;
    return {};
}

Judged<CacheOptions> judge_cache(const Flags& flags, const FleetSpec& fleet) {
    CacheOptions options;
    auto sizes = judge_sizes(flags);
    if (!sizes) return std::unexpected(sizes.error());
    options.sizes = *std::move(sizes);
    if (auto lists = judge_lists(flags, options); !lists) return std::unexpected(lists.error());
    if (options.sizes.size() * options.policies.size() > kMaxCaches)
        return std::unexpected(wrong(fmt::format("cache: more than {} sizes times policies", kMaxCaches)));
    for (const std::string& text : all_of(flags, "lose")) {
        if (auto loss = judge_loss(text, fleet, flags["return-warm"].as<bool>(), options); !loss)
            return std::unexpected(loss.error());
    }
    std::ranges::sort(options.events, {}, [](const cache::FleetEvent& event) {
        return std::tuple(event.time, event.kind, event.bridge);
    });
    const auto slow_start = duration(flags, "slow-start");
    if (!slow_start) return std::unexpected(slow_start.error());
    options.slow_start = *slow_start;
    const auto keep_alive = duration(flags, "keep-alive");
    if (!keep_alive) return std::unexpected(keep_alive.error());
    options.keep_alive = *keep_alive;
    if (find(flags, "interval") != nullptr) {
        const auto interval = duration(flags, "interval");
        if (!interval) return std::unexpected(interval.error());
        if (*interval == Duration{}) return refuse("--interval", "0", "expected more than nothing");
        options.interval = *interval;
    } else if (!options.events.empty()) {
        options.interval = std::chrono::seconds(60);
    }
    if (find(flags, "ttl") != nullptr) {
        const auto ttl = duration(flags, "ttl");
        if (!ttl) return std::unexpected(ttl.error());
        options.ttl_s = static_cast<std::uint32_t>(std::min<std::int64_t>(
            std::chrono::duration_cast<std::chrono::seconds>(*ttl).count(), 0xfffffffe));
    }
    if (auto ranges = judge_ranges(flags, options); !ranges) return std::unexpected(ranges.error());
    options.che = flags["che"].as<bool>();
    return options;
}

Judged<GenerateOptions> judge_generate(const Flags& flags) {
    GenerateOptions options;
    const auto requests = whole(flags, "requests", 1, 1'000'000'000'000);
    const auto objects = whole(flags, "objects", 1, kMaxObjects);
    const auto seed = whole(flags, "seed", 0, ~0ULL);
    const auto zipf = fraction(flags, "zipf", 0, 10);
    const auto sigma = fraction(flags, "sigma", 0, 5);
    const auto rate = fraction(flags, "rate", 0.001, 1e9);
    for (const auto* each : {&requests, &objects, &seed}) {
        if (!*each) return std::unexpected(each->error());
    }
    for (const auto* each : {&zipf, &sigma, &rate}) {
        if (!*each) return std::unexpected(each->error());
    }
    const auto& size_text = flags["mean-size"].as<std::string>();
    const auto size = parse_size(size_text);
    if (!size || *size == 0) return refuse("--mean-size", size_text, "expected a size such as 32KiB");
    const auto& lifetime_text = flags["lifetime"].as<std::string>();
    const auto lifetime = parse_duration(lifetime_text);
    if (!lifetime) return refuse("--lifetime", lifetime_text, lifetime.error());
    const auto& as = flags["as"].as<std::string>();
    if (as != "trace" && as != "plain" && as != "combined")
        return refuse("--as", as, "expected trace, plain or combined");
    if (!all_of(flags, tools::kInput).empty())
        return std::unexpected(wrong("generate: it reads no LOG, and writes to standard output"));
    options.requests = *requests;
    options.objects = *objects;
    options.zipf = *zipf;
    options.seed = *seed;
    options.mean_bytes = *size;
    options.sigma = *sigma;
    options.requests_per_second = *rate;
    options.lifetime = *lifetime;
    options.as = as == "trace"   ? GenerateOptions::As::trace
                 : as == "plain" ? GenerateOptions::As::plain
                                 : GenerateOptions::As::combined;
    return options;
}

Judged<Options> judge(Question question, const Flags& flags) {
    Options options;
    options.question = question;
    if (question == Question::generate) {
        auto generate = judge_generate(flags);
        if (!generate) return std::unexpected(generate.error());
        options.generate = *generate;
        return options;
    }
    auto fleet = judge_fleet(flags);
    if (!fleet) return std::unexpected(fleet.error());
    options.fleet = *std::move(fleet);
    const auto format = judge_format(flags);
    if (!format) return std::unexpected(format.error());
    options.format = *format;
    options.quiet = flags["quiet"].as<bool>();
    if (question == Question::balance || question == Question::cache) {
        if (auto weighing = judge_weighing(flags, options.fleet.weighing); !weighing)
            return std::unexpected(weighing.error());
    }
    if (question == Question::balance) {
        const auto top = whole(flags, "top", 0, kMaxTop);
        if (!top) return std::unexpected(top.error());
        options.balance.top = *top;
    } else if (question == Question::disrupt) {
        auto disrupt = judge_disrupt(flags, options.fleet);
        if (!disrupt) return std::unexpected(disrupt.error());
        options.disrupt = *std::move(disrupt);
    } else if (question == Question::cache) {
        auto cache = judge_cache(flags, options.fleet);
        if (!cache) return std::unexpected(cache.error());
        options.cache = *std::move(cache);
    } else if (question == Question::compare) {
        auto compare = judge_compare(flags, options.fleet);
        if (!compare) return std::unexpected(compare.error());
        options.compare = *std::move(compare);
    }
    if (auto inputs = judge_inputs(flags, options); !inputs) return std::unexpected(inputs.error());
    return options;
}

// Calls of before there were subcommands: without one the tool maps, and says of the flags that are gone what
// replaces them.
std::optional<OptionsError> replaced(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        if (word == "--spread") return wrong("--spread: replaced by the subcommand `splice-hash balance`");
        if (word.starts_with("--without"))
            return wrong("--without: replaced by `splice-hash disrupt --without NAME`");
    }
    return {};
}

}  // namespace

FleetSpec fleet_after(const FleetSpec& fleet, const DisruptOptions& change) {
    FleetSpec after = fleet;
    for (const std::size_t bridge : change.without) after.bridges[bridge].weight = 0;
    for (const auto& [bridge, weight] : change.weights) after.bridges[bridge].weight = weight;
    for (const PlacementMember& member : change.joining) after.bridges.push_back(member);
    if (change.shadow) {
        after.shadow = change.shadow;
        if (change.shadow->ramp == 0) after = after.as_shadow();
    }
    return after;
}

std::string_view to_string(Routing routing) noexcept {
    static constexpr std::array<std::string_view, kRoutings.size()> kNames = {"hash", "random", "round-robin",
                                                                              "keep-alive"};
    return kNames[static_cast<std::size_t>(routing)];
}

std::expected<std::variant<Options, Notice>, OptionsError> parse_options(int argc, char** argv) {
    const std::string_view word = argc > 1 ? argv[1] : "";
    const auto* named = std::ranges::find(kSubcommands, word, &Subcommand::name);
    const bool has_name = named != kSubcommands.end();
    if (!has_name) {
        if (auto error = replaced(argc, argv)) return std::unexpected(*std::move(error));
        if (argc < 2 || word == "help" || word == "--help" || word == "-h")
            return Notice{std::string(kUsage) + list_of_subcommands() + std::string(kExamples)};
        // A word that is neither a subcommand nor a file is a misspelt subcommand or, as it once was, a URL.
        if (!word.starts_with('-')) {
            if (const auto size = size_of_log(std::string(word)); !size)
                return std::unexpected(wrong(fmt::format(
                    "{}; subcommands are map, explain, balance, disrupt, compare, cache and generate",
                    size.error())));
        }
    }
    const Question question = has_name ? named->question : Question::map;
    const std::string name = has_name ? fmt::format("splice-hash {}", named->name) : "splice-hash";
    const std::string usage = has_name
                                  ? fmt::format("Usage: {} [options] [LOG ...]\n{}.\n", name, named->words)
                                  : std::string(kUsage);
    // The subcommand's name is where the program's name was.
    const int skipped = has_name ? 1 : 0;
    auto parsed =
        tools::parse_flags({"splice-hash", usage, ""}, groups_of(question), argc - skipped, argv + skipped);
    if (!parsed) return std::unexpected(wrong(std::move(parsed.error())));
    if (Notice* notice = std::get_if<Notice>(&*parsed)) return std::move(*notice);
    auto options = judge(question, std::get<Flags>(*parsed));
    if (!options) return std::unexpected(std::move(options.error()));
    return *std::move(options);
}

}  // namespace splice::hash
