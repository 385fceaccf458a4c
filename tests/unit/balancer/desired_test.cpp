#include "balancer/control/desired.hpp"

#include <doctest/doctest.h>

using namespace splice;

namespace {

BalancerConfig file() {
    return parse_balancer_config(R"(
ipam: 198.51.100.0/29
idle_timeout: 5m
services:
  - name: cdn
    vip: 192.0.2.10
    port: 80
    dscp: 1
    bridges:
      - { name: b1, address: 192.0.2.21, weight: 3 }
      - { name: b2, address: 192.0.2.22 }
  - name: tls
    vip: 192.0.2.10
    port: 443
    dscp: 2
    protocol: tls
    bridges: [{ name: b1, address: 192.0.2.21 }]
)",
                                 "balancer.yaml");
}

AddedBridge bridge(const std::string& service, const std::string& name, const std::string& address) {
    AddedBridge added{.uuid = new_uuid(), .service = service, .bridge = {}};
    added.bridge.name = name;
    added.bridge.address = IpAddress::parse(address).value();
    return added;
}

AddedService service(const std::string& name, int port, int dscp) {
    return {.uuid = new_uuid(),
            .name = name,
            .text = R"({"name":")" + name + R"(","vip":"198.51.100.1","port":)" + std::to_string(port) +
                    R"(,"dscp":)" + std::to_string(dscp) + "}"};
}

const BridgeConfig& find(const BalancerConfig& config, std::size_t service, std::size_t bridge) {
    return config.services.at(service).bridges.at(bridge);
}

}  // namespace

TEST_CASE("nothing changed is the file as it is") {
    const Desired none;
    CHECK(none.empty());
    const auto laid = none.over(file());
    REQUIRE(laid.has_value());
    CHECK(laid->notes.empty());
    CHECK(laid->config.services.size() == 2);
}

TEST_CASE("weights and states of the file's bridges go before the file's, and notes say so") {
    Desired desired;
    desired.set_weight("cdn", "b1", 9);
    desired.set_state("cdn", "b2", BridgeState::drain);
    auto laid = desired.over(file());
    REQUIRE(laid.has_value());
    CHECK(find(laid->config, 0, 0).weight == 9);
    CHECK(find(laid->config, 0, 1).state == BridgeState::drain);
    CHECK(find(laid->config, 1, 0).weight == 1);  // another service's bridge of that name
    REQUIRE(laid->notes.size() == 2);
    CHECK(laid->notes[0] == "service cdn: bridge b1 has weight 9 by the API, and not the file's 3");
    CHECK(laid->notes[1] == "service cdn: bridge b2 is set to drain by the API, and not to the file's ready");
    desired.unset_weight("cdn", "b1");
    desired.unset_state("cdn", "b2");
    CHECK(desired.empty());
}

TEST_CASE("a service of the API's has the file's defaults, bridges, and its UUID") {
    Desired desired;
    const AddedService added = service("new", 8080, 3);
    desired.add(added);
    desired.add(bridge("new", "n1", "192.0.2.31"));
    const auto laid = desired.over(file());
    REQUIRE(laid.has_value());
    REQUIRE(laid->config.services.size() == 3);
    const ServiceConfig& now = laid->config.services[2];
    CHECK(now.vip.to_string() == "198.51.100.1:8080");
    CHECK(now.settings.idle_timeout == 5min);
    CHECK(now.bridges.at(0).name == "n1");
    CHECK(desired.uuid_of("new") == added.uuid);
    CHECK(desired.uuid_of("cdn") == Desired().uuid_of("cdn"));
    CHECK(desired.uuid_of("cdn") != desired.uuid_of("tls"));
    CHECK(desired.uuid_of("cdn", "b1") != desired.uuid_of("tls", "b1"));
}

TEST_CASE("what is removed stays away though the file has it, until it is added again") {
    Desired desired;
    desired.remove("cdn", "b1", file());
    desired.remove("tls", file());
    auto laid = desired.over(file());
    REQUIRE(laid.has_value());
    REQUIRE(laid->config.services.size() == 1);
    REQUIRE(laid->config.services[0].bridges.size() == 1);
    CHECK(find(laid->config, 0, 0).name == "b2");
    CHECK(laid->notes.size() == 2);
    desired.add(bridge("cdn", "b1", "192.0.2.41"));
    laid = desired.over(file());
    REQUIRE(laid.has_value());
    CHECK(find(laid->config, 0, 1).address.to_string() == "192.0.2.41");
    desired.remove("cdn", "b1", file());
    CHECK(desired.over(file())->config.services[0].bridges.size() == 1);
}

