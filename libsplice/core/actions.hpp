// Where the machines of core put what they want sent, besides the packet that they were handed, and what they
// tell of a choice.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "libsplice/base/bytes.hpp"
#include "libsplice/core/hash_key.hpp"
#include "libsplice/datapath/flow.h"

namespace splice {

// The link-layer hop that a packet came from, as far as the engine knows it.
struct Hop {
    std::uint32_t interface = 0;  // index; 0 = unknown: route by the destination address
    std::uint8_t address_length = 0;
    std::uint8_t address[8] = {};
};

// What a flow's first payload was hashed by, and the bridge that this gave.
struct FlowChoice {
    const splice_flow_key& flow;
    std::string_view key;              // the bytes that were hashed; they live for the call
    std::optional<Fallback> fallback;  // why they are the client's address and not the rule's key
    std::uint16_t bridge;              // SPLICE_NO_BRIDGE: the service has none
    std::uint16_t service = 0;         // its number
    std::uint8_t rank = 0;             // of the bridge among the choices: 0 to 2
    bool sampled = false;              // the connection log has a line of it
};

// Implemented by engines and by tests. Packets begin at the IP header, have finished checksums, and are the
// caller's again when the call returns.
class Actions {
  public:
    virtual ~Actions() = default;
    // By its destination address.
    virtual void send(Bytes packet) noexcept = 0;
    // Back to a hop, whatever its destination address (a bounce: the VIP may be this host's too).
    virtual void send_to_hop(const Hop& hop, Bytes packet) noexcept = 0;
    // For whoever explains a choice; said before the packets that it releases.
    virtual void chose(const FlowChoice&) noexcept {}
};

}  // namespace splice
