// The flags of splice-replay.
#pragma once

#include <expected>
#include <string>
#include <variant>

namespace splice::replay {

struct Options {
    std::string config, bridge_config;  // empty: --any-vip
    bool any_vip = false;
    bool ladder = false;
    bool keys = false;
    std::string svg, output, expect;  // paths; empty: not asked for
    std::string input;
};

// To be printed on standard output, and that is all: --help, --version.
struct Notice {
    std::string text;
};

// The error is one line that names the flag.
[[nodiscard]] std::expected<std::variant<Options, Notice>, std::string> parse_options(int argc, char** argv);

}  // namespace splice::replay
