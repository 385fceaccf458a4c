#include "libsplice/ops/host_facts.hpp"

#include <doctest/doctest.h>

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
                .silent = silent,
                .ground = ground};
    }
};

Instant at(Duration time) {
    return {.monotonic = 1000s + time, .unix_s = 0};
}

using Lines = std::vector<std::string>;

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
    CHECK(facts.repairs().empty());
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
