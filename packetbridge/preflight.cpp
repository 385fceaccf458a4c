#include "packetbridge/preflight.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "libsplice/engine/interface.hpp"
#include "libsplice/engine/next_hop.hpp"
#include "libsplice/engine/sysctl.hpp"
#include "libsplice/engine/xdp_link.hpp"
#include "packetbridge/adoption_checks.hpp"
#include "packetbridge/bridge_hooks.hpp"
#include "packetbridge/dataplane.hpp"
#include "packetbridge/network_facts.hpp"
#include "packetbridge/setup.hpp"

namespace splice {
namespace {

void look_at_addresses(const PacketbridgeConfig& config, Preflight& found) {
    for (const IpAddress& address : config.addresses) {
        const auto here = is_address_assigned(address);
        if (here && *here)
            found.good(fmt::format("address {} is on this host", address.to_string()));
        else
            found.missing(fmt::format("address {} is on no interface of this host, and balancers send there",
                                      address.to_string()));
    }
}

// What stands against adoption is missing only where adoption is asked for.
void look_at_engine(const PacketbridgeConfig& config, Preflight& found) {
    ServiceNumbers numbers;
    const auto setup = build_setup(config, splice_secret{}, numbers);
    if (config.common.engine != EngineChoice::nfqueue && config.mode != Mode::translate) {
        const AdoptionFindings adoption =
            judge_adoption(read_adoption_facts(*setup, uplinks_of(config.common)), *setup);
        std::vector<std::string> obstacles = adoption.obstacles;
        for (const BackendObstacle& each : adoption.backends) obstacles.push_back(each.why);
        for (const std::string& obstacle : obstacles) {
            if (config.mode == Mode::adopt)
                found.missing("for mode adopt: " + obstacle);
            else
                found.warn("no adoption: " + obstacle);
        }
        for (const std::string& warning : adoption.warnings) found.warn(warning);
    }
    const auto engine =
        choose_bridge_engine(config.common.engine, config.mode, find_bridge_obstacles(config, Tell::nothing));
    if (engine)
        found.good(fmt::format("a start takes engine {}, mode {} ({})", engine->name, to_string(engine->mode),
                               engine->reason));
    else
        found.missing(engine.error());
    if (engine && engine->name == "ebpf" && setup) {
        const auto interfaces = answering_interfaces();
        std::vector<std::string> names;
        if (interfaces)
            for (const InterfaceInfo& each : *interfaces) names.push_back(each.name);
        found.good(fmt::format("answers may leave by {}", fmt::join(names, ", ")));
    }
}

void look_at_ipv4(const PacketbridgeConfig& config, const std::string& interface, Preflight& found) {
    if (std::ranges::none_of(config.addresses, [](const IpAddress& each) { return each.family() == 4; }))
        return;
    const HostFact filter = reverse_path_fact(interface, uplinks_of(config.common));
    if (const auto wrong = filter.observe())
        found.missing(fmt::format("{} {}: {}", filter.words, *wrong, filter.put_right().error().text));
    else
        found.good(fmt::format("the reverse path filter of {} lets clients in", interface));
    if (interface_sysctl(interface, "accept_local") == 0)
        found.good(
            config.local_clients
                ? fmt::format("net.ipv4.conf.{}.accept_local is 0; a start sets it for clients on this host",
                              interface)
                : "clients on this host are not served over IPv4 (local_clients: false)");
}

// Clouds whose networks drop what does not have the sender's own address, by the cards that they give.
std::string_view source_check_of(std::string_view driver) noexcept {
    if (driver == "ena") return "; EC2 drops it while the instance's source/destination check is on";
    if (driver == "gve")
        return "; Google Cloud drops it unless the instance was made with IP forwarding (can-ip-forward)";
    if (driver == "hv_netvsc" || driver == "mana")
        return "; Azure drops it unless the interface has IP forwarding on";
    return "";
}

// Answers have the VIP as their source. Whether the network lets them out shows only where they arrive; this
// is what can be told from here.
void look_at_ways_out(const PacketbridgeConfig& config, Preflight& found) {
    std::vector<IpAddress> told;
    for (const BridgeServiceConfig& service : config.services) {
        const IpAddress& vip = service.vip.address;
        if (std::ranges::find(told, vip) != told.end()) continue;
        told.push_back(vip);
        const auto out = way_to_clients(vip.family());
        if (!out) {
            found.warn(fmt::format("answers of {}: no route leads to clients elsewhere (try: ip -{} route)",
                                   vip.to_string(), vip.family()));
            continue;
        }
        const auto way = way_to(vip);
        const bool neighbour = way && way->on_link && (way->local || way->interface == out->interface);
        const std::string_view cloud = source_check_of(driver_of(out->interface));
        const std::string leave =
            fmt::format("answers leave by {} with {} as their source", out->interface, vip.to_string());
        if (neighbour && cloud.empty())
            found.good(leave + ", an address of that segment");
        else
            found.warn(
                fmt::format("{}{}; whatever checks sources on the way (uRPF of a router, a hypervisor) must "
                            "let it pass{}: only a balancer's "
                            "health checks can tell",
                            leave, neighbour ? "" : ", which is none of that segment's addresses", cloud));
    }
}

}  // namespace

Preflight look_at_bridge_host(const PacketbridgeConfig& config) {
    Preflight found;
    const EngineChoice engine = config.common.engine;
    look_at_common_host(uplinks_of(config.common),
                        {.tried = engine != EngineChoice::nfqueue, .needed = engine == EngineChoice::ebpf},
                        found);
    look_at_addresses(config, found);
    for (const std::string& uplink : uplinks_of(config.common)) look_at_ipv4(config, uplink, found);
    look_at_engine(config, found);
    for (const std::string_view hook : {"input", "output"})
        look_at_policies(
            hook, "so it must accept what this mode needs (docs/hosts.md); a start tries one opening", found);
    look_at_ways_out(config, found);
    return found;
}

}  // namespace splice
