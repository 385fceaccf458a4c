// The fault injector's flags.
#pragma once

#include <expected>
#include <string>

#include "libsplice/base/time.hpp"
#include "libsplice/engine/netfilter_rules.hpp"
#include "tests/support/fault_injector/faults.hpp"

namespace splice::faults {

struct Options {
    FaultRules faults;
    NetfilterHook hook = NetfilterHook::forward;
    std::string interface;
    std::uint16_t queue = 7900;
    bool install_rules = true;
    std::uint32_t overtakers = 3;
    Duration delay = std::chrono::milliseconds(5);
    bool help = false;
};

std::string help_text();
// The error is a sentence that names the flag.
std::expected<Options, std::string> parse_options(int argc, const char* const* argv);

}  // namespace splice::faults
