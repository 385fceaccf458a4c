#include "libsplice/core/flow_counts.hpp"

#include <doctest/doctest.h>

#include <array>
#include <random>

#include "libsplice/core/flow_store.hpp"

using namespace splice;

namespace {

splice_flow_key key(std::uint16_t port) {
    splice_flow_key made{};
    made.client_port = port;
    return made;
}

splice_flow_entry flow(std::uint16_t bridge, std::uint8_t state = SPLICE_FLOW_OPEN, std::uint8_t flags = 0) {
    splice_flow_entry entry{};
    entry.service = 1;
    entry.bridge = bridge;
    entry.state = state & 0xfU;
    entry.flags = flags;
    return entry;
}

}  // namespace

TEST_CASE("only open flows are counted, and those apart whose client has said FIN and is silent") {
    FlowCounts counts;
    for (const std::uint8_t state :
         {SPLICE_FLOW_PENDING, SPLICE_FLOW_OPEN, SPLICE_FLOW_REFUSED, SPLICE_FLOW_ENDED})
        counts.add(flow(3, state));
    CHECK(counts.of(1, 3) == FlowCount{1, 0});
    counts.add(flow(3, SPLICE_FLOW_OPEN, SPLICE_FLOW_RESET));
    counts.add(flow(3, SPLICE_FLOW_OPEN, SPLICE_FLOW_CLIENT_FIN));
    CHECK(counts.of(1, 3) == FlowCount{1, 1});
    // A half-closed download: its client goes on acknowledging.
    counts.add(flow(3, SPLICE_FLOW_OPEN, SPLICE_FLOW_CLIENT_FIN | SPLICE_FLOW_AFTER_FIN));
    CHECK(counts.of(1, 3) == FlowCount{2, 1});
    CHECK(counts.of(1, 2) == FlowCount{});
    CHECK(counts.of(2, 3) == FlowCount{});
}

TEST_CASE("where room is scarce, silent flows leave that are found by their lane, and no others") {
    for (const bool pressed : {false, true}) {
        CAPTURE(pressed);
        MemoryFlowStore store;
        store.set_limits(pressed ? 5 : 100, {.open_s = 900, .closing_s = 60, .half_closed_s = 300});
        for (std::uint16_t port = 1; port <= 3; ++port) REQUIRE(store.put(key(port), flow(port)));
        splice_flow_entry busy = flow(3, SPLICE_FLOW_OPEN, SPLICE_FLOW_LANED);
        REQUIRE(store.put(key(2), flow(2, SPLICE_FLOW_OPEN, SPLICE_FLOW_LANED)));
        REQUIRE(store.put(key(3), busy));
        busy.last_seen_s = 9;
        REQUIRE(store.put(key(3), busy));
        const auto gone = [](const auto&) {};
        CHECK(store.expire({.monotonic = std::chrono::seconds(9)}, gone) == 0);
        CHECK(store.expire({.monotonic = std::chrono::seconds(11)}, gone) == (pressed ? 1 : 0));
        CHECK(store.find(key(1)).has_value());
        CHECK(store.find(key(2)).has_value() != pressed);
        CHECK(store.find(key(3)).has_value());
        // With room again they stay.
        CHECK(store.expire({.monotonic = std::chrono::seconds(100)}, gone) == 0);
    }
}

TEST_CASE("whatever is done to a store, its counts are those of its entries") {
    for (const std::uint32_t seed : {1U, 2U, 3U}) {
        CAPTURE(seed);
        std::mt19937 random(seed);
        const auto below = [&](std::uint32_t limit) { return static_cast<std::uint32_t>(random() % limit); };
        MemoryFlowStore store;
        store.set_limits(200, {.open_s = 50, .closing_s = 5, .half_closed_s = 20});
        std::uint32_t now_s = 0;
        for (int step = 0; step < 20'000; ++step) {
            const splice_flow_key which = key(static_cast<std::uint16_t>(below(300)));
            switch (below(20)) {
                case 0:
                    store.erase(which);
                    break;
                case 1:
                    now_s += below(4);
                    (void)store.expire({.monotonic = std::chrono::seconds(now_s)}, [](const auto&) {});
                    break;
                case 2:
                    if (below(10) == 0)
                        store.erase_if([](const splice_flow_key& each) { return each.client_port % 5 == 0; });
                    break;
                case 3:
                    store.change_if([](splice_flow_entry& each) {
                        if (each.state != SPLICE_FLOW_OPEN || each.bridge != 2) return false;
                        each.state = SPLICE_FLOW_ENDED;
                        return true;
                    });
                    break;
                default: {
                    constexpr std::array kFlags{0, 0, 0, 1, 4, 8, 0x34, 0x40, 0x40};
                    splice_flow_entry entry =
                        flow(static_cast<std::uint16_t>(below(4)), static_cast<std::uint8_t>(1 + below(4)),
                             static_cast<std::uint8_t>(kFlags[below(kFlags.size())]));
                    entry.last_seen_s = now_s;
                    (void)store.put(which, entry);
                }
            }
            if (step % 100 != 0) continue;
            FlowCounts counted;
            for (std::uint16_t port = 0; port < 300; ++port) {
                if (const auto entry = store.find(key(port))) counted.add(*entry);
            }
            for (std::uint16_t bridge = 0; bridge < 4; ++bridge)
                REQUIRE(store.counts().of(1, bridge) == counted.of(1, bridge));
        }
        CHECK(store.size() > 0);
    }
}
