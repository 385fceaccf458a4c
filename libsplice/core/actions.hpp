// Where the machines of core put what they want sent, besides the packet that they were handed.
#pragma once

#include <cstdint>

#include "libsplice/base/bytes.hpp"

namespace splice {

// The link-layer hop that a packet came from, as far as the engine knows it.
struct Hop {
    std::uint32_t interface = 0;  // index; 0 = unknown: route by the destination address
    std::uint8_t address_length = 0;
    std::uint8_t address[8] = {};
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
};

}  // namespace splice
