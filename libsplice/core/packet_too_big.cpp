#include "libsplice/core/packet_too_big.hpp"

#include <algorithm>
#include <cstring>

#include "libsplice/datapath/checksum.h"
#include "libsplice/datapath/packet.h"

namespace splice {
namespace {

constexpr std::size_t kIcmpHeader = 8;
constexpr std::uint8_t kTtl = 64;

std::uint16_t checksum_of(splice_sum sum, const std::byte* bytes, std::size_t length) noexcept {
    return static_cast<std::uint16_t>(~splice_sum_fold(splice_sum_bytes(sum, bytes, length)));
}

}  // namespace

PacketTooBig::PacketTooBig(Bytes offending, std::uint32_t mtu) noexcept {
    if (offending.size() < sizeof(splice_ipv4_header)) return;
    const bool v4 = std::to_integer<unsigned>(offending[0]) >> 4 == 4;
    if (!v4 && offending.size() < sizeof(splice_ipv6_header)) return;
    const std::size_t ip = v4 ? sizeof(splice_ipv4_header) : sizeof(splice_ipv6_header);
    const std::size_t quoted = std::min(offending.size(), (v4 ? kMax4 : kMax6) - ip - kIcmpHeader);
    std::byte* const icmp = bytes_.data() + ip;
    length_ = ip + kIcmpHeader + quoted;
    std::memcpy(icmp + kIcmpHeader, offending.data(), quoted);

    if (v4) {
        splice_ipv4_header was{};
        std::memcpy(&was, offending.data(), sizeof(was));
        splice_ipv4_header header{};
        header.version_ihl = 0x45;
        header.tos = 0xc0;  // internetwork control (RFC 1812 section 4.3.2.5)
        header.total_length = splice_htons(static_cast<std::uint16_t>(length_));
        header.ttl = kTtl;
        header.protocol = SPLICE_PROTOCOL_ICMP;
        header.source = was.destination;
        header.destination = was.source;
        std::memcpy(bytes_.data(), &header, sizeof(header));
        splice_store16(bytes_.data() + 10, checksum_of(0, bytes_.data(), ip));
        icmp[0] = std::byte{3};  // destination unreachable
        icmp[1] = std::byte{4};  // fragmentation needed
        splice_store16(icmp + 6,
                       splice_htons(static_cast<std::uint16_t>(std::min<std::uint32_t>(mtu, 0xffff))));
        splice_store16(icmp + 2, checksum_of(0, icmp, kIcmpHeader + quoted));
        return;
    }
    splice_ipv6_header was{};
    std::memcpy(&was, offending.data(), sizeof(was));
    splice_ipv6_header header{};
    header.version_class_label = splice_htonl(0x60000000U);
    header.payload_length = splice_htons(static_cast<std::uint16_t>(kIcmpHeader + quoted));
    header.next_header = SPLICE_PROTOCOL_ICMPV6;
    header.hop_limit = kTtl;
    std::memcpy(header.source, was.destination, sizeof(header.source));
    std::memcpy(header.destination, was.source, sizeof(header.destination));
    std::memcpy(bytes_.data(), &header, sizeof(header));
    icmp[0] = std::byte{2};  // packet too big
    splice_store32(icmp + 4, splice_htonl(std::max<std::uint32_t>(mtu, kMax6)));
    // The pseudo header (RFC 8200 section 8.1): both addresses stand side by side in the header.
    splice_sum sum = splice_htonl(static_cast<std::uint32_t>(kIcmpHeader + quoted));
    sum += splice_htonl(SPLICE_PROTOCOL_ICMPV6);
    sum = splice_sum_bytes(sum, bytes_.data() + 8, 32);
    splice_store16(icmp + 2, checksum_of(sum, icmp, kIcmpHeader + quoted));
}

}  // namespace splice
