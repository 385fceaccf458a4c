#include "balancer/setup.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>

#include "balancer/control/api.hpp"

using namespace splice;

namespace {

IpAddress address(const char* text) {
    return IpAddress::parse(text).value();
}

ServiceConfig service(const char* vip, std::vector<BridgeConfig> bridges) {
    ServiceConfig config;
    config.name = vip;
    config.vip = Endpoint::parse(vip).value();
    config.bridges = std::move(bridges);
    return config;
}

BalancerConfig two_bridges() {
    BalancerConfig config;
    config.services.push_back(
        service("192.0.2.10:80", {{"b1", address("192.0.2.21"), 1}, {"b2", address("192.0.2.22"), 3}}));
    return config;
}

std::shared_ptr<const SplicerSetup> rules_of(const BalancerConfig& config, BridgeIndex& index) {
    ServiceNumbers services;
    auto setup = build_setup(config, splice_secret{}, {.mtu = 1500, .now = 0s}, index, services);
    REQUIRE(setup.has_value());
    return *setup;
}

}  // namespace

TEST_CASE("the advertised MSS is the uplink's MTU less the family's headers, unless configured") {
    CHECK(mss_of_mtu(1500, 4) == 1460);
    CHECK(mss_of_mtu(1500, 6) == 1440);
    CHECK(mss_of_mtu(65536, 4) == 65495);
    CHECK(mss_of_mtu(20, 4) == 536);
    BalancerConfig config = two_bridges();
    BridgeIndex index;
    CHECK(rules_of(config, index)->services[0].mss == 1460);
    config.services[0].settings.mss = 1300;
    CHECK(rules_of(config, index)->services[0].mss == 1300);
}

TEST_CASE("lanes are there once every bridge has a number, and first payloads prove their clock 96 s later") {
    BalancerConfig config = two_bridges();
    BridgeIndex index;
    ServiceNumbers services;
    const auto built = [&](Duration now, const SplicerSetup* running) {
        return build_setup(config, splice_secret{}, {.mtu = 1500, .now = now, .running = running}, index,
                           services)
            .value();
    };
    config.services[0].bridges[0].number = 7;
    const auto without = built(100s, nullptr);
    CHECK(without->services[0].keyed_clock);
    CHECK_FALSE(without->services[0].lanes);
    config.services[0].bridges[1].number = 8;
    const auto with = built(200s, without.get());
    CHECK(with->services[0].lanes);
    CHECK(with->services[0].proves_from_s == 296);
    CHECK(built(250s, with.get())->services[0].proves_from_s == 296);
    const Lanes lanes = lanes_of(*with);
    CHECK(lanes[0][7] == 0);
    CHECK(lanes[0][8] == 1);
    CHECK(lanes[0][9] == SPLICE_NO_BRIDGE);
    CHECK(lanes[1][7] == SPLICE_NO_BRIDGE);
    config.services[0].timestamps = Timestamps::plain;
    CHECK_FALSE(built(300s, with.get())->services[0].keyed_clock);
    CHECK_FALSE(built(300s, with.get())->services[0].lanes);
}

TEST_CASE("services that share a bridge share its number") {
    BalancerConfig config = two_bridges();
    config.services.push_back(service("192.0.2.11:80", {{"other", address("192.0.2.22"), 1}}));
    BridgeIndex index;
    const auto setup = rules_of(config, index);
    REQUIRE(setup->bridges.size() == 2);
    CHECK(setup->bridges[1].name == "b2");
    CHECK(setup->services[1].placement->choose("x").bridges.choices[0] == 1);
}

TEST_CASE("a bridge of weight 0 is chosen by nobody, but has its number") {
    BalancerConfig config = two_bridges();
    config.services[0].bridges[0].weight = 0;
    BridgeIndex index;
    const auto setup = rules_of(config, index);
    CHECK(setup->bridges[0].address == address("192.0.2.21"));
    for (const splice_placement_row& row : setup->services[0].placement->rows()) {
        REQUIRE(row.choices[0] == 1);
        REQUIRE(row.choices[1] == SPLICE_NO_BRIDGE);
    }
}

TEST_CASE("a bridge that drains or is down loses its rows to their next choices, and no other row moves") {
    BalancerConfig config = two_bridges();
    config.services[0].bridges.push_back({"b3", address("192.0.2.23"), 2});
    config.services[0].bridges.push_back({"b4", address("192.0.2.24"), 1});
    BridgeIndex index;
    const auto before = rules_of(config, index);
    for (const BridgeState state : {BridgeState::drain, BridgeState::down}) {
        CAPTURE(to_string(state));
        config.services[0].bridges[1].state = state;
        const auto after = rules_of(config, index);
        CHECK(after->services[0].down ==
              (state == BridgeState::down ? std::vector<std::uint16_t>{1} : std::vector<std::uint16_t>{}));
        const auto was = before->services[0].placement->rows();
        const auto is = after->services[0].placement->rows();
        std::size_t moved = 0;
        for (std::size_t row = 0; row < was.size(); row++) {
            std::vector<std::uint16_t> left;
            for (const std::uint16_t choice : was[row].choices) {
                if (choice != 1) left.push_back(choice);
            }
            moved += was[row].choices[0] == 1;
            REQUIRE(is[row].choices[0] == left[0]);
            REQUIRE(is[row].choices[1] == left[1]);
        }
        CHECK(moved > was.size() / 3);  // 3 of 7 by its weight
    }
    config.services[0].bridges[1].state = BridgeState::ready;
    const auto again = rules_of(config, index);
    CHECK(std::ranges::equal(
        again->services[0].placement->rows(), before->services[0].placement->rows(), {},
        [](const splice_placement_row& row) { return std::to_array(row.choices); },
        [](const splice_placement_row& row) { return std::to_array(row.choices); }));
}

