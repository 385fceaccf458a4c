// From a configuration to what the bridge's machine runs by.
#pragma once

#include <memory>

#include "libsplice/core/bridge.hpp"
#include "packetbridge/config.hpp"

namespace splice {

std::shared_ptr<const BridgeRules> build_rules(const PacketbridgeConfig& config, const splice_secret& secret);

}  // namespace splice
