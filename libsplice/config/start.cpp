#include "libsplice/config/start.hpp"

#include <cstdio>

#include "libsplice/engine/clock.hpp"
#include "libsplice/ops/log.hpp"

namespace splice {

int end_with(int code, const std::string& program, const std::string& text) {
    std::fprintf(stderr, "%s: %s\n", program.c_str(), text.c_str());
    return code;
}

SystemResult<InterfaceInfo> check_host(const std::string& interface) {
    if (auto privileges = check_privileges(); !privileges) return std::unexpected(privileges.error());
    auto info = find_interface(interface);
    if (info && !info->up)
        return std::unexpected(
            SystemError{"interface " + interface + " is down (try: ip link set " + interface + " up)", 0});
    return info;
}

void warn_about_clock() {
    if (clock_is_synchronized()) return;
    log_warning(
        "nothing synchronises this host's clock: cookies of hosts whose clocks differ by more than 32 s are "
        "refused; "
        "run an NTP client (chrony, systemd-timesyncd) on balancers and bridges");
}

}  // namespace splice
