// From a configuration to what the packet machine runs by.
#pragma once

#include <expected>
#include <memory>
#include <string>

#include "balancer/bridge_routes.hpp"
#include "balancer/config.hpp"
#include "balancer/control/bridge_index.hpp"
#include "libsplice/core/health_checks.hpp"
#include "libsplice/core/service_numbers.hpp"
#include "libsplice/core/splicer.hpp"

namespace splice {

// What only the running host knows.
struct RunningHost {
    std::uint32_t mtu = 1500;                       // the uplink's
    std::shared_ptr<const RouteMtus> route_mtus{};  // by bridge number; null: not known
    splice_own_addresses own{};                     // what checks come from
    Duration now{};                                 // monotonic
    const HealthReport* health = nullptr;           // what the checks say; null: nothing yet
    std::shared_ptr<const PrefixSet> denied{};      // null: nobody
    const SplicerSetup* running = nullptr;  // what serves now: its placements are kept where nothing changed
};

// The setup, built whole: what takes time happens here, not at the swap. `bridges` and `services` are brought
// up to date. The error is a sentence.
std::expected<std::shared_ptr<const SplicerSetup>, std::string> build_setup(const BalancerConfig& config,
                                                                            const splice_secret& secret,
                                                                            const RunningHost& host,
                                                                            BridgeIndex& bridges,
                                                                            ServiceNumbers& services);

// The numbers of the configuration's bridges, service by service; `bridges` is brought up to date.
std::expected<std::vector<std::uint16_t>, std::string> number_bridges(const BalancerConfig& config,
                                                                      Duration now, BridgeIndex& bridges);
// How long a flow entry may live without a packet: one table holds those of all services.
[[nodiscard]] Duration longest_idle_timeout(const BalancerConfig& config) noexcept;

// The MSS that a service advertises when the configuration does not say: the MTU less IP and TCP headers.
[[nodiscard]] std::uint16_t mss_of_mtu(std::uint32_t mtu, int family) noexcept;

// What ketama places the bridge by: its `server`, or else its address and the service's port as an nginx
// `server` line would name them: 80 is left out there, and an IPv6 address is in brackets.
[[nodiscard]] std::string ketama_server(const BridgeConfig& bridge, std::uint16_t port);
// A service's bridge, at its place in the configuration, as a placement has it; `number` is what choices say.
[[nodiscard]] PlacementMember placement_member(const ServiceConfig& service, std::size_t place,
                                               std::uint16_t number);

}  // namespace splice
