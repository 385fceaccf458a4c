// What datapath/parse.h and its parts promise, written once more: from their contracts and the RFCs, a byte
// at a time, every index checked, nothing shared with what is fuzzed but the structs and the verdicts' names.
// It judges in the order that parse.h has, for of several defects the first is the packet's verdict.
#pragma once

#include <array>
#include <cstring>
#include <optional>
#include <string>

#include "libsplice/base/verdict.hpp"
#include "tests/fuzz/support/fuzzer.hpp"
#include "tests/unit/datapath/raw_packet.hpp"

namespace splice::fuzz {

using testing::load16;
using testing::load32;
using testing::Octets;
using testing::store16;

inline Octets octets(Bytes bytes) {
    Octets copy(bytes.size());
    if (!bytes.empty()) std::memcpy(copy.data(), bytes.data(), bytes.size());
    return copy;
}

struct Reference {
    Verdict verdict = SPLICE_CONTINUE;
    int family = 0;
    std::array<std::uint8_t, 16> source{}, destination{};
    std::uint32_t source_port = 0, destination_port = 0;
    std::uint8_t traffic_class = 0, ttl = 0, protocol = 0;
    std::size_t l3 = 0, l4 = 0, payload = 0, payload_length = 0;
    std::uint32_t seq = 0, ack = 0, window = 0;
    std::uint8_t flags = 0, icmp_type = 0, icmp_code = 0;
};

// --- IP

inline void read_address(const Octets& bytes, std::size_t at, int family, std::array<std::uint8_t, 16>& to) {
    to = {};
    if (family == 4) to[10] = to[11] = 0xff;
    for (std::size_t i = family == 4 ? 12 : 0; i < 16; ++i) to[i] = bytes.at(at++);
}

// RFC 791 section 3.1: whether the options hold a source route, or overrun their header.
inline Verdict judge_ipv4_options(const Octets& bytes, std::size_t at, std::size_t end) {
    while (at < end && bytes.at(at) != 0) {
        if (bytes.at(at) == 1) {
            ++at;
            continue;
        }
        if (at + 1 >= end || bytes.at(at + 1) < 2 || at + bytes.at(at + 1) > end)
            return SPLICE_drop_bad_ip_header;
        if (bytes.at(at) == 131 || bytes.at(at) == 137) return SPLICE_drop_source_routed;
        at += bytes.at(at + 1);
    }
    return SPLICE_CONTINUE;
}

inline Verdict judge_ipv4(const Octets& bytes, Reference& is) {
    const std::size_t room = bytes.size() - is.l3;
    if (room < 20) return SPLICE_drop_truncated;
    is.family = 4;
    is.traffic_class = bytes.at(is.l3 + 1);
    is.ttl = bytes.at(is.l3 + 8);
    is.protocol = bytes.at(is.l3 + 9);
    read_address(bytes, is.l3 + 12, 4, is.source);
    read_address(bytes, is.l3 + 16, 4, is.destination);
    if (is.protocol != 6 && is.protocol != 1) return SPLICE_pass_not_tcp;
    const std::size_t header = (bytes.at(is.l3) & 15U) * 4U;
    const std::size_t total = load16(bytes, is.l3 + 2);
    if (header < 20 || total < header) return SPLICE_drop_bad_ip_header;
    if (total > room) return SPLICE_drop_truncated;
    if (const Verdict verdict = judge_ipv4_options(bytes, is.l3 + 20, is.l3 + header);
        verdict != SPLICE_CONTINUE)
        return verdict;
    const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(is.l3);
    if (testing::reference_checksum(Octets(begin, begin + static_cast<std::ptrdiff_t>(header))) != 0)
        return SPLICE_drop_bad_ip_checksum;
    const std::uint32_t fragment = load16(bytes, is.l3 + 6);
    if ((fragment & 0x3fff) != 0) return is.protocol == 6 ? SPLICE_drop_fragment : SPLICE_pass_not_tcp;
    is.l4 = is.l3 + header;
    is.payload_length = total - header;
    return SPLICE_CONTINUE;
}

// RFC 8200 section 4. `at`: the first extension header, then what is behind the last.
inline Verdict skip_extensions(const Octets& bytes, std::size_t& at, std::uint8_t& next) {
    const std::size_t first = at;
    for (int walked = 0; next != 6 && next != 58; ++walked) {
        if (next != 0 && next != 43 && next != 44 && next != 60) return SPLICE_pass_not_tcp;
        if (at + 8 > bytes.size()) return SPLICE_drop_truncated;
        const bool fragment = next == 44;
        const std::uint32_t offset_and_more = load16(bytes, at + 2) & 0xfff9;
        if (fragment && offset_and_more != 0)
            return bytes.at(at) == 6 ? SPLICE_drop_fragment : SPLICE_pass_not_tcp;
        if (next == 43) return SPLICE_drop_source_routed;
        if (walked == SPLICE_MAX_EXTENSION_HEADERS) return SPLICE_drop_extension_headers;
        next = bytes.at(at);
        at += fragment ? 8U : (bytes.at(at + 1) + 1U) * 8U;
        if (at - first > SPLICE_MAX_EXTENSION_BYTES || at > SPLICE_OFFSET_MAX)
            return SPLICE_drop_extension_headers;
    }
    return SPLICE_CONTINUE;
}

inline Verdict judge_ipv6(const Octets& bytes, Reference& is) {
    const std::size_t room = bytes.size() - is.l3;
    if (room < 40) return SPLICE_drop_truncated;
    is.family = 6;
    is.traffic_class = static_cast<std::uint8_t>(load16(bytes, is.l3) >> 4);
    is.ttl = bytes.at(is.l3 + 7);
    read_address(bytes, is.l3 + 8, 6, is.source);
    read_address(bytes, is.l3 + 24, 6, is.destination);
    const std::size_t length = load16(bytes, is.l3 + 4);
    std::uint8_t next = bytes.at(is.l3 + 6);
    std::size_t at = is.l3 + 40;
    if (const Verdict verdict = skip_extensions(bytes, at, next); verdict != SPLICE_CONTINUE) return verdict;
    is.protocol = next;
    if (length + 40 > room) return SPLICE_drop_truncated;
    if (at - is.l3 - 40 > length) return SPLICE_drop_bad_ip_header;
    is.l4 = at;
    is.payload_length = length - (at - is.l3 - 40);
    return SPLICE_CONTINUE;
}

// --- What IP carries

// RFC 9293 section 3.10.7, as parse.h says it.
inline bool flags_contradict(std::uint8_t flags) {
    if ((flags & SPLICE_SYN) != 0) return (flags & (SPLICE_FIN | SPLICE_RST)) != 0;
    return (flags & (SPLICE_RST | SPLICE_ACK)) == 0;
}

inline Verdict judge_tcp(const Octets& bytes, Reference& is) {
    const std::size_t length = is.payload_length;
    if (length < 20) return SPLICE_drop_truncated;
    is.source_port = load16(bytes, is.l4);
    is.destination_port = load16(bytes, is.l4 + 2);
    const std::size_t header = (bytes.at(is.l4 + 12) >> 4) * 4U;
    if (header < 20 || header > length) return SPLICE_drop_bad_tcp_header;
    is.flags = bytes.at(is.l4 + 13);
    if (flags_contradict(is.flags)) return SPLICE_drop_bad_tcp_flags;
    is.seq = load32(bytes, is.l4 + 4);
    is.ack = load32(bytes, is.l4 + 8);
    is.window = load16(bytes, is.l4 + 14);
    is.payload = is.l4 + header;
    is.payload_length = length - header;
    return SPLICE_CONTINUE;
}

inline Verdict judge_icmp(const Octets& bytes, Reference& is) {
    if (is.payload_length < 8) return SPLICE_drop_bad_icmp;
    is.icmp_type = bytes.at(is.l4);
    is.icmp_code = bytes.at(is.l4 + 1);
    is.payload = is.l4 + 8;
    is.payload_length -= 8;
    return SPLICE_CONTINUE;
}

// splice_parse_ip().
inline Reference reference_judge(const Octets& bytes, std::size_t l3) {
    Reference is;
    is.l3 = l3;
    if (l3 >= bytes.size()) {
        is.verdict = SPLICE_drop_truncated;
        return is;
    }
    const int version = bytes.at(l3) >> 4;
    is.verdict = version == 4   ? judge_ipv4(bytes, is)
                 : version == 6 ? judge_ipv6(bytes, is)
                                : SPLICE_drop_bad_ip_header;
    if (is.verdict != SPLICE_CONTINUE) return is;
    is.verdict = is.protocol == 6 ? judge_tcp(bytes, is) : judge_icmp(bytes, is);
    return is;
}

// splice_parse_icmp_error(), of a packet that reference_judge() has taken.
inline Reference reference_quote(const Octets& bytes, const Reference& outer) {
    Reference is;
    const bool error =
        outer.protocol == 58
            ? outer.icmp_type < 128
            : outer.protocol == 1 && (outer.icmp_type == 3 || outer.icmp_type == 11 || outer.icmp_type == 12);
    is.verdict = SPLICE_pass_icmp_not_ours;
    if (!error) return is;
    is.verdict = SPLICE_drop_bad_icmp;
    is.l3 = outer.payload;
    const std::size_t fixed = outer.family == 4 ? 20 : 40;
    if (is.l3 + fixed > bytes.size() || bytes.at(is.l3) >> 4 != outer.family) return is;
    std::uint8_t next = bytes.at(is.l3 + (outer.family == 4 ? 9 : 6));
    if (outer.family == 4) {
        const std::size_t header = (bytes.at(is.l3) & 15U) * 4U;
        if (header < 20) return is;
        is.l4 = is.l3 + header;
    } else {
        is.l4 = is.l3 + 40;
        const Verdict verdict = skip_extensions(bytes, is.l4, next);
        if (verdict == SPLICE_pass_not_tcp) is.verdict = SPLICE_pass_icmp_not_ours;
        if (verdict != SPLICE_CONTINUE) return is;
    }
    if (next != 6) {
        is.verdict = SPLICE_pass_icmp_not_ours;
        return is;
    }
    if (outer.family == 4 && (load16(bytes, is.l3 + 6) & 0x1fff) != 0) return is;
    const std::size_t end = std::min(bytes.size(), outer.payload + outer.payload_length);
    if (is.l4 + 8 > end) return is;
    is.verdict = SPLICE_CONTINUE;
    is.family = outer.family;
    is.protocol = 6;
    const std::size_t addresses = is.l3 + (is.family == 4 ? 12 : 8);
    read_address(bytes, addresses, is.family, is.source);
    read_address(bytes, addresses + (is.family == 4 ? 4 : 16), is.family, is.destination);
    is.traffic_class =
        is.family == 4 ? bytes.at(is.l3 + 1) : static_cast<std::uint8_t>(load16(bytes, is.l3) >> 4);
    is.ttl = bytes.at(is.l3 + (is.family == 4 ? 8 : 7));
    is.source_port = load16(bytes, is.l4);
    is.destination_port = load16(bytes, is.l4 + 2);
    is.seq = load32(bytes, is.l4 + 4);
    is.payload = is.l4 + 8;
    if (is.l4 + 20 > end) return is;
    is.ack = load32(bytes, is.l4 + 8);
    is.flags = bytes.at(is.l4 + 13);
    is.window = load16(bytes, is.l4 + 14);
    is.payload = is.l4 + 20;
    return is;
}

// --- TCP options

struct ReferenceOptions {
    std::optional<std::uint32_t> mss, window_scale;
    bool sack_permitted = false, malformed = false;
    std::size_t timestamps = 0, sack = 0,
                sack_blocks = 0;  // offsets of kind bytes in the packet; 0: not there
    std::uint32_t tsval = 0, tsecr = 0;
    std::size_t count = 0;  // of options, padding too
};

// RFC 9293 section 3.1, RFC 7323, RFC 2018: of one that stands there twice the last counts; one of a wrong
// length is stepped over.
inline ReferenceOptions reference_options(const Octets& bytes, const Reference& packet) {
    ReferenceOptions is;
    std::size_t at = packet.l4 + 20;
    while (at < packet.payload && bytes.at(at) != 0) {
        ++is.count;
        if (bytes.at(at) == 1) {
            ++at;
            continue;
        }
        if (at + 1 == packet.payload || bytes.at(at + 1) < 2 || at + bytes.at(at + 1) > packet.payload) {
            --is.count;
            is.malformed = true;
            break;
        }
        const std::uint8_t kind = bytes.at(at), size = bytes.at(at + 1);
        if (kind == 2 && size == 4) is.mss = load16(bytes, at + 2);
        if (kind == 3 && size == 3) is.window_scale = std::min<std::uint32_t>(bytes.at(at + 2), 14);
        if (kind == 4 && size == 2) is.sack_permitted = true;
        if (kind == 5 && size >= 10 && size % 8 == 2) {
            is.sack = at;
            is.sack_blocks = size / 8;
        }
        if (kind == 8 && size == 10) {
            is.timestamps = at;
            is.tsval = load32(bytes, at + 2);
            is.tsecr = load32(bytes, at + 6);
        }
        at += size;
    }
    return is;
}

// --- Making packets whole

// Bytes that begin at an IP header, with lengths and checksums made right as far as there are headers, so
// that a mutation is not lost at the first of them. TCP's or ICMP's too when `l4`. The last `padding` bytes
// are a link's.
inline void repair_packet(Octets& bytes, std::size_t l3, bool l4, std::size_t padding = 0) {
    if (bytes.size() < l3 + 20 + padding) return;
    const auto length = static_cast<std::uint32_t>(std::min<std::size_t>(bytes.size() - l3 - padding, 65535));
    if (bytes.at(l3) >> 4 == 4) {
        const std::size_t header = (bytes.at(l3) & 15U) * 4U;
        if (header < 20 || header > length) return;
        store16(bytes, l3 + 2, length);
        store16(bytes, l3 + 10, 0);
        const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(l3);
        store16(bytes, l3 + 10,
                testing::reference_checksum(Octets(begin, begin + static_cast<std::ptrdiff_t>(header))));
    } else if (length >= 40) {
        store16(bytes, l3 + 4, length - 40);
    }
    if (!l4) return;
    const Reference packet = reference_judge(bytes, l3);
    if (packet.verdict != SPLICE_CONTINUE) return;
    const std::size_t check = packet.l4 + (packet.protocol == 6 ? 16 : 2);
    const std::size_t size = packet.payload + packet.payload_length - packet.l4;
    store16(bytes, check, 0);
    Octets covered;
    if (packet.protocol != 1) {
        const std::size_t first = packet.family == 4 ? 12 : 0;
        covered.insert(covered.end(), packet.source.begin() + first, packet.source.end());
        covered.insert(covered.end(), packet.destination.begin() + first, packet.destination.end());
        testing::append32(covered, static_cast<std::uint32_t>(size));
        testing::append32(covered, packet.protocol);
    }
    const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(packet.l4);
    covered.insert(covered.end(), begin, begin + static_cast<std::ptrdiff_t>(size));
    store16(bytes, check, testing::reference_checksum(covered));
}

}  // namespace splice::fuzz
