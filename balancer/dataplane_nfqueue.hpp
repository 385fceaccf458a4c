// The nfqueue engine: the kernel queues what is addressed to the services, one thread decides, a raw socket
// sends.
#pragma once

#include <memory>

#include "balancer/dataplane.hpp"

namespace splice {

// The NFQUEUE number of the balancer (a host has one balancer); bridges begin at 5340. See
// docs/operations.md.
inline constexpr std::uint16_t kBalancerQueue = 5330;

std::unique_ptr<DataPlane> make_nfqueue_dataplane(std::shared_ptr<const SplicerSetup> setup,
                                                  const EngineSettings& settings);

}  // namespace splice
