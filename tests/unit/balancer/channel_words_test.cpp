#include "balancer/control/channel_words.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace splice;

namespace {

IpAddress address(const char* text) {
    return IpAddress::parse(text).value();
}

// One service over two bridges, both of which answer and fit.
struct Rig {
    Rig() {
        ServiceConfig service;
        service.name = "cdn";
        service.vip = Endpoint::parse("192.0.2.10:80").value();
        service.dscp = 3;
        service.bridges = {{.name = "b1", .address = address("192.0.2.21"), .number = 1},
                           {.name = "b2", .address = address("192.0.2.22"), .number = 2}};
        config.services.push_back(service);
        own.count = 1;
        own.keys = {77, 0};
        own.lane = 5;
        for (const BridgeConfig& bridge : service.bridges) {
            ChannelState& state = report[bridge.address];
            state.answered = state.presence_at = 9s;
            state.round_trip = 1ms;
            ChannelPresence& presence = state.presence.emplace();
            presence.version = SPLICELB_VERSION;
            presence.number = bridge.number;
            presence.secret = own;
            presence.services_in_all = 1;
            presence.services = {{.dscp = 3,
                                  .vip = service.vip,
                                  .window_scale = kWindowScale,
                                  .backend = ChannelBackend::takes}};
        }
    }
    ChannelState& state(std::size_t bridge) { return report.at(config.services[0].bridges[bridge].address); }
    ChannelPresence& presence(std::size_t bridge) { return *state(bridge).presence; }
    [[nodiscard]] ChannelSubject subject(std::size_t bridge) {
        return {config.services[0], config.services[0].bridges[bridge], &state(bridge), own};
    }
    std::vector<ChannelWords::Line> tell() { return words.tell(config, report, own); }
    // That the first bridge has this trouble alone, and its words.
    std::string only(ChannelTrouble trouble) {
        CHECK(troubles_of(subject(0)) == bit_of(trouble));
        return describe(trouble, subject(0));
    }

    BalancerConfig config;
    ChannelFingerprints own;
    ChannelReport report;
    ChannelWords words;
};

}  // namespace

TEST_CASE("a bridge that fits has no trouble, and the log says nothing") {
    Rig rig;
    CHECK(troubles_of(rig.subject(0)) == 0);
    CHECK(rig.tell().empty());
}

TEST_CASE("a bridge that was not asked often enough is not known to be silent; after three questions it is") {
    Rig rig;
    rig.state(0) = {};
    rig.state(0).missed = kChannelMisses - 1;
    CHECK(troubles_of(rig.subject(0)) == 0);
    rig.state(0).missed = kChannelMisses;
    CHECK(rig.only(ChannelTrouble::no_answer).contains("no answer on UDP port 20531"));
}

TEST_CASE("secrets: each side needs the other's first key, at any place") {
    Rig rig;
    auto& theirs = rig.presence(0).secret;
    theirs.count = 2;
    theirs.keys = {77, 99};
    CHECK(troubles_of(rig.subject(0)) == 0);
    // The bridge's refusals are sealed by 99.
    theirs.keys = {99, 77};
    CHECK(rig.only(ChannelTrouble::secret).contains("the first key of its secret (00000063)"));
    rig.own.count = 2;
    rig.own.keys = {77, 99};
    CHECK(troubles_of(rig.subject(0)) == 0);
    theirs.count = 1;
    theirs.keys = {99, 0};
    CHECK(rig.only(ChannelTrouble::secret)
              .contains("lacks the first key of this balancer's secret (0000004d)"));
}

TEST_CASE("lane keys matter where there are lanes") {
    Rig rig;
    rig.presence(0).secret.lane = 6;
    CHECK(rig.only(ChannelTrouble::lane_key).contains("lane key"));
    rig.config.services[0].timestamps = Timestamps::plain;
    CHECK(troubles_of(rig.subject(0)) == 0);
}

TEST_CASE("clocks: two seconds apart beyond the doubt of the way, and by how much") {
    Rig rig;
    rig.state(0).clock_ahead_ms = 2000;
    CHECK(troubles_of(rig.subject(0)) == 0);
    rig.state(0).clock_ahead_ms = -65'432;
    CHECK(rig.only(ChannelTrouble::clock).contains("65.4 s behind this host's"));
    rig.state(0).clock_ahead_ms = 2300;
    CHECK(rig.only(ChannelTrouble::clock).contains("2.3 s ahead of this host's"));
    rig.state(0).round_trip = 800ms;
    CHECK(troubles_of(rig.subject(0)) == 0);
}

TEST_CASE("a bridge that tells only its clock is judged by that alone, not by what it said before") {
    Rig rig;
    rig.presence(0).number = 9;
    rig.state(0).answered = 20s;
    rig.state(0).clock_ahead_ms = 40'000;
    CHECK(troubles_of(rig.subject(0)) == bit_of(ChannelTrouble::clock));
}

