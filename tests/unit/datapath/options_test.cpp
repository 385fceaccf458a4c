#include <doctest/doctest.h>

#include <optional>

#include "libsplice/datapath/packet.h"
#include "tests/support/lib/packets.hpp"
#include "tests/unit/datapath/raw_packet.hpp"

using namespace splice::testing;

namespace {

splice_tcp_options walk(const Octets& options, int family = 4) {
    const auto packet = RawPacket{.family = family, .flags = SPLICE_SYN, .options = options}.build();
    splice_packet judged;
    REQUIRE(judge(packet, judged) == SPLICE_CONTINUE);
    return options_of(packet, judged);
}

}  // namespace

TEST_CASE("every subset of options that libtins writes is read, for both families") {
    for (unsigned subset = 0; subset < 32; ++subset) {
        Segment segment;
        segment.flags = SPLICE_SYN;
        if (subset & 16) segment.source = "2001:db8::1", segment.destination = "2001:db8::2";
        if (subset & 1) segment.mss = 1400;
        if (subset & 2) segment.sack_permitted = true;
        if (subset & 4) segment.timestamps = Timestamps{0xdeadbeef, 0x01020304};
        if (subset & 8) segment.window_scale = 9;
        const auto bytes = segment.build();
        splice_packet packet{};
        const auto* end = bytes.data() + bytes.size();
        REQUIRE(splice_parse_ip(bytes.data(), end, &packet) == SPLICE_CONTINUE);
        splice_tcp_options options{};
        splice_parse_tcp_options(bytes.data(), end, &packet, &options);
        CHECK(options.mss == (subset & 1 ? 1400 : 0));
        CHECK(options.sack_permitted == (subset & 2 ? 1 : 0));
        CHECK((options.timestamps_offset != 0) == ((subset & 4) != 0));
        CHECK(options.tsval == (subset & 4 ? 0xdeadbeef : 0));
        CHECK(options.tsecr == (subset & 4 ? 0x01020304 : 0));
        CHECK(options.window_scale == (subset & 8 ? 9 : SPLICE_NO_WINDOW_SCALE));
        CHECK(options.malformed == 0);
    }
}

TEST_CASE("the usual layouts and the walk say the same") {
    // NOP NOP TS, and the same one byte later; the SYN of Linux, and the same with its end swapped.
    const auto usual = walk({1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8});
    CHECK(usual.timestamps_offset == 22);
    CHECK(usual.tsval == 0x01020304);
    CHECK(usual.tsecr == 0x05060708);
    const auto odd = walk({1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1});
    CHECK(odd.timestamps_offset == 21);
    CHECK(odd.tsval == 0x01020304);
    CHECK(odd.tsecr == 0x05060708);
    const auto linux_syn = walk({2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7});
    const auto swapped = walk({2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 3, 3, 7, 1});
    CHECK(std::memcmp(&linux_syn, &swapped, sizeof(linux_syn)) == 0);
    CHECK(linux_syn.mss == 1460);
    CHECK(linux_syn.window_scale == 7);
    CHECK(linux_syn.timestamps_offset == 26);
}

TEST_CASE("SACK blocks are counted, one to four of them") {
    for (std::uint8_t blocks = 1; blocks <= 4; ++blocks) {
        Octets options{1, 1, 5, static_cast<std::uint8_t>(2 + 8 * blocks)};
        options.resize(4 + 8U * blocks, 0x55);
        const auto read = walk(options, 6);
        CHECK(read.sack_offset == 22);
        CHECK(read.sack_blocks == blocks);
    }
    CHECK(walk({1, 1, 5, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1}).sack_offset == 0);
}

TEST_CASE("a window scale of zero is offered, one above 14 counts as 14") {
    CHECK(walk({1, 3, 3, 0}).window_scale == 0);
    CHECK(walk({1, 3, 3, 15}).window_scale == 14);
    CHECK(walk({1, 3, 3, 255}).window_scale == 14);
    CHECK(walk({2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 200}).window_scale == 14);
}

TEST_CASE("options that overrun their header are malformed, and what stands before them counts") {
    for (const Octets& options : {Octets{2, 4, 5, 0xb4, 8, 10, 0, 0}, Octets{2, 4, 5, 0xb4, 1, 1, 1, 3},
                                  Octets{2, 4, 5, 0xb4, 99, 0, 0, 0}, Octets{2, 4, 5, 0xb4, 99, 1, 0, 0}}) {
        const auto read = walk(options);
        CHECK(read.malformed == 1);
        CHECK(read.mss == 1460);
    }
}

TEST_CASE("unknown options, wrong lengths and the end of the list are stepped over") {
    CHECK(walk({254, 6, 1, 2, 3, 4, 1, 1, 1, 3, 3, 5}).window_scale == 5);
    CHECK(walk({0, 3, 3, 5}).window_scale == SPLICE_NO_WINDOW_SCALE);
    CHECK(walk({2, 3, 5, 1}).mss == 0);
    CHECK(walk({2, 4, 5, 0xb4, 2, 4, 2, 0x18}).mss == 536);
    CHECK(walk({3, 4, 5, 1}).window_scale == SPLICE_NO_WINDOW_SCALE);
}

TEST_CASE("any forty bytes of options are walked without a byte beyond the packet") {
    auto& random = generator();
    for (int round = 0; round < 20'000; ++round) {
        Octets options(random() % 11 * 4);
        for (auto& byte : options) byte = static_cast<std::uint8_t>(random() % (round % 2 ? 256 : 12));
        const auto read = walk(options);
        REQUIRE(read.sack_blocks <= 4);
        REQUIRE(read.timestamps_offset + (read.timestamps_offset ? 10U : 0U) <= 20 + options.size());
        REQUIRE(read.sack_offset + (read.sack_offset ? 2U + 8U * read.sack_blocks : 0U) <=
                20 + options.size());
    }
}
