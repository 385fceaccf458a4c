#include "tests/support/lib/packets.hpp"

#include <tins/tins.h>

#include <array>
#include <cstring>
#include <stdexcept>

#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/refusal.h"
#include "tests/support/lib/machines.hpp"

namespace splice::testing {
namespace {

bool is_ipv6(const std::string& address) {
    return address.find(':') != std::string::npos;
}

PacketBytes to_bytes(Tins::PDU& pdu) {
    const auto raw = pdu.serialize();
    PacketBytes bytes(raw.size());
    std::memcpy(bytes.data(), raw.data(), raw.size());
    return bytes;
}

Tins::TCP tcp_of(const Segment& segment) {
    Tins::TCP tcp(segment.destination_port, segment.source_port);
    tcp.seq(segment.seq);
    tcp.ack_seq(segment.ack);
    tcp.flags(segment.flags);
    tcp.window(segment.window);
    if (segment.mss) tcp.mss(*segment.mss);
    if (segment.sack_permitted) tcp.sack_permitted();
    if (segment.timestamps) tcp.timestamp(segment.timestamps->value, segment.timestamps->echo_reply);
    if (segment.window_scale) {
        tcp.add_option(Tins::TCP::option(Tins::TCP::NOP));  // where Linux puts it
        tcp.winscale(*segment.window_scale);
    }
    if (!segment.sack.empty()) {
        Tins::TCP::sack_type edges;
        for (const auto& [left, right] : segment.sack) {
            edges.push_back(left);
            edges.push_back(right);
        }
        tcp.sack(edges);
    }
    return tcp;
}

// RFC 8200 section 4.5: offset 0, no more fragments. TCP's checksum knows nothing of the header.
PacketBytes in_atomic_fragment(PacketBytes ipv6) {
    constexpr std::size_t kHeader = 40, kFragmentHeader = 8;
    const std::array<std::byte, kFragmentHeader> fragment{ipv6[6], {}, {}, {}, {}, {}, {}, std::byte{7}};
    ipv6[6] = std::byte{SPLICE_NEXT_FRAGMENT};
    splice_store_be16(ipv6.data() + 4, static_cast<std::uint16_t>(ipv6.size() - kHeader + kFragmentHeader));
    ipv6.insert(ipv6.begin() + kHeader, fragment.begin(), fragment.end());
    return ipv6;
}

// In host order, as libtins takes it.
std::uint16_t refusal_of(const Segment& segment) {
    splice_packet packet{};
    packet.ends.source = IpAddress::parse(segment.source)->raw();
    packet.ends.source_port = splice_htons(segment.source_port);
    packet.ends.destination_port = splice_htons(segment.destination_port);
    packet.ack = segment.ack;
    const IpAddress vip = *IpAddress::parse(segment.destination);
    const IpAddress bridge = *IpAddress::parse(segment.refused_by);
    return splice_ntohs(splice_refusal_mark(&kSecret, &packet, &vip.raw(), &bridge.raw()));
}

const std::uint8_t* octets(Bytes bytes) {
    return reinterpret_cast<const std::uint8_t*>(bytes.data());
}

// libtins computes every checksum when it serializes: the same bytes come out when ours were right.
bool same_when_recomputed(Bytes packet) {
    const auto size = static_cast<std::uint32_t>(packet.size());
    std::vector<std::uint8_t> again;
    if ((std::to_integer<unsigned>(packet[0]) >> 4) == 4)
        again = Tins::IP(octets(packet), size).serialize();
    else
        again = Tins::IPv6(octets(packet), size).serialize();
    return again.size() == packet.size() && std::memcmp(again.data(), packet.data(), packet.size()) == 0;
}

}  // namespace

PacketBytes Segment::build() const {
    Tins::TCP tcp = tcp_of(*this);
    if (!payload.empty()) tcp /= Tins::RawPDU(payload);
    if (is_ipv6(source)) {
        Tins::IPv6 ip(destination, source);
        ip.hop_limit(ttl);
        ip.traffic_class(static_cast<std::uint8_t>(dscp << 2 | ecn));
        if (!refused_by.empty()) {
            ip.traffic_class(static_cast<std::uint8_t>(SPLICE_CARRIAGE_BOUNCE << 2 | ecn));
            ip.flow_label(refusal_of(*this));
        }
        ip /= tcp;
        return atomic_fragment ? in_atomic_fragment(to_bytes(ip)) : to_bytes(ip);
    }
    Tins::IP ip(destination, source);
    ip.ttl(ttl);
    ip.tos(static_cast<std::uint8_t>(dscp << 2 | ecn));
    ip.flags(Tins::IP::DONT_FRAGMENT);
    if (!refused_by.empty()) {
        ip.tos(static_cast<std::uint8_t>(SPLICE_CARRIAGE_BOUNCE << 2 | ecn));
        ip.id(refusal_of(*this));
    }
    ip /= tcp;
    return to_bytes(ip);
}

Parsed parse(Bytes bytes) {
    Parsed parsed;
    const std::byte* data = bytes.data();
    if (splice_parse_ip(data, data + bytes.size(), &parsed.packet) != SPLICE_CONTINUE)
        throw std::runtime_error("a packet that was sent does not parse");
    if (parsed.packet.protocol == SPLICE_PROTOCOL_TCP)
        splice_parse_tcp_options(data, data + bytes.size(), &parsed.packet, &parsed.options);
    parsed.source = IpAddress(parsed.packet.ends.source).to_string();
    parsed.destination = IpAddress(parsed.packet.ends.destination).to_string();
    parsed.payload = as_text(bytes.subspan(parsed.packet.payload_offset));
    parsed.dscp = parsed.packet.traffic_class >> 2;
    parsed.ecn = parsed.packet.traffic_class & 3;
    parsed.checksums_right = same_when_recomputed(bytes);
    return parsed;
}

PacketBytes icmp_too_big(const std::string& router, const std::string& to, Bytes about,
                         std::size_t quote_bytes, std::uint16_t mtu) {
    const std::string quote(as_text(about.first(std::min(quote_bytes, about.size()))));
    if (is_ipv6(to)) {
        Tins::ICMPv6 icmp(Tins::ICMPv6::PACKET_TOOBIG);
        icmp.sequence(mtu);  // the low half of the MTU field, which libtins has no name for
        Tins::IPv6 ip(to, router);
        ip.hop_limit(64);
        ip /= icmp;
        ip /= Tins::RawPDU(quote);
        return to_bytes(ip);
    }
    Tins::ICMP icmp(Tins::ICMP::DEST_UNREACHABLE);
    icmp.code(4);
    icmp.mtu(mtu);
    Tins::IP ip(to, router);
    ip /= icmp;
    ip /= Tins::RawPDU(quote);
    return to_bytes(ip);
}

}  // namespace splice::testing
