// Packet parsing and options: splice_parse_ethernet(), splice_parse_ip(), splice_parse_ip_beginning(),
// splice_parse_icmp_error(), splice_parse_tcp_options(), the option cursor and the printer, over any bytes.
//
// Aborts when a verdict or a field is another than the reference reads from the same bytes; when a header
// begins farther from the packet's beginning than the kernel's programs can look (SPLICE_OFFSET_MAX); when a
// packet of which only the beginning is there is judged otherwise than whole, unless it is for a header that
// is cut; when a segment that we print is not one line.
//
// Input: one byte of choices (its high half: bytes of padding, where lengths are made right), then the frame
// or packet.
#include "libsplice/datapath/packet.h"

#include "libsplice/base/address.hpp"
#include "libsplice/wire/print_packet.hpp"
#include "libsplice/wire/tcp_options.hpp"
#include "tests/fuzz/support/reference_packet.hpp"

namespace splice::fuzz {
namespace {

constexpr std::uint8_t kInEthernet = 1;
constexpr std::uint8_t kRepaired = 2;

std::string named(Verdict verdict) {
    return verdict == SPLICE_CONTINUE ? "continue" : std::string(verdict_name(verdict));
}

// RFC 894 and IEEE 802.1Q: one tag of either kind, a second only of VLAN's.
std::pair<Verdict, std::size_t> reference_ethernet(const Octets& frame) {
    std::size_t type_at = 12;
    for (int tags = 0;; ++tags) {
        if (frame.size() < type_at + 3) return {SPLICE_drop_truncated, 0};
        const std::uint32_t type = load16(frame, type_at);
        const bool tag = type == 0x8100 ? tags < 2 : type == 0x88a8 && tags == 0;
        if (!tag) break;
        type_at += 4;
    }
    const std::uint32_t type = load16(frame, type_at);
    const int version = frame.at(type_at + 2) >> 4;
    if (type != 0x0800 && type != 0x86dd) return {SPLICE_pass_not_ip, type_at + 2};
    const bool fits = version == (type == 0x0800 ? 4 : 6);
    return {fits ? SPLICE_CONTINUE : SPLICE_drop_bad_ip_header, type_at + 2};
}

void require_addresses(const splice_packet& packet, const Reference& expected) {
    FUZZ_REQUIRE(std::memcmp(packet.ends.source.bytes, expected.source.data(), 16) == 0, "{}",
                 to_string(packet.ends));
    FUZZ_REQUIRE(std::memcmp(packet.ends.destination.bytes, expected.destination.data(), 16) == 0, "{}",
                 to_string(packet.ends));
    FUZZ_REQUIRE(packet.traffic_class == expected.traffic_class, "{}", packet.traffic_class);
    FUZZ_REQUIRE(packet.ends.zero == 0, "{}", packet.ends.zero);
}

void require_ports(const splice_packet& packet, const Reference& expected) {
    FUZZ_REQUIRE(splice_ntohs(packet.ends.source_port) == expected.source_port, "{}", to_string(packet.ends));
    FUZZ_REQUIRE(splice_ntohs(packet.ends.destination_port) == expected.destination_port, "{}",
                 to_string(packet.ends));
}

void require_fields(const splice_packet& packet, const Reference& expected) {
    require_addresses(packet, expected);
    require_ports(packet, expected);
    const auto same = [](const char* field, std::size_t is, std::size_t should) {
        FUZZ_REQUIRE(is == should, "{} is {}, not {}", field, is, should);
    };
    same("family", packet.family, static_cast<std::size_t>(expected.family));
    same("protocol", packet.protocol, expected.protocol);
    same("ttl", packet.ttl, expected.ttl);
    same("l3_offset", packet.l3_offset, expected.l3);
    same("l4_offset", packet.l4_offset, expected.l4);
    same("payload_offset", packet.payload_offset, expected.payload);
    same("payload_length", packet.payload_length, expected.payload_length);
    same("seq", packet.seq, expected.seq);
    same("ack", packet.ack, expected.ack);
    same("window", packet.window, expected.window);
    same("tcp_flags", packet.tcp_flags, expected.flags);
    same("icmp_type", packet.icmp_type, expected.icmp_type);
    same("icmp_code", packet.icmp_code, expected.icmp_code);
    FUZZ_REQUIRE(packet.l4_offset <= SPLICE_OFFSET_MAX, "{} is too far for the kernel", packet.l4_offset);
}

void fuzz_options(Bytes bytes, const splice_packet& packet, const ReferenceOptions& expected) {
    splice_tcp_options options{};
    splice_parse_tcp_options(bytes.data(), bytes.data() + bytes.size(), &packet, &options);
    const auto offset = [&](std::size_t at) { return at == 0 ? 0 : at - packet.l4_offset; };
    FUZZ_REQUIRE(options.mss == expected.mss.value_or(0), "{}", options.mss);
    FUZZ_REQUIRE(options.window_scale == expected.window_scale.value_or(SPLICE_NO_WINDOW_SCALE), "{}",
                 options.window_scale);
    FUZZ_REQUIRE((options.sack_permitted == 1) == expected.sack_permitted, "{}", options.sack_permitted);
    FUZZ_REQUIRE((options.malformed == 1) == expected.malformed, "{}", options.malformed);
    FUZZ_REQUIRE(options.timestamps_offset == offset(expected.timestamps), "{}", options.timestamps_offset);
    FUZZ_REQUIRE(options.sack_offset == offset(expected.sack), "{}", options.sack_offset);
    FUZZ_REQUIRE(options.sack_blocks == expected.sack_blocks, "{}", options.sack_blocks);
    FUZZ_REQUIRE(options.tsval == expected.tsval && options.tsecr == expected.tsecr, "{} {}", options.tsval,
                 options.tsecr);

    TcpOptionCursor cursor(bytes, packet);
    std::size_t count = 0;
    while (const auto option = cursor.next()) {
        ++count;
        const auto* const kind = bytes.data() + packet.l4_offset + SPLICE_TCP_HEADER_MIN + option->offset;
        FUZZ_REQUIRE(option->kind == std::to_integer<std::uint8_t>(*kind), "{}", option->kind);
        FUZZ_REQUIRE(option->body.empty() || option->body.data() == kind + 2, "{}", option->offset);
    }
    FUZZ_REQUIRE(count == expected.count, "{}, not {}", count, expected.count);
    FUZZ_REQUIRE(cursor.malformed() == expected.malformed, "{}", expected.malformed);
}

void fuzz_quote(Bytes bytes, const Octets& octets, const splice_packet& packet, const Reference& outer) {
    splice_packet quoted{};
    const Verdict verdict =
        splice_parse_icmp_error(bytes.data(), bytes.data() + bytes.size(), &packet, &quoted);
    const Reference expected = reference_quote(octets, outer);
    FUZZ_REQUIRE(verdict == expected.verdict, "{}, not {}", named(verdict), named(expected.verdict));
    if (verdict == SPLICE_CONTINUE) require_fields(quoted, expected);
}

// The same packet, of which `there` bytes are before the end: as a TC program sees it.
void fuzz_beginning(Bytes bytes, std::size_t l3, std::size_t there, const splice_packet& whole) {
    const ExactCopy beginning(bytes.first(there));
    splice_packet packet{};
    packet.l3_offset = static_cast<std::uint16_t>(l3);
    const Verdict verdict = splice_parse_ip_beginning(
        beginning.bytes().data(), beginning.bytes().data() + there, bytes.size(), &packet);
    if (verdict == SPLICE_CONTINUE) {
        FUZZ_REQUIRE(std::memcmp(&packet, &whole, sizeof(packet)) == 0, "of {} bytes", there);
        return;
    }
    const std::size_t headers =
        whole.protocol == SPLICE_PROTOCOL_TCP ? whole.payload_offset : whole.l4_offset + 8U;
    FUZZ_REQUIRE(there < headers, "{} with all headers there", named(verdict));
    FUZZ_REQUIRE(verdict == SPLICE_drop_truncated || verdict == SPLICE_drop_bad_icmp, "{}", named(verdict));
}

void fuzz_ip(Bytes bytes, const Octets& octets, std::size_t l3) {
    splice_packet packet{};
    packet.l3_offset = static_cast<std::uint16_t>(l3);
    const Verdict verdict = splice_parse_ip(bytes.data(), bytes.data() + bytes.size(), &packet);
    const Reference expected = reference_judge(octets, l3);
    FUZZ_REQUIRE(verdict == expected.verdict, "{}, not {}", named(verdict), named(expected.verdict));
    FUZZ_REQUIRE((packet.family != 0) == (expected.family != 0), "{}", packet.family);
    if (packet.family != 0) require_addresses(packet, expected);
    if (verdict != SPLICE_CONTINUE) {
        // "The ports are either right or 0."
        if (packet.ends.source_port != 0 || packet.ends.destination_port != 0)
            require_ports(packet, expected);
        return;
    }
    require_fields(packet, expected);
    fuzz_beginning(bytes, l3, std::min<std::size_t>(packet.payload_offset, bytes.size()), packet);
    fuzz_beginning(bytes, l3, l3 + (octets.back() % 128U) % (bytes.size() - l3 + 1), packet);
    if (packet.protocol == SPLICE_PROTOCOL_TCP)
        fuzz_options(bytes, packet, reference_options(octets, expected));
    else
        fuzz_quote(bytes, octets, packet, expected);
}

void require_one_line(const std::string& line) {
    FUZZ_REQUIRE(!line.empty(), "nothing printed");
    FUZZ_REQUIRE(std::ranges::all_of(line, [](char c) { return c >= ' ' && c < 0x7f; }), "{}",
                 printable(line));
}

}  // namespace
}  // namespace splice::fuzz

FUZZER(packet)(splice::Bytes input) {
    using namespace splice::fuzz;
    Input choices(input);
    const std::uint8_t choice = choices.number8();
    Octets octets = splice::fuzz::octets(choices.rest());
    std::size_t l3 = 0;
    if ((choice & kInEthernet) != 0) {
        const auto [expected, offset] = reference_ethernet(octets);
        const ExactCopy frame(choices.rest());
        splice_packet packet{};
        const auto verdict =
            splice_parse_ethernet(frame.bytes().data(), frame.bytes().data() + octets.size(), &packet);
        FUZZ_REQUIRE(verdict == expected, "{}, not {}", named(verdict), named(expected));
        require_one_line(splice::print_frame(frame.bytes()));
        if (verdict != SPLICE_CONTINUE) return;
        FUZZ_REQUIRE(packet.l3_offset == offset, "{}, not {}", packet.l3_offset, offset);
        l3 = offset;
    }
    if ((choice & kRepaired) != 0) repair_packet(octets, l3, true, choice >> 4);
    const ExactCopy exact(std::as_bytes(std::span(octets)));
    if (octets.size() > l3) fuzz_ip(exact.bytes(), octets, l3);
    require_one_line(splice::print_packet(exact.bytes().subspan(l3)));
}
