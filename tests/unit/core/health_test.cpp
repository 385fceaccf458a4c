#include "libsplice/core/health.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <vector>

using namespace splice;

namespace {

using Why = HealthEvent::Why;

// One service's machine, whose bridges answer as the test says.
struct Rig {
    explicit Rig(const HealthRule& rule_ = {}, std::size_t bridges = 1, std::uint64_t seed = 1)
        : rule(rule_), health(rule_, bridges, seed, now), answers(bridges, CheckResult::passed) {}

    // Every check that begins until then is answered at once, or not at all when the bridge is silent.
    void run_until(Duration end) {
        while (health.next_deadline() <= end) {
            now = std::max(now, health.next_deadline());
            answer(health.due(now));
        }
        now = end;
        answer(health.due(now));
    }
    void run_for(Duration time) { run_until(now + time); }
    void answer(const std::vector<Check>& checks) {
        for (const Check& check : checks) {
            begun.push_back({check, now});
            if (answers[check.bridge] != CheckResult::silent) health.end(now, check, answers[check.bridge]);
        }
        for (const HealthEvent& event : health.take_events()) events.emplace_back(now, event);
    }
    // One ordinary check of a service with one bridge.
    void check(CheckResult result) {
        now = health.next_deadline();
        const auto checks = health.due(now);
        REQUIRE(checks.size() == 1);
        health.end(now, checks[0], result);
    }
    void check(bool passed) { check(passed ? CheckResult::passed : CheckResult::failed); }
    [[nodiscard]] std::size_t out() const {
        const auto placed = health.placed();
        return static_cast<std::size_t>(std::ranges::count(placed, false));
    }

    HealthRule rule;
    Duration now = 100s;
    Health health;
    std::vector<CheckResult> answers;  // by bridge
    std::vector<std::pair<Check, Duration>> begun;
    std::vector<std::pair<Duration, HealthEvent>> events;
};

}  // namespace

TEST_CASE("a bridge begins up, is ill after `fall` failed checks in a row and up after `rise` passed ones") {
    Rig rig;
    CHECK(rig.health.state(0) == HealthState::up);
    for (const bool passed : {false, false, true, false, false}) rig.check(passed);
    CHECK(rig.health.state(0) == HealthState::up);
    rig.check(false);
    CHECK(rig.health.state(0) == HealthState::ill);
    for (const bool passed : {true, false, true}) rig.check(passed);
    CHECK(rig.health.state(0) == HealthState::ill);
    rig.check(true);
    CHECK(rig.health.state(0) == HealthState::up);
}

TEST_CASE("bridges that drain are checked, but neither placed nor counted by the bounds") {
    HealthRule rule;
    rule.panic_threshold_percent = 50;
    Rig rig(rule, 3);
    rig.health.set_candidates({true, true, false});
    CHECK(rig.health.placed() == std::vector<bool>{true, true, false});
    rig.answers[0] = CheckResult::silent;
    rig.run_for(15s);
    // One of two is up: not fewer than half.
    CHECK(rig.health.state(0) == HealthState::gone);
    CHECK_FALSE(rig.health.panics());
    CHECK(rig.health.placed() == std::vector<bool>{false, true, false});
    CHECK(rig.health.ends_flows(0));
    rig.answers[2] = CheckResult::silent;
    rig.run_for(15s);
    CHECK(rig.health.state(2) == HealthState::gone);
    CHECK(rig.health.ends_flows(2));
    // Of the candidates none is up: the fault may be on our side.
    rig.answers[1] = CheckResult::silent;
    rig.run_for(15s);
    CHECK(rig.health.placed() == std::vector<bool>{true, true, false});
    for (std::size_t i = 0; i < 3; ++i) CHECK_FALSE(rig.health.ends_flows(i));
}

TEST_CASE("bridges keep what is known of them when others come and go") {
    Rig rig({}, 2);
    rig.answers[1] = CheckResult::failed;
    rig.run_for(10s);
    REQUIRE(rig.health.state(1) == HealthState::ill);
    Health next({}, 3, 1, rig.now);
    next.follow(rig.health, std::vector<std::optional<std::size_t>>{1, std::nullopt, 0});
    CHECK(next.state(0) == HealthState::ill);
    CHECK(next.state(1) == HealthState::up);
    CHECK(next.state(2) == HealthState::up);
    CHECK(next.placed() == std::vector<bool>{false, true, true});
    CHECK_FALSE(next.has_events());
}

