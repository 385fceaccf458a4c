#include "tools/replay/arrival.hpp"

#include <algorithm>
#include <cstring>

namespace splice::replay {
namespace {

constexpr std::size_t kIpv4Header = sizeof(splice_ipv4_header);
constexpr std::size_t kIpv6Header = sizeof(splice_ipv6_header);
constexpr std::size_t kIpv4Max = 65535;
constexpr std::size_t kIpv6Max = 65535 + kIpv6Header;

void finish_header_checksum(splice_ipv4_header* ip, std::size_t header_length) noexcept {
    ip->checksum = 0;
    ip->checksum = static_cast<std::uint16_t>(~splice_sum_fold(splice_sum_bytes(0, ip, header_length)));
}

// The IPv4 header's length and checksum as a card would have written them. Says whether the length was
// missing.
bool finish_ipv4(MutableBytes packet) noexcept {
    auto* const ip = reinterpret_cast<splice_ipv4_header*>(packet.data());
    const std::size_t header_length = std::size_t{4} * (ip->version_ihl & 15U);
    const bool no_length = ip->total_length == 0;
    if (no_length) ip->total_length = splice_htons(static_cast<std::uint16_t>(packet.size()));
    if ((!no_length && ip->checksum != 0) || header_length > packet.size()) return no_length;
    finish_header_checksum(ip, header_length);
    return no_length;
}

// Whether it was wrong, and the only thing that was.
bool correct_ipv4_checksum(MutableBytes packet) noexcept {
    auto* const ip = reinterpret_cast<splice_ipv4_header*>(packet.data());
    const std::size_t header_length = std::size_t{4} * (ip->version_ihl & 15U);
    if (header_length < kIpv4Header || header_length > packet.size()) return false;
    finish_header_checksum(ip, header_length);
    return true;
}

bool finish_ipv6(MutableBytes packet) noexcept {
    auto* const ip = reinterpret_cast<splice_ipv6_header*>(packet.data());
    if (ip->payload_length != 0 || ip->next_header != SPLICE_PROTOCOL_TCP) return false;
    ip->payload_length = splice_htons(static_cast<std::uint16_t>(packet.size() - kIpv6Header));
    return true;
}

// Of the packet only the first `there` bytes were captured.
bool finish_ip(MutableBytes packet, std::size_t there) noexcept {
    const int version = packet.empty() ? 0 : std::to_integer<int>(packet[0] >> 4);
    if (version == 4 && there >= kIpv4Header) return finish_ipv4(packet);
    if (version == 6 && there >= kIpv6Header) return finish_ipv6(packet);
    return false;
}

// Where the checksum belongs, there is nothing, or the sum of the pseudo header alone: a card was to do the
// rest. Windows leaves the length out of that sum for super-packets.
bool unfinished(const std::byte* data, const splice_packet& packet) noexcept {
    const std::uint16_t check = splice_load16(data + packet.l4_offset + 16);
    const std::uint32_t length = splice_l4_length(&packet);
    return check == 0 || check == splice_sum_fold(splice_sum_pseudo_header(&packet, length)) ||
           check == splice_sum_fold(splice_sum_pseudo_header(&packet, 0));
}

// A card merges what it received into super-packets and leaves the first segment's checksum in them. Nothing
// that travelled whole over Ethernet is so large with a wrong one, but for jumbo frames that broke on the
// way.
bool merged(Bytes bytes, const splice_packet& packet) noexcept {
    constexpr std::size_t kEthernetMtu = 1500;
    return bytes.size() > kEthernetMtu && !splice_verify_tcp_checksum(bytes.data(), &packet);
}

}  // namespace

Arrival Mender::mend(const CapturedPacket& captured) {
    const bool ipv4 = !captured.ip.empty() && std::to_integer<int>(captured.ip[0] >> 4) == 4;
    const std::size_t most = ipv4 ? kIpv4Max : kIpv6Max;
    const std::size_t size = std::min(most, std::max<std::size_t>(captured.ip_length, captured.ip.size()));
    const std::size_t there = std::min(size, captured.ip.size());
    if (buffer_.size() < size) buffer_.resize(size);
    if (there > 0) std::memcpy(buffer_.data(), captured.ip.data(), there);
    std::fill(buffer_.begin() + static_cast<std::ptrdiff_t>(there),
              buffer_.begin() + static_cast<std::ptrdiff_t>(size), std::byte{0});

    Arrival arrival{.bytes = MutableBytes(buffer_).first(size)};
    const bool length_was_missing = finish_ip(arrival.bytes, there);
    std::byte* const data = arrival.bytes.data();
    const auto judge = [&] { return splice_parse_ip_beginning(data, data + there, size, &arrival.packet); };
    arrival.verdict = judge();
    if (arrival.verdict == SPLICE_drop_bad_ip_checksum && checksums_ == Checksums::ignored &&
        correct_ipv4_checksum(arrival.bytes)) {
        arrival.checksum_ignored = true;
        arrival.verdict = judge();
    }
    if (arrival.verdict != SPLICE_CONTINUE) return arrival;
    arrival.bytes =
        arrival.bytes.first(arrival.packet.payload_offset + std::size_t{arrival.packet.payload_length});
    finish_transport(arrival, length_was_missing || there < arrival.bytes.size());
    return arrival;
}

// `incomplete`: the capture lacks something that the checksum covers.
void Mender::finish_transport(Arrival& arrival, bool incomplete) const {
    std::byte* const data = arrival.bytes.data();
    const splice_packet& packet = arrival.packet;
    const bool is_tcp = packet.protocol == SPLICE_PROTOCOL_TCP;
    bool repair = incomplete || (is_tcp && (unfinished(data, packet) || merged(arrival.bytes, packet)));
    if (!repair && checksums_ == Checksums::ignored) {
        repair = !(is_tcp ? splice_verify_tcp_checksum(data, &packet)
                          : splice_verify_icmp_checksum(data, &packet));
        arrival.checksum_ignored |= repair;
    }
    if (repair)
        is_tcp ? splice_finish_tcp_checksum(data, &packet) : splice_finish_icmp_checksum(data, &packet);
}

}  // namespace splice::replay