TEST_CASE("a bridge that a reload removed is no longer chosen, and its flows still find it") {
    BalancerConfig config = two_bridges();
    BridgeIndex index;
    (void)rules_of(config, index);
    config.services[0].bridges.erase(config.services[0].bridges.begin());
    const auto setup = rules_of(config, index);
    CHECK(setup->bridges[0].address == address("192.0.2.21"));
    CHECK(setup->services[0].placement->choose("x").bridges.choices[0] == 1);
}

TEST_CASE("the flow table keeps entries for the longest idle_timeout of all services") {
    BalancerConfig config = two_bridges();
    config.services.push_back(service("192.0.2.11:80", {{"b1", address("192.0.2.21"), 1}}));
    config.services[0].settings.idle_timeout = 10s;
    config.services[1].settings.idle_timeout = 1500ms;
    BridgeIndex index;
    CHECK(rules_of(config, index)->timeouts.open_s == 10);
    config.services[0].settings.idle_timeout = 1200ms;
    CHECK(rules_of(config, index)->timeouts.open_s == 2);
}

TEST_CASE("ketama places a bridge by its server, else by its address as nginx's list would name it") {
    const BridgeConfig ipv4{"b1", address("192.0.2.21"), 1, 0, {}},
        ipv6{"b6", address("2001:db8::21"), 1, 0, {}};
    CHECK(ketama_server(ipv4, 80) == "192.0.2.21");
    CHECK(ketama_server(ipv4, 8080) == "192.0.2.21:8080");
    CHECK(ketama_server(ipv6, 80) == "[2001:db8::21]");
    CHECK(ketama_server(ipv6, 443) == "[2001:db8::21]:443");
    const BridgeConfig named{"b1", address("192.0.2.21"), 1, 0, "192.0.2.31:80"};
    CHECK(ketama_server(named, 80) == "192.0.2.31:80");
    CHECK(ketama_server(named, 8080) == "192.0.2.31:80");
}

TEST_CASE("the shares of a table follow the weights and sum up to 1") {
    for (const Algorithm algorithm : {Algorithm::rendezvous, Algorithm::maglev, Algorithm::ketama}) {
        CAPTURE(to_string(algorithm));
        BalancerConfig config = two_bridges();
        config.services[0].algorithm = algorithm;
        BridgeIndex index;
        const auto setup = rules_of(config, index);
        const auto shares = first_choice_shares(setup->services[0]);
        REQUIRE(shares.size() == 2);
        CHECK(shares[0] + shares[1] == doctest::Approx(1.0));
        CHECK(shares[0] == doctest::Approx(0.25).epsilon(0.2));
    }
}

TEST_CASE("a reload keeps the tables of a service whose bridges are what they were") {
    for (const bool shadowed : {false, true}) {
        CAPTURE(shadowed);
        BalancerConfig config = two_bridges();
        config.services[0].key = HashKeyRule{};
        if (shadowed) {
            config.services[0].shadow = ShadowConfig{.key = {}, .algorithm = Algorithm::maglev};
            config.services[0].ramp = 0.5;
        }
        BridgeIndex index;
        ServiceNumbers services;
        const auto before = rules_of(config, index);
        const auto after = [&] {
            return build_setup(config, splice_secret{}, {.mtu = 1500, .now = 0s, .running = before.get()},
                               index, services)
                .value()
                ->services[0];
        };
        CHECK(after().placement == before->services[0].placement);
        if (shadowed) CHECK(after().shadow->placement == before->services[0].shadow->placement);
        if (shadowed) {
            config.services[0].ramp = 0.25;
            CHECK(after().placement != before->services[0].placement);
            CHECK(after().shadow->before == before->services[0].shadow->before);
        }
        config.services[0].bridges[0].weight = 7;
        CHECK(after().placement != before->services[0].placement);
    }
}

TEST_CASE("a ramp over the same key stands in the table, one over another key does not") {
    BalancerConfig config = two_bridges();
    config.services[0].key = HashKeyRule{};
    config.services[0].shadow = ShadowConfig{.key = {}, .algorithm = Algorithm::maglev};
    config.services[0].ramp = 0.5;
    BridgeIndex index;
    auto setup = rules_of(config, index);
    REQUIRE(setup->services[0].shadow);
    CHECK(setup->services[0].shadow->in_table);
    CHECK(setup->services[0].watch);
    std::size_t moved = 0;
    std::size_t differ = 0;
    const SplicerService& service = setup->services[0];
    for (std::uint32_t row = 0; row < service.placement->rows().size(); ++row) {
        const auto then = service.shadow->placement->row(row).choices[0];
        if (service.shadow->before->row(row).choices[0] == then) continue;
        ++differ;
        if (service.placement->row(row).choices[0] == then) ++moved;
    }
    REQUIRE(differ > 0);
    CHECK(static_cast<double>(moved) / static_cast<double>(differ) == doctest::Approx(0.5).epsilon(0.05));
    config.services[0].shadow->key = HashKeyRule::parse("path").value();
    setup = rules_of(config, index);
    CHECK_FALSE(setup->services[0].shadow->in_table);
    CHECK(setup->services[0].placement == setup->services[0].shadow->before);
}
