#include "libsplice/datapath/packet.h"

#include <doctest/doctest.h>

#include <initializer_list>

#include "tests/support/lib/packets.hpp"
#include "tests/unit/datapath/raw_packet.hpp"

using namespace splice::testing;

namespace {

splice_verdict verdict_of(const Octets& packet) {
    splice_packet judged;
    return judge(packet, judged);
}

Octets extension(std::uint8_t next, std::size_t bytes = 8) {
    Octets header(bytes, 0);
    header[0] = next;
    header[1] = static_cast<std::uint8_t>(bytes / 8 - 1);
    return header;
}

}  // namespace

TEST_CASE("a segment's fields are those that libtins wrote") {
    for (const bool six : {false, true}) {
        Segment segment;
        segment.seq = 0x80000001;
        segment.ack = 0xfffffffe;
        segment.flags = SPLICE_ACK | SPLICE_PSH;
        segment.window = 513;
        segment.dscp = 46;
        segment.ecn = 1;
        segment.ttl = 17;
        segment.payload = "GET / HTTP/1.1\r\n";
        if (six) segment.source = "2001:db8::7", segment.destination = "2001:db8::80";
        const auto bytes = segment.build();
        splice_packet packet{};
        REQUIRE(splice_parse_ip(bytes.data(), bytes.data() + bytes.size(), &packet) == SPLICE_CONTINUE);
        CHECK(packet.family == (six ? 6 : 4));
        CHECK(packet.protocol == SPLICE_PROTOCOL_TCP);
        CHECK(packet.seq == 0x80000001);
        CHECK(packet.ack == 0xfffffffe);
        CHECK(packet.window == 513);
        CHECK(packet.tcp_flags == (SPLICE_ACK | SPLICE_PSH));
        CHECK(packet.traffic_class == (46 << 2 | 1));
        CHECK(packet.ttl == 17);
        CHECK(packet.payload_length == 16);
        CHECK(packet.payload_offset + packet.payload_length == bytes.size());
        CHECK(packet.ends.source_port == splice_htons(40000));
        CHECK(packet.ends.destination_port == splice_htons(80));
        CHECK(packet.ends.zero == 0);
        const auto client = address_of(segment.source.c_str());
        CHECK(splice_address_equal(&packet.ends.source, &client));
        CHECK(splice_verify_tcp_checksum(bytes.data(), &packet));
    }
}

