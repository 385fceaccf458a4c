#include "packetbridge/preflight.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "libsplice/engine/interface.hpp"
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
            judge_adoption(read_adoption_facts(*setup, config.common.interface), *setup);
        for (const std::string& obstacle : adoption.obstacles) {
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

}  // namespace

Preflight look_at_bridge_host(const PacketbridgeConfig& config) {
    Preflight found;
    look_at_common_host(uplinks_of(config.common), found);
    look_at_addresses(config, found);
    for (const std::string& uplink : uplinks_of(config.common)) look_at_ipv4(config, uplink, found);
    look_at_engine(config, found);
    return found;
}

}  // namespace splice
