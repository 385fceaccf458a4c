// Packets written byte by byte, for layouts that libtins does not write: options at odd offsets, IP options,
// extension headers, headers that contradict themselves. The checksum here is RFC 1071's, a byte pair at a
// time, and shares nothing with the one under test.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/bytes.hpp"
#include "libsplice/datapath/packet.h"

namespace splice::testing {

using Octets = std::vector<std::uint8_t>;

inline void append16(Octets& to, std::uint32_t value) {
    to.push_back(static_cast<std::uint8_t>(value >> 8));
    to.push_back(static_cast<std::uint8_t>(value));
}
inline void append32(Octets& to, std::uint32_t value) {
    append16(to, value >> 16);
    append16(to, value & 0xffff);
}
inline void append(Octets& to, const Octets& more) {
    to.insert(to.end(), more.begin(), more.end());
}
inline void store16(Octets& in, std::size_t at, std::uint32_t value) {
    in[at] = static_cast<std::uint8_t>(value >> 8);
    in[at + 1] = static_cast<std::uint8_t>(value);
}
inline std::uint32_t load16(const Octets& in, std::size_t at) {
    return static_cast<std::uint32_t>(in[at] << 8 | in[at + 1]);
}
inline std::uint32_t load32(const Octets& in, std::size_t at) {
    return load16(in, at) << 16 | load16(in, at + 2);
}

// RFC 1071 as its first page says it; 0 over bytes that contain a right checksum.
inline std::uint16_t reference_checksum(const Octets& bytes) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < bytes.size(); i += 2) {
        sum += static_cast<std::uint32_t>(bytes[i] << 8);
        if (i + 1 < bytes.size()) sum += bytes[i + 1];
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return static_cast<std::uint16_t>(~sum);
}

struct RawPacket {
    int family = 4;
    std::string source = family == 4 ? "192.0.2.1" : "2001:db8::1";
    std::string destination = family == 4 ? "198.51.100.10" : "2001:db8:ffff::10";
    std::uint8_t traffic_class = 0;
    std::uint8_t ttl = 64;
    std::uint8_t protocol = SPLICE_PROTOCOL_TCP;
    std::uint16_t fragment = 0x4000;
    Octets ip_options = {};  // IPv4: a multiple of 4
    Octets extensions = {};  // IPv6: complete headers, the last naming TCP or what it may
    std::uint8_t first_next = SPLICE_PROTOCOL_TCP;  // IPv6: what the fixed header names
    std::uint16_t source_port = 40000;
    std::uint16_t destination_port = 80;
    std::uint32_t seq = 0x01020304;
    std::uint32_t ack = 0xa1a2a3a4;
    std::uint8_t flags = SPLICE_ACK;
    std::uint16_t window = 500;
    Octets options = {};  // a multiple of 4
    std::string payload = {};

    [[nodiscard]] Octets build() const {
        Octets l4;
        append16(l4, source_port);
        append16(l4, destination_port);
        append32(l4, seq);
        append32(l4, ack);
        l4.push_back(static_cast<std::uint8_t>((5 + options.size() / 4) << 4));
        l4.push_back(flags);
        append16(l4, window);
        append32(l4, 0);
        append(l4, options);
        l4.insert(l4.end(), payload.begin(), payload.end());
        return around(l4, 16);
    }

    // An ICMP message of this type about `quoted`.
    [[nodiscard]] Octets build_icmp(std::uint8_t type, std::uint8_t code, const Octets& quoted) const {
        RawPacket outer = *this;
        outer.protocol = outer.first_next = family == 4 ? SPLICE_PROTOCOL_ICMP : SPLICE_PROTOCOL_ICMPV6;
        Octets l4{type, code, 0, 0, 0, 0, 5, 0x14};
        append(l4, quoted);
        return outer.around(l4, 2);
    }

