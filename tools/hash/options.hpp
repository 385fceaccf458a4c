// The subcommands of splice-hash and their flags.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "libsplice/base/time.hpp"
#include "tools/flags.hpp"
#include "tools/hash/cache/fleet.hpp"
#include "tools/hash/fleet_spec.hpp"
#include "tools/hash/log_reader.hpp"
#include "tools/hash/report.hpp"

namespace splice::hash {

enum class Question : std::uint8_t { map, explain, balance, disrupt, compare, cache, generate };

struct BalanceOptions {
    std::size_t top = kHotShown;
};

struct DisruptOptions {
    std::vector<std::size_t> without;  // indices of bridges
    std::vector<PlacementMember> joining;
    std::vector<std::pair<std::size_t, std::uint32_t>> weights;  // a bridge's index and its new weight
    std::optional<ShadowSpec> shadow;  // what serves its ramp's rows then; all of them where it has none
};

// The fleet after the change, with the same indices; who left has weight 0, who joins comes last.
[[nodiscard]] FleetSpec fleet_after(const FleetSpec& fleet, const DisruptOptions& change);

struct CompareOptions {
    // Every combination is a variant. None is empty.
    std::vector<Algorithm> algorithms;
    std::vector<HashKeyRule> keys;
    std::vector<std::uint32_t> rows;
    std::vector<std::size_t> without;  // whose loss is tried; empty: each bridge's in turn
};

// How requests find a bridge in a simulation.
enum class Routing : std::uint8_t {
    hash,         // each request goes to its key's first choice
    random,       // to any bridge
    round_robin,  // to each in turn
    keep_alive,   // the first request of a connection chooses, as at the balancer; the others follow it
};
[[nodiscard]] std::string_view to_string(Routing routing) noexcept;

struct CacheOptions {
    std::vector<std::uint64_t> sizes;  // bytes of one bridge's cache
    std::vector<cache::Policy> policies;
    std::vector<Routing> routings;
    std::vector<cache::FleetEvent> events;  // in the order of time, which is since the log's start
    std::optional<Duration> interval;       // of the time series
    Duration slow_start{};
    cache::Ranges ranges = cache::Ranges::whole;
    std::uint64_t slice_bytes = 1 << 20;
    Duration keep_alive = std::chrono::seconds(65);  // an idle connection ends
    std::optional<std::uint32_t> ttl_s;              // where the log does not tell
    bool che = false;
};

struct GenerateOptions {
    enum class As : std::uint8_t { trace, plain, combined };
    std::uint64_t requests = 1'000'000;
    std::uint64_t objects = 100'000;
    double zipf = 0.9;
    std::uint64_t seed = 1;
    std::uint64_t mean_bytes = 32UZ * 1024;
    double sigma = 1.5;
    double requests_per_second = 1000;
    Duration lifetime{};  // for so long an object has its rank; 0: for ever
    As as = As::trace;
};

struct Options {
    Question question = Question::map;
    FleetSpec fleet;
    LogInputs inputs;
    LogRules rules;
    OutputFormat format = OutputFormat::table;
    bool quiet = false;
    BalanceOptions balance;
    DisruptOptions disrupt;
    CompareOptions compare;
    CacheOptions cache;
    GenerateOptions generate;
};

// What is wrong with the command line or the configuration that it names (exit code 2), or why the system
// does not let us read that (1). One line.
struct OptionsError {
    std::string text;
    bool is_system = false;
};

[[nodiscard]] std::expected<std::variant<Options, tools::Notice>, OptionsError> parse_options(int argc,
                                                                                              char** argv);

}  // namespace splice::hash