TEST_CASE("a check that could not be made tells nothing") {
    Rig rig;
    for (int i = 0; i < 10; ++i) {
        rig.now = rig.health.next_deadline();
        for (const Check& check : rig.health.due(rig.now)) rig.health.forget(check);
    }
    CHECK(rig.health.state(0) == HealthState::up);
}

TEST_CASE("whatever the checks say, the state turns exactly when a run of them against it is long enough") {
    for (std::uint32_t seed = 0; seed < 50; ++seed) {
        CAPTURE(seed);
        std::mt19937 random(seed);
        HealthRule rule;
        rule.rise = 1 + static_cast<std::uint32_t>(random() % 4);
        rule.fall = 1 + static_cast<std::uint32_t>(random() % 4);
        Rig rig(rule);
        bool up = true;
        std::uint32_t against = 0;
        for (int i = 0; i < 300; ++i) {
            const bool passed = random() % 3 != 0;
            rig.check(passed);
            against = passed == up ? 0 : against + 1;
            if (against == (up ? rule.fall : rule.rise)) {
                up = !up;
                against = 0;
            }
            REQUIRE((rig.health.state(0) == HealthState::up) == up);
        }
    }
}

TEST_CASE("`pass: n/m` is up exactly while n of the last m checks have passed") {
    for (std::uint32_t seed = 0; seed < 50; ++seed) {
        CAPTURE(seed);
        std::mt19937 random(seed);
        HealthRule rule;
        rule.pass = {.passed = 1, .of = 1 + static_cast<std::uint32_t>(random() % 32)};
        rule.pass->passed = 1 + static_cast<std::uint32_t>(random() % rule.pass->of);
        Rig rig(rule);
        std::deque<bool> last(rule.pass->of, true);
        for (int i = 0; i < 300; ++i) {
            const bool passed = random() % 2 == 0;
            rig.check(passed);
            last.pop_front();
            last.push_back(passed);
            const auto count = static_cast<std::uint32_t>(std::ranges::count(last, true));
            REQUIRE((rig.health.state(0) == HealthState::up) == (count >= rule.pass->passed));
        }
    }
}

TEST_CASE("checks of a bridge are an interval apart, a tenth more or less, and do not beat together") {
    const HealthRule rule{.interval = 2s};
    Rig rig(rule, 50);
    rig.run_for(200s);
    std::map<std::size_t, std::vector<Duration>> times;
    for (const auto& [check, when] : rig.begun) times[check.bridge].push_back(when);
    CHECK(times.size() == 50);
    std::map<Duration, int> at_once;
    for (const auto& [bridge, when] : times) {
        CHECK(when.size() >= 90);
        CHECK(when.size() <= 111);
        CHECK(when[0] < 102s);
        for (std::size_t i = 1; i < when.size(); ++i) {
            REQUIRE(when[i] - when[i - 1] >= 1800ms);
            REQUIRE(when[i] - when[i - 1] <= 2200ms);
        }
        for (const Duration moment : when) ++at_once[moment];
    }
    for (const auto& [moment, count] : at_once) CHECK(count <= 4);
}

TEST_CASE("of many bridges those whose checks come within 10 ms begin together, and none is missed") {
    Rig rig({.interval = 2s}, 1000);
    int wakes = 0;
    const Duration end = rig.now + 20s;
    while (rig.health.next_deadline() <= end) {
        rig.now = rig.health.next_deadline();
        rig.answer(rig.health.due(rig.now));
        ++wakes;
    }
    CHECK(rig.begun.size() >= 9000);
    CHECK(rig.begun.size() <= 11200);
    CHECK(wakes < 2500);
}

