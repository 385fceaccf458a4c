#include "libsplice/datapath/translate.h"

#include <doctest/doctest.h>

#include "libsplice/datapath/translate_icmp.h"
#include "libsplice/wire/print_packet.hpp"
#include "tests/unit/datapath/raw_packet.hpp"

using namespace splice::testing;

namespace {

constexpr std::uint32_t kCookieIsn = 0x10000000;
constexpr std::uint32_t kBackendIsn = 0xf0000000;  // the shift wraps
constexpr std::uint32_t kSeqShift = kCookieIsn - kBackendIsn;
constexpr std::uint32_t kTsShift = 0xfedcba98;

const char* vip(int family) {
    return family == 4 ? "198.51.100.10" : "2001:db8:ffff::10";
}
const char* backend(int family) {
    return family == 4 ? "10.0.0.30" : "fd00::30";
}
const char* client(int family) {
    return family == 4 ? "192.0.2.1" : "2001:db8::1";
}

splice_translation translation(int family) {
    return {.vip = address_of(vip(family)),
            .backend = address_of(backend(family)),
            .vip_port = splice_htons(80),
            .backend_port = splice_htons(8080),
            .seq_shift = kSeqShift,
            .ts_shift = kTsShift,
            .advertised_window_scale = 7,
            .backend_window_scale = 7,
            .client_window_scale = 0,
            .zero = 0,
            .lane_from = 0};
}

std::string shown(const Octets& packet) {
    return splice::print_packet(std::as_bytes(std::span(packet)));
}

// Translates and demands the expected packet, byte for byte.
void expect(bool toward_client, const splice_translation& how, const Octets& before, const Octets& expected) {
    Octets packet = before;
    splice_packet judged;
    REQUIRE(judge(packet, judged) == SPLICE_CONTINUE);
    const auto options = options_of(packet, judged);
    splice_translate_deltas deltas{};
    auto* data = packet.data();
    auto* end = packet.data() + packet.size();
    const auto translate = toward_client ? splice_translate_toward_client : splice_translate_toward_backend;
    REQUIRE(translate(data, end, &judged, &options, &how, &deltas) == SPLICE_CONTINUE);
    splice_translate_finish(data, end, &judged, &deltas);
    CHECK_MESSAGE(packet == expected, "\n  got      " << shown(packet) << "\n  expected " << shown(expected));
    CHECK(checksums_right(packet));
}

// The segment that the backend sends, and the same as the client is to see it. `options` makes the options
// from the TSval.
struct Pair {
    RawPacket before, after;
};
Pair from_backend(int family) {
    const RawPacket before{.family = family,
                           .source = backend(family),
                           .destination = client(family),
                           .traffic_class = 0x2a,
                           .source_port = 8080,
                           .destination_port = 40000,
                           .seq = kBackendIsn + 1,
                           .ack = 77,
                           .payload = "200 OK"};
    RawPacket after = before;
    after.source = vip(family);
    after.traffic_class = 0x02;
    after.source_port = 80;
    after.seq = kCookieIsn + 1;
    return {before, after};
}
Pair from_client(int family) {
    const RawPacket before{.family = family,
                           .source = client(family),
                           .destination = vip(family),
                           .traffic_class = 1 << 2 | 1,
                           .seq = 5,
                           .ack = kCookieIsn + 1,
                           .payload = "GET"};
    RawPacket after = before;
    after.destination = backend(family);
    after.traffic_class = 1;
    after.destination_port = 8080;
    after.ack = kBackendIsn + 1;
    return {before, after};
}

// `padding` bytes of NOP, then timestamps, then NOPs to a multiple of four.
Octets timestamps(std::size_t padding, std::uint32_t tsval, std::uint32_t tsecr) {
    Octets options(padding, 1);
    append(options, {8, 10});
    append32(options, tsval);
    append32(options, tsecr);
    while (options.size() % 4) options.push_back(1);
    return options;
}

Octets sack(std::size_t padding, std::size_t blocks, std::uint32_t shift) {
    Octets options(padding, 1);
    append(options, {5, static_cast<std::uint8_t>(2 + 8 * blocks)});
    // The first block lies across the sequence wrap.
    for (std::size_t edge = 0; edge < 2 * blocks; ++edge)
        append32(options, static_cast<std::uint32_t>(0xfffffff0 + 0x20 * edge) - shift);
    while (options.size() % 4) options.push_back(1);
    return options;
}

}  // namespace

