#include "balancer/config.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>

using namespace splice;

namespace {

// The whole of what an operator usually writes.
const std::string kExample = R"(secret_file: /etc/splicelb/secret
interface: eth1
engine: auto
api: { listen: "127.0.0.1:10001" }
services:
  - name: cdn
    vip: 192.168.33.10
    port: 80
    dscp: 1
    protocol: http
    hash: { key: uri, algorithm: rendezvous }
    bridges:
      - { name: b1, address: 192.168.33.20, weight: 1 }
    health: { type: http, path: /, interval: 2s, timeout: 1s, rise: 2, fall: 3 }
)";

// The example with one text in the place of another.
std::string with(const std::string& was, const std::string& is) {
    std::string text = kExample;
    const std::size_t at = text.find(was);
    REQUIRE(at != std::string::npos);
    return text.replace(at, was.size(), is);
}

// The example with more lines at its top level, or in its service.
std::string with_top(const std::string& lines) {
    return lines + "\n" + kExample;
}
std::string with_key(const std::string& line) {
    return with("    dscp: 1\n", "    dscp: 1\n    " + line + "\n");
}
std::string with_service(const std::string& service) {
    return kExample + "  - " + service + "\n";
}

// A check that is asked over HTTP is none of a service that speaks TLS.
std::string without_health(std::string text) {
    return text.erase(text.find("    health:"));
}

BalancerConfig parse(const std::string& text) {
    return parse_balancer_config(text, "b.yaml");
}
ServiceConfig service_of(const std::string& text) {
    return parse(text).services.front();
}

std::string complaint(const std::string& text) {
    try {
        (void)parse(text);
    } catch (const ConfigError& error) {
        return error.what();
    }
    return "nothing was refused";
}

void check_refused(const std::string& text, const std::string& place, const std::string& words) {
    const std::string said = complaint(text);
    CAPTURE(said);
    CHECK(said.starts_with("b.yaml:" + place + ": "));
    CHECK(said.find(words) != std::string::npos);
    CHECK(said.find('\n') == std::string::npos);
}

}  // namespace

TEST_CASE("the documented example is taken, key by key") {
    const BalancerConfig config = parse(kExample);
    CHECK(config.common.secret_file == "/etc/splicelb/secret");
    CHECK(config.common.interface == "eth1");
    CHECK(config.common.engine == EngineChoice::automatic);
    CHECK(config.common.api == Endpoint::parse("127.0.0.1:10001").value());
    REQUIRE(config.services.size() == 1);
    const ServiceConfig& service = config.services[0];
    CHECK(service.name == "cdn");
    CHECK(service.vip.to_string() == "192.168.33.10:80");
    CHECK(service.dscp == 1);
    CHECK(service.key.kind == KeyKind::uri);
    CHECK(service.algorithm == Algorithm::rendezvous);
    REQUIRE(service.bridges.size() == 1);
    CHECK(service.bridges[0].name == "b1");
    REQUIRE(service.health.has_value());
    CHECK(service.health->rule.interval == 2s);
    CHECK(service.health->rule.fall == 3);
}

TEST_CASE("what the example leaves out has the documented defaults") {
    const BalancerConfig config = parse(kExample);
    CHECK(config.common.max_flows == 1'000'000);
    CHECK(config.common.bpffs == "/sys/fs/bpf/splicelb");
    CHECK(config.common.log == LogSettings{LogLevel::info, LogFormat::text});
    const ServiceDefaults& settings = config.services[0].settings;
    CHECK(settings.first_payload_wait == 50ms);
    CHECK(settings.first_payload_max == 16 * 1024);
    CHECK(settings.idle_timeout == 15min);
    CHECK_FALSE(settings.mss.has_value());
    CHECK(settings.window_scale == 7);
    CHECK(settings.table_rows == 65536);
}

TEST_CASE("a bridge has the number of its line, or none, which --check tells") {
    const BalancerConfig none = parse(kExample);
    CHECK(none.services[0].bridges[0].number == 0);
    REQUIRE(remarks_about(none).size() == 1);
    CHECK(remarks_about(none)[0].starts_with("service cdn has no lanes: no number for b1;"));
    const BalancerConfig one = parse(with("weight: 1", "weight: 1, number: 1018"));
    CHECK(one.services[0].bridges[0].number == 1018);
    CHECK(remarks_about(one).empty());
}

