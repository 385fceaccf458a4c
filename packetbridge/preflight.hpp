// --check --host: the real host of a bridge, looked at before it serves. Nothing is changed.
#pragma once

#include "libsplice/ops/preflight.hpp"
#include "packetbridge/config.hpp"

namespace splice {

[[nodiscard]] Preflight look_at_bridge_host(const PacketbridgeConfig& config);

}  // namespace splice
