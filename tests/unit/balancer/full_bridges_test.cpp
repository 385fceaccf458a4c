#include "balancer/control/full_bridges.hpp"

#include <doctest/doctest.h>

#include "balancer/setup.hpp"

using namespace splice;

namespace {

// One service over two bridges, of which the first may have a hundred connections.
struct Rig {
    Rig() {
        ServiceConfig service;
        service.name = "cdn";
        service.vip = Endpoint::parse("192.0.2.10:80").value();
        service.bridges = {{.name = "b1", .address = IpAddress::from_ipv4(1), .max_connections = 100},
                           {.name = "b2", .address = IpAddress::from_ipv4(2)}};
        config.services.push_back(service);
        for (const BridgeConfig& bridge : service.bridges) {
            ChannelState& state = report[bridge.address];
            state.answered = state.presence_at = 1s;
            state.presence.emplace().services = {{.dscp = 1, .vip = service.vip, .connections = 0}};
        }
    }
    // What is told at that time, with so many connections of the first.
    std::vector<FullBridges::Line> look(Duration now, std::uint32_t connections) {
        report.at(IpAddress::from_ipv4(1)).presence->services[0].connections = connections;
        return bridges.look(now, config, report);
    }
    [[nodiscard]] bool is_full() const { return bridges.names().contains({"cdn", "b1"}); }

    BalancerConfig config;
    ChannelReport report;
    FullBridges bridges;
};

}  // namespace

TEST_CASE("a bridge is full from its bound on, and until a twentieth below it") {
    Rig rig;
    CHECK(rig.look(1s, 99).empty());
    CHECK_FALSE(rig.is_full());
    const auto lines = rig.look(2s, 100);
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].text ==
          "service cdn: bridge b1 has 100 connections, and max_connections is 100: new keys go "
          "to their next choices until it has 95");
    CHECK(rig.is_full());
    CHECK(rig.look(3s, 96).empty());
    CHECK(rig.is_full());
    CHECK(rig.look(4s, 95).empty());
    CHECK_FALSE(rig.is_full());
    CHECK(rig.bridges.names().empty());
}

TEST_CASE("small bounds have room to come back, too") {
    CHECK(not_full_at(1) == 0);
    CHECK(not_full_at(2) == 1);
    CHECK(not_full_at(40) == 38);
    CHECK(not_full_at(kMostConnections) == kMostConnections / 20 * 19);
}

TEST_CASE("a bridge that goes up and down is told of once a minute") {
    Rig rig;
    CHECK(rig.look(1s, 100).size() == 1);
    for (Duration now = 2s; now < 59s; now += 2s) {
        CHECK(rig.look(now, 0).empty());
        CHECK(rig.look(now + 1s, 200).empty());
        CHECK(rig.is_full());
    }
    CHECK(rig.look(62s, 0).empty());
    CHECK(rig.look(63s, 200).size() == 1);
}

TEST_CASE("the channel's loss takes nobody out, nor does a count that nobody knows or of another service") {
    Rig rig;
    (void)rig.look(1s, 100);
    ChannelState& state = rig.report.at(IpAddress::from_ipv4(1));
    SUBCASE("one answer lost is none of that") {
        state.missed = kChannelMisses - 1;
        (void)rig.look(2s, 100);
        CHECK(rig.is_full());
    }
    SUBCASE("silent") {
        state.missed = kChannelMisses;
        (void)rig.look(2s, 100);
        CHECK_FALSE(rig.is_full());
    }
    SUBCASE("only its clock is told") {
        state.answered = 2s;
        (void)rig.look(2s, 100);
        CHECK_FALSE(rig.is_full());
    }
    SUBCASE("unknown") {
        (void)rig.look(2s, kConnectionsUnknown);
        CHECK_FALSE(rig.is_full());
    }
    SUBCASE("another service's") {
        state.presence->services[0].vip.port = 81;
        (void)rig.look(2s, 100);
        CHECK_FALSE(rig.is_full());
    }
    SUBCASE("no bound any more") {
        rig.config.services[0].bridges[0].max_connections = 0;
        (void)rig.look(2s, 100);
        CHECK_FALSE(rig.is_full());
    }
}

TEST_CASE("a service one of whose bridges has a bound weighs its choices, and who is full has its number") {
    Rig rig;
    (void)rig.look(1s, 100);
    BridgeIndex index;
    ServiceNumbers services;
    const auto setup =
        build_setup(rig.config, splice_secret{}, {.mtu = 1500, .now = 0s}, index, services).value();
    CHECK(setup->services[0].choice.weighs == 1);
    CHECK(full_bridges(rig.config, *setup, rig.bridges.names()) ==
          std::vector<FullBridge>{
              {.vip = rig.config.services[0].vip, .bridge = setup->services[0].bridges[0]}});
    rig.config.services[0].bridges[0].max_connections = 0;
    const auto without =
        build_setup(rig.config, splice_secret{}, {.mtu = 1500, .now = 0s}, index, services).value();
    CHECK(without->services[0].choice.weighs == 0);
}
