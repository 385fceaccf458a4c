#include "balancer/control/bridge_index.hpp"

#include <doctest/doctest.h>

#include "libsplice/base/limits.hpp"

using namespace splice;

namespace {

constexpr Duration kRest = 15min;

std::vector<IpAddress> numbered(std::uint32_t first, std::uint32_t count) {
    std::vector<IpAddress> addresses;
    for (std::uint32_t i = 0; i < count; i++)
        addresses.push_back(IpAddress::from_ipv4(0x0a000000 + first + i));
    return addresses;
}

using Numbers = std::vector<std::uint16_t>;

}  // namespace

TEST_CASE("an address keeps its number over reloads, in whatever order it comes") {
    BridgeIndex index;
    const auto abc = numbered(1, 3);
    CHECK(index.assign(abc, 0s, kRest).value() == Numbers{0, 1, 2});
    CHECK(index.assign({{abc[2], abc[0], abc[1]}}, 1s, kRest).value() == Numbers{2, 0, 1});
    CHECK(index.assign({{abc[1], abc[1]}}, 2s, kRest).value() == Numbers{1, 1});
}

TEST_CASE("the number of an address that left is not given to another, and waits for its return") {
    BridgeIndex index;
    const auto abc = numbered(1, 3);
    CHECK(index.assign({{abc[0], abc[1]}}, 0s, kRest).value() == Numbers{0, 1});
    CHECK(index.assign({{abc[2]}}, 1s, kRest).value() == Numbers{2});
    CHECK(index.addresses() == abc);
    CHECK(index.assign({{abc[1]}}, 2s, kRest).value() == Numbers{1});
}

TEST_CASE("when all numbers are out, the one that rested longest is given away, after its rest") {
    BridgeIndex index;
    const auto first = numbered(0, kMaxBridges);
    const auto second = numbered(kMaxBridges, kMaxBridges);
    const auto third = numbered(2 * kMaxBridges, 1);
    REQUIRE(index.assign(first, 0s, kRest).has_value());
    REQUIRE(index.assign(second, 10s, kRest).has_value());
    BridgeIndex too_soon = index;
    CHECK_FALSE(too_soon.assign(third, 20s, kRest).has_value());
    CHECK(index.assign(third, 10s + kRest, kRest).value() == Numbers{0});
}

TEST_CASE("numbers of an earlier process rest as long as the longest time-out since, gaps not at all") {
    auto known = numbered(0, 2 * kMaxBridges);
    known[5] = IpAddress();
    const auto newcomers = numbered(2 * kMaxBridges, 2);
    BridgeIndex index(known, 100s);
    // 15 minutes at first, then a reload with an hour: the flows live longer, so the numbers rest longer.
    CHECK(index.assign({{newcomers[0]}}, 100s, kRest).value() == Numbers{5});
    BridgeIndex same = index;
    CHECK(same.assign(newcomers, 100s + kRest, kRest).has_value());
    REQUIRE(index.assign({{newcomers[0]}}, 200s, 1h).has_value());
    BridgeIndex too_soon = index;
    CHECK_FALSE(too_soon.assign(newcomers, 100s + kRest, kRest).has_value());
    CHECK(index.assign(newcomers, 100s + 1h, kRest).has_value());
}
