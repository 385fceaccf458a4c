#include "packetbridge/config.hpp"

#include <doctest/doctest.h>

#include "packetbridge/dataplane.hpp"
#include "packetbridge/options.hpp"
#include "packetbridge/setup.hpp"

using namespace splice;
using namespace std::chrono_literals;

namespace {

// The whole of what an operator usually writes.
const std::string kExample = R"(secret_file: /etc/splicelb/secret
interface: eth1
address: 192.168.33.20
engine: auto
mode: auto
api: { listen: "127.0.0.1:10002" }
services:
  - { dscp: 1, vip: 192.168.33.10, port: 80,
      backend: "192.168.33.30:80" }
)";

std::string with(const std::string& was, const std::string& is) {
    std::string text = kExample;
    const std::size_t at = text.find(was);
    REQUIRE(at != std::string::npos);
    return text.replace(at, was.size(), is);
}

PacketbridgeConfig parse(const std::string& text) {
    return parse_packetbridge_config(text, "p.yaml");
}

void check_refused(const std::string& text, const std::string& place, const std::string& words) {
    std::string said = "nothing was refused";
    try {
        (void)parse(text);
    } catch (const ConfigError& error) {
        said = error.what();
    }
    CAPTURE(said);
    CHECK(said.starts_with("p.yaml:" + place + ": "));
    CHECK(said.find(words) != std::string::npos);
}

std::expected<PacketbridgeOptions, std::string> options(std::initializer_list<const char*> arguments) {
    std::vector<const char*> argv = {"packetbridge"};
    argv.insert(argv.end(), arguments);
    return parse_packetbridge_options(static_cast<int>(argv.size()), argv.data());
}

}  // namespace

TEST_CASE("balancers are named by their addresses, or by their Ethernet addresses") {
    CHECK(parse(kExample).balancers.any());
    const BalancersConfig mixed =
        parse("balancers: [ 192.0.2.1, \"02:00:00:00:0a:01\", \"2001:db8::1\" ]\n" + kExample).balancers;
    CHECK(mixed.addresses.size() == 2);
    CHECK(mixed.macs == std::vector<std::uint64_t>{0x010a'0000'0002});
    CHECK(parse("balancers: 192.0.2.1\n" + kExample).balancers.addresses.size() == 1);
    check_refused("balancers: lb1\n" + kExample, "1:12", "expected an address of a balancer");
    check_refused("balancers: \"02:00:00:00:00\"\n" + kExample, "1:12", "02:00:00:00:00:01");
    check_refused("balancers: \"02:00:00:00:00:0g\"\n" + kExample, "1:12", "expected");
}

TEST_CASE("the documented example is taken, and so are its defaults") {
    const PacketbridgeConfig config = parse(kExample);
    CHECK(config.addresses == std::vector{IpAddress::parse("192.168.33.20").value()});
    CHECK(config.mode == Mode::automatic);
    CHECK(config.common.api->to_string() == "127.0.0.1:10002");
    REQUIRE(config.services.size() == 1);
    CHECK(config.services[0].vip.to_string() == "192.168.33.10:80");
    CHECK(config.services[0].backend.to_string() == "192.168.33.30:80");
    CHECK(config.services[0].window_scale == 7);
    CHECK(parse("window_scale: 3\n" + kExample).services[0].window_scale == 3);
}

TEST_CASE("the address is a scalar or a list of both families") {
    const PacketbridgeConfig config =
        parse(with("address: 192.168.33.20", "address: [192.168.33.20, \"2001:db8::20\"]"));
    REQUIRE(config.addresses.size() == 2);
    CHECK(config.addresses[1].family() == 6);
}

