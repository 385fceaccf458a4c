// What both executables look at before they touch the host, and how they end when it does not suit.
#pragma once

#include <string>

#include "libsplice/engine/error.hpp"
#include "libsplice/engine/interface.hpp"

namespace splice {

// Exit codes of both executables.
inline constexpr int kExitSuccess = 0;
inline constexpr int kExitSystem = 1;  // the system refused something
inline constexpr int kExitUsage = 2;   // a wrong flag or configuration

// Writes "program: text" to standard error and returns `code`.
int end_with(int code, const std::string& program, const std::string& text);

// Privileges, then the interface: there and up.
SystemResult<InterfaceInfo> check_host(const std::string& interface);
// Logs a warning when nothing disciplines the clock: cookies carry its epoch.
void warn_about_clock();

}  // namespace splice
