#include "libsplice/ops/preflight.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "libsplice/engine/interface.hpp"
#include "libsplice/engine/xdp_link.hpp"
#include "libsplice/ops/start.hpp"

namespace splice {
namespace {

// Receive queues, each of which one processor serves at a time; 0: not known.
std::size_t receive_queues(const std::string& interface) {
    std::size_t count = 0;
    std::error_code error;
    for (const auto& each :
         std::filesystem::directory_iterator("/sys/class/net/" + interface + "/queues", error))
        count += each.path().filename().string().starts_with("rx-") ? 1 : 0;
    return count;
}

void look_at_uplink(const std::string& name, Preflight& found) {
    const auto interface = find_interface(name);
    if (!interface) {
        found.missing(interface.error().text);
    } else if (!interface->up) {
        found.missing(fmt::format("interface {0} is down (try: ip link set {0} up)", name));
    } else {
        found.good(fmt::format("interface {} is up: driver {}, MTU {}, {} receive queues", name,
                               driver_of(name), interface->mtu, receive_queues(name)));
        if (interface->port)
            found.warn(fmt::format(
                "interface {} is a port of a bridge, bond or team; addresses are on the device above "
                "it, and only the bond's or bridge's own name has them",
                name));
    }
}

}  // namespace

int Preflight::print() const {
    bool whole = true;
    for (const auto& [kind, name] :
         {std::pair(Kind::good, "ok"), {Kind::warning, "warning"}, {Kind::missing, "missing"}}) {
        for (const Finding& finding : findings_) {
            if (finding.kind != kind) continue;
            std::printf("%-8s %s\n", name, finding.text.c_str());
            whole &= kind != Kind::missing;
        }
    }
    return whole ? kExitSuccess : kExitSystem;
}

void look_at_common_host(const std::vector<std::string>& uplinks, Preflight& found) {
    if (const auto privileges = check_privileges(); !privileges)
        found.missing(privileges.error().text);
    else
        found.good("this process may take and send packets");
    for (const std::string& name : uplinks) look_at_uplink(name, found);
    if (const auto trouble = clock_trouble())
        found.warn(std::string(*trouble));
    else
        found.good("the clock is synchronised");
}

}  // namespace splice
