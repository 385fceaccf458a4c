// A packet for each verdict that a packet's bytes alone give it.
#pragma once

#include <vector>

#include "tests/unit/datapath/raw_packet.hpp"

namespace splice::testing {

struct SpoiltPacket {
    splice_verdict verdict;
    Octets bytes;
};

// The IPv4 header's checksum, right again.
inline Octets with_header_checksum(Octets packet) {
    if (packet[0] >> 4 != 4) return packet;
    store16(packet, 10, 0);
    store16(packet, 10, reference_checksum(Octets(packet.begin(), packet.begin() + (packet[0] & 15) * 4)));
    return packet;
}

// `good` with another length in its IP header.
inline Octets with_length(Octets packet, std::size_t l4_length) {
    if (packet[0] >> 4 == 4)
        store16(packet, 2, static_cast<std::uint32_t>(20 + l4_length));
    else
        store16(packet, 4, static_cast<std::uint32_t>(l4_length));
    return with_header_checksum(std::move(packet));
}

// For both families those that can be said in them, from and to where `good` goes.
inline std::vector<SpoiltPacket> spoilt_packets(const RawPacket& good) {
    const bool is_ipv4 = good.family == 4;
    const std::size_t ip_header = is_ipv4 ? 20 : 40;
    const Octets whole = good.build();
    const auto with = [&good](auto change) {
        RawPacket packet = good;
        change(packet);
        return packet.build();
    };
    std::vector<SpoiltPacket> all;
    all.push_back({SPLICE_drop_truncated, Octets(whole.begin(), whole.end() - 1)});
    Octets short_header = whole;
    short_header[ip_header + 12] = 0x40;
    all.push_back({SPLICE_drop_bad_tcp_header, short_header});
    all.push_back({SPLICE_drop_bad_tcp_flags, with([](RawPacket& p) { p.flags = SPLICE_SYN | SPLICE_FIN; })});
    const auto icmp = good.build_icmp(is_ipv4 ? 3 : 2, 4, {});
    all.push_back({SPLICE_drop_bad_icmp, with_length(icmp, 4)});
    if (is_ipv4) {
        all.push_back({SPLICE_drop_bad_ip_header, with_length(whole, 0)});
        all.back().bytes[3] = 19;
        Octets wrong = whole;
        wrong[10] ^= 1;
        all.push_back({SPLICE_drop_bad_ip_checksum, wrong});
        all.push_back({SPLICE_drop_fragment, with([](RawPacket& p) { p.fragment = 0x2000; })});
        all.push_back({SPLICE_drop_source_routed, with([](RawPacket& p) { p.ip_options = {131, 3, 4, 0}; })});
        all.push_back({SPLICE_pass_not_tcp, with([](RawPacket& p) { p.protocol = 17; })});
        return all;
    }
    const Octets extension{SPLICE_PROTOCOL_TCP, 0, 1, 4, 0, 0, 0, 0};
    const auto extended = [&](std::uint8_t first_next, const Octets& extensions) {
        return with([&](RawPacket& p) { p.first_next = first_next, p.extensions = extensions; });
    };
    all.push_back({SPLICE_drop_bad_ip_header, with_length(extended(SPLICE_NEXT_DESTINATION, extension), 4)});
    all.push_back({SPLICE_drop_fragment, extended(SPLICE_NEXT_FRAGMENT, {6, 0, 0, 1, 0, 0, 0, 0})});
    all.push_back({SPLICE_drop_source_routed, extended(SPLICE_NEXT_ROUTING, {6, 0, 0, 0, 0, 0, 0, 0})});
    Octets deep;
    for (int i = 0; i < SPLICE_MAX_EXTENSION_HEADERS + 1; ++i)
        append(deep, {SPLICE_NEXT_DESTINATION, 0, 1, 4, 0, 0, 0, 0});
    all.push_back({SPLICE_drop_extension_headers, extended(SPLICE_NEXT_DESTINATION, deep)});
    all.push_back({SPLICE_pass_not_tcp, with([](RawPacket& p) { p.first_next = 17; })});
    return all;
}

}  // namespace splice::testing
