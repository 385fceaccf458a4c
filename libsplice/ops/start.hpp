// What both executables look at before they touch the host, and how they end when it does not suit.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/interface.hpp"
#include "libsplice/engine/interface_lock.hpp"

namespace splice {

// Exit codes of both executables.
inline constexpr int kExitSuccess = 0;
inline constexpr int kExitSystem = 1;  // the system refused something
inline constexpr int kExitUsage = 2;   // a wrong flag or configuration

// Writes "program: text" to standard error and returns `code`.
int end_with(int code, const std::string& program, const std::string& text);

// What --check says of a configuration that will do: its warnings on standard error, then remarks and "valid:
// 2 services".
int end_valid(const std::string& program, std::size_t services, const std::vector<std::string>& warnings,
              const std::vector<std::string>& remarks);
// What a program says at its end. `goes_on`: the kernel handles packets without it.
void log_stopped(bool goes_on, std::string_view interface);

// Privileges, then the interface: there and up.
SystemResult<InterfaceInfo> check_host(const std::string& interface);
// An uplink of `daemon`'s: there, up, and no other process's of that name while the lock lives.
struct TakenUplink {
    InterfaceInfo interface;
    InterfaceLock lock;
};
// Errors are check_host()'s and InterfaceLock::take()'s.
SystemResult<TakenUplink> take_uplink(const std::string& daemon, const std::string& interface);
// What is wrong when nothing disciplines the clock, of which cookies carry the epoch; nothing: it is kept.
[[nodiscard]] std::optional<std::string_view> clock_trouble();
// Logs it.
void warn_about_clock();

}  // namespace splice
