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
};

struct CompareOptions {
    // Every combination is a variant. None is empty.
    std::vector<Algorithm> algorithms;
    std::vector<HashKeyRule> keys;
    std::vector<std::uint32_t> rows;
    std::vector<std::size_t> without;  // whose loss is tried; empty: each bridge's in turn
};

struct GenerateOptions {
    enum class As : std::uint8_t { trace, plain, combined };
    std::uint64_t requests = 1'000'000;
    std::uint64_t objects = 100'000;
    double zipf = 0.9;
    std::uint64_t seed = 1;
    std::uint64_t mean_bytes = 32 * 1024;
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