TEST_CASE("numbers, windows, backends, versions and ends") {
    Rig rig;
    SUBCASE("another number") {
        rig.presence(0).number = 9;
        CHECK(rig.only(ChannelTrouble::number).contains("its number is 9, and here its number is 1"));
    }
    SUBCASE("none") {
        rig.presence(0).number = 0;
        CHECK(rig.only(ChannelTrouble::number).contains("it has no number, and here its number is 1"));
    }
    SUBCASE("none here: nobody expects one") {
        rig.config.services[0].bridges[0].number = 0;
        CHECK(troubles_of(rig.subject(0)) == 0);
    }
    SUBCASE("another window scale") {
        rig.presence(0).services[0].window_scale = 3;
        CHECK(rig.only(ChannelTrouble::window_scale).contains("window_scale for 3, and here it is 7"));
    }
    SUBCASE("a backend that takes nothing, which the log leaves to the bridge and to checks") {
        rig.presence(0).services[0].backend = ChannelBackend::takes_none;
        CHECK(rig.only(ChannelTrouble::backend).contains("takes no connections"));
        CHECK(rig.tell().empty());
    }
    SUBCASE("notes: nothing is wrong") {
        rig.presence(0).version = "9.9";
        CHECK(rig.only(ChannelTrouble::version).contains("its version is 9.9, this balancer's"));
        CHECK(is_note(ChannelTrouble::version));
        rig.presence(0).version = SPLICELB_VERSION;
        rig.presence(0).leaving = true;
        CHECK(rig.only(ChannelTrouble::leaving).contains("stopping"));
        CHECK(is_note(ChannelTrouble::leaving));
    }
}

TEST_CASE("services: missing, by another mark, the mark another's; unknown where not all were told") {
    Rig rig;
    auto& told = rig.presence(0).services;
    SUBCASE("by another mark") {
        told[0].dscp = 4;
        CHECK(rig.only(ChannelTrouble::service).contains("it has 192.0.2.10:80 by DSCP 4, and here it is 3"));
    }
    SUBCASE("the mark is another's") {
        told[0].vip.port = 81;
        CHECK(rig.only(ChannelTrouble::service).contains("DSCP 3 is 192.0.2.10:81 there"));
    }
    SUBCASE("missing") {
        told[0].vip.port = 81;
        told[0].dscp = 4;
        CHECK(rig.only(ChannelTrouble::service).contains("it has no service 192.0.2.10:80 (dscp 3)"));
        rig.presence(0).services_in_all = 2;
        CHECK(troubles_of(rig.subject(0)) == 0);
    }
}

TEST_CASE(
    "a trouble is told once, its end once, and a bridge that nobody wants connections from is not missed") {
    Rig rig;
    rig.presence(0).number = 9;
    const auto first = rig.tell();
    REQUIRE(first.size() == 1);
    CHECK(first[0].warns);
    CHECK(first[0].text.starts_with("channel: bridge b1 (192.0.2.21): its number is 9"));
    CHECK(rig.tell().empty());
    rig.state(0).clock_ahead_ms = 10'000;
    CHECK(rig.tell().size() == 1);
    rig.presence(0).number = 1;
    CHECK(rig.tell().empty());
    rig.state(0).clock_ahead_ms = 0;
    const auto last = rig.tell();
    REQUIRE(last.size() == 1);
    CHECK_FALSE(last[0].warns);
    CHECK(last[0].text == "channel: bridge b1 (192.0.2.21): is well again");
    rig.config.services[0].bridges[0].state = BridgeState::drain;
    rig.state(0).missed = 100;
    CHECK(rig.tell().empty());
}

TEST_CASE("a bridge of several services is told of once for its host, and for each service that is wrong") {
    Rig rig;
    rig.config.services.push_back(rig.config.services[0]);
    rig.config.services[1].name = "second";
    rig.config.services[1].vip.port = 8080;
    rig.config.services[1].dscp = 4;
    rig.presence(0).number = 9;
    rig.presence(0).services[0].dscp = 4;
    rig.presence(1).services.push_back(
        {.dscp = 4, .vip = rig.config.services[1].vip, .window_scale = kWindowScale});
    rig.presence(1).services_in_all = 2;
    const auto lines = rig.tell();
    CHECK(lines.size() == 3);
    CHECK(std::ranges::count_if(lines,
                                [](const auto& line) { return line.text.contains("its number is 9"); }) == 1);
    CHECK(std::ranges::count_if(
              lines, [](const auto& line) { return line.text.contains(", service second"); }) == 1);
}

TEST_CASE("many bridges at once are eight lines and a count") {
    Rig rig;
    for (unsigned i = 0; i < 100; ++i) {
        const IpAddress of = IpAddress::from_ipv4(0x0a000001 + i);
        rig.config.services[0].bridges.push_back({.name = "n" + std::to_string(i), .address = of});
        rig.report[of].missed = kChannelMisses;
    }
    const auto lines = rig.tell();
    CHECK(lines.size() == ChannelWords::kLines + 1);
    CHECK(lines.back().text == "channel: 92 more such lines: splicectl check lists all");
    CHECK(rig.tell().empty());
}
