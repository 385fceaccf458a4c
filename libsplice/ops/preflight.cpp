#include "libsplice/ops/preflight.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "libsplice/engine/interface.hpp"
#include "libsplice/engine/xdp_link.hpp"
#include "libsplice/engine/xdp_outlook.hpp"
#include "libsplice/ops/firewall_rules.hpp"
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

// Whether the one receive queue's packets are spread over processors by the kernel (RPS).
bool is_spread(const std::string& interface) {
    std::ifstream mask("/sys/class/net/" + interface + "/queues/rx-0/rps_cpus");
    std::string bits;
    mask >> bits;
    return bits.find_first_not_of("0,") != std::string::npos;
}

void look_at_queues(const std::string& name, Preflight& found) {
    std::error_code error;
    const bool has_device = std::filesystem::exists("/sys/class/net/" + name + "/device", error);
    const unsigned processors = std::thread::hardware_concurrency();
    if (has_device && processors > 1 && receive_queues(name) == 1 && !is_spread(name))
        found.warn(
            fmt::format("interface {0} has one receive queue: one of {1} processors takes every packet (try: "
                        "ethtool -L {0} "
                        "combined {1}; where the card has no more, echo a mask of processors to "
                        "/sys/class/net/{0}/queues/rx-0/rps_cpus, which helps all but native XDP)",
                        name, processors));
}

void look_at_offloads(const std::string& name, Preflight& found) {
    const auto offloads = receive_offloads(name);
    if (offloads && offloads->merges)
        found.warn(
            fmt::format("large receive offload is on at {0}: it merges packets, and many drivers refuse "
                        "native XDP with it "
                        "(ethtool -K {0} lro off)",
                        name));
}

void look_at_capabilities(const KernelPrograms& programs, Preflight& found) {
    if (const auto privileges = check_privileges(); !privileges)
        found.missing(privileges.error().text);
    else
        found.good("this process may take and send packets");
    if (!programs.tried) return;
    const auto missing = missing_for_kernel_programs();
    if (!missing)
        found.warn(missing.error().text);
    else if (missing->empty())
        found.good("this process may load kernel programs");
    else if (programs.needed)
        found.missing(fmt::format("engine ebpf: this process lacks {}", *missing));
    else
        found.warn(fmt::format("no engine ebpf: this process lacks {}", *missing));
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
        look_at_queues(name, found);
        look_at_offloads(name, found);
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

void look_at_xdp_of(const std::string& name, XdpMode wanted, Preflight& found) {
    const auto interface = find_interface(name);
    if (!interface) return;
    if (wanted == XdpMode::generic)
        return found.good(fmt::format("XDP on {} is generic, as configured", name));
    const XdpOutlook outlook = look_at_xdp(*interface);
    const std::string driver = driver_of(name);
    const bool tried = outlook.source == XdpOutlook::Source::tried;
    if (outlook.source == XdpOutlook::Source::unknown)
        return found.warn(fmt::format(
            "whether the driver {} of {} has native XDP is not told (Linux 6.3 and newer tell); a start "
            "tries it{}",
            driver, name,
            wanted == XdpMode::automatic ? ", and takes generic XDP, which is slower, where it is refused"
                                         : ""));
    if (outlook.native)
        return found.good(fmt::format(
            "XDP on {} is native: {}", name,
            tried ? "tried"
                  : "the driver " + driver + " has it (not tried: many drivers reset the link for it)"));
    const std::string why = tried ? outlook.reason : fmt::format("the driver {} has no native XDP", driver);
    if (wanted == XdpMode::native)
        found.missing(fmt::format("xdp_mode native on {}: {}", name, why));
    else
        found.warn(fmt::format("XDP on {} will be generic, which is slower: {}", name, why));
}

void look_at_policies(std::string_view hook, std::string_view needs, Preflight& found) {
    for (const std::string& chain : dropping_chains(read_firewall_rules(), hook))
        found.warn(fmt::format("the firewall drops what no rule accepts ({}), {}", chain, needs));
}

void look_at_common_host(const std::vector<std::string>& uplinks, const KernelPrograms& programs,
                         Preflight& found) {
    look_at_capabilities(programs, found);
    for (const std::string& name : uplinks) look_at_uplink(name, found);
    if (const auto trouble = clock_trouble())
        found.warn(std::string(*trouble));
    else
        found.good("the clock is synchronised");
}

}  // namespace splice