TEST_CASE("a removed service takes its bridges and changes with it") {
    Desired desired;
    desired.add(service("new", 8080, 3));
    desired.add(bridge("new", "n1", "192.0.2.31"));
    desired.set_weight("new", "n1", 4);
    desired.remove("new", file());
    CHECK(desired.empty());
    desired.set_weight("cdn", "b1", 4);
    desired.remove("cdn", file());
    const auto laid = desired.over(file());
    REQUIRE(laid.has_value());
    CHECK(laid->config.services.size() == 1);
    CHECK(laid->notes.size() == 1);
}

TEST_CASE("what does not fit together is refused in words") {
    Desired desired;
    desired.add(service("new", 8080, 2));
    CHECK(desired.over(file()).error() ==
          "service new: DSCP 2 is used twice (192.0.2.10:443 has it); expected one of its own, 1 to 62");
    Desired family;
    family.add(bridge("cdn", "six", "2001:db8::1"));
    CHECK(family.over(file()).error().find("expected IPv4") != std::string::npos);
    Desired none;
    none.remove("cdn", file());
    none.remove("tls", file());
    CHECK(none.over(file()).error() == "no service is left: expected one at least");
}

TEST_CASE("what the file no longer has is told, and harms nothing") {
    Desired desired;
    desired.set_weight("cdn", "b7", 2);
    desired.add(bridge("gone", "g1", "192.0.2.51"));
    const auto laid = desired.over(file());
    REQUIRE(laid.has_value());
    CHECK(laid->notes.size() == 2);
}

TEST_CASE("the text of a state holds all of it") {
    Desired desired;
    desired.add(service("new", 8080, 3));
    AddedBridge one = bridge("new", "n1", "192.0.2.31");
    one.port = 8081;
    one.bridge.number = 17;
    one.bridge.state = BridgeState::drain;
    desired.add(one);
    desired.set_weight("cdn", "b1", 0);
    desired.set_state("cdn", "b2", BridgeState::down);
    desired.remove("cdn", "b2", file());
    desired.set_state("cdn", "b1", BridgeState::down);
    desired.remove("tls", file());
    const auto again = Desired::parse(desired.text());
    REQUIRE(again.has_value());
    CHECK(again->text() == desired.text());
    CHECK(again->added("new", "n1")->port == 8081);
    CHECK(again->uuid_of("new", "n1") == one.uuid);
    CHECK(again->over(file()).has_value());
}

TEST_CASE("a state that the balancer did not write is refused by its place") {
    CHECK(Desired::parse("").error() == "expected a JSON object, as the balancer writes it");
    CHECK(Desired::parse("[]").error() == "expected a JSON object, as the balancer writes it");
    CHECK(Desired::parse("{\"version\": 7}").error().starts_with("expected \"version\": 1"));
    CHECK(Desired::parse(R"({"version":1,"services":{}})").error() == "the state: services: expected a list");
    CHECK(Desired::parse(R"({"version":1,"changes":[{"service":"a","bridge":"b","weight":"x"}]})")
              .error()
              .starts_with("changes[0].weight: expected"));
    CHECK(Desired::parse(R"({"version":1,"bridges":[{"service":"a"}]})").error() ==
          "bridges[0]: 'uuid' is missing");
    CHECK(Desired::parse(R"({"version":1,"services":[{"uuid":"00000000-0000-0000-0000-000000000000"}]})")
              .error() == "services[0]: 'service' is missing");
}

TEST_CASE("ranges of addresses begin at their first and end with their prefix") {
    const AddressRange range = parse_address_range("198.51.100.8/29").value();
    CHECK(range.size() == 8);
    CHECK(range.at(0).to_string() == "198.51.100.8");
    CHECK(range.at(7).to_string() == "198.51.100.15");
    CHECK(parse_address_range("198.51.100.9").value().size() == 1);
    const AddressRange wide = parse_address_range("2001:db8::/64").value();
    CHECK(wide.at(0x1'0000'0002).to_string() == "2001:db8::1:0:2");
    for (const std::string wrong :
         {"198.51.100.9/29", "198.51.100.0/33", "10.0.0.0/8", "2001:db8::/32", "x/24", "198.51.100.0/"})
        CHECK_MESSAGE(!parse_address_range(wrong).has_value(), wrong);
}