TEST_CASE("a check without an answer is silent at its timeout; an answer after that passes nothing") {
    Rig rig({.timeout = 1s, .fall = 1});
    rig.now = rig.health.next_deadline();
    const auto checks = rig.health.due(rig.now);
    REQUIRE(checks.size() == 1);
    rig.health.advance(rig.now + 999ms);
    CHECK(rig.health.state(0) == HealthState::up);
    CHECK(rig.health.next_deadline() == rig.now + 1s);
    rig.health.advance(rig.now + 1s);
    CHECK(rig.health.state(0) == HealthState::ill);
    rig.health.end(rig.now + 1100ms, checks[0], CheckResult::passed);
    CHECK(rig.health.state(0) == HealthState::ill);
    // But it was heard of: it is not gone two seconds after the check began.
    rig.health.advance(rig.now + 2s);
    CHECK(rig.health.state(0) == HealthState::ill);
}

TEST_CASE(
    "an ill bridge is gone when it was asked and not heard of for two seconds, and ill when it is heard of") {
    HealthRule rule;
    Rig rig(rule);
    rig.answers[0] = CheckResult::silent;
    rig.run_for(20s);
    REQUIRE(rig.events.size() == 2);
    CHECK(rig.events[0].second.why == Why::checks);
    CHECK(rig.events[1].second.why == Why::silence);
    CHECK(rig.health.state(0) == HealthState::gone);
    rig.answers[0] = CheckResult::failed;
    rig.run_for(3s);
    CHECK(rig.health.state(0) == HealthState::ill);
    rig.run_for(20s);
    CHECK(rig.health.state(0) == HealthState::ill);
    rig.answers[0] = CheckResult::passed;
    rig.run_for(5s);
    CHECK(rig.health.state(0) == HealthState::up);
}

TEST_CASE("one lost check does not make an ill bridge gone; two do, two seconds after the first has begun") {
    Rig rig;
    rig.answers[0] = CheckResult::failed;
    rig.run_for(20s);
    REQUIRE(rig.health.state(0) == HealthState::ill);
    rig.now = rig.health.next_deadline();
    const auto lost = rig.health.due(rig.now);
    REQUIRE(lost.size() == 1);
    rig.health.end(rig.now + 1s, lost[0], CheckResult::silent);
    rig.health.advance(rig.now + 60s);
    CHECK(rig.health.state(0) == HealthState::ill);
    rig.now = std::max(rig.now + 1s, rig.health.next_deadline());
    const auto again = rig.health.due(rig.now);
    REQUIRE(again.size() == 1);
    rig.health.end(rig.now + 1s, again[0], CheckResult::silent);
    rig.health.advance(rig.now + 1s);
    CHECK(rig.health.state(0) == HealthState::gone);
}

TEST_CASE("a bridge that only fails its checks is never gone") {
    Rig rig;
    rig.answers[0] = CheckResult::failed;
    rig.run_for(100s);
    REQUIRE(rig.events.size() == 1);
    CHECK(rig.health.state(0) == HealthState::ill);
}

TEST_CASE(
    "three repeats without an answer make a bridge suspect; three quick checks find it dead within 250 ms") {
    Rig rig({.interval = 30s}, 2);
    rig.run_for(31s);
    rig.answers[0] = CheckResult::silent;
    rig.begun.clear();
    rig.health.see(rig.now, 0, {.openings = 2, .repeats = 2});
    CHECK_FALSE(rig.health.is_suspect(0));
    rig.health.see(rig.now, 0, {.repeats = 1});
    CHECK(rig.health.is_suspect(0));
    CHECK(rig.health.next_deadline() <= rig.now);
    const Duration began = rig.now;
    rig.answer(rig.health.due(rig.now));
    REQUIRE(rig.begun.size() == 3);
    for (const auto& [check, when] : rig.begun) {
        CHECK(check.bridge == 0);
        CHECK(check.timeout == 250ms);
    }
    rig.run_until(began + 249ms);
    CHECK(rig.health.state(0) == HealthState::up);
    rig.run_until(began + 250ms);
    CHECK(rig.health.state(0) == HealthState::ill);
    CHECK(rig.events.back().second.why == Why::quick_checks);
    CHECK(rig.health.state(1) == HealthState::up);
    // It is asked no more until its next turn, and two seconds after the first question it is gone.
    rig.run_until(began + 1999ms);
    CHECK(rig.health.state(0) == HealthState::ill);
    rig.run_until(began + 2s);
    CHECK(rig.health.state(0) == HealthState::gone);
}

