// The packet bridge's flags.
#pragma once

#include <expected>
#include <optional>
#include <string>

#include "packetbridge/config.hpp"

namespace splice {

struct PacketbridgeOptions {
    enum class Action { run, check, help, version };
    Action action = Action::run;
    bool host = false;                       // check: the real host, too
    std::optional<std::string> config_file;  // or what the flags say:
    PacketbridgeConfig config;
    std::optional<LogLevel> log_level;  // given: goes before the file's
};

// The error is one line that names the flag.
std::expected<PacketbridgeOptions, std::string> parse_packetbridge_options(int argc, const char* const* argv);
[[nodiscard]] std::string packetbridge_help();

}  // namespace splice
