#include "libsplice/core/bridge_loads.hpp"

#include <doctest/doctest.h>

#include <cmath>

using namespace splice;

namespace {

LoadedService service_of(double bound, std::vector<LoadedBridge> bridges) {
    return {.identity = 1, .mark = 1, .states = 0, .bounded_load = bound, .bridges = std::move(bridges)};
}

const std::vector<LoadedBridge> kFour{{0, 1}, {1, 1}, {2, 1}, {3, 1}};

double passes(const BridgeLoads& loads, std::size_t state) {
    return loads.states()[state].passes / 65536.0;
}

}  // namespace

TEST_CASE("without services nothing is counted") {
    BridgeLoads loads;
    CHECK(loads.states() == nullptr);
    CHECK_FALSE(loads.next_tick());
    CHECK_FALSE(loads.advance(1s));
    loads.add(3, {1, 1});
}

TEST_CASE("a bridge that is offered more than its bound passes the rest on") {
    BridgeLoads loads;
    loads.set_services({service_of(1.25, kFour)});
    CHECK(loads.advance(0s));
    loads.add(0, {.offered = 400, .taken = 400});
    for (std::uint32_t bridge = 1; bridge < 4; ++bridge) loads.add(bridge, {.offered = 200, .taken = 200});
    CHECK_FALSE(loads.advance(100ms));
    CHECK(passes(loads, 0) == 0);
    CHECK(loads.advance(200ms));
    // ceil(1.25 * 1001 / 4) = 313 of 400.
    CHECK(passes(loads, 0) == doctest::Approx(1 - 313.0 / 400).epsilon(0.001));
    CHECK(passes(loads, 1) == 0);
    CHECK(loads.states()[0].load == 400);
    CHECK(loads.next_tick() == 400ms);
}

TEST_CASE("the share holds while the bridge passes it on: nothing swings") {
    BridgeLoads loads;
    loads.set_services({service_of(1.25, kFour)});
    for (int tick = 0; tick < 200; ++tick) {
        loads.advance(200ms * tick);
        // 100 are offered to bridge 0; what it passes goes to bridge 1. The others get 50.
        const auto passed = static_cast<std::uint32_t>(std::lround(100 * passes(loads, 0)));
        loads.add(0, {.offered = 100, .taken = 100 - passed});
        loads.add(1, {.offered = 50 + passed, .taken = 50 + passed});
        loads.add(2, {.offered = 50, .taken = 50});
        loads.add(3, {.offered = 50, .taken = 50});
        if (tick > 1) CHECK(passes(loads, 0) == doctest::Approx(1 - 1.25 * 250 / 4 / 100).epsilon(0.05));
    }
    const auto all = loads.load(0).taken + loads.load(1).taken + loads.load(2).taken + loads.load(3).taken;
    CHECK(loads.load(0).taken / (all / 4) == doctest::Approx(1.25).epsilon(0.02));
}

TEST_CASE("few flows are no load: a bound is a whole number of them") {
    BridgeLoads loads;
    loads.set_services({service_of(1.05, kFour)});
    loads.advance(0s);
    loads.add(0, {.offered = 1, .taken = 1});
    loads.advance(200ms);
    CHECK(passes(loads, 0) == 0);
}

TEST_CASE("a bound goes by weight, and so does the load that hot keys compare") {
    BridgeLoads loads;
    loads.set_services({service_of(1.2, {{0, 3}, {1, 1}})});
    loads.advance(0s);
    loads.add(0, {.offered = 750, .taken = 750});
    loads.add(1, {.offered = 350, .taken = 250});
    loads.advance(200ms);
    CHECK(passes(loads, 0) == 0);
    CHECK(passes(loads, 1) == doctest::Approx(1 - 301.0 / 350).epsilon(0.001));
    CHECK(loads.states()[0].load == 750);
    CHECK(loads.states()[1].load == 750);
}

TEST_CASE("counts decay by e in the window's time") {
    BridgeLoads loads(10s);
    loads.set_services({service_of(0, kFour)});
    loads.advance(0s);
    loads.add(2, {.offered = 1000, .taken = 1000});
    loads.advance(200ms);
    loads.advance(10'200ms);
    CHECK(loads.load(2).taken == doctest::Approx(1000 / std::exp(1.0)));
    CHECK(passes(loads, 2) == 0);
}

TEST_CASE("a change of services keeps the loads of bridges that stay") {
    BridgeLoads loads;
    loads.set_services({service_of(1.25, {{0, 1}, {1, 1}})});
    loads.advance(0s);
    loads.add(0, {.offered = 90, .taken = 90});
    loads.add(1, {.offered = 10, .taken = 10});
    loads.advance(200ms);
    LoadedService moved = service_of(1.25, {{0, 1}, {5, 1}});
    moved.states = 100;
    LoadedService other = service_of(1.25, {{0, 1}});
    other.identity = 2;
    loads.set_services({other, moved});
    CHECK(loads.load(100).taken == 90);
    CHECK(loads.load(105).taken == 0);
    CHECK(loads.load(0).taken == 0);
    CHECK(passes(loads, 100) > 0);
}

TEST_CASE("a bridge that takes no new flows has no load, and its share of the bound is the others'") {
    BridgeLoads loads;
    loads.set_services({service_of(1.25, {{0, 1}, {1, 1}, {2, 1}})});
    loads.advance(0s);
    for (std::uint32_t bridge = 0; bridge < 3; ++bridge) loads.add(bridge, {.offered = 100, .taken = 100});
    loads.set_takes(2, false);
    loads.advance(200ms);
    CHECK(loads.states()[2].flags == SPLICE_BRIDGE_TAKES_NONE);
    CHECK(passes(loads, 0) == 0);  // 100 of at most ceil(1.25 * 201 / 2)
    loads.set_takes(2, true);
    CHECK(loads.states()[2].flags == 0);
}

TEST_CASE("what is chosen is counted: offers of all who were asked, and one who took") {
    BridgeLoads loads;
    loads.set_services({service_of(0, kFour)});
    loads.advance(0s);
    const splice_choice_rule rule{.states = 0, .warmup = 0, .spread = 2, .weighs = 1};
    const splice_placement_row row{{3, 1, 2}};
    loads.count(rule, row, {.rank = 1, .why = SPLICE_CHOSE_NEXT, .offered = 3, .zero = 0});
    loads.count(rule, row, {.rank = 0, .why = SPLICE_CHOSE_SPREAD, .offered = 1, .zero = 0});
    CHECK(loads.states()[3].load == 1);  // a hot key's counts at once
    loads.advance(200ms);
    CHECK(loads.load(3).offered == 2);
    CHECK(loads.load(3).taken == 1);
    CHECK(loads.load(1).taken == 1);
    CHECK(loads.load(2).offered == 0);
}