TEST_CASE("interface is a name or a list of up to four, each once, in the file or by flag") {
    CHECK(uplinks_of(parse(kExample).common) == std::vector<std::string>{"eth1"});
    const PacketbridgeConfig config = parse(with("interface: eth1", "interface: [eth1, bond0.7]"));
    CHECK(config.common.interface == "eth1");
    CHECK(uplinks_of(config.common) == std::vector<std::string>{"eth1", "bond0.7"});
    CHECK(uplinks_of(options({"--interface", "eth2,eth0"})->config.common) ==
          std::vector<std::string>{"eth2", "eth0"});
    check_refused(with("interface: eth1", "interface: [eth1, eth1]"), "2:19", "eth1 is given twice");
    check_refused(with("interface: eth1", "interface: [a, b, c, d, e]"), "2:12", "4");
    check_refused(with("interface: eth1", "interface: [eth1, \"\"]"), "2:19", "network interface");
    for (const char* wrong : {"eth1,", ",eth1", "eth1,eth1", "a,b,c,d,e", ""}) {
        CAPTURE(wrong);
        CHECK_FALSE(options({"--interface", wrong}).has_value());
    }
    CHECK(fixed_key_that_differs(parse(kExample), config) == "interface");
    CHECK(fixed_key_that_differs(config, parse(with("interface: eth1", "interface: [bond0.7, eth1]"))) ==
          "interface");
}

TEST_CASE("the bridge's own number in the fleet is 1 to 1018, in the file or by flag") {
    CHECK(parse(kExample).number == 0);
    CHECK(remarks_about(parse(kExample)).size() == 1);
    CHECK(parse("number: 7\n" + kExample).number == 7);
    CHECK(remarks_about(parse("number: 7\n" + kExample)).empty());
    check_refused("number: 1019\n" + kExample, "1:9", "number '1019': expected a number from 1 to 1018");
    CHECK(options({"--number", "1018"})->config.number == 1018);
    CHECK_FALSE(options({"--number", "0"}).has_value());
    ServiceNumbers numbers;
    CHECK(build_setup(parse("number: 7\n" + kExample), splice_secret{}, numbers)->number == 7);
}

TEST_CASE("backends are looked at every five seconds, at another interval, or never") {
    CHECK(parse(kExample).backend_check == 5s);
    CHECK(parse(kExample + "backend_check: 1m\n").backend_check == 60s);
    CHECK_FALSE(parse(kExample + "backend_check: off\n").backend_check);
    check_refused(kExample + "backend_check: 500ms\n", "10:16", "expected a duration from 1s to 1h, or off");
}

TEST_CASE("wrong keys and values are refused with their place and the expected form") {
    check_refused(with("address: 192.168.33.20", "adress: 192.168.33.20"), "3:1", "did you mean 'address'");
    check_refused(with("address: 192.168.33.20", "address: 127.0.0.1"), "3:10", "loopback");
    check_refused(with("192.168.33.20", "[192.168.33.20, 192.168.33.20]"), "3:26", "there twice");
    check_refused(with("mode: auto", "mode: splice"), "5:7", "expected auto, adopt or translate");
    check_refused(with("dscp: 1", "dscp: 0"), "8:13", "expected a DSCP from 1 to 62");
    check_refused(with("\"192.168.33.30:80\"", "192.168.33.30"), "9:16", "expected an address and a port");
    check_refused(with("192.168.33.30:80", "127.0.0.1:80"), "9:16", "loopback");
    check_refused(with("192.168.33.30:80", "[2001:db8::30]:80"), "8:5", "expected an IPv4 address");
    check_refused(with("address: 192.168.33.20", "address: \"2001:db8::20\""), "8:5", "has no IPv4 address");
    check_refused(kExample + "  - { dscp: 1, vip: 192.168.33.10, port: 81, backend: \"192.168.33.30:80\" }\n",
                  "10:5", "DSCP 1 is used twice");
    check_refused(kExample + "  - { dscp: 2, vip: 192.168.33.10, port: 80, backend: \"192.168.33.30:80\" }\n",
                  "10:5", "is used twice");
    check_refused(with("mode: auto\n", "mode: auto\nmss: 1400\n"), "6:1", "unknown key 'mss'");
}

TEST_CASE("without flags the bridge serves the Vagrant lab") {
    const auto parsed = options({});
    REQUIRE(parsed.has_value());
    CHECK(parsed->config.common.interface == "eth1");
    CHECK(parsed->config.addresses[0].to_string() == "192.168.33.20");
    CHECK(parsed->config.services[0].dscp == 1);
    CHECK(parsed->config.services[0].backend.to_string() == "192.168.33.30:80");
}