TEST_CASE("timestamps are lanes where every bridge has a number, unless the service says plain") {
    CHECK_FALSE(has_lanes(service_of(kExample)));
    const std::string numbered = with("weight: 1", "weight: 1, number: 7");
    CHECK(has_lanes(service_of(numbered)));
    const auto saying = [](std::string text, const std::string& line) {
        return text.insert(text.find("    dscp: 1\n"), "    " + line + "\n");
    };
    CHECK_FALSE(has_lanes(service_of(saying(numbered, "timestamps: plain"))));
    CHECK(remarks_about(parse(saying(kExample, "timestamps: plain"))).empty());
    CHECK(complaint(saying(kExample, "timestamps: lanes"))
              .find("bridge b1 has no number: expected one of its own for each (number: 1 to 1018)") !=
          std::string::npos);
    CHECK(complaint(saying(kExample, "timestamps: on")).find("expected lanes or plain") != std::string::npos);
    CHECK(
        complaint(saying(numbered, "idle_timeout: 951s")).find("idle_timeout 951s: expected at most 951s") ==
        std::string::npos);
    CHECK(complaint(saying(numbered, "idle_timeout: 952s")).find("expected at most 951s") !=
          std::string::npos);
    CHECK(has_lanes(service_of(saying(numbered, "idle_timeout: 951s"))));
    CHECK_FALSE(has_lanes(service_of(saying(saying(numbered, "idle_timeout: 1h"), "timestamps: plain"))));
}

TEST_CASE("a number is one host's in all services of the file") {
    const auto bridges = [](const char* first, const char* second) {
        return with("    bridges:\n      - { name: b1, address: 192.168.33.20, weight: 1 }\n",
                    std::string("    bridges:\n      - { name: b1, address: 192.168.33.20") + first +
                        " }\n      - { name: b2, address: 192.168.33.21" + second + " }\n");
    };
    CHECK(parse(bridges(", number: 1", ", number: 2")).services[0].bridges[1].number == 2);
    check_refused(
        bridges(", number: 7", ", number: 7"), "14:53",
        "bridge b2: number 7 is used twice (bridge b1 at 192.168.33.20 has it); expected a number of "
        "its own, 1 to 1018");
    check_refused(bridges(", number: 0", ""), "13:53", "number '0': expected a number from 1 to 1018");
    check_refused(bridges("", ", number: 1019"), "14:53", "number '1019': expected a number from 1 to 1018");

    const std::string numbered = with("weight: 1", "number: 7");
    const auto another = [&](const std::string& vip, const std::string& bridge) {
        return numbered + "  - { name: other, vip: " + vip + ", port: 80, dscp: 2, bridges: [" + bridge +
               "] }\n";
    };
    // The same host in another service, and its address of the other family.
    CHECK(
        parse(another("192.168.33.11", "{ name: b1, address: 192.168.33.20, number: 7 }")).services.size() ==
        2);
    CHECK(parse(another("\"2001:db8::10\"", "{ name: b1, address: \"2001:db8::20\", number: 7 }"))
              .services.size() == 2);
    CHECK(complaint(another("192.168.33.11", "{ name: b1, address: 192.168.33.20, number: 8 }"))
              .find("expected the same number for one address") != std::string::npos);
    CHECK(complaint(another("\"2001:db8::10\"", "{ name: b9, address: \"2001:db8::20\", number: 7 }"))
              .find("number 7 is used twice") != std::string::npos);
}

TEST_CASE("a setting at the top level holds for services that do not say otherwise") {
    CHECK(service_of(with_top("first_payload_wait: 20ms")).settings.first_payload_wait == 20ms);
    CHECK(service_of(with_top("mss: 1300")).settings.mss == 1300);
    CHECK(service_of("mss: 1300\n" + with_key("mss: 1400")).settings.mss == 1400);
    CHECK(service_of(with_key("first_payload_max: 8KiB")).settings.first_payload_max == 8192);
    CHECK(service_of(with_key("idle_timeout: 1h")).settings.idle_timeout == 1h);
    CHECK(service_of(with_key("window_scale: 0")).settings.window_scale == 0);
    CHECK(service_of(with_key("table_rows: 1048576")).settings.table_rows == 1U << 20);
    CHECK(parse(with_top("max_flows: 5")).common.max_flows == 5);
    CHECK(parse(with_top("log: { level: debug, format: json }")).common.log ==
          LogSettings{LogLevel::debug, LogFormat::json});
}

