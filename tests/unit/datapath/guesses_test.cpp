#include "libsplice/datapath/guesses.h"

#include <doctest/doctest.h>

#include <memory>
#include <set>

#include "libsplice/base/address.hpp"

using splice::IpAddress;

namespace {

constexpr splice_source_key kKey{{0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9},
                                 0x27d4eb2f165667c5};

splice_address address(const char* text) {
    return IpAddress::parse(text)->raw();
}

std::unique_ptr<splice_guesses> guesses_of(std::uint32_t source, std::uint32_t network, std::uint32_t all) {
    auto guesses = std::make_unique<splice_guesses>();
    guesses->key = kKey;
    guesses->limits = {{source, network, all}};
    return guesses;
}

void note(splice_guesses& guesses, const char* from, int times, std::uint32_t second = 100) {
    const splice_address client = address(from);
    for (int i = 0; i < times; ++i) splice_guess_note(&guesses, &client, second);
}

bool allowed(const splice_guesses& guesses, const char* from, std::uint32_t second = 100) {
    const splice_address client = address(from);
    return splice_guesses_allow(&guesses, &client, second) != 0;
}

std::uint32_t place(const char* text, splice_source_prefix prefix) {
    const splice_address client = address(text);
    return splice_source_place_of(&kKey, &client, prefix);
}

}  // namespace

TEST_CASE("a source is what its prefix says, and one bit inside the prefix is another") {
    CHECK(place("192.0.2.7", {24, 64}) == place("192.0.2.200", {24, 64}));
    CHECK(place("192.0.2.7", {24, 64}) != place("192.0.3.7", {24, 64}));
    CHECK(place("192.0.2.7", {32, 64}) != place("192.0.2.6", {32, 64}));
    CHECK(place("192.0.2.7", {0, 64}) == place("10.9.8.7", {0, 64}));
    CHECK(place("2001:db8:1:2::7", {32, 64}) == place("2001:db8:1:2:ffff::1", {32, 64}));
    CHECK(place("2001:db8:1:2::7", {32, 64}) != place("2001:db8:1:3::7", {32, 64}));
    CHECK(place("2001:db8:1:2::7", {32, 48}) == place("2001:db8:1:3::7", {32, 48}));
    CHECK(place("2001:db8:1:2::7", {32, 48}) != place("2001:db8:2:2::7", {32, 48}));
    // An IPv6 /64 that looks like the mapped prefix is no IPv4 address.
    CHECK(place("0.0.0.0", {32, 64}) != place("::1:0:0:0:0", {32, 64}));
}

TEST_CASE("neighbouring addresses spread over the places") {
    std::set<std::uint32_t> places;
    for (int i = 0; i < 4096; ++i)
        places.insert(
            place(("10.1." + std::to_string(i / 256) + "." + std::to_string(i % 256)).c_str(), {32, 64}));
    // Of 4,096 in 65,536 places, 3,970 are met in the mean.
    CHECK(places.size() > 3800);
}

TEST_CASE("a source that has used its budget up is refused until the next second, and nobody else") {
    const auto guesses = guesses_of(20, 200, 20'000);
    note(*guesses, "192.0.2.1", 19);
    CHECK(allowed(*guesses, "192.0.2.1"));
    note(*guesses, "192.0.2.1", 1);
    CHECK_FALSE(allowed(*guesses, "192.0.2.1"));
    CHECK(allowed(*guesses, "192.0.2.2"));
    CHECK(allowed(*guesses, "192.0.2.1", 101));
    CHECK(guesses->exhausted[SPLICE_GUESS_SOURCE] == 1);
    note(*guesses, "192.0.2.1", 100, 101);
    CHECK(guesses->exhausted[SPLICE_GUESS_SOURCE] == 2);
    CHECK(guesses->exhausted[SPLICE_GUESS_NETWORK] == 0);
    CHECK(guesses->noted == 120);
}

TEST_CASE("a network that guesses from many addresses is refused as a whole") {
    const auto guesses = guesses_of(20, 200, 20'000);
    for (int i = 1; i <= 200; ++i) note(*guesses, ("198.51.7." + std::to_string(i)).c_str(), 1);
    CHECK_FALSE(allowed(*guesses, "198.51.100.9"));
    CHECK(allowed(*guesses, "198.52.100.9"));
    CHECK(guesses->exhausted[SPLICE_GUESS_NETWORK] == 1);
    CHECK(guesses->exhausted[SPLICE_GUESS_SOURCE] == 0);
}

TEST_CASE("guesses from everywhere use up the budget of all") {
    const auto guesses = guesses_of(20, 200, 1000);
    for (int i = 0; i < 1000; ++i)
        note(*guesses, ("10." + std::to_string(i % 250) + "." + std::to_string(i / 250) + ".1").c_str(), 1);
    CHECK_FALSE(allowed(*guesses, "203.0.113.1"));
    CHECK_FALSE(allowed(*guesses, "2001:db8::1"));
    CHECK(allowed(*guesses, "203.0.113.1", 101));
    CHECK(guesses->exhausted[SPLICE_GUESS_ALL] == 1);
}

TEST_CASE("a budget of 0 is none") {
    const auto guesses = guesses_of(0, 0, 0);
    note(*guesses, "192.0.2.1", 100'000);
    CHECK(allowed(*guesses, "192.0.2.1"));
    CHECK(guesses->noted == 100'000);
}