TEST_CASE("a suspect that passes one quick check stays up, and is not suspect again for an interval") {
    Rig rig({.interval = 10s});
    rig.health.see(rig.now, 0, {.refusals = 3});
    const auto checks = rig.health.due(rig.now);
    std::vector<Check> quick;
    for (const Check& check : checks)
        if (check.timeout == 250ms) quick.push_back(check);
    REQUIRE(quick.size() == 3);
    rig.health.end(rig.now, quick[1], CheckResult::passed);
    rig.health.end(rig.now, quick[0], CheckResult::failed);
    CHECK(rig.health.is_suspect(0));
    rig.health.advance(rig.now + 250ms);
    CHECK_FALSE(rig.health.is_suspect(0));
    CHECK(rig.health.state(0) == HealthState::up);
    rig.health.see(rig.now + 10s, 0, {.repeats = 9});
    CHECK_FALSE(rig.health.is_suspect(0));
    rig.health.see(rig.now + 10250ms, 0, {.repeats = 9});
    CHECK(rig.health.is_suspect(0));
}

TEST_CASE("an answer between repeats ends their run") {
    Rig rig;
    for (int i = 0; i < 10; ++i) {
        rig.health.see(rig.now, 0, {.repeats = 2});
        rig.health.see(rig.now, 0, {.answers = 1, .repeats = 5});
    }
    CHECK_FALSE(rig.health.is_suspect(0));
}

TEST_CASE("what users' packets show of an ill bridge keeps it from being gone") {
    Rig rig;
    rig.answers[0] = CheckResult::silent;
    for (int i = 0; i < 100; ++i) {
        rig.run_for(200ms);
        rig.health.see(rig.now, 0, {.answers = 1});
    }
    CHECK(rig.health.state(0) == HealthState::ill);
    rig.run_for(10s);
    CHECK(rig.health.state(0) == HealthState::gone);
}

TEST_CASE("at most max_ejection_percent of the bridges are out, but always one may be") {
    for (const std::uint32_t percent : {0U, 10U, 25U, 50U, 99U, 100U}) {
        for (const std::size_t bridges : {1UZ, 2UZ, 7UZ, 20UZ}) {
            CAPTURE(percent);
            CAPTURE(bridges);
            Rig rig({.max_ejection_percent = percent, .panic_threshold_percent = 0}, bridges);
            std::mt19937 random(static_cast<std::uint32_t>(bridges));
            for (int i = 0; i < 100; ++i) {
                rig.answers[random() % bridges] = static_cast<CheckResult>(random() % 3);
                rig.run_for(3s);
                const auto placed = rig.health.placed();
                std::size_t unwell = 0;
                for (std::size_t b = 0; b < bridges; ++b) {
                    const bool up = rig.health.state(b) == HealthState::up;
                    unwell += !up;
                    if (up) REQUIRE(placed[b]);
                }
                const std::size_t most = std::max(bridges * percent / 100, 1UZ);
                REQUIRE(rig.out() == std::min(unwell, most));
            }
        }
    }
}

TEST_CASE("where not all may be out, the gone are, and then those that are ill for longest") {
    Rig rig({.max_ejection_percent = 50, .panic_threshold_percent = 0}, 4);
    rig.answers[2] = CheckResult::failed;
    rig.run_for(10s);
    rig.answers[1] = CheckResult::failed;
    rig.run_for(10s);
    rig.answers[0] = CheckResult::failed;
    rig.run_for(10s);
    CHECK(rig.health.placed() == std::vector<bool>{true, false, false, true});
    rig.answers[0] = CheckResult::silent;
    rig.run_for(10s);
    CHECK(rig.health.placed() == std::vector<bool>{false, true, false, true});
}

TEST_CASE("below the panic threshold the ill are placed, too, and the gone only when all are") {
    Rig rig({}, 4);
    rig.answers[0] = rig.answers[1] = CheckResult::failed;
    rig.run_for(20s);
    CHECK_FALSE(rig.health.panics());  // half of them are up, and no fewer
    CHECK(rig.out() == 2);
    rig.answers[2] = CheckResult::silent;
    rig.run_for(20s);
    CHECK(rig.health.panics());
    CHECK(rig.health.placed() == std::vector<bool>{true, true, false, true});
    std::ranges::fill(rig.answers, CheckResult::silent);
    rig.run_for(20s);
    CHECK(rig.out() == 0);
    std::ranges::fill(rig.answers, CheckResult::passed);
    rig.run_for(20s);
    CHECK_FALSE(rig.health.panics());
    CHECK(rig.out() == 0);
}

