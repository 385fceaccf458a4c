#include "balancer/preflight.hpp"

#include <fmt/format.h>

#include <map>
#include <vector>

#include "balancer/control/vips.hpp"
#include "libsplice/engine/attached_program.hpp"
#include "libsplice/engine/interface.hpp"
#include "libsplice/engine/next_hop.hpp"
#include "libsplice/engine/socket_diag.hpp"

namespace splice {
namespace {

void look_at_program(const std::string& name, Preflight& found) {
    const auto interface = find_interface(name);
    if (!interface) return;
    const auto there = attached_xdp_program(*interface);
    if (!there)
        found.good(fmt::format("no XDP program is on {}", interface->name));
    else if (there->name.starts_with("balancer"))
        found.good(fmt::format("an earlier balancer's program (id {}) is on {}, and is taken over", there->id,
                               interface->name));
    else
        found.missing(fmt::format(
            "another XDP program is on {}: {} (id {}); one interface has one (try: ip link set {} xdp "
            "off, or --engine nfqueue)",
            interface->name, there->name, there->id, interface->name));
    if (!ethernet_address_of(interface->index))
        found.missing(fmt::format("{} has no Ethernet address, which XDP needs (try --engine nfqueue)",
                                  interface->name));
}

// A server of this host's own at a VIP's port is hidden: its clients are the balancer's.
void look_at_vips(const BalancerConfig& config, Preflight& found) {
    const Vips vips(uplinks_of(config.common));
    if (const auto free = vips.check_free(vips_of(config)); !free) found.missing(free.error());
    auto sockets = SocketDiag::open();
    for (const ServiceConfig& service : config.services) {
        const auto here = host_has_address(service.vip.address);
        const bool standby = service.settings.presence == Presence::standby;
        const char* const where = here && *here ? "is this host's own address"
                                  : standby     ? "is not on this host; a start adds it to loopback"
                                                : "is not on this host; a start adds it to the interface";
        found.good(fmt::format("service {}: {} {} (presence {})", service.name,
                               service.vip.address.to_string(), where, to_string(service.settings.presence)));
        if (sockets && sockets->has_listener(service.vip))
            found.warn(fmt::format(
                "service {}: a server of this host listens at {}; while the balancer runs, nobody "
                "reaches it there",
                service.name, service.vip.to_string()));
    }
}

std::map<std::string, IpAddress> bridges_of(const BalancerConfig& config) {
    std::map<std::string, IpAddress> bridges;
    for (const ServiceConfig& service : config.services)
        for (const BridgeConfig& bridge : service.bridges)
            bridges.emplace(fmt::format("{} ({})", bridge.name, bridge.address.to_string()), bridge.address);
    return bridges;
}

void look_at_ways(const BalancerConfig& config, Preflight& found) {
    const auto interface = find_interface(config.common.interface);
    auto kernel = NextHops::open();
    if (!interface || !kernel) return;
    for (const auto& [name, address] : bridges_of(config)) {
        const auto way = way_to(address);
        if (!way) {
            found.missing(fmt::format("bridge {}: no route leads there (try: ip route get {})", name,
                                      address.to_string()));
            continue;
        }
        if (way->local) {
            found.good(fmt::format("bridge {} is on this host", name));
            continue;
        }
        const auto hop = kernel->resolve(std::vector{address}).front();
        if (!hop)
            found.warn(
                fmt::format("bridge {}: reached by {}, where nobody is known yet to answer ARP or neighbour "
                            "discovery for it",
                            name, way->interface));
        else if (hop->mtu < interface->mtu)
            found.warn(fmt::format(
                "bridge {}: reached by {} with an MTU of {}, below {} of {}: clients are offered the "
                "MSS that fits",
                name, way->interface, hop->mtu, interface->mtu, interface->name));
        else
            found.good(fmt::format("bridge {}: reached by {}, MTU {}", name, way->interface, hop->mtu));
    }
}

}  // namespace

Preflight look_at_balancer_host(const BalancerConfig& config) {
    Preflight found;
    const EngineChoice engine = config.common.engine;
    look_at_common_host(uplinks_of(config.common),
                        {.tried = engine != EngineChoice::nfqueue, .needed = engine == EngineChoice::ebpf},
                        found);
    if (engine != EngineChoice::nfqueue) {
        for (const std::string& uplink : uplinks_of(config.common)) {
            look_at_program(uplink, found);
            look_at_xdp_of(uplink, config.xdp_mode, found);
        }
    }
    // What the ebpf engine sends meets no rule.
    if (engine != EngineChoice::ebpf)
        look_at_policies(
            "output",
            "and the nfqueue engine sends by it: accept TCP from the services' ports to clients, and to the "
            "bridges at these ports (docs/hosts.md)",
            found);

    look_at_vips(config, found);
    look_at_ways(config, found);
    return found;
}

}  // namespace splice
