#include "libsplice/core/segment_hold.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "tests/support/lib/packets.hpp"

using namespace splice;
using splice::testing::PacketBytes;
using splice::testing::Segment;

namespace {

constexpr std::uint32_t kFirst = 0xfffffffa;  // the stream crosses the wrap
constexpr SegmentHoldLimits kLimits{100, 64};

SegmentHold::Added add(SegmentHold& hold, std::uint32_t offset, const std::string& payload,
                       std::uint8_t flags = SPLICE_ACK) {
    Segment segment;
    segment.seq = kFirst + offset;
    segment.flags = flags;
    segment.payload = payload;
    const PacketBytes bytes = segment.build();
    return hold.add(splice::testing::parse(bytes).packet, bytes);
}

std::vector<std::uint32_t> order(SegmentHold& hold) {
    std::vector<std::uint32_t> offsets;
    hold.for_each(
        [&](MutableBytes bytes) { offsets.push_back(splice::testing::parse(bytes).packet.seq - kFirst); });
    return offsets;
}

}  // namespace

TEST_CASE("segments in order give the stream") {
    SegmentHold hold(Seq(kFirst), kLimits);
    CHECK(add(hold, 0, "GET ") == SegmentHold::Added::stored);
    CHECK(add(hold, 4, "/a HTTP") == SegmentHold::Added::stored);
    CHECK(as_text(hold.stream()) == "GET /a HTTP");
    CHECK(order(hold) == std::vector<std::uint32_t>{0, 4});
}

TEST_CASE("a gap ends the stream until it is filled") {
    SegmentHold hold(Seq(kFirst), kLimits);
    add(hold, 8, "cc");
    add(hold, 0, "aaaa");
    CHECK(as_text(hold.stream()) == "aaaa");
    add(hold, 4, "bbbb");
    CHECK(as_text(hold.stream()) == "aaaabbbbcc");
    CHECK(order(hold) == std::vector<std::uint32_t>{0, 4, 8});
}

TEST_CASE("every order of five segments gives the same stream and the same order") {
    const std::vector<std::string> parts{"one", "two22", "3", "four", "five5"};
    std::vector<std::uint32_t> offsets{0, 3, 8, 9, 13};
    std::vector<std::size_t> sequence{0, 1, 2, 3, 4};
    do {
        SegmentHold hold(Seq(kFirst), kLimits);
        for (const std::size_t part : sequence)
            REQUIRE(add(hold, offsets[part], parts[part]) == SegmentHold::Added::stored);
        REQUIRE(as_text(hold.stream()) == "onetwo223fourfive5");
        REQUIRE(order(hold) == offsets);
    } while (std::next_permutation(sequence.begin(), sequence.end()));
}

TEST_CASE("a repeated segment is a duplicate, also when two held ones cover it together") {
    SegmentHold hold(Seq(kFirst), kLimits);
    add(hold, 0, "abcd");
    add(hold, 4, "efgh");
    CHECK(add(hold, 0, "abcd") == SegmentHold::Added::duplicate);
    CHECK(add(hold, 2, "cdef") == SegmentHold::Added::duplicate);
    CHECK(add(hold, 6, "ghi") == SegmentHold::Added::stored);
    CHECK(as_text(hold.stream()) == "abcdefghi");
}

TEST_CASE("a FIN that repeats held bytes is new, its own repetition is not") {
    SegmentHold hold(Seq(kFirst), kLimits);
    add(hold, 0, "abcd");
    CHECK_FALSE(hold.ended());
    CHECK(add(hold, 0, "abcd", SPLICE_ACK | SPLICE_FIN) == SegmentHold::Added::stored);
    CHECK(hold.ended());
    CHECK(add(hold, 0, "abcd", SPLICE_ACK | SPLICE_FIN) == SegmentHold::Added::duplicate);
}

TEST_CASE("a FIN behind a gap ends nothing yet") {
    SegmentHold hold(Seq(kFirst), kLimits);
    add(hold, 0, "ab");
    add(hold, 4, "ef", SPLICE_ACK | SPLICE_FIN);
    CHECK_FALSE(hold.ended());
    add(hold, 2, "cd");
    CHECK(hold.ended());
}

TEST_CASE("the stream stops at its limit, a segment across it is kept whole, one beyond is outside") {
    SegmentHold hold(Seq(kFirst), kLimits);
    add(hold, 0, std::string(90, 'x'));
    CHECK_FALSE(hold.at_limit());
    CHECK(add(hold, 90, std::string(20, 'y')) == SegmentHold::Added::stored);
    CHECK(hold.at_limit());
    CHECK(hold.stream().size() == 100);
    CHECK(add(hold, 110, "z") == SegmentHold::Added::outside);
    CHECK(add(hold, 0xffffffff, "before") == SegmentHold::Added::outside);
}

TEST_CASE("more packets than the limit are refused") {
    SegmentHold hold(Seq(kFirst), {1000, 3});
    for (std::uint32_t i = 0; i < 3; ++i) CHECK(add(hold, i, "x") == SegmentHold::Added::stored);
    CHECK(add(hold, 3, "x") == SegmentHold::Added::full);
}

TEST_CASE("of bare ACKs only the very first is kept") {
    SegmentHold hold(Seq(kFirst), kLimits);
    CHECK(add(hold, 0, "") == SegmentHold::Added::stored);
    CHECK(add(hold, 0, "") == SegmentHold::Added::duplicate);
    CHECK(add(hold, 0, "data") == SegmentHold::Added::stored);
    CHECK(add(hold, 4, "", SPLICE_RST) == SegmentHold::Added::stored);
}

TEST_CASE("what it occupies is at least what it holds") {
    SegmentHold hold(Seq(kFirst), kLimits);
    CHECK(hold.memory() == 0);
    add(hold, 0, std::string(50, 'x'));
    CHECK(hold.memory() >= 50 + 40 + 50);
}

TEST_CASE("random overlapping cuts in random order give the stream") {
    std::mt19937 random(7);
    std::string text(100, ' ');
    for (char& c : text) c = static_cast<char>('a' + random() % 26);
    for (int round = 0; round < 300; ++round) {
        SegmentHold hold(Seq(kFirst), {100, 4096});
        while (hold.stream().size() < text.size()) {
            const std::uint32_t offset = static_cast<std::uint32_t>(random() % text.size());
            const std::size_t length = 1 + random() % 20;
            add(hold, offset, text.substr(offset, length));
        }
        REQUIRE(as_text(hold.stream()) == text);
        const auto offsets = order(hold);
        REQUIRE(std::is_sorted(offsets.begin(), offsets.end()));
    }
}
