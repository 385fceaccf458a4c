#include "balancer/control/plan.hpp"

#include <doctest/doctest.h>

using namespace splice;

namespace {

BridgeConfig bridge(const std::string& name, const char* address, std::uint32_t weight = 1) {
    return {.name = name, .address = IpAddress::parse(address).value(), .weight = weight};
}

ServiceConfig service(const std::string& name, const char* vip, std::vector<BridgeConfig> bridges) {
    ServiceConfig config;
    config.name = name;
    config.vip = Endpoint::parse(vip).value();
    config.bridges = std::move(bridges);
    return config;
}

BalancerConfig two_services() {
    BalancerConfig config;
    config.services.push_back(
        service("web", "192.0.2.10:80",
                {bridge("b1", "192.0.2.21"), bridge("b2", "192.0.2.22"), bridge("b3", "192.0.2.23")}));
    config.services.push_back(
        service("video", "192.0.2.11:80", {bridge("b1", "192.0.2.21"), bridge("b2", "192.0.2.22")}));
    return config;
}

Plan plan(const BalancerConfig& wanted, const Running& running = {}, const PlanHost& host = {}) {
    auto made = make_plan(wanted, splice_secret{}, running, host);
    REQUIRE(made.has_value());
    return std::move(*made);
}

Running running_by(const Plan& plan) {
    return {.config = &plan.config, .setup = plan.setup, .bridges = plan.bridges, .services = plan.services};
}

std::vector<std::string> lines(const Plan& plan) {
    std::vector<std::string> lines;
    for (const ServiceChange& change : plan.changes) lines.push_back(change.to_string());
    return lines;
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("the first plan changes nothing that runs, and nor does one of the same configuration") {
    const Plan first = plan(two_services());
    CHECK(first.changes.empty());
    const Plan second = plan(two_services(), running_by(first));
    CHECK(second.changes.empty());
    for (std::size_t i = 0; i < 2; i++)
        CHECK(second.setup->services[i].placement == first.setup->services[i].placement);
}

TEST_CASE("a plan names what is different in each service, and how many of its keys move") {
    const Plan first = plan(two_services());
    BalancerConfig wanted = two_services();
    wanted.services[0].bridges.push_back(bridge("b4", "192.0.2.24"));
    wanted.services[0].bridges[1].address = IpAddress::parse("192.0.2.32").value();
    wanted.services[1].bridges[0].weight = 3;
    const Plan second = plan(wanted, running_by(first));
    REQUIRE(second.changes.size() == 2);
    CHECK(second.changes[0].service == "web");
    CHECK(second.changes[0].what == Lines{"bridge b4 added", "address of b2 192.0.2.22 -> 192.0.2.32"});
    // A quarter goes to b4; what b2 had until now is another host's, too: a quarter.
    CHECK(second.changes[0].moved == doctest::Approx(0.5).epsilon(0.05));
    CHECK(second.changes[1].what == Lines{"weight of b1 1 -> 3"});
    CHECK(second.changes[1].moved == doctest::Approx(0.25).epsilon(0.05));
    CHECK(second.changes[1].to_string().starts_with("service video: weight of b1 1 -> 3; 2"));
    CHECK(second.changes[1].to_string().ends_with(" % of its keys move"));
}

TEST_CASE("services come and go by name") {
    const Plan first = plan(two_services());
    BalancerConfig wanted = two_services();
    wanted.services[0].name = "www";
    const Plan second = plan(wanted, running_by(first));
    CHECK(lines(second) == Lines{"service www: added", "service web: removed: its connections end"});
    CHECK(second.changes[1].removed);
    // The one that stays keeps its place in tables, whatever stands before it.
    CHECK(second.setup->services[1].number == first.setup->services[1].number);
}

TEST_CASE("a bridge that drains is told of by how many keys move, for its state is told elsewhere") {
    const Plan first = plan(two_services());
    BalancerConfig wanted = two_services();
    wanted.services[1].bridges[1].state = BridgeState::drain;
    const Plan second = plan(wanted, running_by(first));
    REQUIRE(second.changes.size() == 1);
    CHECK(second.changes[0].what.empty());
    CHECK(second.changes[0].to_string().starts_with("service video: "));
    CHECK(second.changes[0].moved == doctest::Approx(0.5).epsilon(0.05));
}

TEST_CASE("every setting of a service that changes is named as it is in the file") {
    const ServiceConfig was = two_services().services[0];
    ServiceConfig is = was;
    is.vip = Endpoint::parse("192.0.2.99:8080").value();
    is.dscp = 7;
    is.algorithm = Algorithm::maglev;
    is.bounded_load = 1.25;
    is.warmup = 0.02;
    is.hot_keys = HotKeysConfig{};
    is.shadow = ShadowConfig{.key = {}, .algorithm = Algorithm::jump};
    is.ramp = 0.1;
    is.settings.mss = 1300;
    is.settings.first_payload_wait = 80ms;
    CHECK(differences(was, is) == Lines{"vip 192.0.2.10:80 -> 192.0.2.99:8080", "dscp 1 -> 7",
                                        "algorithm rendezvous -> maglev", "bounded_load off -> 1.25",
                                        "warmup off -> 0.02", "hot_keys off -> top 64 spread 2",
                                        "shadow off -> algorithm jump", "ramp off -> 0.1",
                                        "first_payload_wait 50ms -> 80ms", "mss auto -> 1300"});
    CHECK(differences(is, is).empty());
}

TEST_CASE("of many bridges a few are named") {
    const BalancerConfig before = two_services();
    ServiceConfig wanted = before.services[1];
    for (int i = 10; i < 30; i++)
        wanted.bridges.push_back(
            bridge("c" + std::to_string(i), ("192.0.2." + std::to_string(100 + i)).c_str()));
    CHECK(differences(before.services[1], wanted) ==
          Lines{"bridges c10, c11, c12, c13, c14, c15, c16, c17 and 12 more added"});
}

TEST_CASE("keys that move between a ring and a table are counted, too") {
    const Plan first = plan(two_services());
    BalancerConfig wanted = two_services();
    wanted.services[1].algorithm = Algorithm::ketama;
    const Plan second = plan(wanted, running_by(first));
    REQUIRE(second.changes.size() == 1);
    CHECK(second.changes[0].moved == doctest::Approx(0.5).epsilon(0.1));
}

TEST_CASE("a configuration that cannot be served has no plan") {
    const Plan first = plan(two_services());
    BalancerConfig wanted = two_services();
    wanted.services[1].algorithm = Algorithm::jump;
    wanted.services[1].bridges[0].weight = 2;  // jump knows no weights
    const auto refused = make_plan(wanted, splice_secret{}, running_by(first), PlanHost{});
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().starts_with("service video: "));
}

TEST_CASE("a service offers the MSS that fits into the narrowest way to its bridges, unless it names one") {
    BalancerConfig config = two_services();
    config.services.push_back(service("fixed", "192.0.2.12:80", {bridge("b3", "192.0.2.23")}));
    config.services[2].settings.mss = 1400;
    const Plan first = plan(config);
    const auto mss = [](const Plan& of, std::size_t service) { return of.setup->services[service].mss; };
    CHECK(mss(first, 0) == 1460);
    CHECK(mss(first, 2) == 1400);
    // b1 and b2 are known to take 1500 bytes and more, b3 takes 1300.
    const auto mtus = std::make_shared<const RouteMtus>(RouteMtus{1500, 9000, 1300});
    const Plan narrow = plan(config, running_by(first), {.mtu = 1500, .route_mtus = mtus});
    CHECK(mss(narrow, 0) == 1260);
    CHECK(mss(narrow, 1) == 1460);
    CHECK(mss(narrow, 2) == 1400);
    CHECK(lines(narrow) ==
          Lines{"service web: MSS 1460 -> 1260, what fits into the narrowest way to its bridges"});
    // Ways that are not known say nothing.
    const auto unknown = std::make_shared<const RouteMtus>(RouteMtus{0, 0});
    CHECK(mss(plan(config, running_by(narrow), {.mtu = 1500, .route_mtus = unknown}), 0) == 1460);
}
