// What is edited in place: translation both ways, of segments and of ICMP errors, forwarding, and the mark of
// a refusal.
//
// Aborts when a byte is another afterwards than docs/translation.md or carriage.h says; when the sum of all
// that a checksum covers, itself included, has changed modulo 65535, so that a right checksum became wrong or
// a wrong one right; when the checksum that a network card would finish (the pseudo header's sum alone) did
// not follow; when a number that the client gives back does not come to the backend as the backend wrote it;
// when a packet that was turned away was written to.
//
// Input: the choices that read_choices() takes, then the packet from its IP header on; lengths and IPv4's
// checksum are made right before.
#include "libsplice/datapath/translate.h"
#include "libsplice/datapath/translate_icmp.h"

#include "libsplice/base/address.hpp"
#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/refusal.h"
#include "libsplice/wire/print_packet.hpp"
#include "tests/fuzz/support/reference_packet.hpp"

namespace splice::fuzz {
namespace {

enum Way : std::uint8_t {
    toward_client,
    toward_backend,
    icmp_toward_client,
    icmp_toward_backend,
    forward,
    ways
};

struct Choices {
    Way way = toward_client;
    bool l4_right = false;  // the transport's checksum is made right, not left as the input has it
    std::uint8_t dscp = 0, padding = 0;
    std::uint32_t seq_shift = 0, ts_shift = 0;
    std::uint8_t backend_scale = 0, advertised_scale = 0, client_scale = 0;
    std::uint16_t vip_port = 0, backend_port = 0;
    std::uint32_t vip = 0, backend = 0;
};

Choices read_choices(Input& input) {
    Choices choices;
    const std::uint8_t first = input.number8();
    choices.way = static_cast<Way>((first & 15) % ways);
    choices.l4_right = (first & 0x80) == 0;
    const std::uint8_t second = input.number8();
    choices.dscp = second & 63;
    choices.padding = second >> 6;
    choices.seq_shift = input.number32();
    choices.ts_shift = input.number32();
    choices.backend_scale = input.number8() % 15;
    choices.advertised_scale = input.number8() % 15;
    choices.vip_port = input.number16();
    choices.backend_port = input.number16();
    choices.vip = input.number32();
    choices.backend = input.number32();
    choices.client_scale = input.number8() % 15;
    return choices;
}

splice_address address_in(int family, std::uint32_t number) {
    splice_address address{};
    if (family == 4) {
        splice_address_from_ipv4(&address, splice_htonl(number));
    } else {
        for (std::uint32_t i = 0; i < 4; ++i)
            address.words[i] = splice_htonl(number * (2 * i + 1) ^ 0x20010db8);
    }
    return address;
}

// Of every other flow; else 0.
std::uint32_t lane_from(const Choices& choices) {
    return choices.ts_shift & 1 ? choices.ts_shift * 3 : 0;
}

bool is_before(std::uint32_t tsecr, std::uint32_t lane) {
    return lane != 0 && tsecr != lane && lane - tsecr < 0x80000000U;
}

splice_translation translation_of(const Choices& choices, int family) {
    splice_translation translation{};
    translation.vip = address_in(family, choices.vip);
    translation.backend = address_in(family, choices.backend);
    translation.vip_port = splice_htons(choices.vip_port);
    translation.backend_port = splice_htons(choices.backend_port);
    translation.seq_shift = choices.seq_shift;
    translation.ts_shift = choices.ts_shift;
    translation.lane_from = lane_from(choices);
    translation.backend_window_scale = choices.backend_scale;
    translation.advertised_window_scale = choices.advertised_scale;
    translation.client_window_scale = choices.client_scale;
    return translation;
}

// --- Sums, modulo 65535: 0 over all that a right checksum covers. Independent of how a checksum is updated.

constexpr std::uint32_t kModulus = 0xffff;

std::uint32_t residue(const Octets& bytes, std::size_t begin, std::size_t end) {
    std::uint32_t sum = 0;
    for (std::size_t i = begin; i < end; ++i)
        sum += static_cast<std::uint32_t>(bytes.at(i)) << ((i - begin) % 2 ? 0 : 8);
    return sum % kModulus;
}

std::size_t addresses_at(const Reference& packet) {
    return packet.l3 + (packet.family == 4 ? 12 : 8);
}
std::size_t addresses_size(const Reference& packet) {
    return packet.family == 4 ? 8 : 32;
}
std::size_t end_of(const Reference& packet) {
    return packet.payload + packet.payload_length;
}

// The addresses of the pseudo header; its length and protocol are never edited.
std::uint32_t pseudo_residue(const Octets& bytes, const Reference& packet) {
    return residue(bytes, addresses_at(packet), addresses_at(packet) + addresses_size(packet));
}

// What TCP's (or ICMPv6's) checksum covers.
std::uint32_t l4_residue(const Octets& bytes, const Reference& packet, std::size_t end) {
    const std::uint32_t pseudo = packet.protocol == 1 ? 0 : pseudo_residue(bytes, packet);
    return (pseudo + residue(bytes, packet.l4, end)) % kModulus;
}

std::uint32_t header_residue(const Octets& bytes, const Reference& packet) {
    return packet.family == 4 ? residue(bytes, packet.l3, packet.l3 + (bytes.at(packet.l3) & 15U) * 4U) : 0;
}

// --- What is expected

void store32(Octets& in, std::size_t at, std::uint32_t value) {
    store16(in, at, value >> 16);
    store16(in, at + 2, value & 0xffff);
}

void store_address(Octets& in, const Reference& packet, bool source, const splice_address& address) {
    const std::size_t size = addresses_size(packet) / 2;
    const std::size_t at = addresses_at(packet) + (source ? 0 : size);
    for (std::size_t i = 0; i < size; ++i) in.at(at + i) = address.bytes[16 - size + i];
}

void store_traffic_class(Octets& in, const Reference& packet, std::uint32_t traffic_class) {
    if (packet.family == 4)
        in.at(packet.l3 + 1) = static_cast<std::uint8_t>(traffic_class);
    else
        store16(in, packet.l3, (load16(in, packet.l3) & 0xf00f) | traffic_class << 4);
}

// `number` in units of 1 << meant, said in units of 1 << said.
std::uint32_t rescaled(std::uint32_t number, std::uint32_t meant, std::uint32_t said) {
    const std::uint64_t bytes = static_cast<std::uint64_t>(number) << meant;
    const std::uint64_t units = bytes >> said;
    return number == 0 ? 0 : static_cast<std::uint32_t>(std::clamp<std::uint64_t>(units, 1, 65535));
}

Octets expected_toward_client(Octets bytes, const Reference& is, const Choices& choices) {
    store_traffic_class(bytes, is, is.traffic_class & 3U);
    store_address(bytes, is, true, address_in(is.family, choices.vip));
    store16(bytes, is.l4, choices.vip_port);
    store32(bytes, is.l4 + 4, is.seq + choices.seq_shift);
    if (choices.backend_scale != choices.advertised_scale && (is.flags & SPLICE_SYN) == 0)
        store16(bytes, is.l4 + 14, rescaled(is.window, choices.backend_scale, choices.advertised_scale));
    const ReferenceOptions options = reference_options(bytes, is);
    if (options.timestamps) store32(bytes, options.timestamps + 2, options.tsval + choices.ts_shift);
    return bytes;
}

Octets expected_toward_backend(Octets bytes, const Reference& is, const Choices& choices) {
    store_traffic_class(bytes, is, is.traffic_class & 3U);
    store_address(bytes, is, false, address_in(is.family, choices.backend));
    store16(bytes, is.l4 + 2, choices.backend_port);
    if ((is.flags & SPLICE_ACK) != 0) store32(bytes, is.l4 + 8, is.ack - choices.seq_shift);
    if (choices.client_scale != 0 && (is.flags & SPLICE_SYN) == 0)
        store16(bytes, is.l4 + 14, rescaled(is.window, choices.client_scale, 0));
    const ReferenceOptions options = reference_options(bytes, is);
    for (std::size_t edge = 0; edge < options.sack_blocks * 2; ++edge) {
        const std::size_t at = options.sack + 2 + edge * 4;
        store32(bytes, at, load32(bytes, at) - choices.seq_shift);
    }
    if (options.timestamps) {
        // An echo from before the lane is one of the backend's SYN-ACK.
        const std::uint32_t lane = lane_from(choices);
        store32(bytes, options.timestamps + 6,
                (is_before(options.tsecr, lane) ? lane : options.tsecr) - choices.ts_shift);
    }
    return bytes;
}

// Which bytes are a checksum's, and so judged by their sums.
struct Checksums {
    std::vector<std::size_t> at;
};

void require_bytes(const Octets& is, const Octets& expected, const Checksums& checksums) {
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const bool checksum =
            std::ranges::any_of(checksums.at, [&](std::size_t at) { return i == at || i == at + 1; });
        FUZZ_REQUIRE(checksum || is.at(i) == expected.at(i), "byte {} of {}", i,
                     print_packet(std::as_bytes(std::span(is))));
    }
}

Checksums checksums_of(const Reference& packet) {
    Checksums checksums;
    if (packet.family == 4) checksums.at.push_back(packet.l3 + 10);
    checksums.at.push_back(packet.l4 + (packet.protocol == 6 ? 16 : 2));
    return checksums;
}

void require_same_sums(const Octets& was, const Octets& is, const Reference& packet) {
    FUZZ_REQUIRE(header_residue(is, packet) == header_residue(was, packet), "IPv4's checksum");
    FUZZ_REQUIRE(l4_residue(is, packet, end_of(packet)) == l4_residue(was, packet, end_of(packet)),
                 "the transport's checksum");
}

// --- Segments

splice_packet judged(const ExactCopy& copy) {
    splice_packet packet{};
    const Bytes bytes = copy.bytes();
    const Verdict verdict = splice_parse_ip(bytes.data(), bytes.data() + bytes.size(), &packet);
    FUZZ_REQUIRE(verdict == SPLICE_CONTINUE, "{}", print_packet(bytes));
    return packet;
}

splice_translate_deltas translate(ExactCopy& copy, const splice_translation& translation, bool client) {
    const splice_packet packet = judged(copy);
    splice_tcp_options options{};
    splice_translate_deltas deltas{};
    splice_parse_tcp_options(copy.data(), copy.end(), &packet, &options);
    const auto edit = client ? splice_translate_toward_client : splice_translate_toward_backend;
    const Verdict verdict = edit(copy.data(), copy.end(), &packet, &options, &translation, &deltas);
    FUZZ_REQUIRE(verdict == SPLICE_CONTINUE, "{}", verdict_name(verdict));
    splice_translate_finish(copy.data(), copy.end(), &packet, &deltas);
    return deltas;
}

// What the client answers to a segment that we have translated for it, translated back: it names the
// backend's own numbers.
void require_round_trip(const Octets& sent, const Octets& translated, const Reference& packet,
                        const splice_translation& translation) {
    Octets answer = translated;
    const std::size_t size = addresses_size(packet) / 2, at = addresses_at(packet);
    for (std::size_t i = 0; i < size; ++i) std::swap(answer.at(at + i), answer.at(at + size + i));
    store32(answer, packet.l4 + 8, load32(translated, packet.l4 + 4));
    answer.at(packet.l4 + 13) = SPLICE_ACK;
    const ReferenceOptions options = reference_options(sent, packet);
    if (options.timestamps)
        store32(answer, options.timestamps + 6, load32(translated, options.timestamps + 2));
    repair_packet(answer, 0, true, sent.size() - end_of(packet));
    ExactCopy copy(std::as_bytes(std::span(answer)));
    translate(copy, translation, false);
    const Octets back = octets(copy.bytes());
    FUZZ_REQUIRE(load32(back, packet.l4 + 8) == load32(sent, packet.l4 + 4), "ack {}",
                 load32(back, packet.l4 + 8));
    if (options.timestamps && !is_before(load32(translated, options.timestamps + 2), translation.lane_from))
        FUZZ_REQUIRE(load32(back, options.timestamps + 6) == options.tsval, "TSecr {}",
                     load32(back, options.timestamps + 6));
    FUZZ_REQUIRE(testing::checksums_right(back) || back.size() != end_of(packet), "{}",
                 print_packet(copy.bytes()));
}

void fuzz_segment(const Octets& was, const Reference& packet, const Choices& choices) {
    const bool client = choices.way == toward_client;
    const splice_translation translation = translation_of(choices, packet.family);
    ExactCopy copy(std::as_bytes(std::span(was)));
    const splice_translate_deltas deltas = translate(copy, translation, client);
    const Octets is = octets(copy.bytes());
    require_bytes(
        is,
        client ? expected_toward_client(was, packet, choices) : expected_toward_backend(was, packet, choices),
        checksums_of(packet));
    require_same_sums(was, is, packet);
    // In the packet's byte order, in which a sum modulo 65535 is 256 times as much.
    const std::uint32_t gained = splice_bswap16(splice_sum_fold(deltas.pseudo_header)) % kModulus;
    FUZZ_REQUIRE((pseudo_residue(was, packet) + gained) % kModulus == pseudo_residue(is, packet), "gained {}",
                 gained);
    if (client) require_round_trip(was, is, packet, translation);
}

void fuzz_forward(const Octets& was, const Reference& packet, const Choices& choices) {
    ExactCopy copy(std::as_bytes(std::span(was)));
    const splice_address destination = address_in(packet.family, choices.backend);
    splice_packet edited = judged(copy);
    const Verdict verdict =
        splice_carry(copy.data(), copy.end(), &edited, &destination, splice_carriage_by_dscp(choices.dscp));
    FUZZ_REQUIRE(verdict == (packet.ttl <= 1 ? SPLICE_drop_ttl_expired : SPLICE_CONTINUE), "TTL {}",
                 packet.ttl);
    Octets expected = was;
    if (verdict == SPLICE_CONTINUE) {
        store_traffic_class(expected, packet, choices.dscp * 4U | (packet.traffic_class & 3U));
        store_address(expected, packet, false, destination);
        expected.at(packet.l3 + (packet.family == 4 ? 8 : 7)) = static_cast<std::uint8_t>(packet.ttl - 1);
    }
    const Octets is = octets(copy.bytes());
    require_bytes(is, expected, verdict == SPLICE_CONTINUE ? checksums_of(packet) : Checksums{});
    require_same_sums(was, is, packet);
    const splice_packet anew = judged(copy);
    FUZZ_REQUIRE(std::memcmp(&anew, &edited, sizeof(anew)) == 0, "not brought up to date: {}",
                 print_packet(copy.bytes()));

    const splice_secret secret{
        {{0x0706050403020100, choices.dscp, {}}, {1, 2, {}}}, 1U + (choices.dscp & 1U), 0, {}};
    const std::uint16_t mark = splice_refusal_mark(&secret, &edited, &edited.ends.destination, &destination);
    splice_write_refusal(copy.data(), copy.end(), &edited, mark);
    const splice_refusal refusal = splice_read_refusal(copy.data(), copy.end(), &edited, &secret);
    FUZZ_REQUIRE(splice_refusal_is_of(&refusal, &destination), "{}", mark);
    const Octets marked = octets(copy.bytes());
    require_same_sums(is, marked, packet);
    Checksums may_differ =
        packet.family == 4 ? Checksums{{packet.l3 + 4, packet.l3 + 10}} : Checksums{{packet.l3 + 2}};
    require_bytes(marked, is, may_differ);
}

// --- ICMP errors

void fuzz_icmp(const Octets& was, const Reference& outer, const Choices& choices) {
    const bool client = choices.way == icmp_toward_client;
    const splice_translation translation = translation_of(choices, outer.family);
    ExactCopy copy(std::as_bytes(std::span(was)));
    const splice_packet packet = judged(copy);
    const auto edit = client ? splice_translate_icmp_toward_client : splice_translate_icmp_toward_backend;
    const Verdict verdict = edit(copy.data(), copy.end(), &packet, &translation);
    const Reference quoted = reference_quote(was, outer);
    // Zero, but for the pseudo header's length and protocol, which l4_residue() leaves out.
    const std::uint32_t rest =
        outer.protocol == 1 ? 0 : static_cast<std::uint32_t>(end_of(outer) - outer.l4) + outer.protocol;
    const auto right = [&](const Octets& bytes) {
        return (l4_residue(bytes, outer, end_of(outer)) + rest) % kModulus == 0;
    };
    const bool taken = right(was) && quoted.verdict == SPLICE_CONTINUE;
    FUZZ_REQUIRE(verdict == (taken ? SPLICE_CONTINUE : SPLICE_drop_bad_icmp), "{}",
                 verdict == SPLICE_CONTINUE ? "taken" : "turned away");
    const Octets is = octets(copy.bytes());
    if (!taken) {
        FUZZ_REQUIRE(is == was, "written to");
        return;
    }
    Octets expected = was;
    const splice_address& address = client ? translation.vip : translation.backend;
    const bool whole = quoted.payload - quoted.l4 >= 20;
    const bool from_backend = std::memcmp(outer.source.data(), translation.backend.bytes, 16) == 0;
    store_traffic_class(expected, outer, outer.traffic_class & 3U);
    if (!client || from_backend) store_address(expected, outer, client, address);
    store_traffic_class(expected, quoted, quoted.traffic_class & 3U);
    store_address(expected, quoted, !client, address);
    store16(expected, quoted.l4 + (client ? 2 : 0), client ? choices.vip_port : choices.backend_port);
    if (!client) store32(expected, quoted.l4 + 4, quoted.seq - choices.seq_shift);
    if (client && whole) store32(expected, quoted.l4 + 8, quoted.ack + choices.seq_shift);
    Checksums checksums = checksums_of(outer);
    if (quoted.family == 4) checksums.at.push_back(quoted.l3 + 10);
    if (whole) checksums.at.push_back(quoted.l4 + 16);
    require_bytes(is, expected, checksums);
    FUZZ_REQUIRE(right(is), "ICMP's checksum of {}", print_packet(copy.bytes()));
    FUZZ_REQUIRE(header_residue(is, outer) == header_residue(was, outer), "IPv4's checksum");
    const bool header_whole = quoted.family == 6 || quoted.l3 + (was.at(quoted.l3) & 15U) * 4U <= was.size();
    if (header_whole)
        FUZZ_REQUIRE(header_residue(is, quoted) == header_residue(was, quoted), "the quoted IPv4 checksum");
    // Of the quoted segment a part is there; what is missing is not edited.
    if (whole)
        FUZZ_REQUIRE(l4_residue(is, quoted, quoted.l4 + 20) == l4_residue(was, quoted, quoted.l4 + 20),
                     "the quoted TCP checksum");
}

}  // namespace
}  // namespace splice::fuzz

FUZZER(translate)(splice::Bytes input) {
    using namespace splice::fuzz;
    Input choices_first(input);
    const Choices choices = read_choices(choices_first);
    Octets bytes = splice::fuzz::octets(choices_first.rest());
    repair_packet(bytes, 0, choices.l4_right, choices.padding);
    const Reference packet = reference_judge(bytes, 0);
    if (packet.verdict != SPLICE_CONTINUE) return;
    if (choices.way == forward) return fuzz_forward(bytes, packet, choices);
    const bool icmp_way = choices.way == icmp_toward_client || choices.way == icmp_toward_backend;
    if (icmp_way != (packet.protocol != 6)) return;
    icmp_way ? fuzz_icmp(bytes, packet, choices) : fuzz_segment(bytes, packet, choices);
}