    // The header around `l4`, whose checksum is at `check`.
    [[nodiscard]] Octets around(Octets l4, std::size_t check) const {
        const Octets from = address(source), to = address(destination);
        Octets pseudo;
        if (protocol != SPLICE_PROTOCOL_ICMP) {
            append(pseudo, from);
            append(pseudo, to);
            append32(pseudo, static_cast<std::uint32_t>(l4.size()));
            append32(pseudo, protocol);
        }
        append(pseudo, l4);
        store16(l4, check, reference_checksum(pseudo));
        Octets packet;
        if (family == 4) {
            const auto header = 20 + ip_options.size();
            packet = {static_cast<std::uint8_t>(0x40 + header / 4), traffic_class};
            append16(packet, static_cast<std::uint32_t>(header + l4.size()));
            append16(packet, 0x1234);
            append16(packet, fragment);
            packet.push_back(ttl);
            packet.push_back(protocol);
            append16(packet, 0);
            append(packet, from);
            append(packet, to);
            append(packet, ip_options);
            store16(packet, 10, reference_checksum(packet));
        } else {
            append32(packet, 0x60000000U | static_cast<std::uint32_t>(traffic_class) << 20 | 0xabcde);
            append16(packet, static_cast<std::uint32_t>(extensions.size() + l4.size()));
            packet.push_back(first_next);
            packet.push_back(ttl);
            append(packet, from);
            append(packet, to);
            append(packet, extensions);
        }
        append(packet, l4);
        return packet;
    }

    [[nodiscard]] Octets address(const std::string& text) const {
        const auto parsed = IpAddress::parse(text).value();
        const auto* bytes = parsed.raw().bytes;
        return family == 4 ? Octets(bytes + 12, bytes + 16) : Octets(bytes, bytes + 16);
    }
};

// A frame with `tags` VLAN tags around a packet.
inline Octets in_ethernet(const Octets& packet, int tags = 0) {
    Octets frame{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
    for (int tag = 0; tag < tags; ++tag) {
        append16(frame, tag == 0 && tags == 2 ? 0x88a8 : 0x8100);
        append16(frame, 100);
    }
    append16(frame, packet[0] >> 4 == 4 ? 0x0800 : 0x86dd);
    append(frame, packet);
    return frame;
}

inline splice_verdict judge(const Octets& packet, splice_packet& judged) {
    judged = {};
    return splice_parse_ip(packet.data(), packet.data() + packet.size(), &judged);
}

inline splice_tcp_options options_of(const Octets& packet, const splice_packet& judged) {
    splice_tcp_options options{};
    splice_parse_tcp_options(packet.data(), packet.data() + packet.size(), &judged, &options);
    return options;
}

// 1 when both checksums of a TCP packet are right, by the reference.
inline bool checksums_right(const Octets& packet) {
    splice_packet judged{};
    if (judge(packet, judged) != SPLICE_CONTINUE) return false;
    const bool is_ipv4 = judged.family == 4;
    const std::size_t first = is_ipv4 ? 12 : 8, width = is_ipv4 ? 8 : 32;
    Octets pseudo(packet.begin() + static_cast<std::ptrdiff_t>(first),
                  packet.begin() + static_cast<std::ptrdiff_t>(first + width));
    if (judged.protocol == SPLICE_PROTOCOL_ICMP) pseudo.clear();
    const Octets l4(packet.begin() + judged.l4_offset, packet.end());
    if (!pseudo.empty()) {
        append32(pseudo, static_cast<std::uint32_t>(l4.size()));
        append32(pseudo, judged.protocol);
    }
    append(pseudo, l4);
    const Octets header(packet.begin(), packet.begin() + (packet[0] & 15) * 4);
    return reference_checksum(pseudo) == 0 && (!is_ipv4 || reference_checksum(header) == 0);
}

inline splice_address address_of(const char* text) {
    return IpAddress::parse(text).value().raw();
}

// One seed for all: a failure comes again.
inline std::mt19937_64& generator() {
    static std::mt19937_64 engine(20240607);
    return engine;
}

}  // namespace splice::testing
