// From a configuration to what the bridge's machine runs by.
#pragma once

#include <memory>

#include "libsplice/core/joiner.hpp"
#include "libsplice/core/service_numbers.hpp"
#include "packetbridge/config.hpp"

namespace splice {

// `services` gives the services' numbers, by VIP and port, and is brought up to date. `balancers`: whose
// marks are believed, as BalancerLinks found them.
std::shared_ptr<const JoinerSetup> build_setup(const PacketbridgeConfig& config, const splice_secret& secret,
                                               ServiceNumbers& services,
                                               const splice_balancer_links& balancers = {});

}  // namespace splice
