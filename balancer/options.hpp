// The balancer's flags.
#pragma once

#include <expected>
#include <optional>
#include <string>

#include "balancer/config.hpp"

namespace splice {

struct BalancerOptions {
    enum class Action { run, check, help, version };
    Action action = Action::run;
    bool host = false;                       // check: the real host, too
    std::optional<std::string> config_file;  // or the single service of the flags:
    BalancerConfig config;
    std::optional<LogLevel> log_level;  // given: goes before the file's
};

// The error is one line that names the flag.
std::expected<BalancerOptions, std::string> parse_balancer_options(int argc, const char* const* argv);
[[nodiscard]] std::string balancer_help();

}  // namespace splice
