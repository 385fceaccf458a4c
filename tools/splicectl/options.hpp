// The command line of splicectl.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "libsplice/base/api_address.hpp"
#include "tools/flags.hpp"

namespace splice::control {

enum class Command : std::uint8_t {
    status,
    check,
    services,
    bridges,
    explain,
    drain,
    ready,
    down,
    weight,
    reset,
    flows,
    watch,
};
[[nodiscard]] std::string_view to_string(Command command) noexcept;
// Those that change a bridge.
[[nodiscard]] bool is_change(Command command) noexcept;

enum class OutputFormat : std::uint8_t { table, json };

struct Options {
    Command command{};
    ApiAddress api;
    std::string token_file;  // a path; empty: without a token
    OutputFormat format = OutputFormat::table;

    std::string service, bridge;     // empty: not named
    bool all_services = false;       // a change: in every service that has the bridge
    std::optional<unsigned> weight;  // of `weight`; nothing: the configuration file's again
    std::string url;
    std::string source;                // of `explain`; empty: not named
    std::vector<std::string> headers;  // of `explain`: NAME:VALUE
    std::string client;                // of `flows`; empty: any
    std::size_t limit = 100;           // of `flows`
    double interval = 2;               // seconds between two looks of `watch`
    std::uint64_t looks = 0;           // of `watch`; 0: until it is interrupted
};

// `environment`: the value of SPLICELB_API, or null. The error is one line that names the flag or the word.
[[nodiscard]] std::expected<std::variant<Options, tools::Notice>, std::string> parse_options(
    int argc, char** argv, const char* environment);

}  // namespace splice::control
