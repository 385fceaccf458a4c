#include "balancer/options.hpp"

#include <doctest/doctest.h>

#include "balancer/dataplane.hpp"

using namespace splice;

namespace {

std::expected<BalancerOptions, std::string> parse(std::initializer_list<const char*> arguments) {
    std::vector<const char*> argv = {"balancer"};
    argv.insert(argv.end(), arguments);
    return parse_balancer_options(static_cast<int>(argv.size()), argv.data());
}

}  // namespace

TEST_CASE("without flags the balancer serves the Vagrant lab") {
    const auto options = parse({});
    REQUIRE(options.has_value());
    CHECK(options->action == BalancerOptions::Action::run);
    CHECK(options->config.common.interface == "eth1");
    CHECK(options->config.common.secret_file == "/etc/splicelb/secret");
    CHECK(options->config.common.api->to_string() == "127.0.0.1:10001");
    REQUIRE(options->config.services.size() == 1);
    const ServiceConfig& service = options->config.services[0];
    CHECK(service.vip.to_string() == "192.168.33.10:80");
    CHECK(service.dscp == 1);
    CHECK(service.key.kind == KeyKind::uri);
    CHECK(service.algorithm == Algorithm::rendezvous);
    CHECK(service.proxy_protocol == ProxyProtocol::off);
    REQUIRE(service.bridges.size() == 1);
    CHECK(service.bridges[0].address.to_string() == "192.168.33.20");
}

TEST_CASE("flags make one service") {
    const auto options =
        parse({"--vip", "2001:db8::10", "--port", "443", "--dscp", "7", "--bridge",
               "x=2001:db8::21,number=1018", "--bridge", "y=2001:db8::22,number=7,weight=5", "--hash-key",
               "sni", "--algorithm", "maglev", "--api", "off", "--proxy-protocol", "accept"});
    REQUIRE(options.has_value());
    const ServiceConfig& service = options->config.services[0];
    CHECK(service.vip.to_string() == "[2001:db8::10]:443");
    CHECK(service.protocol == Protocol::tls);
    CHECK(service.bridges.size() == 2);
    CHECK(service.bridges[0].number == 1018);
    CHECK(service.bridges[1].weight == 5);
    CHECK(service.bridges[1].number == 7);
    CHECK(service.proxy_protocol == ProxyProtocol::accept);
    CHECK_FALSE(options->config.common.api.has_value());
}

TEST_CASE("a bridge's number on the command line is one of its own, 1 to 1018") {
    const auto refused = [](std::initializer_list<const char*> words) {
        const auto options = parse(words);
        REQUIRE_FALSE(options.has_value());
        return options.error();
    };
    for (const char* text : {"b=192.0.2.21,number=0", "b=192.0.2.21,number=1019", "b=192.0.2.21,number=x"}) {
        const std::string said = refused({"--vip", "192.0.2.10", "--bridge", text});
        CHECK(said.starts_with(std::string("--bridge '") + text + "'"));
        CHECK(said.find("expected a number from 1 to 1018") != std::string::npos);
    }
    CHECK(refused({"--vip", "192.0.2.10", "--bridge", "a=192.0.2.21,number=7", "--bridge",
                   "b=192.0.2.22,number=7"})
              .find("bridge b: number 7 is used twice (bridge a at 192.0.2.21 has it); expected a number of "
                    "its own") != std::string::npos);
    CHECK(refused({"--bridge", "b=192.0.2.21,number=7,number=8"}).find("[,number=N]") != std::string::npos);
}

TEST_CASE("--config and a flag that the file decides exclude each other, by name") {
    CHECK(parse({"--config", "x"})->config_file == "x");
    CHECK(parse({"--config", "x", "--log-level", "debug", "--check"})->log_level == LogLevel::debug);
    for (const char* flag : {"--vip", "--bridge", "--secret-file", "--engine", "--api", "--interface"}) {
        CAPTURE(flag);
        const auto options = parse({"--config", "x", flag, "y"});
        REQUIRE_FALSE(options.has_value());
        CHECK(options.error().starts_with(std::string(flag) + " and --config exclude each other"));
    }
}

TEST_CASE("auto tries ebpf first and falls back to nfqueue; an engine by name is the only one") {
    const auto names = [](EngineChoice choice) {
        std::vector<std::string_view> all;
        for (const EngineDecision& engine : engines_for(choice)) all.push_back(engine.name);
        return all;
    };
    CHECK(names(EngineChoice::automatic) == std::vector<std::string_view>{"ebpf", "nfqueue"});
    CHECK(names(EngineChoice::ebpf) == std::vector<std::string_view>{"ebpf"});
    CHECK(names(EngineChoice::nfqueue) == std::vector<std::string_view>{"nfqueue"});
}