TEST_CASE(
    "a connection log has a sample, a limit and a file, and what is none of these is refused where it "
    "stands") {
    const auto log = [](const std::string& text) {
        return parse(with_top("log: { connections: { " + text + " } }")).common.connection_log;
    };
    const auto refused = [](const std::string& text) {
        return complaint(with_top("log: { connections: { " + text + " } }"));
    };
    CHECK(parse(kExample).common.connection_log == ConnectionLogSettings{});
    CHECK(parse(kExample).common.connection_log.sample == 0);
    CHECK(log("sample: 1%") == ConnectionLogSettings{.sample = 0.01, .limit = 1000, .file = "stderr"});
    CHECK(log("sample: 0.5, limit: 20, file: /var/log/c.log") ==
          ConnectionLogSettings{.sample = 0.5, .limit = 20, .file = "/var/log/c.log"});
    CHECK(refused("limit: 5").contains("sample"));
    CHECK(refused("sample: 101%").contains("expected a share such as"));
    CHECK(refused("sample: all").contains("sample 'all'"));
    CHECK(refused("sample: 1%, limit: 0").contains("limit '0': expected"));
    CHECK(refused("sample: 1%, limit: many").contains("limit 'many': expected"));
    CHECK(refused("sample: 1%, file: log.json").contains("expected stderr, or a path from / on"));
    CHECK(refused("sample: 1%, file: /var/log/").contains("expected stderr, or a path from / on"));
    CHECK(refused("sample: 1%, rate: 5").contains("rate"));
}

TEST_CASE("the hash is a map or the key's words alone") {
    CHECK(service_of(with("{ key: uri, algorithm: rendezvous }", "host+uri depth 2")).key.depth == 2);
    const ServiceConfig service = service_of(with("{ key: uri, ", "{ key: path, depth: 3, len: 64, "));
    CHECK(service.key.kind == KeyKind::path);
    CHECK(service.key.depth == 3);
    CHECK(service.key.length == 64);
}

TEST_CASE("a key with its options stands in the configuration as it does in flags") {
    const ServiceConfig service =
        service_of(with("{ key: uri, ", "{ key: \"uri query(sort,include=id,exclude=utm_*)\", depth: 3, "));
    CHECK(service.key.to_string() == "uri query(sort,include=id,exclude=utm_*) depth 3");
    check_refused(with("key: uri", "key: \"uri query(srot)\""), "11:18", "'srot' is unknown here");
}

TEST_CASE("what weighs choices stands in the service or in its hash") {
    const ServiceConfig service = service_of(with_key("bounded_load: 1.25\n    warmup: 2 %"));
    CHECK(service.bounded_load == 1.25);
    CHECK(service.warmup == doctest::Approx(0.02));
    CHECK(service_of(with("{ key: uri, ", "{ key: uri, bounded_load: 2, warmup: 0.5, ")).bounded_load == 2);
    CHECK(service_of(with_key("warmup: 2%")).warmup == doctest::Approx(0.02));
    const std::string sni = "    protocol: tls\n    hash: { key: sni, subset: 3 }\n";
    const std::string http = "    protocol: http\n    hash: { key: uri, algorithm: rendezvous }\n";
    CHECK(service_of(without_health(with(http, sni))).subset == 3);
    CHECK(service_of(kExample).bounded_load == 0);
    check_refused(with_key("bounded_load: 1"), "10:19", "expected a number from 1.01 to 100");
    check_refused(with_key("bounded_load: 125%"), "10:19", "expected a number from 1.01 to 100");
    check_refused(with_key("warmup: 2"), "10:13", "expected a share such as");
    check_refused(with_key("warmup: -1 %"), "10:13", "expected a share such as");
    check_refused(with_key("subset: 2"), "6:5", "expected key sni");
    check_refused(with(http, "    protocol: tls\n    hash: { key: sni, subset: 4 }\n"), "11:31",
                  "expected a whole number from 2 to 3");
    std::string twice = with_key("warmup: 1%");
    twice.replace(twice.find("{ key: uri, "), 12, "{ key: uri, warmup: 1%, ");
    check_refused(twice, "12:31", "stands in the service and in its hash");
}

TEST_CASE("hot keys, a shadow and its ramp are a service's") {
    const ServiceConfig service = service_of(with_key(
        "hot_keys: { top: 32, spread: 3 }\n    shadow: { key: path, algorithm: maglev }\n    ramp: 10 %"));
    REQUIRE(service.hot_keys);
    CHECK(service.hot_keys->top == 32);
    CHECK(service.hot_keys->spread == 3);
    REQUIRE(service.shadow);
    CHECK(service.shadow->key == HashKeyRule::parse("path").value());
    CHECK(service.shadow->algorithm == Algorithm::maglev);
    CHECK(service.ramp == doctest::Approx(0.1));
    CHECK(service_of(with_key("hot_keys: {}")).hot_keys->top == 64);
    check_refused(with_key("hot_keys: { top: 0 }"), "10:22", "expected a whole number from 1 to 256");
    check_refused(with_key("hot_keys: { spread: 4 }"), "10:25", "expected a whole number from 2 to 3");
    check_refused(with_key("shadow: {}"), "10:13", "expected a key, an algorithm or both");
    check_refused(with_key("shadow: { key: urk }"), "10:20", "unknown hash key");
    check_refused(with_key("shadow: { key: sni }"), "6:5", "shadow: hash key sni cannot be read");
    check_refused(with_key("shadow: { key: source }"), "6:5", "both or neither to be source");
    check_refused(with_key("ramp: 10 %"), "6:5", "ramp without shadow");
}

