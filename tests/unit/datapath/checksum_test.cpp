#include "libsplice/datapath/checksum.h"

#include <doctest/doctest.h>

#include "tests/unit/datapath/raw_packet.hpp"

using namespace splice::testing;

TEST_CASE("a number that changes at an odd offset changes the checksum as if computed anew") {
    // Vector one: 01 | aa bb cc dd | 02 03 04, the number 0xaabbccdd at offset 1 becomes 0x11223344.
    Octets bytes{0x01, 0xaa, 0xbb, 0xcc, 0xdd, 0x02, 0x03, 0x04};
    const std::uint16_t before = splice_htons(reference_checksum(bytes));
    const auto was = splice_load32(bytes.data() + 1);
    const auto is = splice_htonl(0x11223344);
    splice_store32(bytes.data() + 1, is);
    const auto delta = splice_sum_swap(splice_sum_replace32(0, was, is));
    CHECK(splice_checksum_update(before, delta) == splice_htons(reference_checksum(bytes)));
}

TEST_CASE("an update at any offset, with any numbers, is what computing anew says") {
    auto& random = generator();
    for (int round = 0; round < 20'000; ++round) {
        Octets bytes(40);
        for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
        if (round % 3 == 0) bytes.assign(40, round % 2 ? 0xff : 0x00), bytes[39] = 1;
        const auto before = splice_htons(reference_checksum(bytes));
        const std::size_t at = random() % 36;
        const auto was = splice_load32(bytes.data() + at);
        const auto is = static_cast<std::uint32_t>(round % 5 == 0 ? 0xffffffff : random());
        splice_store32(bytes.data() + at, is);
        auto delta = splice_sum_replace32(0, was, is);
        if (at % 2) delta = splice_sum_swap(delta);
        REQUIRE(splice_checksum_update(before, delta) == splice_htons(reference_checksum(bytes)));
    }
}

TEST_CASE("the sum over bytes is RFC 1071's, for every length and alignment") {
    Octets bytes(300);
    for (auto& byte : bytes) byte = static_cast<std::uint8_t>(generator()());
    for (std::size_t from = 0; from < 8; ++from) {
        for (std::size_t length = 0; length < 280; ++length) {
            const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(from);
            const Octets part(begin, begin + static_cast<std::ptrdiff_t>(length));
            const auto sum = splice_sum_fold(splice_sum_bytes(0, bytes.data() + from, length));
            REQUIRE(static_cast<std::uint16_t>(~sum) == splice_htons(reference_checksum(part)));
        }
    }
}

TEST_CASE("folding keeps the sum modulo 0xffff, up to the largest sum there is") {
    for (const splice_sum sum : {0ULL, 1ULL, 0xffffULL, 0x10000ULL, 0x1fffeULL, 0xffffffffULL, 0x1ffffffffULL,
                                 0xffffffffffffffffULL, 0xfffffffffffffffeULL}) {
        const auto folded = splice_sum_fold(sum);
        CHECK(folded % 0xffff == sum % 0xffff);
        CHECK((folded == 0) == (sum == 0));
    }
}
