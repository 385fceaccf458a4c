// The ICMP error that tells a sender how large its packets may be: IPv4 "fragmentation needed" (RFC 1191
// section 4), IPv6 "packet too big" (RFC 4443 section 3.2).
#pragma once

#include <array>
#include <cstdint>

#include "libsplice/base/bytes.hpp"

namespace splice {

class PacketTooBig {
  public:
    // `offending`: whole, from its IP header on, quoted as it stands. `mtu`: bytes from the IP header on; an
    // IPv6 sender is never told less than 1280. The answer goes from the packet's destination to its source.
    PacketTooBig(Bytes offending, std::uint32_t mtu) noexcept;

    // From the IP header on; empty when `offending` is no IP packet. It lives as long as this.
    [[nodiscard]] Bytes packet() const noexcept { return Bytes(bytes_).first(length_); }

  private:
    // RFC 1812 section 4.3.2.3: at most 576 bytes. RFC 4443 section 2.4 (c): at most the least MTU.
    static constexpr std::size_t kMax4 = 576;
    static constexpr std::size_t kMax6 = 1280;
    std::array<std::byte, kMax6> bytes_{};
    std::size_t length_ = 0;
};

}  // namespace splice