TEST_CASE("the protocol and the key follow each other where only one is said") {
    const std::string hash = "    hash: { key: uri, algorithm: rendezvous }\n";
    const std::string protocol = "    protocol: http\n";
    CHECK(service_of(without_health(with(protocol + hash, "    protocol: tls\n"))).key.kind == KeyKind::sni);
    CHECK(service_of(with(protocol + hash, "    protocol: tcp\n")).key.kind == KeyKind::source);
    CHECK(service_of(without_health(with(protocol + hash, "    hash: sni\n"))).protocol == Protocol::tls);
    CHECK(service_of(with(protocol + hash, "    hash: source\n")).protocol == Protocol::tcp);
    CHECK(service_of(with(protocol + hash, "")).key.kind == KeyKind::uri);
}

TEST_CASE("a protocol that cannot give the key is refused") {
    check_refused(with("key: uri", "key: sni"), "11:11",
                  "protocol http: expected another key, or protocol tls");
    check_refused(with("protocol: http", "protocol: tls"), "11:11", "expected sni or source");
    check_refused(with("protocol: http", "protocol: tcp"), "11:11", "expected source");
}

TEST_CASE("the API can be off, or on IPv6") {
    CHECK_FALSE(parse(with("{ listen: \"127.0.0.1:10001\" }", "off")).common.api.has_value());
    CHECK_FALSE(parse(with("\"127.0.0.1:10001\"", "off")).common.api.has_value());
    CHECK(parse(with("127.0.0.1:10001", "[::1]:9")).common.api->to_string() == "[::1]:9");
    check_refused(with("127.0.0.1:10001", "127.0.0.1:0"), "4:16", "expected an address and a port");
}

TEST_CASE("wrong keys and values are refused with their place and the expected form") {
    check_refused(with("interface:", "interfce:"), "2:1", "did you mean 'interface'");
    check_refused(with("    dscp: 1", "    dcsp: 1"), "9:5", "did you mean 'dscp'");
    check_refused(with("weight: 1", "wieght: 1"), "13:45", "did you mean 'weight'");
    check_refused(with("engine: auto", "engine: xdp"), "3:9", "expected auto, ebpf or nfqueue");
    check_refused(with("dscp: 1", "dscp: 63"), "9:11", "expected a DSCP from 1 to 62");
    check_refused(with("port: 80", "port: 0"), "8:11", "expected a port from 1 to 65535");
    check_refused(with("port: 80", "port: [80]"), "8:11", "expected a single value, found a list");
    check_refused(with("vip: 192.168.33.10", "vip: 224.0.0.1"), "7:10", "multicast");
    check_refused(with("address: 192.168.33.20", "address: 127.0.0.1"), "13:30", "loopback");
    check_refused(with("weight: 1", "weight: 257"), "13:53", "expected a weight");
    check_refused(with("algorithm: rendezvous", "algorithm: best"), "11:34", "rendezvous");
    check_refused(with("key: uri", "key: url"), "11:18", "expected uri");
    check_refused(with_top("max_flows: 0"), "1:12", "expected a whole number");
    check_refused(with_top("first_payload_wait: 50"), "1:21", "expected a duration such as");
    check_refused(with_top("first_payload_max: 1MiB"), "1:20", "expected a size from 1 to 64KiB");
    check_refused(with_key("table_rows: 0"), "10:17", "expected a whole number");
    check_refused(with("    dscp: 1\n", ""), "6:5", "'dscp' is missing");
    check_refused(with("dscp: 1", "dscp: 1\n    dscp: 2"), "10:5", "given twice, first in line 9");
}

TEST_CASE("bridges that do not fit their service are refused") {
    const std::string bridge = "      - { name: b1, address: 192.168.33.20, weight: 1 }\n";
    const auto second = [&](const std::string& entry) {
        return with(bridge, bridge + "      - " + entry + "\n");
    };
    CHECK(complaint(second("{ name: b2, address: 192.168.33.21, weight: 0 }")) == "nothing was refused");
    check_refused(second("{ name: b1, address: 192.168.33.21 }"), "14:9", "bridge b1 is there twice");
    check_refused(second("{ name: b2, address: 192.168.33.20 }"), "14:9", "has the address of b1");
    check_refused(second("{ name: b2, address: \"2001:db8::1\" }"), "14:9", "expected IPv4");
    check_refused(second("{ name: b2, address: 192.168.33.10 }"), "14:9", "service's own address");
    check_refused(
        with("algorithm: rendezvous }\n    bridges:\n" + bridge,
             "algorithm: jump }\n    bridges:\n      - { name: b1, address: 192.168.33.20, weight: 2 }\n"),
        "13:7", "jump knows no weights");
}