TEST_CASE("services on the command line, of both families") {
    const auto parsed = options({"--address", "192.0.2.20", "--address", "2001:db8::20", "--service",
                                 "1=192.0.2.10:80,backend=192.0.2.30:8080", "--service",
                                 "2=[2001:db8::10]:80,backend=[2001:db8::30]:80"});
    REQUIRE(parsed.has_value());
    CHECK(parsed->config.services[1].vip.to_string() == "[2001:db8::10]:80");
    for (const char* text :
         {"", "1", "1=192.0.2.10:80", "192.0.2.10:80,backend=192.0.2.30:80",
          "1=192.0.2.10,backend=192.0.2.30:80", "64=192.0.2.10:80,backend=192.0.2.30:80"}) {
        CAPTURE(text);
        CHECK_FALSE(options({"--service", text}).has_value());
    }
    CHECK_FALSE(options({"--config", "x", "--mode", "auto"}).has_value());
}

TEST_CASE("rules carry the services and the time-outs in whole seconds") {
    PacketbridgeConfig config = parse(kExample);
    config.common.idle_timeout = 1500ms;
    ServiceNumbers numbers;
    const auto setup = build_setup(config, splice_secret{}, numbers);
    CHECK(setup->services[0].backend.to_string() == "192.168.33.30:80");
    CHECK(setup->timeouts.open_s == 2);
    CHECK(setup->max_flows == kMaxFlows);
}

TEST_CASE("auto takes adoption, then translation in the kernel, then the queue, and says why") {
    const BridgeObstacles none, no_adoption{"no kfunc", {}}, nothing{"no kfunc", "no BPF"};
    const auto choose = [](const BridgeObstacles& obstacles) {
        return *choose_bridge_engine(EngineChoice::automatic, Mode::automatic, obstacles);
    };
    CHECK(choose(none).name == "ebpf");
    CHECK(choose(none).by_service);
    CHECK_FALSE(choose(no_adoption).by_service);
    CHECK(choose(none).mode == Mode::adopt);
    CHECK(choose(no_adoption).name == "ebpf");
    CHECK(choose(no_adoption).mode == Mode::translate);
    CHECK(choose(no_adoption).reason == "auto: no adoption, for no kfunc");
    CHECK(choose(nothing).name == "nfqueue");
    CHECK(choose(nothing).mode == Mode::translate);
    CHECK(choose(nothing).reason == "auto: no ebpf, for no BPF");
}

TEST_CASE(
    "what stands against one service's adoption leaves auto the others', where the kernel has both modes") {
    const BridgeObstacles one{.adopt = {}, .translate = {}, .adopt_some = "its backend is elsewhere"};
    const auto decision = choose_bridge_engine(EngineChoice::automatic, Mode::automatic, one);
    CHECK(decision->mode == Mode::adopt);
    CHECK(decision->by_service);
    CHECK(decision->reason == "auto: each service by itself; no adoption, for its backend is elsewhere");
    CHECK(choose_bridge_engine(EngineChoice::ebpf, Mode::adopt, one).error() ==
          "mode adopt: its backend is elsewhere");
    const BridgeObstacles alone{.adopt = {}, .translate = "no BPF", .adopt_some = "its backend is elsewhere"};
    CHECK(choose_bridge_engine(EngineChoice::automatic, Mode::automatic, alone)->name == "nfqueue");
}

TEST_CASE("what is asked for by name and does not work is an error") {
    const BridgeObstacles no_adoption{"no kfunc", {}}, nothing{"no kfunc", "no BPF"};
    const auto refusal = [](EngineChoice engine, Mode mode, const BridgeObstacles& obstacles) {
        return choose_bridge_engine(engine, mode, obstacles).error();
    };
    CHECK(refusal(EngineChoice::automatic, Mode::adopt, no_adoption) == "mode adopt: no kfunc");
    CHECK(refusal(EngineChoice::ebpf, Mode::automatic, nothing) == "engine ebpf: no BPF");
    CHECK(refusal(EngineChoice::nfqueue, Mode::adopt, {}).starts_with("mode adopt: the nfqueue engine"));
    CHECK(choose_bridge_engine(EngineChoice::nfqueue, Mode::translate, {})->reason == "as configured");
    CHECK(choose_bridge_engine(EngineChoice::ebpf, Mode::translate, {})->reason == "as configured");
}