TEST_CASE("when all are gone, those that clients try in vain are not placed until they are heard of") {
    Rig rig({}, 2);
    std::ranges::fill(rig.answers, CheckResult::silent);
    rig.run_for(20s);
    REQUIRE(rig.health.placed() == std::vector<bool>{true, true});
    rig.events.clear();
    rig.health.see(rig.now, 0, {.openings = 3, .repeats = 2});
    rig.run_for(1s);
    CHECK(rig.health.placed() == std::vector<bool>{true, true});
    CHECK_FALSE(rig.health.strands_openings(0));
    rig.health.see(rig.now, 0, {.repeats = 1});
    rig.run_for(0s);
    REQUIRE(rig.events.size() == 1);
    CHECK(rig.events[0].second.why == Why::in_vain);
    CHECK(rig.health.placed() == std::vector<bool>{false, true});
    CHECK(rig.health.strands_openings(0));
    CHECK_FALSE(rig.health.ends_flows(0));
    rig.health.see(rig.now, 1, {.openings = 1, .repeats = 9});
    CHECK(rig.health.placed() == std::vector<bool>{false, false});
    rig.answers[1] = CheckResult::failed;
    rig.run_for(3s);
    CHECK(rig.health.placed() == std::vector<bool>{false, true});
}

TEST_CASE("what clients tried before a bridge is gone counts, as far as nothing was heard of it since") {
    Rig rig;
    rig.health.see(rig.now, 0, {.openings = 9, .repeats = 2});
    rig.run_for(5s);
    rig.answers[0] = CheckResult::silent;
    rig.run_for(20s);
    REQUIRE(rig.health.state(0) == HealthState::gone);
    CHECK(rig.out() == 0);

    Rig tried({.fall = 1});
    tried.run_for(5s);
    tried.answers[0] = CheckResult::silent;
    while (tried.health.state(0) == HealthState::up) tried.run_for(10ms);
    tried.health.see(tried.now, 0, {.openings = 9, .repeats = 3});
    CHECK(tried.out() == 0);
    while (tried.health.state(0) == HealthState::ill) tried.run_for(10ms);
    CHECK(tried.out() == 1);
    REQUIRE(tried.events.size() == 3);
    CHECK(tried.events.back().second.why == Why::in_vain);
}

TEST_CASE("openings without anything to repeat are in vain when none was answered for five seconds") {
    Rig rig;
    rig.answers[0] = CheckResult::silent;
    rig.run_for(20s);
    rig.health.see(rig.now, 0, {.openings = 2});
    rig.run_for(60s);
    CHECK(rig.out() == 0);
    rig.health.see(rig.now, 0, {.answers = 1});
    rig.run_for(10s);
    REQUIRE(rig.health.state(0) == HealthState::gone);
    rig.health.see(rig.now, 0, {.openings = 3});
    rig.run_for(4999ms);
    CHECK(rig.out() == 0);
    rig.run_for(1ms);
    CHECK(rig.out() == 1);
}

TEST_CASE("a gone bridge that clients try in vain is out whatever max_ejection_percent says") {
    Rig rig({.max_ejection_percent = 25}, 4);
    rig.answers[0] = CheckResult::silent;
    rig.run_for(20s);
    rig.answers[1] = CheckResult::silent;
    rig.run_for(20s);
    CHECK(rig.health.placed() == std::vector<bool>{false, true, true, true});
    rig.health.see(rig.now, 1, {.openings = 3, .repeats = 3});
    CHECK(rig.health.placed() == std::vector<bool>{true, false, true, true});
    rig.health.see(rig.now, 0, {.openings = 3, .repeats = 3});
    CHECK(rig.health.placed() == std::vector<bool>{false, false, true, true});
}

TEST_CASE("without a panic threshold a service may have no bridge left") {
    Rig rig({.panic_threshold_percent = 0}, 3);
    std::ranges::fill(rig.answers, CheckResult::silent);
    rig.run_for(20s);
    CHECK(rig.out() == 3);
}

