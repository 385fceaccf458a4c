#include "libsplice/ops/host_facts.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

using namespace splice;
using namespace std::chrono_literals;

namespace {

// A fact that a test breaks.
struct Thing {
    bool is_there = true;
    bool refuses = false;
    int puts = 0;
    int undone = 0;
    int looks = 0;

    HostFact fact(const std::string& words, bool silent = false, bool ground = false) {
        return {.kind = "thing",
                .words = words,
                .observe = [this]() -> std::optional<std::string> {
                    ++looks;
                    return is_there ? std::nullopt : std::optional<std::string>("is gone");
                },
                .put_right = [this]() -> SystemResult<void> {
                    ++puts;
                    if (refuses) return std::unexpected(SystemError{"the system refuses", EPERM});
                    is_there = true;
                    return {};
                },
                .undo =
                    [this] {
                        ++undone;
                        is_there = false;
                    },
                .silent = silent,
                .ground = ground};
    }
};

Instant at(Duration time) {
    return {.monotonic = 1000s + time, .unix_s = 0};
}

using Lines = std::vector<std::string>;

// Every kind is counted from 0 on.
bool none_repaired(const HostFacts& facts) {
    const auto repairs = facts.repairs();
    return !repairs.empty() &&
           std::ranges::all_of(repairs, [](const auto& each) { return each.second == 0; });
}

}  // namespace

TEST_CASE("a fact that is lost is put right, told once and counted") {
    Thing thing;
    HostFacts facts;
    facts.replace({thing.fact("the thing")});
    CHECK(facts.look(at(0s), true).warnings.empty());
    thing.is_there = false;
    CHECK(facts.look(at(1s), true).warnings == Lines{"the thing is gone: put right"});
    CHECK(facts.look(at(2s), true).warnings.empty());
    CHECK(facts.repairs().at("thing") == 1);
    CHECK(facts.reasons().empty());
}

TEST_CASE("a fact that cannot be put right is a reason, told at once, every minute, and when it is over") {
    Thing thing;
    HostFacts facts;
    facts.replace({thing.fact("the thing")});
    thing.is_there = false;
    thing.refuses = true;
    const std::string words = "the thing is gone: the system refuses";
    CHECK(facts.look(at(0s), true).warnings == Lines{words});
    CHECK(facts.reasons() == Lines{words});
    CHECK(facts.look(at(30s), false).warnings.empty());
    CHECK(facts.look(at(60s), false).warnings == Lines{words});
    CHECK(thing.puts == 3);  // it is tried at every look
    thing.is_there = true;
    CHECK(facts.look(at(61s), false).infos == Lines{"the thing is as it should be again"});
    CHECK(facts.reasons().empty());
    CHECK(none_repaired(facts));
}

TEST_CASE("a program that undoes the repair again and again is told of, and the repair slows down") {
    Thing thing;
    HostFacts facts;
    facts.replace({thing.fact("the thing")});
    Duration now{};
    for (int i = 0; i < 5; ++i, now += 1s) {
        thing.is_there = false;
        CHECK(facts.look(at(now), true).warnings == Lines{"the thing is gone: put right"});
    }
    thing.is_there = false;
    const Lines told = facts.look(at(now), true).warnings;
    REQUIRE(told.size() == 1);
    CHECK(told[0].find("for the 6th time within a minute: another program undoes") != std::string::npos);
    thing.is_there = false;
    CHECK(facts.look(at(now + 9s), true).warnings.empty());
    CHECK(thing.puts == 6);
    CHECK(facts.reasons() == Lines{"the thing is gone"});
    CHECK(facts.look(at(now + 10s), true).warnings.empty());  // told already
    CHECK(thing.puts == 7);
    // A minute of peace, and it is an ordinary loss again.
    thing.is_there = false;
    CHECK(facts.look(at(now + 100s), true).warnings == Lines{"the thing is gone: put right"});
}

TEST_CASE("a short look asks for what sends no notice, and for what is wrong") {
    Thing loud, silent;
    HostFacts facts;
    facts.replace({loud.fact("the loud"), silent.fact("the silent", true)});
    facts.look(at(0s), false);
    CHECK(loud.looks == 0);
    CHECK(silent.looks == 1);
    loud.is_there = false;
    loud.refuses = true;
    facts.look(at(1s), true);
    CHECK(loud.looks == 1);
    facts.look(at(2s), false);
    CHECK(loud.looks == 2);
}

TEST_CASE("while the ground is missing, nothing that stands on it is tried") {
    Thing ground, thing;
    HostFacts facts;
    facts.replace({ground.fact("the ground", false, true), thing.fact("the thing")});
    ground.is_there = thing.is_there = false;
    ground.refuses = true;
    CHECK(facts.look(at(0s), true).warnings == Lines{"the ground is gone: the system refuses"});
    CHECK(thing.puts == 0);
    ground.is_there = true;
    CHECK(facts.look(at(1s), true).warnings == Lines{"the thing is gone: put right"});
}