TEST_CASE("the bits of packet marks: a mask with room for a DSCP, a value within it") {
    const auto marks = [](const std::string& mark) {
        return parse_packetbridge_config(
                   "secret_file: /s\ninterface: eth1\naddress: 192.0.2.1\n" + mark +
                       "services:\n  - { dscp: 1, vip: 192.0.2.10, port: 80, backend: \"192.0.2.1:80\" }\n",
                   "x.yaml")
            .common.marks;
    };
    CHECK(marks("").value == 0x3080);
    CHECK(marks("mark: { value: 0x0a000000, mask: 0x0fffe000 }\n").shift == 13);
    CHECK(marks("mark: { value: 256, mask: 511 }\n").value == 256);
    for (const char* wrong :
         {"{ value: 0x80, mask: 0x7f }", "{ value: 0x80, mask: 0xfd }", "{ value: 0, mask: 0x3fff }",
          "{ value: 0x40, mask: 0x3fff }", "{ value: 0x4000, mask: 0x3fff }", "{ value: x, mask: 0x3fff }",
          "{ value: 0x80 }"}) {
        CAPTURE(wrong);
        CHECK_THROWS_AS(marks("mark: " + std::string(wrong) + "\n"), ConfigError);
    }
}

TEST_CASE("the channel is a UDP port, or off, and what is missing then is said") {
    const auto channel = [](const std::string& line) { return parse(kExample + line).common.channel; };
    CHECK(channel("") == kChannelPort);
    CHECK(channel("channel: 20532\n") == 20532);
    CHECK(channel("channel: { port: 20533 }\n") == 20533);
    CHECK(channel("channel: off\n") == std::nullopt);
    CHECK(channel("channel: { port: off }\n") == std::nullopt);
    for (const char* wrong : {"on", "0", "65536", "{ ports: 1 }", "[1]", "udp"}) {
        CAPTURE(wrong);
        CHECK_THROWS_AS(channel("channel: " + std::string(wrong) + "\n"), ConfigError);
    }
    CHECK_THROWS_WITH_AS(channel("channel: udp\n"),
                         doctest::Contains("expected a port such as 20531, or off"), ConfigError);
    CHECK(remarks_about_channel(parse(kExample).common).empty());
    const auto remarks = remarks_about(parse(kExample + "channel: off\n"));
    CHECK(remarks.at(0).contains("channel off: balancers do not learn"));
}

TEST_CASE("each key that a reload cannot change is named when it differs, and the others are not") {
    const PacketbridgeConfig running = parse(kExample);
    const auto differs = [&](const std::string& text) {
        return fixed_key_that_differs(running, parse(text)).value_or("nothing");
    };
    CHECK(differs(kExample) == "nothing");
    CHECK(differs(with("/etc/splicelb/secret", "/etc/other")) == "secret_file");
    CHECK(differs(with("interface: eth1", "interface: eth2")) == "interface");
    CHECK(differs(with("engine: auto", "engine: ebpf")) == "engine");
    CHECK(differs(with("mode: auto", "mode: translate")) == "mode");
    CHECK(differs(with("10002", "10009")) == "api.listen");
    CHECK(differs(kExample + "bpffs: /run/bpf\n") == "bpffs");
    CHECK(differs(kExample + "mark: { value: 0x100, mask: 0x1ff }\n") == "mark");
    CHECK(differs(kExample + "keep: true\n") == "keep");
    CHECK(differs(kExample + "tc: clsact\n") == "tc");
    CHECK(differs(kExample + "channel: off\n") == "channel");
    CHECK(differs(kExample + "max_flows: 7\n") == "max_flows");
    CHECK(differs(kExample + "idle_timeout: 1h\nwindow_scale: 3\nlog: { level: debug }\n") == "nothing");
    CHECK(differs(with("192.168.33.20", "192.168.33.21")) == "nothing");
}
