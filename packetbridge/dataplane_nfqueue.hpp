// The nfqueue engine: the kernel queues marked packets and what backends send; edited, they go on their way.
#pragma once

#include <memory>

#include "libsplice/base/netfilter_tool.hpp"
#include "packetbridge/dataplane.hpp"

namespace splice {

// The NFQUEUE numbers of the packet bridge (a host has one); the balancer's is 5330. See docs/operations.md.
inline constexpr std::uint16_t kFromBalancerQueue = 5340;
inline constexpr std::uint16_t kFromBackendQueue = 5341;

std::unique_ptr<BridgeDataPlane> make_nfqueue_bridge(std::shared_ptr<const JoinerSetup> setup,
                                                     NetfilterTool netfilter, ConnectionLog& log);

}  // namespace splice
