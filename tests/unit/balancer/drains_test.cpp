#include "balancer/control/drains.hpp"

#include <doctest/doctest.h>

#include <utility>

#include "balancer/setup.hpp"

using namespace splice;

namespace {

IpAddress address(const char* text) {
    return IpAddress::parse(text).value();
}

std::vector<std::string> texts(const std::vector<LogMessage>& lines) {
    std::vector<std::string> all;
    for (const LogMessage& line : lines) all.push_back(line.text);
    return all;
}

// Two services over the same two bridges.
struct Rig {
    Rig() {
        for (const char* vip : {"192.0.2.10:80", "192.0.2.11:80"}) {
            ServiceConfig service;
            service.name = vip;
            service.vip = Endpoint::parse(vip).value();
            service.bridges = {{"b1", address("192.0.2.21")}, {"b2", address("192.0.2.22")}};
            config.services.push_back(service);
        }
    }

    std::vector<std::string> replace(Duration now) {
        const auto setup =
            build_setup(config, splice_secret{}, {.mtu = 1500, .now = 0s}, index, services).value();
        return texts(drains.replace(config, *setup, now));
    }
    std::vector<std::string> look(Duration as_of) {
        return texts(drains.look([&] {
            asked++;
            FlowCounts now = counts;
            now.set_as_of(as_of);
            return now;
        }));
    }
    // A connection of the first service's first bridge.
    [[nodiscard]] static splice_flow_entry flow() {
        splice_flow_entry entry{};
        entry.state = SPLICE_FLOW_OPEN;
        entry.service = 1;
        entry.bridge = 0;
        return entry;
    }
    BridgeState& state() { return config.services[0].bridges[0].state; }

    BalancerConfig config;
    BridgeIndex index;
    ServiceNumbers services;
    FlowCounts counts;
    Drains drains;
    int asked = 0;
};

const std::string kBegins = "service 192.0.2.10:80: bridge b1 is drain, was ready";
const std::string kEmpty = "service 192.0.2.10:80: bridge b1 (drain) is empty: no connection is open";

}  // namespace

TEST_CASE("nothing is told and nothing counted while no bridge drains") {
    Rig rig;
    CHECK(rig.replace(1s).empty());
    CHECK(rig.look(2s).empty());
    CHECK(rig.asked == 0);
}

TEST_CASE("a draining bridge is told to be empty once, when its last connection is gone") {
    Rig rig;
    rig.replace(0s);
    rig.counts.add(Rig::flow());
    rig.state() = BridgeState::drain;
    CHECK(rig.replace(1s) == std::vector{kBegins});
    CHECK(rig.look(2s).empty());
    rig.counts.remove(Rig::flow());
    CHECK(rig.look(3s) == std::vector{kEmpty});
    CHECK(rig.look(4s).empty());
    CHECK(rig.asked == 2);
    // A reload that changes nothing of it is no news.
    CHECK(rig.replace(5s).empty());
    CHECK(rig.look(6s).empty());
}

TEST_CASE("what was counted before the bridge began to drain does not tell that it is empty") {
    Rig rig;
    rig.state() = BridgeState::drain;
    rig.replace(10s);
    CHECK(rig.look(9s).empty());
    CHECK(rig.look(10s) == std::vector{kEmpty});
}

TEST_CASE("the same bridge's connections in another service are none of this one's") {
    Rig rig;
    splice_flow_entry other = Rig::flow();
    other.service = 2;
    rig.counts.add(other);
    rig.state() = BridgeState::drain;
    rig.replace(0s);
    CHECK(rig.look(1s) == std::vector{kEmpty});
}

TEST_CASE("a connection whose client has closed does not keep a bridge from being empty, and is told of") {
    Rig rig;
    splice_flow_entry closed = Rig::flow();
    closed.flags = SPLICE_FLOW_CLIENT_FIN;
    rig.counts.add(closed);
    rig.state() = BridgeState::drain;
    rig.replace(0s);
    CHECK(rig.look(1s) == std::vector{kEmpty + "; 1 that clients have closed may still be answered"});
}

TEST_CASE("a bridge that drains again is told to be empty again") {
    Rig rig;
    rig.state() = BridgeState::drain;
    rig.replace(0s);
    CHECK(rig.look(1s).size() == 1);
    rig.state() = BridgeState::ready;
    CHECK(rig.replace(2s) ==
          std::vector<std::string>{"service 192.0.2.10:80: bridge b1 is ready, was drain"});
    CHECK(rig.look(3s).empty());
    rig.state() = BridgeState::drain;
    rig.replace(4s);
    CHECK(rig.look(5s).size() == 1);
}

TEST_CASE("weight 0 drains, too; a bridge that is down does not") {
    Rig rig;
    rig.config.services[0].bridges[0].weight = 0;
    rig.config.services[0].bridges[1].state = BridgeState::down;
    CHECK(rig.replace(0s).size() == 1);
    CHECK(rig.look(1s) == std::vector<std::string>{
                              "service 192.0.2.10:80: bridge b1 (weight 0) is empty: no connection is open"});
}
