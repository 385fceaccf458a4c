// What a bridge's machine works by: the services that it opens connections for, and its bounds. Immutable;
// swapped whole.
#pragma once

#include <cstdint>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/limits.hpp"
#include "libsplice/datapath/balancer_links.h"
#include "libsplice/datapath/bridge_flow.h"
#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/cookie.h"
#include "libsplice/datapath/flow.h"
#include "libsplice/datapath/parse.h"

namespace splice {

struct JoinerService {
    std::uint16_t number = 1;  // its own, in flows: ServiceNumbers gives them out
    splice_carriage carriage = splice_carriage_by_dscp(1);
    Endpoint vip;
    Endpoint backend;
    std::uint8_t window_scale = kWindowScale;  // what the balancer advertises
};

struct JoinerSetup {
    splice_secret secret{};
    bool leaving = false;               // nothing is opened any more: what would be goes back to the balancer
    std::uint16_t number = 0;           // the fleet's number of this bridge, 1 to 1018; 0: it has none
    std::vector<IpAddress> addresses;   // where the balancer sends marked packets
    splice_balancer_links balancers{};  // whose marks are believed
    std::vector<JoinerService> services;
    splice_idle_timeouts timeouts{};
    std::size_t max_flows = kMaxFlows;
    std::size_t hold_memory = kHoldMemory;
    std::uint64_t sample = 0;  // the share of connections that the connection log has (datapath/sample.h)
};

// Whether a service of the flow's number, VIP and backend is in the setup.
[[nodiscard]] bool serves(const JoinerSetup& setup, const splice_bridge_flow& flow) noexcept;
// The service of a packet's mark and family, or null; it lives as long as `setup`.
[[nodiscard]] const JoinerService* service_of(const JoinerSetup& setup, const splice_packet& packet) noexcept;
// How the bridge's flows name the flow of a marked segment of the service's.
[[nodiscard]] splice_flow_key backend_key(const splice_packet& packet, const JoinerService& service) noexcept;

}  // namespace splice