TEST_CASE("toward the client: address, port, seq and TSval change, at any offset of the timestamps") {
    for (const int family : {4, 6}) {
        auto [before, after] = from_backend(family);
        expect(true, translation(family), before.build(), after.build());
        for (std::size_t padding = 0; padding < 4; ++padding) {
            before.options = timestamps(padding, 0x11223344, 0x55667788);
            after.options = timestamps(padding, 0x11223344 + kTsShift, 0x55667788);
            expect(true, translation(family), before.build(), after.build());
        }
    }
}

TEST_CASE("toward the backend: address, port, ack and TSecr change, at any offset of the timestamps") {
    for (const int family : {4, 6}) {
        auto [before, after] = from_client(family);
        expect(false, translation(family), before.build(), after.build());
        for (std::size_t padding = 0; padding < 4; ++padding) {
            before.options = timestamps(padding, 0x11223344, 0x55667788);
            after.options = timestamps(padding, 0x11223344, 0x55667788 - kTsShift);
            expect(false, translation(family), before.build(), after.build());
        }
    }
}

TEST_CASE(
    "a SACK block across the sequence wrap is shifted at both edges, at any offset, up to four blocks") {
    for (const int family : {4, 6}) {
        for (std::size_t blocks = 1; blocks <= 4; ++blocks) {
            for (std::size_t padding = 0; padding < 4 && 2 + 8 * blocks + padding <= 40; ++padding) {
                auto [before, after] = from_client(family);
                before.options = sack(padding, blocks, 0);
                after.options = sack(padding, blocks, kSeqShift);
                expect(false, translation(family), before.build(), after.build());
                // Toward the client they name the client's bytes.
                auto [out, out_after] = from_backend(family);
                out.options = out_after.options = before.options;
                expect(true, translation(family), out.build(), out_after.build());
            }
        }
    }
}

TEST_CASE("SACK and timestamps together, one of them at an odd offset") {
    auto [before, after] = from_client(4);
    before.options = timestamps(1, 1, 2);
    after.options = timestamps(1, 1, 2 - kTsShift);
    before.options.pop_back();
    after.options.pop_back();
    append(before.options, sack(0, 3, 0));
    append(after.options, sack(0, 3, kSeqShift));
    while (before.options.size() % 4) before.options.push_back(0), after.options.push_back(0);
    while (before.options.size() > 40) before.options.pop_back(), after.options.pop_back();
    expect(false, translation(4), before.build(), after.build());
}

TEST_CASE("every shift, zero and wrapping, leaves right checksums") {
    for (const std::uint32_t shift : {0U, 1U, 0xffffU, 0x10000U, 0x80000000U, 0xffffffffU}) {
        for (const std::uint32_t ts_shift : {0U, 1U, 0xffffffffU}) {
            auto how = translation(4);
            how.seq_shift = shift;
            how.ts_shift = ts_shift;
            auto [before, after] = from_backend(4);
            before.options = timestamps(1, 0xffffffff, 3);
            after.options = timestamps(1, 0xffffffff + ts_shift, 3);
            after.seq = before.seq + shift;
            expect(true, how, before.build(), after.build());
            auto [in, in_after] = from_client(4);
            in.options = timestamps(1, 3, 0);
            in_after.options = timestamps(1, 3, 0 - ts_shift);
            in_after.ack = in.ack - shift;
            expect(false, how, in.build(), in_after.build());
        }
    }
}