TEST_CASE("services do not share a DSCP, a VIP and port, or a name") {
    const std::string rest = " bridges: [{ name: b, address: 192.168.33.20 }] }";
    CHECK(complaint(with_service("{ name: b, vip: 192.168.33.10, port: 81, dscp: 2," + rest)) ==
          "nothing was refused");
    check_refused(with_service("{ name: b, vip: 192.168.33.11, port: 80, dscp: 1," + rest), "15:5",
                  "DSCP 1 is used twice");
    check_refused(with_service("{ name: b, vip: 192.168.33.10, port: 80, dscp: 2," + rest), "15:5",
                  "192.168.33.10:80 is used twice");
    check_refused(with_service("{ name: cdn, vip: 192.168.33.10, port: 81, dscp: 2," + rest), "15:5",
                  "service cdn is there twice");
}

TEST_CASE("health checks have a type, what belongs to it, and how results are judged") {
    const std::string health = "{ type: http, path: /, interval: 2s, timeout: 1s, rise: 2, fall: 3 }";
    const auto probe = [&](const std::string& text) { return service_of(with(health, text)).health->probe; };
    const auto rule = [&](const std::string& text) { return service_of(with(health, text)).health->rule; };
    CHECK(probe("{ type: tcp }").kind == ProbeKind::tcp);
    CHECK(probe("{ type: tcp, send: \"PING\\r\\n\" }").send == "PING\r\n");
    CHECK(probe("{ type: http }").path == "/");
    const ProbeRule http =
        probe("{ type: http, method: HEAD, host: www.example.com, expect: [200, 300-399] }");
    CHECK(http.method == "HEAD");
    CHECK(http.host == "www.example.com");
    CHECK(http.expect == std::vector<StatusRange>{{200, 200}, {300, 399}});
    CHECK(probe("{ type: http, expect: 204, body: alive }").expect == std::vector<StatusRange>{{204, 204}});
    CHECK(rule("{ type: http, pass: 3/5 }").pass == PassRule{3, 5});
    CHECK(rule("{ type: http }").slow_start == 0s);
    CHECK(rule("{ type: http, slow_start: 60s }").slow_start == 60s);
    check_refused(with(health, "{ type: http, slow_start: 500ms }"), "14:39", "from 1s to 1h, or 0s");
    CHECK(rule("{ type: http, max_ejection_percent: 10, panic_threshold_percent: 0 }").max_ejection_percent ==
          10);
    check_refused(with(health, "{ type: icmp }"), "14:21", "expected http, tls or tcp");
    check_refused(with(health, "{ type: tls }"), "14:21", "expected http or tcp");
    check_refused(with(health, "{ type: http, sni: a }"), "14:32", "only with type tls");
    check_refused(with(health, "{ type: tcp, expect: 200 }"), "14:34", "only with type http");
    check_refused(with(health, "{ type: http, expect: 20 }"), "14:35", "such as 200-299");
    check_refused(with(health, "{ type: http, expect: 300-200 }"), "14:35", "such as 200-299");
    check_refused(with(health, "{ type: http, method: get }"), "14:35", "such as GET or HEAD");
    check_refused(with(health, "{ type: http, method: HEAD, body: x }"), "14:47", "HEAD has none");
    check_refused(with(health, "{ type: http, host: a b }"), "14:33", "expected a host");
    check_refused(with(health, "{ type: http, pass: 6/5 }"), "14:33", "such as 3/5");
    check_refused(with(health, "{ type: http, pass: 3/33 }"), "14:33", "at most 32");
    check_refused(with(health, "{ type: http, pass: 3/5, fall: 2 }"), "14:13", "expected one of them");
    check_refused(with(health, "{ type: http, max_ejection_percent: 101 }"), "14:49", "0 to 100");
    check_refused(with(health, "{ type: tcp, path: / }"), "14:32", "only with type http");
    check_refused(with(health, "{ type: http, path: x }"), "14:33", "begins with '/'");
    check_refused(with(health, "{ type: http, timeout: 3s }"), "14:13", "at most the interval");
    check_refused(with(health, "{ type: http, rise: 0 }"), "14:33", "expected a whole number from 1 to 100");
    check_refused(with(health, "{ type: http, fal: 3 }"), "14:27", "did you mean 'fall'");
}