TEST_CASE("every cut of a packet is truncated, never read beyond") {
    for (const int family : {4, 6}) {
        const Octets whole =
            RawPacket{.family = family, .options = {1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, .payload = "x"}
                .build();
        for (std::size_t length = 0; length < whole.size(); ++length) {
            // A heap copy of exactly that length, so that a sanitizer sees a byte too many.
            const Octets cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
            REQUIRE(verdict_of(cut) == SPLICE_drop_truncated);
        }
        CHECK(verdict_of(whole) == SPLICE_CONTINUE);
    }
}

TEST_CASE("a link's padding is no payload") {
    auto packet = RawPacket{.payload = "ab"}.build();
    packet.insert(packet.end(), 6, 0);
    splice_packet judged;
    REQUIRE(judge(packet, judged) == SPLICE_CONTINUE);
    CHECK(judged.payload_length == 2);
}

TEST_CASE("the beginning of a packet is judged by the length of the whole") {
    const auto packet = RawPacket{.payload = std::string(3000, 'x')}.build();
    splice_packet judged{};
    CHECK(splice_parse_ip_beginning(packet.data(), packet.data() + 64, packet.size(), &judged) ==
          SPLICE_CONTINUE);
    CHECK(judged.payload_length == 3000);
    CHECK(splice_parse_ip_beginning(packet.data(), packet.data() + 64, packet.size() - 1, &judged) ==
          SPLICE_drop_truncated);
}

TEST_CASE("up to two VLAN tags are stepped over, a third is no IP") {
    for (const int family : {4, 6}) {
        const auto packet = RawPacket{.family = family}.build();
        for (int tags = 0; tags <= 2; ++tags) {
            const auto frame = in_ethernet(packet, tags);
            splice_packet judged{};
            const auto* end = frame.data() + frame.size();
            REQUIRE(splice_parse_ethernet(frame.data(), end, &judged) == SPLICE_CONTINUE);
            CHECK(judged.l3_offset == 14 + 4 * tags);
            CHECK(splice_parse_ip(frame.data(), end, &judged) == SPLICE_CONTINUE);
            CHECK(judged.l4_offset == 14 + 4 * tags + (family == 4 ? 20 : 40));
        }
        const auto frame = in_ethernet(packet, 3);
        splice_packet judged{};
        CHECK(splice_parse_ethernet(frame.data(), frame.data() + frame.size(), &judged) ==
              SPLICE_pass_not_ip);
    }
}

TEST_CASE("frames that are no IP pass, those whose ethertype and version differ do not") {
    auto frame = in_ethernet(RawPacket{}.build());
    splice_packet judged{};
    const auto ethernet = [&] {
        return splice_parse_ethernet(frame.data(), frame.data() + frame.size(), &judged);
    };
    store16(frame, 12, 0x0806);
    CHECK(ethernet() == SPLICE_pass_not_ip);
    store16(frame, 12, 0x86dd);
    CHECK(ethernet() == SPLICE_drop_bad_ip_header);
    frame.resize(14);
    CHECK(ethernet() == SPLICE_drop_truncated);
}

TEST_CASE("IPv4 options are stepped over and checksummed, a source route is refused") {
    for (std::size_t words = 1; words <= 10; ++words) {
        Octets options(words * 4, 1);
        options[0] = 7;  // record route
        options[1] = static_cast<std::uint8_t>(options.size());
        const auto packet = RawPacket{.ip_options = options, .payload = "x"}.build();
        splice_packet judged;
        REQUIRE(judge(packet, judged) == SPLICE_CONTINUE);
        CHECK(judged.l4_offset == 20 + words * 4);
        CHECK(judged.seq == 0x01020304);
        for (const std::uint8_t route : {std::uint8_t{131}, std::uint8_t{137}}) {
            options[0] = route;
            CHECK(verdict_of(RawPacket{.ip_options = options}.build()) == SPLICE_drop_source_routed);
        }
    }
    CHECK(verdict_of(RawPacket{.ip_options = {1, 1, 131, 2}}.build()) == SPLICE_drop_source_routed);
    CHECK(verdict_of(RawPacket{.ip_options = {0, 131, 3, 4}}.build()) == SPLICE_CONTINUE);  // behind the end
    CHECK(verdict_of(RawPacket{.ip_options = {7, 5, 4, 0}}.build()) == SPLICE_drop_bad_ip_header);
    CHECK(verdict_of(RawPacket{.ip_options = {7, 1, 4, 0}}.build()) == SPLICE_drop_bad_ip_header);
    CHECK(verdict_of(RawPacket{.ip_options = {1, 1, 1, 7}}.build()) == SPLICE_drop_bad_ip_header);
}

TEST_CASE("an IPv4 header that contradicts itself or its checksum is dropped") {
    const auto good = RawPacket{}.build();
    auto bad = good;
    bad[0] = 0x44;
    CHECK(verdict_of(bad) == SPLICE_drop_bad_ip_header);
    bad = good;
    store16(bad, 2, 19);
    CHECK(verdict_of(bad) == SPLICE_drop_bad_ip_header);
    bad = good;
    bad[0] = 0x55;
    CHECK(verdict_of(bad) == SPLICE_drop_bad_ip_header);
    for (std::size_t bit = 0; bit < 16; ++bit) {
        bad = good;
        bad[10 + bit / 8] = static_cast<std::uint8_t>(bad[10 + bit / 8] ^ 1U << bit % 8);
        REQUIRE(verdict_of(bad) == SPLICE_drop_bad_ip_checksum);
    }
}

TEST_CASE("extension headers before TCP are walked up to the limit") {
    for (std::size_t count = 1; count <= 6; ++count) {
        RawPacket packet{.family = 6, .first_next = SPLICE_NEXT_HOP_BY_HOP, .payload = "x"};
        for (std::size_t i = 0; i < count; ++i)
            append(packet.extensions,
                   extension(i + 1 == count ? SPLICE_PROTOCOL_TCP : SPLICE_NEXT_DESTINATION, 16));
        splice_packet judged;
        const auto verdict = judge(packet.build(), judged);
        if (count > SPLICE_MAX_EXTENSION_HEADERS) {
            CHECK(verdict == SPLICE_drop_extension_headers);
            continue;
        }
        REQUIRE(verdict == SPLICE_CONTINUE);
        CHECK(judged.l4_offset == 40 + 16 * count);
        CHECK(judged.payload_length == 1);
        CHECK(checksums_right(packet.build()));
    }
    RawPacket large{.family = 6, .first_next = SPLICE_NEXT_DESTINATION};
    large.extensions = extension(SPLICE_PROTOCOL_TCP, SPLICE_MAX_EXTENSION_BYTES);
    CHECK(verdict_of(large.build()) == SPLICE_CONTINUE);
    large.extensions = extension(SPLICE_PROTOCOL_TCP, SPLICE_MAX_EXTENSION_BYTES + 8);
    CHECK(verdict_of(large.build()) == SPLICE_drop_extension_headers);
}

TEST_CASE("an IPv6 routing header is a source route") {
    RawPacket packet{
        .family = 6, .extensions = extension(SPLICE_PROTOCOL_TCP), .first_next = SPLICE_NEXT_ROUTING};
    CHECK(verdict_of(packet.build()) == SPLICE_drop_source_routed);
}

TEST_CASE("an extension header that ends behind the packet is dropped") {
    RawPacket packet{
        .family = 6, .extensions = extension(SPLICE_PROTOCOL_TCP), .first_next = SPLICE_NEXT_DESTINATION};
    auto bytes = packet.build();
    bytes[41] = 20;
    CHECK(verdict_of(bytes) == SPLICE_drop_bad_ip_header);
}

TEST_CASE("fragments of TCP are dropped, all others are the host's own business") {
    for (const std::uint16_t fragment : std::initializer_list<std::uint16_t>{0x2000, 0x0001, 0x3fff}) {
        CHECK(verdict_of(RawPacket{.fragment = fragment}.build()) == SPLICE_drop_fragment);
        CHECK(verdict_of(RawPacket{.fragment = fragment}.build_icmp(3, 4, Octets(40))) ==
              SPLICE_pass_not_tcp);
        CHECK(verdict_of(RawPacket{.protocol = 17, .fragment = fragment}.build()) == SPLICE_pass_not_tcp);
    }
    RawPacket six{
        .family = 6, .extensions = extension(SPLICE_PROTOCOL_TCP), .first_next = SPLICE_NEXT_FRAGMENT};
    for (const std::uint32_t offset_and_more : {0x0001U, 0x0008U, 0xfff8U, 0xfff9U}) {
        store16(six.extensions, 2, offset_and_more);
        six.extensions[0] = SPLICE_PROTOCOL_TCP;
        CHECK(verdict_of(six.build()) == SPLICE_drop_fragment);
        six.extensions[0] = 17;
        CHECK(verdict_of(six.build()) == SPLICE_pass_not_tcp);
    }
}

TEST_CASE(
    "a fragment header of a packet that is whole (RFC 8200 section 4.5) is stepped over, wherever it is") {
    // The reserved byte and bits are the sender's to fill, and the receiver's to ignore.
    for (const std::uint32_t reserved : {0x0000U, 0x0006U}) {
        Octets fragment = extension(SPLICE_PROTOCOL_TCP);
        fragment[1] = static_cast<std::uint8_t>(reserved ? 0xff : 0);
        store16(fragment, 2, reserved);
        const auto named = [](Octets header, std::uint8_t next) {
            header[0] = next;
            return header;
        };
        const auto both = [&](const Octets& first, const Octets& second, std::uint8_t second_kind) {
            Octets headers = named(first, second_kind);
            append(headers, named(second, SPLICE_PROTOCOL_TCP));
            return headers;
        };
        const Octets options = extension(SPLICE_PROTOCOL_TCP, 16);
        const RawPacket alone{.family = 6, .extensions = fragment, .first_next = SPLICE_NEXT_FRAGMENT};
        const RawPacket first{.family = 6,
                              .extensions = both(fragment, options, SPLICE_NEXT_DESTINATION),
                              .first_next = SPLICE_NEXT_FRAGMENT};
        const RawPacket last{.family = 6,
                             .extensions = both(options, fragment, SPLICE_NEXT_FRAGMENT),
                             .first_next = SPLICE_NEXT_HOP_BY_HOP};
        for (RawPacket packet : {alone, first, last}) {
            packet.payload = "x";
            splice_packet judged;
            REQUIRE(judge(packet.build(), judged) == SPLICE_CONTINUE);
            CHECK(judged.l4_offset == 40 + packet.extensions.size());
            CHECK(judged.payload_length == 1);
            CHECK(checksums_right(packet.build()));
        }
        RawPacket udp = alone;
        udp.extensions[0] = 17;
        CHECK(verdict_of(udp.build()) == SPLICE_pass_not_tcp);
    }
}

TEST_CASE("other protocols pass with their addresses known") {
    for (const int family : {4, 6}) {
        const auto packet = RawPacket{.family = family, .protocol = 17, .first_next = 17}.build();
        splice_packet judged;
        CHECK(judge(packet, judged) == SPLICE_pass_not_tcp);
        CHECK(judged.family == family);
        const auto vip = address_of(family == 4 ? "198.51.100.10" : "2001:db8:ffff::10");
        CHECK(splice_address_equal(&judged.ends.destination, &vip));
        CHECK(judged.ends.destination_port == 0);
    }
}

TEST_CASE("a dropped packet's addresses and ports tell whose it is") {
    auto packet = RawPacket{.flags = SPLICE_SYN | SPLICE_FIN, .options = {}, .payload = {}}.build();
    splice_packet judged;
    REQUIRE(judge(packet, judged) == SPLICE_drop_bad_tcp_flags);
    CHECK(judged.family == 4);
    CHECK(judged.ends.destination_port == splice_htons(80));
    packet.resize(10);
    REQUIRE(judge(packet, judged) == SPLICE_drop_truncated);
    CHECK(judged.family == 0);
}

TEST_CASE("a TCP header shorter than itself is dropped") {
    for (const int family : {4, 6}) {
        const std::size_t l4 = family == 4 ? 20 : 40;
        auto packet = RawPacket{.family = family}.build();
        packet[l4 + 12] = 0x40;
        CHECK(verdict_of(packet) == SPLICE_drop_bad_tcp_header);
        packet[l4 + 12] = 0x60;
        CHECK(verdict_of(packet) == SPLICE_drop_bad_tcp_header);
    }
    Octets short_tcp(19, 0);
    CHECK(verdict_of(RawPacket{}.around(short_tcp, 16)) == SPLICE_drop_truncated);
}

TEST_CASE("the flags that no connection sends are SYN with FIN or RST, and none of SYN, RST and ACK") {
    for (unsigned flags = 0; flags < 256; ++flags) {
        const bool syn = flags & SPLICE_SYN, fin = flags & SPLICE_FIN, rst = flags & SPLICE_RST;
        const bool bad = (syn && (fin || rst)) || !(syn || rst || (flags & SPLICE_ACK));
        const auto packet = RawPacket{.flags = static_cast<std::uint8_t>(flags)}.build();
        REQUIRE(verdict_of(packet) == (bad ? SPLICE_drop_bad_tcp_flags : SPLICE_CONTINUE));
    }
}

TEST_CASE("a wrong TCP checksum is seen wherever the bit is, and made right") {
    for (const int family : {4, 6}) {
        auto packet = RawPacket{.family = family, .payload = "odd"}.build();
        splice_packet judged;
        REQUIRE(judge(packet, judged) == SPLICE_CONTINUE);
        REQUIRE(splice_verify_tcp_checksum(packet.data(), &judged));
        for (std::size_t at = judged.l4_offset; at < packet.size(); ++at) {
            packet[at] ^= 0x10;
            REQUIRE_FALSE(splice_verify_tcp_checksum(packet.data(), &judged));
            packet[at] ^= 0x10;
        }
        packet[judged.l4_offset + 16U] ^= 0xff;
        splice_finish_tcp_checksum(packet.data(), &judged);
        CHECK(checksums_right(packet));
    }
}

TEST_CASE("an ICMP error tells the flow it is about from eight bytes of TCP") {
    for (const int family : {4, 6}) {
        const RawPacket about{.family = family, .source_port = 80, .destination_port = 40000};
        const auto whole = about.build();
        const std::size_t l4 = family == 4 ? 20 : 40;
        for (std::size_t quoted_bytes = 0; quoted_bytes <= whole.size(); ++quoted_bytes) {
            const Octets quote(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(quoted_bytes));
            const auto packet =
                RawPacket{.family = family}.build_icmp(family == 4 ? 3 : 2, family == 4 ? 4 : 0, quote);
            splice_packet judged, quoted;
            REQUIRE(judge(packet, judged) == SPLICE_CONTINUE);
            CHECK(splice_verify_icmp_checksum(packet.data(), &judged));
            const auto verdict =
                splice_parse_icmp_error(packet.data(), packet.data() + packet.size(), &judged, &quoted);
            if (quoted_bytes < l4 + 8) {
                REQUIRE(verdict == SPLICE_drop_bad_icmp);
                continue;
            }
            REQUIRE(verdict == SPLICE_CONTINUE);
            CHECK(quoted.seq == 0x01020304);
            CHECK(quoted.ends.source_port == splice_htons(80));
            CHECK(quoted.ends.destination_port == splice_htons(40000));
            CHECK(quoted.ack == (quoted_bytes >= l4 + 20 ? 0xa1a2a3a4 : 0));
            CHECK(quoted.tcp_flags == (quoted_bytes >= l4 + 20 ? SPLICE_ACK : 0));
        }
    }
}

TEST_CASE("a quoted TCP header farther than the kernel's programs look is none") {
    Octets extensions;
    for (int header = 0; header < 4; ++header) {
        extensions.insert(extensions.end(), {60, 31});
        extensions.resize(extensions.size() + 254);
    }
    const auto last = extensions.size() - 256;
    const auto about = [&](std::size_t quoted_size) {
        RawPacket inner{.family = 6, .extensions = extensions, .first_next = 60};
        inner.extensions[last] = SPLICE_PROTOCOL_TCP;
        inner.extensions[last + 1] = static_cast<std::uint8_t>(quoted_size / 8 - 1);
        inner.extensions.resize(last + quoted_size);
        RawPacket outer{
            .family = 6, .protocol = SPLICE_PROTOCOL_ICMPV6, .extensions = extensions, .first_next = 60};
        outer.extensions[last] = SPLICE_PROTOCOL_ICMPV6;
        Octets body{2, 0, 0, 0, 0, 0, 5, 0x14};
        append(body, inner.build());
        const auto packet = outer.around(body, 2);
        splice_packet judged, quoted;
        REQUIRE(judge(packet, judged) == SPLICE_CONTINUE);
        return splice_parse_icmp_error(packet.data(), packet.data() + packet.size(), &judged, &quoted);
    };
    // 40 + 1024 + 8 + 40 + 768 bytes stand before the last header of the quoted packet.
    CHECK(about(160) == SPLICE_CONTINUE);
    CHECK(about(168) == SPLICE_drop_bad_icmp);
}

TEST_CASE("ICMP messages that are no errors, or not about TCP, are not ours") {
    const auto about = [](const Octets& packet) {
        splice_packet judged, quoted;
        REQUIRE(judge(packet, judged) == SPLICE_CONTINUE);
        return splice_parse_icmp_error(packet.data(), packet.data() + packet.size(), &judged, &quoted);
    };
    const auto tcp = RawPacket{}.build();
    CHECK(about(RawPacket{}.build_icmp(8, 0, tcp)) == SPLICE_pass_icmp_not_ours);
    CHECK(about(RawPacket{}.build_icmp(5, 0, tcp)) == SPLICE_pass_icmp_not_ours);
    CHECK(about(RawPacket{}.build_icmp(11, 0, tcp)) == SPLICE_CONTINUE);
    CHECK(about(RawPacket{}.build_icmp(3, 3, RawPacket{.protocol = 17}.build())) ==
          SPLICE_pass_icmp_not_ours);
    CHECK(about(RawPacket{}.build_icmp(3, 3, RawPacket{.fragment = 1}.build())) == SPLICE_drop_bad_icmp);
    const RawPacket six{.family = 6};
    CHECK(about(six.build_icmp(128, 0, six.build())) == SPLICE_pass_icmp_not_ours);
    CHECK(about(six.build_icmp(1, 0, six.build())) == SPLICE_CONTINUE);
    CHECK(about(six.build_icmp(1, 0, RawPacket{.family = 6, .protocol = 17, .first_next = 17}.build())) ==
          SPLICE_pass_icmp_not_ours);
    CHECK(verdict_of(RawPacket{.protocol = 1}.around(Octets(7, 0), 2)) == SPLICE_drop_bad_icmp);
}