TEST_CASE("a RST without an ACK keeps its ack field") {
    auto [before, after] = from_client(6);
    before.flags = after.flags = SPLICE_RST;
    before.payload = after.payload = "";
    after.ack = before.ack = 0;
    expect(false, translation(6), before.build(), after.build());
}

TEST_CASE(
    "a window is rescaled only when the backend's scale is not the advertised one, and never on a SYN") {
    auto how = translation(4);
    how.backend_window_scale = 10;
    auto [before, after] = from_backend(4);
    before.window = 100;
    after.window = 800;
    expect(true, how, before.build(), after.build());
    before.flags = after.flags = SPLICE_SYN | SPLICE_ACK;
    after.window = 100;
    expect(true, how, before.build(), after.build());
    auto [in, in_after] = from_client(4);
    expect(false, how, in.build(), in_after.build());
}

TEST_CASE("a backend that does not scale is told the client's window as it is, 65535 at most") {
    for (const int family : {4, 6}) {
        auto how = translation(family);
        how.client_window_scale = 7;
        auto [before, after] = from_client(family);
        before.window = 100;
        after.window = 12800;
        expect(false, how, before.build(), after.build());
        before.window = 512;
        after.window = 65535;
        expect(false, how, before.build(), after.build());
        before.window = after.window = 0;
        expect(false, how, before.build(), after.build());
        before.flags = after.flags = SPLICE_SYN;
        before.window = after.window = 100;
        before.ack = after.ack = 0;
        expect(false, how, before.build(), after.build());
    }
}

TEST_CASE("a rescaled window is rounded down, at most 65535, and open stays open") {
    CHECK(splice_rescale_window(100, 7, 7) == 100);
    CHECK(splice_rescale_window(100, 10, 7) == 800);
    CHECK(splice_rescale_window(65535, 10, 7) == 65535);
    CHECK(splice_rescale_window(65535, 14, 0) == 65535);
    CHECK(splice_rescale_window(1000, 0, 7) == 7);
    CHECK(splice_rescale_window(1023, 0, 7) == 7);
    CHECK(splice_rescale_window(127, 0, 7) == 1);
    CHECK(splice_rescale_window(1, 0, 14) == 1);
    CHECK(splice_rescale_window(0, 14, 0) == 0);
    CHECK(splice_rescale_window(0, 0, 14) == 0);
}

TEST_CASE("the two deltas apart are what a kernel that owns the checksum needs") {
    // An unfinished checksum holds the folded sum of the pseudo header, not complemented.
    auto [before, after] = from_backend(4);
    Octets packet = before.build();
    splice_packet judged;
    REQUIRE(judge(packet, judged) == SPLICE_CONTINUE);
    const auto options = options_of(packet, judged);
    const auto how = translation(4);
    const auto pseudo = [](const splice_packet& of) {
        return splice_sum_fold(splice_sum_pseudo_header(&of, splice_l4_length(&of)));
    };
    const auto unfinished = pseudo(judged);
    splice_translate_deltas deltas{};
    REQUIRE(splice_translate_toward_client(packet.data(), packet.data() + packet.size(), &judged, &options,
                                           &how, &deltas) == SPLICE_CONTINUE);
    REQUIRE(judge(packet, judged) == SPLICE_CONTINUE);
    CHECK(splice_sum_fold(unfinished + deltas.pseudo_header) == pseudo(judged));
}

namespace {

// An ICMP error before and after translation: what it quotes, and between whom it travels.
void expect_icmp(bool toward_client, int family, const Octets& before, const Octets& expected) {
    Octets packet = before;
    splice_packet judged;
    REQUIRE(judge(packet, judged) == SPLICE_CONTINUE);
    const auto how = translation(family);
    const auto translate =
        toward_client ? splice_translate_icmp_toward_client : splice_translate_icmp_toward_backend;
    REQUIRE(translate(packet.data(), packet.data() + packet.size(), &judged, &how) == SPLICE_CONTINUE);
    CHECK_MESSAGE(packet == expected, "\n  got      " << shown(packet) << "\n  expected " << shown(expected));
}

Octets cut(Octets packet, std::size_t bytes) {
    packet.resize(std::min(packet.size(), bytes));
    return packet;
}

}  // namespace