TEST_CASE("a bridge's state is ready unless the file or the flag says drain or down") {
    CHECK(parse(kExample).services[0].bridges[0].state == BridgeState::ready);
    CHECK(parse(with("weight: 1", "state: ready")).services[0].bridges[0].state == BridgeState::ready);
    CHECK(parse(with("weight: 1", "state: drain")).services[0].bridges[0].state == BridgeState::drain);
    CHECK(parse(with("weight: 1", "state: down")).services[0].bridges[0].state == BridgeState::down);
    check_refused(with("weight: 1", "state: up"), "13:52", "expected ready, drain or down");
    CHECK(parse_bridge("b1=192.0.2.20,weight=2,state=drain")->state == BridgeState::drain);
    CHECK(parse_bridge("b1=192.0.2.20,state=up").error() == "state: expected ready, drain or down");
}

TEST_CASE("a service needs at most as many bridges as it has") {
    CHECK(service_of(kExample).need == 0);
    CHECK(service_of(with_key("need: 1")).need == 1);
    check_refused(with_key("need: 0"), "10:11", "need '0': expected a whole number from 1 to 4096");
    check_refused(with_key("need: 2"), "10:11", "need 2: expected at most the service's 1 bridges");
}

TEST_CASE("a service without a bridge that is ready is warned of") {
    for (const char* state : {"drain", "down"}) {
        const auto warnings = warnings_about(parse(with("weight: 1", std::string("state: ") + state)));
        REQUIRE(warnings.size() == 1);
        CHECK(warnings[0].find("it takes no new connections") != std::string::npos);
    }
}

TEST_CASE("a bridge on the command line has a name, an address and perhaps a weight") {
    const auto bridge = parse_bridge("b1=192.0.2.20,weight=0");
    REQUIRE(bridge.has_value());
    CHECK(bridge->name == "b1");
    CHECK(bridge->weight == 0);
    CHECK(bridge->server.empty());
    const auto named = parse_bridge("b1=192.0.2.20,server=cache1.example.com:8080,weight=3");
    REQUIRE(named.has_value());
    CHECK(named->weight == 3);
    CHECK(named->server == "cache1.example.com:8080");
    CHECK(parse_bridge("b6=2001:db8::20,weight=2,server=[2001:db8::20]:80")->server == "[2001:db8::20]:80");
    CHECK(parse_bridge("b6=2001:db8::20")->address.to_string() == "2001:db8::20");
    for (const char* text :
         {"", "b1", "=192.0.2.20", "b1=", "b1=192.0.2.20,", "b1=192.0.2.20,weight", "b 1=192.0.2.20",
          "b1=192.0.2.20,weight=x", "b1=192.0.2.20,size=1", "b1=192.0.2.20,weight=1,",
          "b1=192.0.2.20,weight=1,weight=2", "b1=192.0.2.20,server=", "b1=192.0.2.20,server=a b",
          "b6=2001:db8::20,server=2001:db8::20", "b1=192.0.2.20,server=a,server=b", "b1=192.0.2.20,state=up",
          "b1=192.0.2.20,state=drain,state=drain"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_bridge(text).has_value());
    }
}

TEST_CASE("a service accepts PROXY headers where it says so, and is off without a word") {
    CHECK(service_of(kExample).proxy_protocol == ProxyProtocol::off);
    CHECK(service_of(with_key("proxy_protocol: accept")).proxy_protocol == ProxyProtocol::accept);
    CHECK(service_of(with_key("proxy_protocol: \"off\"")).proxy_protocol == ProxyProtocol::off);
    check_refused(with_key("proxy_protocol: v2"), "10:21", "expected accept or off");
    check_refused(with_top("proxy_protocol: accept"), "1:1", "unknown key");
}

TEST_CASE("a bridge's server is its own, and only ketama asks for it") {
    const std::string bridge = "{ name: b1, address: 192.168.33.20, weight: 1 }";
    const std::string named = "{ name: b1, address: 192.168.33.20, server: \"192.168.33.30:80\" }";
    const BalancerConfig config = parse(with(bridge, named));
    CHECK(config.services[0].bridges[0].server == "192.168.33.30:80");
    const auto is_about_server = [](const std::string& text) {
        return text.contains("only algorithm ketama");
    };
    CHECK(std::ranges::count_if(warnings_about(config), is_about_server) == 1);
    std::string ring = with(bridge, named);
    ring.replace(ring.find("rendezvous"), 10, "ketama");
    CHECK(std::ranges::count_if(warnings_about(parse(ring)), is_about_server) == 0);
    check_refused(with(bridge, "{ name: b1, address: 192.168.33.20, server: a/b }"), "13:53",
                  "expected HOST or HOST:PORT");
    check_refused(
        with(bridge, named + "\n      - { name: b2, address: 192.168.33.21, server: \"192.168.33.30:80\" }"),
        "14:9", "the server 192.168.33.30:80 of b1");
}

