// The balancer's only words of its own to a client: the one-segment HTTP 503 for a request that every choice
// of bridge has refused (RFC 9110 section 15.6.4).
#pragma once

#include <array>

#include "libsplice/base/bytes.hpp"
#include "libsplice/base/time.hpp"
#include "libsplice/datapath/packet.h"

namespace splice {

// A whole packet from the VIP to the client: it acknowledges `request` (the packet that was refused, which
// begins at the IP header in `bytes`), carries the response and FIN, and mirrors timestamps where the client
// sends them. `keyed_clock`: the connection's clock is not ours alone (datapath/lane.h), so its echo goes on.
class HttpRefusal {
  public:
    HttpRefusal(Instant now, bool keyed_clock, const splice_packet& request, Bytes bytes) noexcept;
    [[nodiscard]] Bytes packet() const noexcept { return Bytes(buffer_).first(length_); }

  private:
    std::array<std::byte, 320> buffer_{};
    std::size_t length_ = 0;
};

}  // namespace splice
