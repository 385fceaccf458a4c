#include "libsplice/ops/start.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <utility>

#include "libsplice/engine/clock.hpp"
#include "libsplice/ops/log.hpp"

namespace splice {

int end_with(int code, const std::string& program, const std::string& text) {
    std::fprintf(stderr, "%s: %s\n", program.c_str(), text.c_str());
    return code;
}

int end_valid(const std::string& program, std::size_t services, const std::vector<std::string>& warnings,
              const std::vector<std::string>& remarks) {
    for (const std::string& warning : warnings)
        std::fprintf(stderr, "%s: warning: %s\n", program.c_str(), warning.c_str());
    for (const std::string& remark : remarks) std::printf("%s\n", remark.c_str());
    std::printf("valid: %zu service%s\n", services, services == 1 ? "" : "s");
    return kExitSuccess;
}

void log_stopped(bool goes_on, std::string_view interface) {
    if (!goes_on) return log_info("stopped, everything removed");
    log_info(
        fmt::format("stopped, and kept: the kernel goes on with the programs and flows on {}; the next start "
                    "takes them over",
                    interface));
}

SystemResult<InterfaceInfo> check_host(const std::string& interface) {
    if (auto privileges = check_privileges(); !privileges) return std::unexpected(privileges.error());
    auto info = find_interface(interface);
    if (info && !info->up)
        return std::unexpected(
            SystemError{"interface " + interface + " is down (try: ip link set " + interface + " up)", 0});
    return info;
}

SystemResult<TakenUplink> take_uplink(const std::string& daemon, const std::string& interface) {
    auto info = check_host(interface);
    if (!info) return std::unexpected(info.error());
    auto lock = InterfaceLock::take(daemon, *info);
    if (!lock) return std::unexpected(lock.error());
    return TakenUplink{std::move(*info), std::move(*lock)};
}

std::optional<std::string_view> clock_trouble() {
    if (clock_is_synchronized()) return std::nullopt;
    return "nothing synchronises this host's clock: cookies of hosts whose clocks differ by more than 32 s "
           "are "
           "refused; run an NTP client (chrony, systemd-timesyncd) on balancers and bridges";
}

void warn_about_clock() {
    if (const auto trouble = clock_trouble()) log_warning(std::string(*trouble));
}

}  // namespace splice
