#include "libsplice/datapath/hash.h"

#include <doctest/doctest.h>
#include <xxhash.h>

#include "tests/unit/datapath/raw_packet.hpp"

using namespace splice::testing;

TEST_CASE("the twin of XXH64 is xxHash's, for every length and alignment") {
    for (std::uint32_t length = 0; length <= SPLICE_HASH_MAX; ++length) {
        const std::size_t from = length % 8;
        Octets bytes(from + length);
        for (auto& byte : bytes) byte = static_cast<std::uint8_t>(generator()());
        const auto* end = bytes.data() + bytes.size();
        REQUIRE(splice_xxh64(bytes.data() + from, end, length) == XXH64(bytes.data() + from, length, 0));
    }
}

TEST_CASE("a key that is not there whole, or too long, has no hash") {
    const Octets bytes(2000, 'x');
    for (std::uint32_t length = 1; length < 100; ++length)
        REQUIRE(splice_xxh64(bytes.data(), bytes.data() + length - 1, length) == 0);
    CHECK(splice_xxh64(bytes.data(), bytes.data() + 2000, SPLICE_HASH_MAX + 1) == 0);
    CHECK(splice_xxh64(bytes.data(), bytes.data() + 2000, SPLICE_HASH_MAX) != 0);
}

TEST_CASE("rows are found from the hash's top bits") {
    CHECK(splice_placement_row_of(0xffffffffffffffffULL, 1 << 16) == 0xffff);
    CHECK(splice_placement_row_of(0x8000000000000000ULL, 1 << 16) == 0x8000);
    CHECK(splice_placement_row_of(0x0000ffffffffffffULL, 1 << 16) == 0);
    CHECK(splice_placement_row_of(0xffffffffffffffffULL, 3) == 2);
}
