// What each command does: asks, and prints.
#pragma once

#include "tools/splicectl/api_client.hpp"
#include "tools/splicectl/options.hpp"

namespace splice::control {

// The error is a message for a person, of one line or several.
[[nodiscard]] std::expected<void, std::string> run_command(const Options& options, const ApiClient& api);
// Of `watch`: until Ctrl-C, or as many looks as were asked for.
[[nodiscard]] std::expected<void, std::string> run_watch(const Options& options, const ApiClient& api);

// Writes it now. The error: a full disk, or nobody reads any more.
[[nodiscard]] std::expected<void, std::string> print(std::string_view text);

}  // namespace splice::control