TEST_CASE("a file that cannot be read is told from one that is wrong") {
    const auto missing = load_balancer_config("/nonexistent/balancer.yaml");
    REQUIRE_FALSE(missing.has_value());
    CHECK(missing.error().kind == ConfigFailure::Kind::unreadable);
    CHECK(missing.error().text.find("/nonexistent/balancer.yaml") != std::string::npos);
}

TEST_CASE(
    "a bridge's bound of connections, in the file and as a flag; without the channel it holds for nobody") {
    const std::string bridge = "{ name: b1, address: 192.168.33.20, weight: 1 }";
    const std::string bounded = with(bridge, "{ name: b1, address: 192.168.33.20, max_connections: 20000 }");
    CHECK(service_of(kExample).bridges[0].max_connections == 0);
    CHECK(service_of(bounded).bridges[0].max_connections == 20000);
    for (const char* wrong : {"0", "-1", "100000001", "many"}) {
        CAPTURE(wrong);
        CHECK_THROWS_AS(parse(with(bridge, "{ name: b1, address: 192.168.33.20, max_connections: " +
                                               std::string(wrong) + " }")),
                        ConfigError);
    }
    CHECK(parse_bridge("b1=192.0.2.21,max_connections=7").value().max_connections == 7);
    CHECK(parse_bridge("b1=192.0.2.21,max_connections=0").error().starts_with("max_connections: "));
    CHECK_FALSE(parse_bridge("b1=192.0.2.21,max_connections=7,max_connections=7").has_value());
    CHECK(warnings_about(parse(bounded)).empty());
    const auto warnings = warnings_about(parse("channel: off\n" + bounded));
    REQUIRE(warnings.size() == 1);
    CHECK(warnings[0].contains("max_connections holds for nobody"));
}

TEST_CASE("each key that a reload cannot change is named when it differs, and the others are not") {
    const BalancerConfig running = parse(kExample);
    const auto differs = [&](const std::string& text) {
        return fixed_key_that_differs(running, parse(text)).value_or("nothing");
    };
    CHECK(differs(kExample) == "nothing");
    CHECK(differs(with("/etc/splicelb/secret", "/etc/other")) == "secret_file");
    CHECK(differs(with("interface: eth1", "interface: eth2")) == "interface");
    CHECK(differs(with("engine: auto", "engine: ebpf")) == "engine");
    CHECK(differs(with("10001", "10009")) == "api.listen");
    CHECK(differs(with_top("bpffs: /run/bpf")) == "bpffs");
    CHECK(differs(with_top("keep: true")) == "keep");
    CHECK(differs(with_top("netfilter: iptables")) == "netfilter");
    CHECK(differs(with_top("mark: { value: 256, mask: 511 }")) == "mark");
    CHECK(differs(with_top("max_flows: 7")) == "max_flows");
    CHECK(differs(with_top("channel: 1")) == "channel");
    CHECK(differs(with_top("xdp_mode: generic")) == "xdp_mode");
    // Honoured: what is a service's, and these.
    CHECK(differs(with_top("idle_timeout: 1h")) == "nothing");
    CHECK(differs(with_top("cookie_guesses: { total: 0 }\nnew_connections: 3\ntable_share: 0.5\ndeny: /a")) ==
          "nothing");
    CHECK(differs(with_top("log: { level: debug, format: json }")) == "nothing");
    CHECK(differs(with_top("log: { connections: { sample: 1% } }")) == "nothing");
    CHECK(differs(with_top("table_rows: 1024\nmss: 1000\nwindow_scale: 3")) == "nothing");
    CHECK(differs(with_top("first_payload_wait: 10ms\nfirst_payload_max: 1KiB")) == "nothing");
}

