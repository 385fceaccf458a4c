// A fleet of caches: who takes a request, before, during and after events, and what that costs.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tools/hash/cache/fleet.hpp"

namespace splice::cache {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

Request asked(std::uint64_t object, Duration time = {}, std::uint64_t bytes = 10) {
    Request request;
    request.object = object;
    request.bytes = bytes;
    request.time = time;
    return request;
}

// Rendezvous hashing over all bridges, as the balancer's own table would have it: the choices do not depend
// on who is up.
Chooser by_hash() {
    return [](const Request& request, const Serving& serving) {
        std::vector<std::pair<std::uint64_t, std::uint16_t>> order;
        for (std::size_t i = 0; i < serving.bridges(); ++i)
            order.emplace_back(hash_of(request.object ^ hash_of(i + 1)), static_cast<std::uint16_t>(i));
        std::sort(order.begin(), order.end());
        Choices choices;
        choices.row = request.object;
        choices.count = static_cast<std::uint8_t>(std::min(order.size(), Choices::kMost));
        for (std::size_t i = 0; i < choices.count; ++i) choices.bridges[i] = order[i].second;
        return choices;
    };
}

Chooser always(std::vector<std::uint16_t> bridges) {
    return [bridges](const Request& request, const Serving&) {
        Choices choices;
        choices.row = request.object;
        choices.count = static_cast<std::uint8_t>(bridges.size());
        std::copy(bridges.begin(), bridges.end(), choices.bridges.begin());
        return choices;
    };
}

FleetRules rules_of(std::uint16_t bridges, std::uint64_t capacity = 1'000'000) {
    FleetRules rules;
    rules.bridges = bridges;
    rules.caches = {{Policy::lru, capacity}};
    return rules;
}

// `rate` requests a second for objects whose popularity falls as 1 / rank.
void drive(Fleet& fleet, int count, int rate, double objects, std::uint64_t seed = 5) {
    Random random(seed);
    for (int i = 0; i < count; ++i) {
        const auto object = static_cast<std::uint64_t>(std::pow(objects, random.fraction()));
        fleet.request(asked(object, seconds(1) * i / rate));
    }
    fleet.finish();
}

TEST_CASE("hashed, each object is fetched once by the fleet; in turn or at random, once by each bridge") {
    const auto misses = [](Chooser chooser) {
        Fleet fleet(rules_of(4), std::move(chooser));
        for (int round = 0; round < 60; ++round) {
            for (std::uint64_t object = 0; object < 101; ++object) fleet.request(asked(object));
        }
        return fleet.tally(0).misses;
    };
    CHECK(misses(by_hash()) == 101);
    CHECK(misses(choose_in_turn()) == 404);
    CHECK(misses(choose_randomly(1)) == 404);
}

TEST_CASE("the fleet's tally is the sum of its bridges', and every policy sees every request") {
    FleetRules rules = rules_of(3);
    rules.caches = {{Policy::lru, 1000}, {Policy::fifo, 2000}};
    Fleet fleet(rules, by_hash());
    drive(fleet, 5000, 1000, 1000);
    for (std::size_t cache = 0; cache < 2; ++cache) {
        Tally sum;
        for (std::uint16_t bridge = 0; bridge < 3; ++bridge) sum += fleet.tally(cache, bridge);
        CHECK(sum == fleet.tally(cache));
        CHECK(sum.requests == 5000);
    }
    CHECK(fleet.tally(1, 2).requests == fleet.tally(0, 2).requests);
}

TEST_CASE("a lost bridge's keys go to their second choice, and no other key moves") {
    FleetRules rules = rules_of(5);
    rules.events = {{seconds(10), FleetEvent::Kind::lost, 2}};
    Fleet fleet(rules, by_hash());
    const Serving all(5);
    const auto chooser = by_hash();
    for (std::uint64_t object = 0; object < 1000; ++object) {
        const Request before = asked(object, seconds(1));
        REQUIRE(fleet.open(before) == chooser(before, all).bridges[0]);
    }
    std::uint64_t moved = 0;
    for (std::uint64_t object = 0; object < 1000; ++object) {
        const Request after = asked(object, seconds(10));
        const Choices choices = chooser(after, all);
        const bool lost = choices.bridges[0] == 2;
        moved += lost ? 1 : 0;
        REQUIRE(fleet.open(after) == choices.bridges[lost ? 1 : 0]);
    }
    CHECK(fleet.counts().by_rank[0] == 2000 - moved);
    CHECK(fleet.counts().by_rank[1] == moved);
}

TEST_CASE("when every choice is down another bridge takes the request, and when all are down nobody") {
    FleetRules rules = rules_of(3);
    rules.events = {{seconds(1), FleetEvent::Kind::lost, 0},
                    {seconds(2), FleetEvent::Kind::lost, 1},
                    {seconds(3), FleetEvent::Kind::lost, 2}};
    Fleet fleet(rules, always({0, 1}));
    CHECK(fleet.open(asked(1, seconds(1))) == 1);
    CHECK(fleet.open(asked(1, seconds(2))) == 2);
    CHECK(fleet.counts().elsewhere == 1);
    CHECK(fleet.open(asked(1, seconds(3))) == std::nullopt);
    fleet.request(asked(1, seconds(3)));
    CHECK(fleet.counts().unserved == 2);
    CHECK(fleet.tally(0).requests == 0);
}

TEST_CASE("a bridge returns with an empty cache, or with what it held") {
    for (const auto kind : {FleetEvent::Kind::returned_cold, FleetEvent::Kind::returned_warm}) {
        FleetRules rules = rules_of(2);
        rules.events = {{seconds(1), FleetEvent::Kind::lost, 0}, {seconds(2), kind, 0}};
        Fleet fleet(rules, always({0, 1}));
        fleet.request(asked(7));
        fleet.request(asked(7, seconds(1)));
        fleet.request(asked(7, seconds(2)));
        CHECK(fleet.tally(0, 0).requests == 2);
        CHECK(fleet.tally(0, 0).misses == (kind == FleetEvent::Kind::returned_cold ? 2 : 1));
    }
}

TEST_CASE("slow start: a returned bridge's rows come back to it evenly, and each stays") {
    FleetRules rules = rules_of(2);
    rules.slow_start = seconds(100);
    rules.events = {{seconds(0), FleetEvent::Kind::lost, 0},
                    {seconds(10), FleetEvent::Kind::returned_cold, 0}};
    Fleet fleet(rules, always({0, 1}));
    std::vector<bool> back(10'000);
    for (int second = 10; second <= 110; second += 20) {
        int count = 0;
        for (std::uint64_t row = 0; row < back.size(); ++row) {
            const bool is_back = fleet.open(asked(row, seconds(second))) == 0;
            REQUIRE((is_back || !back[row]));
            back[row] = is_back;
            count += is_back ? 1 : 0;
        }
        CAPTURE(second);
        CHECK(std::abs(count - 100 * (second - 10)) < 200);
    }
    CHECK(std::count(back.begin(), back.end(), true) == 10'000);
}

TEST_CASE("warm second choices: the share of openings that was asked for goes there") {
    FleetRules rules = rules_of(2);
    rules.warmup = 0.02;
    Fleet fleet(rules, always({0, 1}));
    for (int i = 0; i < 100'000; ++i) fleet.request(asked(1));
    CHECK(fleet.tally(0, 1).requests == fleet.counts().warmups);
    CHECK(std::abs(static_cast<double>(fleet.counts().warmups) - 2000) < 200);
}

TEST_CASE("bounded load: two bridges, one key: the first has the bound's share, the second the rest") {
    FleetRules rules = rules_of(2);
    rules.bounded_load = 1.25;
    Fleet fleet(rules, always({0, 1}));
    for (int i = 0; i < 20'000; ++i) fleet.request(asked(1, milliseconds(i)));
    // Until the first tick nothing is known.
    const double first = 200 + 0.625 * 19'800;
    CHECK(std::abs(static_cast<double>(fleet.tally(0, 0).requests) - first) < 300);
    CHECK(fleet.counts().over_bound == fleet.tally(0, 1).requests);
}

TEST_CASE("bounded load: when both choices are above the bound, they share, and no other bridge takes any") {
    FleetRules rules = rules_of(4);
    rules.bounded_load = 1.25;
    Fleet fleet(rules, always({2, 0}));
    for (int i = 0; i < 20'000; ++i) fleet.request(asked(1, milliseconds(i)));
    CHECK(fleet.tally(0, 2).requests + fleet.tally(0, 0).requests == 20'000);
    CHECK(fleet.tally(0, 0).requests > 5'000);
    CHECK(fleet.tally(0, 2).requests > 5'000);
}

TEST_CASE("bounded load: a bridge of twice the weight has twice the bound") {
    FleetRules rules = rules_of(2);
    rules.bounded_load = 1.05;
    rules.weights = {2, 1};
    Fleet fleet(rules, always({0, 1}));
    for (int i = 0; i < 20'000; ++i) fleet.request(asked(1, milliseconds(i)));
    CHECK(std::abs(static_cast<double>(fleet.tally(0, 0).requests) - 20'000 * 1.05 * 2 / 3) < 400);
}

TEST_CASE("bounded load: with even keys no bridge is above the bound, and few requests move") {
    FleetRules rules = rules_of(8);
    rules.bounded_load = 1.25;
    Fleet fleet(rules, by_hash());
    for (std::uint64_t i = 0; i < 50'000; ++i) fleet.request(asked(i, milliseconds(i)));
    for (std::uint16_t bridge = 0; bridge < 8; ++bridge)
        CHECK(fleet.tally(0, bridge).requests < 1.25 * 50'000 / 8);
    CHECK(fleet.counts().over_bound < 500);
}

TEST_CASE("load decays: what was busy a while ago takes its keys again") {
    FleetRules rules = rules_of(2);
    rules.bounded_load = 1.25;
    rules.load_window = seconds(10);
    Fleet fleet(rules, always({0, 1}));
    for (int i = 0; i < 1000; ++i) fleet.request(asked(1, milliseconds(i)));
    const std::uint64_t before = fleet.counts().by_rank[1];
    CHECK(before > 200);
    // Of an hour later: few openings, so the bound's whole number is above them.
    for (int i = 0; i < 2; ++i) (void)fleet.open(asked(1, seconds(3600 + i)));
    CHECK(fleet.counts().by_rank[1] == before);
}

TEST_CASE("a hot key is spread evenly over its first choices, others stay where they are") {
    FleetRules rules = rules_of(3);
    rules.spread = [](const Request& request, const Choices&) { return request.object == 1 ? 2U : 0U; };
    Fleet fleet(rules, always({0, 1, 2}));
    for (int i = 0; i < 1000; ++i) fleet.request(asked(1));
    CHECK(std::abs(static_cast<int>(fleet.tally(0, 0).requests) - 500) <= 1);
    CHECK(fleet.tally(0, 2).requests == 0);
    CHECK(fleet.tally(0).misses == 2);
    for (int i = 0; i < 100; ++i) fleet.request(asked(2));
    CHECK(fleet.counts().spread == 1000);
    CHECK(std::abs(static_cast<int>(fleet.tally(0, 0).requests) - 600) <= 1);
}

TEST_CASE(
    "requests in batches are served as one by one, with events and intervals in the middle of a batch") {
    FleetRules rules = rules_of(4, 5000);
    rules.caches.push_back({Policy::s3_fifo, 3000});
    rules.interval = seconds(3);
    rules.slow_start = seconds(5);
    rules.warmup = 0.05;
    rules.bounded_load = 1.1;
    rules.events = {{seconds(4), FleetEvent::Kind::lost, 1},
                    {seconds(9), FleetEvent::Kind::returned_cold, 1}};
    for (std::uint16_t bridge = 0; bridge < 4; ++bridge)
        rules.events.push_back({seconds(15), FleetEvent::Kind::lost, bridge});
    rules.events.push_back({seconds(16), FleetEvent::Kind::returned_warm, 3});
    Fleet one_by_one(rules, by_hash());
    Fleet batches(rules, by_hash());
    Random random(9);
    std::vector<Request> requests;
    for (int i = 0; i < 20'000; ++i)
        requests.push_back(
            asked(static_cast<std::uint64_t>(std::pow(3000.0, random.fraction())), milliseconds(i)));
    for (const Request& request : requests) one_by_one.request(request);
    for (std::size_t i = 0; i < requests.size(); i += 1000) batches.run(std::span(requests).subspan(i, 1000));
    one_by_one.finish();
    batches.finish();
    CHECK(one_by_one.counts().unserved > 0);
    CHECK(batches.counts().unserved == one_by_one.counts().unserved);
    CHECK(batches.counts().by_rank == one_by_one.counts().by_rank);
    REQUIRE(batches.series().size() == one_by_one.series().size());
    for (std::size_t i = 0; i < batches.series().size(); ++i)
        CHECK(batches.series()[i].caches == one_by_one.series()[i].caches);
    for (std::size_t cache = 0; cache < 2; ++cache) {
        for (std::uint16_t bridge = 0; bridge < 4; ++bridge)
            CHECK(batches.tally(cache, bridge) == one_by_one.tally(cache, bridge));
    }
}

TEST_CASE("the time series' intervals add up to the run, and one without requests is absent") {
    FleetRules rules = rules_of(2);
    rules.interval = seconds(10);
    Fleet fleet(rules, by_hash());
    for (const int second : {3, 9, 10, 35}) fleet.request(asked(1, seconds(second)));
    fleet.finish();
    REQUIRE(fleet.series().size() == 3);
    CHECK(fleet.series()[0].start == seconds(0));
    CHECK(fleet.series()[0].caches[0].requests == 2);
    CHECK(fleet.series()[0].caches[0].misses == 1);
    CHECK(fleet.series()[2].start == seconds(30));
    Tally sum;
    for (const Interval& interval : fleet.series()) sum += interval.caches[0];
    CHECK(sum == fleet.tally(0));
}

TEST_CASE("an event falls into the interval of its time, though requests come later") {
    FleetRules rules = rules_of(1);
    rules.interval = seconds(10);
    rules.events = {{seconds(20), FleetEvent::Kind::returned_cold, 0}};
    Fleet fleet(rules, always({0}));
    for (const int second : {0, 15, 40, 45}) fleet.request(asked(1, seconds(second)));
    fleet.finish();
    CHECK(fleet.tally(0).misses == 2);
}

// What the numbers are for: a loss costs misses until the others are warm, and warm second choices cost less
// then.
TEST_CASE("a loss costs misses until the others are warm, and fewer of them when second choices are") {
    const auto run = [](bool lost, double warmup) {
        FleetRules rules = rules_of(4);
        rules.interval = seconds(10);
        rules.warmup = warmup;
        if (lost) rules.events = {{seconds(100), FleetEvent::Kind::lost, 1}};
        auto fleet = std::make_unique<Fleet>(std::move(rules), by_hash());
        drive(*fleet, 200'000, 500, 20'000);
        return fleet;
    };
    const auto cost = [&](double warmup) {
        return disturbance(*run(false, warmup), *run(true, warmup), 0, seconds(100), 0.02);
    };
    const auto drop = [](const Disturbance& of) { return of.undisturbed_hit_ratio - of.worst_hit_ratio; };
    const Disturbance cold = cost(0);
    const Disturbance warm = cost(0.1);
    CHECK(cold.extra_misses > 0);
    CHECK(cold.extra_origin_bytes == 10 * cold.extra_misses);
    REQUIRE(cold.warm_after.has_value());
    CHECK(cold.warm_after > seconds(10));
    CHECK(drop(cold) > 0.02);
    CHECK(warm.extra_misses < cold.extra_misses);
    CHECK(drop(warm) < drop(cold));
}

TEST_CASE("an undisturbed fleet is no disturbance") {
    FleetRules rules = rules_of(3, 10'000);
    rules.interval = seconds(1);
    Fleet one(rules, by_hash());
    Fleet other(rules, by_hash());
    drive(one, 10'000, 1000, 5000);
    drive(other, 10'000, 1000, 5000);
    const Disturbance none = disturbance(one, other, 0, seconds(2));
    CHECK(none.extra_misses == 0);
    CHECK(none.warm_after == Duration::zero());
}

}  // namespace
}  // namespace splice::cache
