#include "libsplice/core/prefix_set.hpp"

#include <doctest/doctest.h>

#include <random>
#include <string>

#include "libsplice/config/prefix_file.hpp"

using namespace splice;

namespace {

PrefixSet set_of(const std::string& text) {
    std::vector<splice_prefix> prefixes;
    const auto parsed = parse_prefixes(text, "deny.txt", prefixes);
    REQUIRE(parsed.has_value());
    return PrefixSet(std::move(prefixes));
}

std::string complaint(const std::string& text) {
    std::vector<splice_prefix> prefixes;
    const auto parsed = parse_prefixes(text, "deny.txt", prefixes);
    return parsed ? "none" : parsed.error();
}

bool has(const PrefixSet& set, const char* address) {
    return set.contains(IpAddress::parse(address)->raw());
}

}  // namespace

TEST_CASE("an address is in a set where one of its prefixes is, of its own family") {
    const PrefixSet set = set_of(
        "# what came last night\n198.51.100.0/24\n  203.0.113.9   # one host\n\n10.0.0.0/7\r\n"
        "2001:db8:1::/48\n2001:db8:2::5\n");
    CHECK(set.size() == 5);
    CHECK(has(set, "198.51.100.0"));
    CHECK(has(set, "198.51.100.255"));
    CHECK_FALSE(has(set, "198.51.101.0"));
    CHECK(has(set, "203.0.113.9"));
    CHECK_FALSE(has(set, "203.0.113.8"));
    CHECK(has(set, "11.255.255.255"));
    CHECK_FALSE(has(set, "12.0.0.0"));
    CHECK(has(set, "2001:db8:1:ffff::1"));
    CHECK_FALSE(has(set, "2001:db8:3::1"));
    CHECK(has(set, "2001:db8:2::5"));
    CHECK_FALSE(has(set, "2001:db8:2::4"));
    const PrefixSet all_of_6 = set_of("::/0");
    CHECK(has(all_of_6, "2001:db8::1"));
    CHECK_FALSE(has(all_of_6, "192.0.2.1"));
    const PrefixSet all_of_4 = set_of("0.0.0.0/0");
    CHECK(has(all_of_4, "192.0.2.1"));
    CHECK_FALSE(has(all_of_4, "2001:db8::1"));
    CHECK_FALSE(has(set_of(""), "192.0.2.1"));
}

TEST_CASE("sets with the same prefixes are equal, however they were written") {
    CHECK(set_of("192.0.2.1\n2001:db8::/32") == set_of("2001:db8::/32\n192.0.2.1/32\n192.0.2.1"));
    CHECK_FALSE(set_of("192.0.2.1") == set_of("192.0.2.2"));
    CHECK_FALSE(set_of("192.0.2.0/31") == set_of("192.0.2.0/32"));
}

TEST_CASE("random prefixes of every length contain what their bits say, and no other set of bits does") {
    std::mt19937_64 random(7);
    for (int i = 0; i < 2000; ++i) {
        const bool ipv4 = i % 2 == 0;
        splice_address address{};
        if (ipv4)
            splice_address_from_ipv4(&address, static_cast<std::uint32_t>(random()));
        else
            address.halves[0] = random() | 0x20, address.halves[1] = random();
        const unsigned least = ipv4 ? 96 : 0;
        const auto bits = least + static_cast<unsigned>(random() % (129 - least));
        const splice_address head = masked(address, bits);
        if (!ipv4 && splice_address_is_ipv4(&head)) continue;
        splice_prefix prefix = splice_prefix_of(&head, bits);
        const PrefixSet set({prefix});
        CHECK(set.contains(address));
        if (bits == least) continue;
        // The last of its bits, turned.
        splice_address other = address;
        other.bytes[(bits - 1) / 8] ^= static_cast<__u8>(0x80 >> (bits - 1) % 8);
        CHECK_FALSE(set.contains(other));
    }
}

TEST_CASE("what is no prefix is refused with its line and the expected form") {
    CHECK(complaint("192.0.2.1\n192.0.2.300\n")
              .starts_with("deny.txt:2: '192.0.2.300': expected an address or a prefix"));
    CHECK(complaint("192.0.2.1/24").contains("without bits beyond its length"));
    CHECK(complaint("192.0.2.0/33").starts_with("deny.txt:1: "));
    CHECK(complaint("2001:db8::/129").starts_with("deny.txt:1: "));
    CHECK(complaint("192.0.2.0/").starts_with("deny.txt:1: "));
    CHECK(complaint("evil.example").starts_with("deny.txt:1: "));
    const auto missing = read_prefix_files({"/nonexistent/deny.txt"});
    REQUIRE_FALSE(missing.has_value());
    CHECK(missing.error().contains("/nonexistent/deny.txt"));
}