TEST_CASE("budgets of guesses have their defaults one by one, and 0 is none") {
    const auto limits = [](const std::string& line) {
        const auto& is = parse(with_top(line)).cookie_guesses.a_second;
        return std::vector<std::uint32_t>(std::begin(is), std::end(is));
    };
    CHECK(limits("") == std::vector<std::uint32_t>{20, 200, 20'000});
    CHECK(limits("cookie_guesses: { per_network: 500 }") == std::vector<std::uint32_t>{20, 500, 20'000});
    CHECK(limits("cookie_guesses: { per_source: 0, per_network: 0, total: 0 }") ==
          std::vector<std::uint32_t>{0, 0, 0});
    check_refused(with_top("cookie_guesses: { per_source: many }"), "1:31",
                  "'many': expected a whole number from 0 to 100000000");
    check_refused(with_top("cookie_guesses: { per_host: 1 }"), "1:19", "per_host");
    check_refused(with_top("cookie_guesses: 20"), "1:17", "expected");
}

TEST_CASE("new connections of a source are limited by a rate, or by a rate and what a source is") {
    const auto limit = [](const std::string& text) { return service_of(text).settings.new_connections; };
    CHECK(limit(kExample).a_second == 0);
    CHECK(limit(with_top("new_connections: 50")).a_second == 50);
    CHECK(limit(with_key("new_connections: 7")).source.ipv4 == 32);
    const auto all = limit(with_key("new_connections: { rate: 9, ipv4_prefix: 24, ipv6_prefix: 56 }"));
    CHECK(all.a_second == 9);
    CHECK(all.source.ipv4 == 24);
    CHECK(all.source.ipv6 == 56);
    check_refused(with_key("new_connections: many"), "10:22",
                  "'many': expected a whole number from 0 to 10000000");
    check_refused(with_key("new_connections: { ipv4_prefix: 24 }"), "10:22", "rate");
    check_refused(with_key("new_connections: { rate: 1, ipv6_prefix: 65 }"), "10:46",
                  "expected a whole number from 1 to 64");
}

TEST_CASE("a service's share of the table is above nothing and at most all of it") {
    const auto share = [](const std::string& text) { return service_of(text).settings.table_share; };
    CHECK(share(kExample) == 1);
    CHECK(share(with_key("table_share: 25 %")) == 0.25);
    CHECK(share(with_top("table_share: 0.5")) == 0.5);
    check_refused(with_key("table_share: 0"), "10:18", "expected a share of the flow table");
    check_refused(with_key("table_share: 101 %"), "10:18", "expected a share of the flow table");
}

TEST_CASE("deny lists are one file or several") {
    CHECK(parse(kExample).deny.empty());
    CHECK(parse(with_top("deny: /etc/splicelb/deny.txt")).deny ==
          std::vector<std::string>{"/etc/splicelb/deny.txt"});
    CHECK(parse(with_top("deny: [ /a, /b ]")).deny == std::vector<std::string>{"/a", "/b"});
    check_refused(with_top("deny: \"\""), "1:7", "expected");
}

TEST_CASE("presence is of a VIP: the top level's or the service's, and services of one VIP have the same") {
    CHECK(service_of(kExample).settings.presence == Presence::automatic);
    CHECK(service_of(with_top("presence: standby")).settings.presence == Presence::standby);
    CHECK(service_of(with_key("presence: none")).settings.presence == Presence::none);
    CHECK(complaint(with_key("presence: l3")).contains("expected auto, l2, standby or none"));
    const ServiceConfig first = service_of(kExample);
    const auto second = [&](const std::string& presence) {
        return with_service(
            fmt::format("{{ name: second, vip: {}, port: 8081, dscp: 33, {} bridges: [{{ name: x, "
                        "address: 192.0.2.99 }}] }}",
                        first.vip.address.to_string(), presence));
    };
    CHECK(complaint(second("presence: l2,"))
              .contains(fmt::format("service second: presence l2, and service {} has presence auto for {}: "
                                    "expected one for an address",
                                    first.name, first.vip.address.to_string())));
    CHECK(parse(second("")).services.size() == parse(kExample).services.size() + 1);
}

TEST_CASE("what is allowed but will hardly be wanted is warned of") {
    CHECK(warnings_about(parse(kExample)).empty());
    const auto all = warnings_about(parse(with("weight: 1", "weight: 0")));
    REQUIRE(all.size() == 1);
    CHECK(all[0].find("service cdn: all its bridges have weight 0") == 0);
    // One of two is a drain.
    const auto drain = warnings_about(
        parse(with("weight: 1 }", "weight: 0 }\n      - { name: b2, address: 192.168.33.21 }")));
    CHECK(drain.empty());
}

TEST_CASE("all services together name at most 4,096 different bridge addresses") {
    const auto service = [](int number, int first, int bridges) {
        std::string text = "name: s" + std::to_string(number) + "\n    vip: 192.0.2." +
                           std::to_string(number) + "\n    port: 80\n    dscp: " + std::to_string(number) +
                           "\n    bridges:";
        for (int i = first; i < first + bridges; i++)
            text += "\n      - { name: b" + std::to_string(i) + ", address: 10.0." + std::to_string(i / 250) +
                    "." + std::to_string(i % 250 + 1) + " }";
        return text;
    };
    CHECK(parse("services:\n  - " + service(1, 0, 4096) + "\n  - " + service(2, 0, 4096) + "\n")
              .services.size() == 2);
    const std::string said =
        complaint("services:\n  - " + service(1, 0, 4096) + "\n  - " + service(2, 1, 4096) + "\n");
    CHECK(said.find("b.yaml:2:") == 0);
    CHECK(said.find("4097 different bridge addresses: expected at most 4096") != std::string::npos);
}
