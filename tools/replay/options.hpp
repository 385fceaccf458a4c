// The flags of splice-replay.
#pragma once

#include <expected>
#include <string>
#include <variant>

#include "tools/flags.hpp"

namespace splice::replay {

struct Options {
    std::string config, bridge_config;  // empty: --any-vip
    bool any_vip = false;
    bool ladder = false;
    bool keys = false;
    bool requests = false;
    bool ignore_checksums = false;
    std::string svg, output, expect;  // paths; empty: not asked for
    std::string input;
};

// The error is one line that names the flag.
[[nodiscard]] std::expected<std::variant<Options, tools::Notice>, std::string> parse_options(int argc,
                                                                                             char** argv);

}  // namespace splice::replay