TEST_CASE("a bridge that is back gets its rows over slow_start, one that was never out has them all") {
    Rig rig({.slow_start = 60s}, 2);
    CHECK(rig.health.share(0) == 1);
    rig.answers[0] = CheckResult::failed;
    rig.run_for(20s);
    rig.answers[0] = CheckResult::passed;
    while (rig.health.state(0) != HealthState::up) rig.run_for(10ms);
    double before = 0;
    for (int i = 0; i < 60; ++i) {
        const double share = rig.health.share(0);
        CHECK(share > before);
        CHECK(share < 1);
        before = share;
        CHECK_FALSE(rig.health.take_growth());
        rig.run_for(1s);
        CHECK(rig.health.take_growth());
    }
    CHECK(rig.health.share(0) == 1);
    CHECK(rig.health.share(1) == 1);
    rig.run_for(60s);
    CHECK_FALSE(rig.health.take_growth());
}

TEST_CASE("a bridge that is back while no other has all its rows has its own at once, and keeps them") {
    Rig rig({.slow_start = 60s, .panic_threshold_percent = 0}, 2);
    std::ranges::fill(rig.answers, CheckResult::failed);
    rig.run_for(20s);
    rig.answers[0] = CheckResult::passed;
    while (rig.health.state(0) != HealthState::up) rig.run_for(10ms);
    CHECK(rig.health.share(0) == 1);
    rig.answers[1] = CheckResult::passed;
    while (rig.health.state(1) != HealthState::up) rig.run_for(10ms);
    CHECK(rig.health.share(1) < 0.1);
    rig.run_for(10s);
    CHECK(rig.health.share(1) > 0.1);
    // The one that has served meanwhile goes: who is coming back has to do.
    (void)rig.health.take_growth();
    rig.answers[0] = CheckResult::failed;
    while (rig.health.state(0) == HealthState::up) rig.run_for(10ms);
    CHECK(rig.health.share(1) == 1);
    CHECK(rig.health.take_growth());
    rig.answers[0] = CheckResult::passed;
    while (rig.health.state(0) != HealthState::up) rig.run_for(10ms);
    CHECK(rig.health.share(1) == 1);
    CHECK(rig.health.share(0) < 0.1);
}

TEST_CASE("in a panic nobody is started slowly") {
    Rig rig({.slow_start = 60s, .panic_threshold_percent = 100}, 3);
    rig.answers[0] = rig.answers[1] = CheckResult::failed;
    rig.run_for(20s);
    rig.answers[0] = CheckResult::passed;
    while (rig.health.state(0) != HealthState::up) rig.run_for(10ms);
    CHECK(rig.health.panics());
    CHECK(rig.health.share(0) == 1);
    rig.answers[1] = CheckResult::passed;
    while (rig.health.state(1) != HealthState::up) rig.run_for(10ms);
    CHECK_FALSE(rig.health.panics());
    CHECK(rig.health.share(0) == 1);
    CHECK(rig.health.share(1) < 0.1);
}

TEST_CASE("each change is told once, and the changes of a bridge follow one from the other") {
    for (std::uint32_t seed = 0; seed < 20; ++seed) {
        CAPTURE(seed);
        std::mt19937 random(seed);
        Rig rig({.interval = 1s, .timeout = 500ms}, 5, seed);
        std::vector<HealthState> known(5, HealthState::up);
        for (int i = 0; i < 500; ++i) {
            rig.answers[random() % 5] = static_cast<CheckResult>(random() % 3);
            if (random() % 4 == 0)
                rig.health.see(rig.now, random() % 5,
                               {.answers = random() % 2, .refusals = random() % 3, .repeats = random() % 3});
            rig.run_for(std::chrono::milliseconds(random() % 1500));
            for (const auto& [when, event] : rig.events) {
                REQUIRE(event.was == known[event.bridge]);
                REQUIRE((event.is != event.was) == (event.why != Why::in_vain));
                known[event.bridge] = event.is;
            }
            rig.events.clear();
            for (std::size_t bridge = 0; bridge < 5; ++bridge)
                REQUIRE(rig.health.state(bridge) == known[bridge]);
        }
    }
}