TEST_CASE("an ICMP error toward the backend quotes the backend's own segment, from eight bytes of TCP on") {
    for (const int family : {4, 6}) {
        auto [sent_by_backend, seen_by_client] = from_backend(family);
        sent_by_backend.traffic_class = seen_by_client.traffic_class;
        const char* router = family == 4 ? "203.0.113.1" : "2001:db8:aaaa::1";
        const RawPacket outer{.family = family,
                              .source = router,
                              .destination = family == 4 ? "10.0.0.20" : "fd00::20",
                              .traffic_class = 1 << 2};
        RawPacket outer_after = outer;
        outer_after.destination = backend(family);
        outer_after.traffic_class = 0;
        const std::uint8_t type = family == 4 ? 3 : 2;
        for (const std::size_t bytes : {28U, 36U, 39U, 48U, 59U, 60U, 66U}) {
            if (bytes < (family == 4 ? 28U : 48U)) continue;
            auto expected_quote = cut(sent_by_backend.build(), bytes);
            auto quote = cut(seen_by_client.build(), bytes);
            const std::size_t l4 = family == 4 ? 20 : 40;
            // A quote that ends before the TCP header does keeps a checksum that nobody can check.
            if (bytes < l4 + 20 && bytes >= l4 + 17)
                std::copy(quote.begin() + static_cast<std::ptrdiff_t>(l4 + 16), quote.end(),
                          expected_quote.begin() + static_cast<std::ptrdiff_t>(l4 + 16));
            expect_icmp(false, family, outer.build_icmp(type, 4, quote),
                        outer_after.build_icmp(type, 4, expected_quote));
        }
    }
}

TEST_CASE("an ICMP error of the backend's host quotes to the client what the client sent") {
    for (const int family : {4, 6}) {
        auto [sent_by_client, seen_by_backend] = from_client(family);
        sent_by_client.traffic_class = seen_by_backend.traffic_class;
        const std::uint8_t type = family == 4 ? 3 : 1;
        const RawPacket outer{.family = family, .source = backend(family), .destination = client(family)};
        RawPacket outer_after = outer;
        outer_after.source = vip(family);
        expect_icmp(true, family, outer.build_icmp(type, 3, seen_by_backend.build()),
                    outer_after.build_icmp(type, 3, sent_by_client.build()));
        // A router in between speaks for itself.
        RawPacket router = outer;
        router.source = family == 4 ? "203.0.113.1" : "2001:db8:aaaa::1";
        expect_icmp(true, family, router.build_icmp(type, 3, seen_by_backend.build()),
                    router.build_icmp(type, 3, sent_by_client.build()));
    }
}

TEST_CASE("an ICMP error with a wrong checksum, or about something else, is left as it is") {
    const auto how = translation(4);
    const auto quote = from_backend(4).after.build();
    auto wrong = RawPacket{}.build_icmp(3, 4, quote);
    wrong.back() ^= 1;
    for (const auto& bytes :
         {wrong, RawPacket{}.build_icmp(3, 4, cut(quote, 27)), RawPacket{}.build_icmp(8, 0, quote)}) {
        auto packet = bytes;
        splice_packet judged;
        REQUIRE(judge(packet, judged) == SPLICE_CONTINUE);
        auto* end = packet.data() + packet.size();
        CHECK(splice_translate_icmp_toward_backend(packet.data(), end, &judged, &how) ==
              SPLICE_drop_bad_icmp);
        CHECK(splice_translate_icmp_toward_client(packet.data(), end, &judged, &how) == SPLICE_drop_bad_icmp);
        CHECK(packet == bytes);
    }
}