TEST_CASE("a fact that stays over a reload keeps what is known of it; one that goes is forgotten") {
    Thing thing, other;
    HostFacts facts;
    facts.replace({thing.fact("the thing"), other.fact("the other")});
    thing.is_there = other.is_there = false;
    thing.refuses = other.refuses = true;
    CHECK(facts.look(at(0s), true).warnings.size() == 2);
    facts.replace({thing.fact("the thing")});
    CHECK(facts.reasons() == Lines{"the thing is gone: the system refuses"});
    CHECK(facts.look(at(1s), true).warnings.empty());  // told already
}

TEST_CASE("a start makes what is missing, in its order, and a stop takes that away, the last first") {
    std::string diary;
    const auto fact = [&](const std::string& name, bool is_there) -> HostFact {
        return {.kind = "thing",
                .words = name,
                .observe =
                    [is_there] { return is_there ? std::nullopt : std::optional<std::string>("is missing"); },
                .put_right = [&diary, name]() -> SystemResult<void> {
                    diary += "+" + name;
                    return {};
                },
                .undo = [&diary, name] { diary += "-" + name; }};
    };
    HostFacts facts;
    CHECK(facts.establish({fact("a", false), fact("b", true), fact("c", false)}).has_value());
    CHECK(diary == "+a+c");
    // It is no repair.
    CHECK(none_repaired(facts));
    // What was there before us stays.
    facts.undo();
    CHECK(diary == "+a+c-c-a");
    facts.undo();
    CHECK(diary == "+a+c-c-a");
}

TEST_CASE("a change that the system refuses leaves the list and the host as they were") {
    Thing first{.is_there = false}, second{.is_there = false}, third{.is_there = false, .refuses = true};
    HostFacts facts;
    REQUIRE(facts.establish({first.fact("the first")}).has_value());
    const auto refused =
        facts.establish({first.fact("the first"), second.fact("the second"), third.fact("the third")});
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error() == "the third is gone: the system refuses");
    CHECK(first.undone == 0);
    CHECK(second.puts == 1);
    CHECK(second.undone == 1);
    CHECK(third.undone == 0);
    // It watches the first alone.
    first.is_there = false;
    CHECK(facts.look(at(0s), true).warnings == Lines{"the first is gone: put right"});
}

TEST_CASE("what a change no longer names is undone if it was made here, by a start or by a repair") {
    Thing kept{.is_there = false}, dropped{.is_there = false}, found, repaired;
    HostFacts facts;
    REQUIRE(facts
                .establish({kept.fact("the kept"), dropped.fact("the dropped"), found.fact("the found"),
                            repaired.fact("the repaired")})
                .has_value());
    repaired.is_there = false;
    (void)facts.look(at(0s), true);
    facts.replace({kept.fact("the kept")});
    CHECK(kept.undone == 0);
    CHECK(dropped.undone == 1);
    CHECK(found.undone == 0);
    CHECK(repaired.undone == 1);
    facts.undo();
    CHECK(kept.undone == 1);
}

TEST_CASE("what may wait keeps no start from going on, and is told") {
    Thing thing{.is_there = false, .refuses = true};
    HostFact waits = thing.fact("the thing");
    waits.may_wait = true;
    HostFacts facts;
    REQUIRE(facts.establish({waits}).has_value());
    CHECK(thing.puts == 1);
    CHECK(facts.look(at(0s), true).warnings == Lines{"the thing is gone: the system refuses"});
    CHECK(facts.reasons() == Lines{"the thing is gone: the system refuses"});
    thing.is_there = true;
    CHECK(facts.look(at(1s), true).infos == Lines{"the thing is as it should be again"});
    facts.undo();
    CHECK(thing.undone == 0);
}

TEST_CASE("what may wait is put right at the start where the system lets it, and undone at the end") {
    Thing thing{.is_there = false};
    HostFact waits = thing.fact("the thing");
    waits.may_wait = true;
    HostFacts facts;
    REQUIRE(facts.establish({waits}).has_value());
    CHECK(thing.is_there);
    CHECK(facts.look(at(0s), true).warnings.empty());
    facts.undo();
    CHECK(thing.undone == 1);
}

TEST_CASE("a fact that follows what the host has is news each time, no repair and no fight") {
    Thing thing;
    HostFact follower = thing.fact("the thing");
    follower.follows = true;
    HostFacts facts;
    REQUIRE(facts.establish({follower}).has_value());
    for (int i = 0; i < 10; ++i) {
        thing.is_there = false;
        const HostReport report = facts.look(at(std::chrono::seconds(i)), true);
        CHECK(report.infos == Lines{"the thing is gone: put right"});
        CHECK(report.warnings.empty());
        CHECK(thing.is_there);
    }
    CHECK(none_repaired(facts));
}
