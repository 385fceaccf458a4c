#include "balancer/config.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <utility>

#include "libsplice/config/load.hpp"
#include "libsplice/config/yaml_reader.hpp"
#include "libsplice/datapath/lane.h"

namespace splice {
namespace {

constexpr auto kLongestFirstPayloadWait = 10s;
constexpr std::uint16_t kLeastMss = 536;    // RFC 9293 section 3.7.1: what every IPv4 host can take
constexpr std::uint16_t kMostMss = 65'475;  // the largest IPv4 packet less headers
constexpr auto kShortestProbe = 100ms;
constexpr auto kLongestProbe = 1h;
constexpr auto kShortestSlowStart = 1s;
constexpr auto kLongestSlowStart = 1h;
constexpr std::uint64_t kMostProbes = 100;  // rise and fall
constexpr std::size_t kMostStatusRanges = 16;

const std::vector<std::string_view> kServiceSettings = {
    "first_payload_wait", "first_payload_max", "idle_timeout",    "mss",        "window_scale",
    "table_rows",         "presence",          "new_connections", "table_share"};

Parsed<Duration> parse_first_payload_wait(std::string_view text) {
    const auto wait = parse_duration(text);
    if (!wait) return wait;
    if (*wait < 1ms || *wait > kLongestFirstPayloadWait)
        return std::unexpected("expected a duration from 1ms to 10s");
    return wait;
}

Parsed<std::size_t> parse_first_payload_max(std::string_view text) {
    const auto size = parse_size(text);
    if (!size) return size;
    if (*size < 1 || *size > kFirstPayloadMaxLimit)
        return std::unexpected(fmt::format("expected a size from 1 to {}KiB", kFirstPayloadMaxLimit / 1024));
    return size;
}

Parsed<std::optional<std::uint16_t>> parse_mss(std::string_view text) {
    const auto mss = parse_number(text, kLeastMss, kMostMss);
    if (!mss) return std::unexpected(mss.error());
    return static_cast<std::uint16_t>(*mss);
}

Parsed<std::uint32_t> parse_table_rows(std::string_view text) {
    const auto rows = parse_number(text, 1, kMaxTableRows);
    if (!rows) return std::unexpected(rows.error());
    return static_cast<std::uint32_t>(*rows);
}

Parsed<Duration> parse_probe_time(std::string_view text) {
    const auto time = parse_duration(text);
    if (!time) return time;
    if (*time < kShortestProbe || *time > kLongestProbe)
        return std::unexpected("expected a duration from 100ms to 1h");
    return time;
}

Parsed<Duration> parse_slow_start(std::string_view text) {
    const auto time = parse_duration(text);
    if (!time) return time;
    if (*time != 0s && (*time < kShortestSlowStart || *time > kLongestSlowStart))
        return std::unexpected("expected a duration from 1s to 1h, or 0s for none");
    return time;
}

Parsed<std::uint32_t> parse_probe_count(std::string_view text) {
    const auto count = parse_number(text, 1, kMostProbes);
    if (!count) return std::unexpected(count.error());
    return static_cast<std::uint32_t>(*count);
}

Parsed<ProbeKind> parse_probe_kind(std::string_view text) {
    for (const ProbeKind kind : {ProbeKind::http, ProbeKind::tls, ProbeKind::tcp}) {
        if (text == to_string(kind)) return kind;
    }
    return std::unexpected("expected http, tls or tcp");
}

// Together with the header of the PROXY protocol a question fits into one segment of nearly every size.
constexpr std::size_t kProbeWordMax = 255;

bool is_visible(std::string_view text) {
    return std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
}

Parsed<std::string> parse_probe_path(std::string_view text) {
    if (!text.starts_with('/') || !is_visible(text) || text.size() > kProbeWordMax)
        return std::unexpected("expected a path that begins with '/', without spaces, of at most 255 bytes");
    return std::string(text);
}

Parsed<std::string> parse_probe_method(std::string_view text) {
    constexpr std::size_t kMost = 16;
    const bool capitals = std::ranges::all_of(text, [](char c) { return c >= 'A' && c <= 'Z'; });
    if (text.empty() || text.size() > kMost || !capitals)
        return std::unexpected("expected a method such as GET or HEAD");
    return std::string(text);
}

Parsed<std::string> parse_probe_host(std::string_view text) {
    if (text.empty() || text.size() > kProbeWordMax || !is_visible(text))
        return std::unexpected("expected a host such as www.example.com, of at most 255 bytes");
    return std::string(text);
}

Parsed<std::string> parse_probe_bytes(std::string_view text) {
    if (text.empty() || text.size() > kProbeWordMax) return std::unexpected("expected 1 to 255 bytes");
    return std::string(text);
}

// "200" or "200-299".
Parsed<StatusRange> parse_status_range(std::string_view text) {
    const auto form =
        std::unexpected("expected a status or a range of them, from 100 to 599, such as 200-299");
    const std::size_t dash = text.find('-');
    const auto first = parse_number(text.substr(0, dash), 100, 599);
    const auto last = dash == std::string_view::npos ? first : parse_number(text.substr(dash + 1), 100, 599);
    if (!first || !last || *first > *last) return form;
    return StatusRange{.first = static_cast<std::uint16_t>(*first),
                       .last = static_cast<std::uint16_t>(*last)};
}

// "3/5".
Parsed<PassRule> parse_pass(std::string_view text) {
    const auto form = std::unexpected(
        "expected PASSED/OF such as 3/5: up while 3 of the last 5 checks passed, OF at most 32");
    const std::size_t slash = text.find('/');
    if (slash == std::string_view::npos) return form;
    const auto of = parse_number(text.substr(slash + 1), 1, 32);
    if (!of) return form;
    const auto passed = parse_number(text.substr(0, slash), 1, *of);
    if (!passed) return form;
    return PassRule{.passed = static_cast<std::uint32_t>(*passed), .of = static_cast<std::uint32_t>(*of)};
}

// Without a sign: 50 is a half.
Parsed<std::uint32_t> parse_percent(std::string_view text) {
    const auto percent = parse_number(text, 0, 100);
    if (!percent) return std::unexpected(percent.error());
    return static_cast<std::uint32_t>(*percent);
}

std::vector<std::string_view> joined(std::vector<std::string_view> keys,
                                     const std::vector<std::string_view>& more) {
    for (const std::string_view key : more) {
        if (std::ranges::find(keys, key) == keys.end()) keys.push_back(key);
    }
    return keys;
}

// `new_connections: 100`, or a map of rate, ipv4_prefix and ipv6_prefix.
splice_rate_limit read_new_connections(const YamlValue& value) {
    const auto rate = [](std::string_view text) { return parse_number(text, 0, kMostNewConnections); };
    splice_rate_limit limit = kNoRateLimit;
    if (!value.is_map()) {
        limit.a_second = static_cast<std::uint32_t>(value.as(rate));
        return limit;
    }
    const YamlMap map = value.map({"rate", "ipv4_prefix", "ipv6_prefix"});
    limit.a_second = static_cast<std::uint32_t>(map.require("rate").as(rate));
    const auto bits = [&](std::string_view name, std::uint64_t most, std::uint8_t& prefix) {
        if (const auto given = map.find(name))
            prefix = static_cast<std::uint8_t>(
                given->as([most](std::string_view text) { return parse_number(text, 1, most); }));
    };
    bits("ipv4_prefix", 32, limit.source.ipv4);
    bits("ipv6_prefix", 64, limit.source.ipv6);
    return limit;
}

Parsed<double> parse_table_share(std::string_view text) {
    const auto share = parse_share(text);
    if (!share || *share == 0)
        return std::unexpected(
            "expected a share of the flow table such as \"25 %\" or 0.25, above 0 and at most 100 %");
    return share;
}

void read_settings(const YamlMap& map, ServiceDefaults& settings) {
    if (const auto value = map.find("new_connections"))
        settings.new_connections = read_new_connections(*value);
    map.read("table_share", settings.table_share, parse_table_share);
    map.read("first_payload_wait", settings.first_payload_wait, parse_first_payload_wait);
    map.read("first_payload_max", settings.first_payload_max, parse_first_payload_max);
    map.read("idle_timeout", settings.idle_timeout, parse_idle_timeout);
    map.read("mss", settings.mss, parse_mss);
    map.read("window_scale", settings.window_scale, parse_window_scale);
    map.read("table_rows", settings.table_rows, parse_table_rows);
    map.read("presence", settings.presence, parse_presence);
}

Parsed<std::uint32_t> parse_hot_top(std::string_view text) {
    const auto number = parse_number(text, 1, kHotKeysMax);
    if (!number) return std::unexpected(number.error());
    return static_cast<std::uint32_t>(*number);
}

// What may move an opening from its first choice. They stand in the service, or in its `hash`.
const std::vector<std::string_view> kChoiceKeys = {"bounded_load", "warmup", "subset",
                                                   "hot_keys",     "shadow", "ramp"};

HotKeysConfig read_hot_keys(const YamlValue& value) {
    const YamlMap map = value.map({"top", "spread"});
    HotKeysConfig hot_keys;
    map.read("top", hot_keys.top, parse_hot_top);
    map.read("spread", hot_keys.spread, parse_subset);
    return hot_keys;
}

ShadowConfig read_shadow(const YamlValue& value) {
    const YamlMap map = value.map({"key", "algorithm"});
    ShadowConfig shadow;
    if (const auto key = map.find("key")) shadow.key = key->as(HashKeyRule::parse);
    if (const auto algorithm = map.find("algorithm")) shadow.algorithm = algorithm->as(parse_algorithm);
    if (!shadow.key && !shadow.algorithm)
        value.fail("shadow: expected a key, an algorithm or both, such as { key: path, algorithm: maglev }");
    return shadow;
}

void read_choice(const YamlMap& map, ServiceConfig& service) {
    map.read("bounded_load", service.bounded_load, parse_bounded_load);
    map.read("warmup", service.warmup, parse_share);
    map.read("subset", service.subset, parse_subset);
    map.read("ramp", service.ramp, parse_share);
    if (const auto hot_keys = map.find("hot_keys")) service.hot_keys = read_hot_keys(*hot_keys);
    if (const auto shadow = map.find("shadow")) service.shadow = read_shadow(*shadow);
}

void refuse_twice(const YamlMap& map, const YamlMap& hash) {
    for (const std::string_view key : kChoiceKeys) {
        if (!map.has(key)) continue;
        if (const auto twice = hash.find(key))
            twice->fail(fmt::format("{} stands in the service and in its hash: expected one of them", key));
    }
}

// `hash: uri depth 2`, or a map of key, algorithm, depth and len.
void read_hash(const YamlValue& hash, const YamlMap& of_service, ServiceConfig& service) {
    if (!hash.is_map()) {
        service.key = hash.as(HashKeyRule::parse);
        return;
    }
    const YamlMap map = hash.map(joined({"key", "algorithm", "depth", "len"}, kChoiceKeys));
    refuse_twice(of_service, map);
    read_choice(map, service);
    // Depth and length belong to the key's own words, which judge whether that key has them.
    const YamlValue key = map.require("key");
    std::string words = key.text();
    const auto number = [](std::string_view text) { return parse_number(text, 1, 65'535); };
    if (const auto depth = map.find("depth")) words += fmt::format(" depth {}", depth->as(number));
    if (const auto length = map.find("len")) words += fmt::format(" len {}", length->as(number));
    auto rule = HashKeyRule::parse(words);
    if (!rule) key.fail_about(words, rule.error());
    service.key = std::move(*rule);
    map.read("algorithm", service.algorithm, parse_algorithm);
}

void read_bridge(const YamlValue& entry, BridgeNumbers& numbers, ServiceConfig& service) {
    const YamlMap map =
        entry.map({"name", "address", "weight", "number", "server", "state", "max_connections"});
    BridgeConfig bridge;
    bridge.name = map.require("name").as(parse_name);
    bridge.address = map.require("address").as(parse_host_address);
    map.read("weight", bridge.weight, parse_weight);
    map.read("number", bridge.number, parse_bridge_number);
    map.read("server", bridge.server, parse_ring_server);
    map.read("state", bridge.state, parse_bridge_state);
    map.read("max_connections", bridge.max_connections, parse_max_connections);
    if (auto fits = check_bridge(service, bridge); !fits) entry.fail(fits.error());
    if (auto fits = numbers.add(bridge); !fits) map.find("number").value_or(entry).fail(fits.error());
    service.bridges.push_back(std::move(bridge));
}

// Keys of a check that belong to one type.
struct ProbeKey {
    std::string_view name;
    ProbeKind kind;
};
constexpr std::array<ProbeKey, 7> kProbeKeys{{{"method", ProbeKind::http},
                                              {"path", ProbeKind::http},
                                              {"host", ProbeKind::http},
                                              {"expect", ProbeKind::http},
                                              {"body", ProbeKind::http},
                                              {"sni", ProbeKind::tls},
                                              {"send", ProbeKind::tcp}}};

ProbeRule read_probe(const YamlMap& map) {
    ProbeRule probe;
    probe.kind = map.require("type").as(parse_probe_kind);
    for (const ProbeKey& key : kProbeKeys) {
        if (const auto value = map.find(key.name); value && key.kind != probe.kind)
            value->fail(fmt::format("{}: expected only with type {}", key.name, to_string(key.kind)));
    }
    map.read("method", probe.method, parse_probe_method);
    map.read("path", probe.path, parse_probe_path);
    map.read("host", probe.host, parse_probe_host);
    map.read("body", probe.body, parse_probe_bytes);
    map.read("sni", probe.sni, parse_probe_host);
    map.read("send", probe.send, parse_probe_bytes);
    if (const auto expect = map.find("expect")) {
        probe.expect.clear();
        if (!expect->is_list()) {
            probe.expect.push_back(expect->as(parse_status_range));
        } else {
            for (const YamlValue& range : expect->items(kMostStatusRanges))
                probe.expect.push_back(range.as(parse_status_range));
        }
    }
    if (probe.method == "HEAD" && !probe.body.empty())
        map.find("body")->fail("body: the answer to HEAD has none; expected method GET");
    return probe;
}

HealthConfig read_health(const YamlValue& value, Protocol protocol) {
    const YamlMap map =
        value.map({"type", "method", "path", "host", "expect", "body", "sni", "send", "interval", "timeout",
                   "rise", "fall", "pass", "slow_start", "max_ejection_percent", "panic_threshold_percent"});
    HealthConfig health;
    health.probe = read_probe(map);
    if (auto fits = check_health(protocol, health.probe.kind); !fits) map.require("type").fail(fits.error());
    HealthRule& rule = health.rule;
    map.read("interval", rule.interval, parse_probe_time);
    map.read("timeout", rule.timeout, parse_probe_time);
    map.read("rise", rule.rise, parse_probe_count);
    map.read("fall", rule.fall, parse_probe_count);
    map.read("pass", rule.pass, parse_pass);
    map.read("slow_start", rule.slow_start, parse_slow_start);
    map.read("max_ejection_percent", rule.max_ejection_percent, parse_percent);
    map.read("panic_threshold_percent", rule.panic_threshold_percent, parse_percent);
    if (rule.timeout > rule.interval)
        value.fail(fmt::format("health: expected a timeout of at most the interval, {} is longer than {}",
                               format_duration(rule.timeout), format_duration(rule.interval)));
    if (rule.pass && (map.has("rise") || map.has("fall")))
        value.fail("health: pass stands in the place of rise and fall: expected one of them");
    return health;
}

// 0: none.
Parsed<std::uint32_t> parse_guess_limit(std::string_view text) {
    const auto number = parse_number(text, 0, kMostGuesses);
    if (!number) return std::unexpected(number.error());
    return static_cast<std::uint32_t>(*number);
}

// `cookie_guesses: { per_source: 20, per_network: 200, total: 20000 }`.
void read_guess_limits(const YamlValue& value, splice_guess_limits& limits) {
    const YamlMap map = value.map({"per_source", "per_network", "total"});
    map.read("per_source", limits.a_second[SPLICE_GUESS_SOURCE], parse_guess_limit);
    map.read("per_network", limits.a_second[SPLICE_GUESS_NETWORK], parse_guess_limit);
    map.read("total", limits.a_second[SPLICE_GUESS_ALL], parse_guess_limit);
}

// One file, or a list of them.
void read_deny(const YamlValue& value, std::vector<std::string>& files) {
    if (!value.is_list()) return files.push_back(value.as(parse_path));
    for (const YamlValue& file : value.items(kMaxDenyFiles)) files.push_back(file.as(parse_path));
}

void read_ipam(const YamlValue& value, std::vector<AddressRange>& ranges) {
    constexpr std::size_t kMostRanges = 64;
    if (!value.is_list()) return ranges.push_back(value.as(parse_address_range));
    for (const YamlValue& range : value.items(kMostRanges)) ranges.push_back(range.as(parse_address_range));
}

Parsed<void> check_need(const ServiceConfig& service) {
    if (service.need <= service.bridges.size()) return {};
    return std::unexpected(fmt::format("need {}: expected at most the service's {} bridges", service.need,
                                       service.bridges.size()));
}

// `has_bridges`: its bridges are among the keys, and one is there at least.
ServiceConfig read_service(const YamlValue& entry, const ServiceDefaults& defaults, BridgeNumbers& numbers,
                           bool has_bridges = true) {
    std::vector<std::string_view> keys = joined(
        {"name", "vip", "port", "dscp", "protocol", "proxy_protocol", "hash", "health", "need", "timestamps"},
        kChoiceKeys);
    if (has_bridges) keys.emplace_back("bridges");
    const YamlMap map = entry.map(joined(std::move(keys), kServiceSettings));
    ServiceConfig service;
    service.settings = defaults;
    service.name = map.require("name").as(parse_name);
    service.vip.address = map.require("vip").as(parse_host_address);
    service.vip.port = map.require("port").as(parse_port);
    service.dscp = map.require("dscp").as(parse_dscp);
    if (const auto protocol = map.find("protocol")) {
        service.protocol = protocol->as(parse_protocol);
        // What such a service can choose by when `hash` does not say.
        if (service.protocol == Protocol::tls) service.key.kind = KeyKind::sni;
        if (service.protocol == Protocol::tcp) service.key.kind = KeyKind::source;
    }
    map.read("proxy_protocol", service.proxy_protocol, parse_proxy_protocol);
    if (const auto hash = map.find("hash")) {
        read_hash(*hash, map, service);
        if (!map.has("protocol")) service.protocol = natural_protocol(service.key.kind);
        if (auto fits = check_protocol(service.protocol, service.key); !fits) hash->fail(fits.error());
    }
    read_choice(map, service);
    if (auto fits = check_choice(service); !fits) entry.fail(fits.error());
    if (has_bridges) {
        const YamlValue bridges = map.require("bridges");
        for (const YamlValue& bridge : bridges.items(kMaxBridges)) read_bridge(bridge, numbers, service);
        if (auto fits = check_weights(service); !fits) bridges.fail(fits.error());
    }
    map.read("need", service.need, parse_need);
    if (auto fits = check_need(service); has_bridges && !fits) map.require("need").fail(fits.error());
    if (const auto health = map.find("health")) service.health = read_health(*health, service.protocol);
    map.read("timestamps", service.timestamps, parse_timestamps);
    read_settings(map, service.settings);
    if (auto fits = check_timestamps(service); has_bridges && !fits)
        map.find("timestamps").value_or(entry).fail(fits.error());
    return service;
}

}  // namespace

Parsed<double> parse_bounded_load(std::string_view text) {
    const auto factor = parse_decimal(text);
    if (!factor || *factor < 1.01 || *factor > 100)
        return std::unexpected("expected a number from 1.01 to 100, such as 1.25");
    return *factor;
}

Parsed<std::uint32_t> parse_need(std::string_view text) {
    const auto number = parse_number(text, 1, kMaxBridges);
    if (!number) return std::unexpected(number.error());
    return static_cast<std::uint32_t>(*number);
}

Parsed<std::uint32_t> parse_subset(std::string_view text) {
    const auto number = parse_number(text, 2, SPLICE_CHOICES);
    if (!number) return std::unexpected(number.error());
    return static_cast<std::uint32_t>(*number);
}

std::string_view to_string(BridgeState state) noexcept {
    switch (state) {
        case BridgeState::drain:
            return "drain";
        case BridgeState::down:
            return "down";
        case BridgeState::ready:
            break;
    }
    return "ready";
}

Parsed<BridgeState> parse_bridge_state(std::string_view text) {
    for (const BridgeState state : {BridgeState::ready, BridgeState::drain, BridgeState::down}) {
        if (text == to_string(state)) return state;
    }
    return std::unexpected("expected ready, drain or down");
}

Parsed<std::uint32_t> parse_max_connections(std::string_view text) {
    const auto most = parse_number(text, 1, kMostConnections);
    if (!most) return std::unexpected(most.error());
    return static_cast<std::uint32_t>(*most);
}

Parsed<BridgeConfig> parse_bridge(std::string_view text) {
    const auto form = std::unexpected(
        "expected NAME=ADDRESS[,weight=N][,number=N][,server=HOST:PORT][,state=STATE]"
        "[,max_connections=N] such as "
        "b1=192.0.2.21,weight=2,number=7");
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) return form;
    const auto name = parse_name(text.substr(0, equals));
    if (!name) return std::unexpected(name.error());
    std::string_view rest = text.substr(equals + 1);
    const auto take_word = [&rest] {
        const std::string_view word = rest.substr(0, rest.find(','));
        rest.remove_prefix(std::min(word.size() + 1, rest.size()));
        return word;
    };
    const bool ends_in_comma = rest.ends_with(',');
    const auto address = parse_host_address(take_word());
    if (!address) return std::unexpected(address.error());
    if (ends_in_comma) return form;
    BridgeConfig bridge{.name = *name, .address = *address};
    bool weighted = false;
    bool stated = false;
    while (!rest.empty()) {
        const std::string_view word = take_word();
        if (word.starts_with("weight=") && !std::exchange(weighted, true)) {
            const auto weight = parse_weight(word.substr(7));
            if (!weight) return std::unexpected(weight.error());
            bridge.weight = *weight;
        } else if (word.starts_with("number=") && bridge.number == 0) {
            const auto number = parse_bridge_number(word.substr(7));
            if (!number) return std::unexpected("number: " + number.error());
            bridge.number = *number;
        } else if (word.starts_with("server=") && bridge.server.empty()) {
            auto server = parse_ring_server(word.substr(7));
            if (!server) return std::unexpected(server.error());
            bridge.server = *std::move(server);
        } else if (word.starts_with("state=") && !std::exchange(stated, true)) {
            const auto state = parse_bridge_state(word.substr(6));
            if (!state) return std::unexpected("state: " + state.error());
            bridge.state = *state;
        } else if (word.starts_with("max_connections=") && bridge.max_connections == 0) {
            const auto most = parse_max_connections(word.substr(16));
            if (!most) return std::unexpected("max_connections: " + most.error());
            bridge.max_connections = *most;
        } else {
            return form;
        }
    }
    return bridge;
}

Parsed<std::string> parse_ring_server(std::string_view text) {
    constexpr std::size_t kMost = 255;  // bytes, as of a host's name (RFC 1035 section 2.3.4)
    const auto known = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               std::string_view(".-_:[]").contains(c);
    };
    const bool bare_ipv6 = text.contains(':') && IpAddress::parse(text).has_value();
    if (text.empty() || text.size() > kMost || !std::ranges::all_of(text, known) || bare_ipv6)
        return std::unexpected(
            "expected HOST or HOST:PORT as in nginx's list, such as 192.0.2.31:80, cache1.example.com or "
            "[2001:db8::31]:80");
    return std::string(text);
}

Parsed<ProxyProtocol> parse_proxy_protocol(std::string_view text) {
    for (const ProxyProtocol word : {ProxyProtocol::off, ProxyProtocol::accept}) {
        if (text == to_string(word)) return word;
    }
    return std::unexpected("expected accept or off");
}

Parsed<Presence> parse_presence(std::string_view text) {
    for (const Presence presence : {Presence::automatic, Presence::l2, Presence::standby, Presence::none}) {
        if (text == to_string(presence)) return presence;
    }
    return std::unexpected("expected auto, l2, standby or none");
}

std::string_view to_string(Presence presence) noexcept {
    switch (presence) {
        case Presence::l2:
            return "l2";
        case Presence::standby:
            return "standby";
        case Presence::none:
            return "none";
        case Presence::automatic:
            break;
    }
    return "auto";
}

Parsed<void> check_presence(const BalancerConfig& config) {
    std::vector<const ServiceConfig*> firsts;  // of each address
    for (const ServiceConfig& service : config.services) {
        const auto first = std::ranges::find_if(
            firsts, [&](const ServiceConfig* each) { return each->vip.address == service.vip.address; });
        if (first == firsts.end()) {
            firsts.push_back(&service);
        } else if ((*first)->settings.presence != service.settings.presence) {
            return std::unexpected(fmt::format(
                "service {}: presence {}, and service {} has presence {} for {}: expected one for an address",
                service.name, to_string(service.settings.presence), (*first)->name,
                to_string((*first)->settings.presence), service.vip.address.to_string()));
        }
    }
    return {};
}

Parsed<Timestamps> parse_timestamps(std::string_view text) {
    if (text == "lanes") return Timestamps::lanes;
    if (text == "plain") return Timestamps::plain;
    return std::unexpected("expected lanes or plain");
}

bool has_lanes(const ServiceConfig& service) noexcept {
    return service.timestamps != Timestamps::plain && !service.bridges.empty() &&
           std::ranges::none_of(service.bridges, [](const BridgeConfig& each) { return each.number == 0; });
}

Parsed<void> check_timestamps(const ServiceConfig& service) {
    // A lane less what clocks may differ by.
    constexpr Duration kEchoLives =
        std::chrono::milliseconds((1U << SPLICE_LANE_SHIFT) - SPLICE_LANE_MARGIN_MS - SPLICE_CLOCK_AHEAD_MS);
    if (!has_lanes(service)) {
        if (service.timestamps != Timestamps::lanes) return {};
        const auto without = std::ranges::find(service.bridges, 0, &BridgeConfig::number);
        return std::unexpected(
            fmt::format("timestamps: lanes, and bridge {} has no number: expected one of its own for each "
                        "(number: 1 to {})",
                        without == service.bridges.end() ? "" : without->name, kMaxBridgeNumber));
    }
    if (service.settings.idle_timeout <= kEchoLives) return {};
    return std::unexpected(fmt::format(
        "service {}: idle_timeout {}: expected at most {}s, for so long timestamps name a flow's bridge, or "
        "timestamps: plain",
        service.name, format_duration(service.settings.idle_timeout),
        std::chrono::floor<std::chrono::seconds>(kEchoLives).count()));
}

std::string_view to_string(Timestamps timestamps) noexcept {
    switch (timestamps) {
        case Timestamps::lanes:
            return "lanes";
        case Timestamps::plain:
            return "plain";
        case Timestamps::automatic:
            break;
    }
    return "auto";
}

std::string_view to_string(ProxyProtocol proxy_protocol) noexcept {
    return proxy_protocol == ProxyProtocol::accept ? "accept" : "off";
}

Protocol natural_protocol(KeyKind key) noexcept {
    if (key == KeyKind::sni) return Protocol::tls;
    if (key == KeyKind::source) return Protocol::tcp;
    return Protocol::http;
}

Parsed<void> check_protocol(Protocol protocol, const HashKeyRule& key) {
    if (key_fits(protocol, key.kind)) return {};
    const std::string_view expected = protocol == Protocol::tls   ? "sni or source"
                                      : protocol == Protocol::tcp ? "source"
                                                                  : "another key, or protocol tls";
    return std::unexpected(fmt::format("hash key {} cannot be read from protocol {}: expected {}",
                                       key.to_string(), to_string(protocol), expected));
}

Parsed<void> check_health(Protocol protocol, ProbeKind kind) {
    const bool fits = kind == ProbeKind::tcp || protocol == Protocol::tcp ||
                      (kind == ProbeKind::tls) == (protocol == Protocol::tls);
    if (fits) return {};
    return std::unexpected(fmt::format("health: type {} for a service of protocol {}: expected {} or tcp",
                                       to_string(kind), to_string(protocol), to_string(protocol)));
}

Parsed<void> check_choice(const ServiceConfig& service) {
    if (service.subset != 0 && service.key.kind != KeyKind::sni)
        return std::unexpected(
            fmt::format("subset: {} with hash key {}: expected key sni, whose names are spread over a subset",
                        service.subset, service.key.to_string()));
    if (service.ramp > 0 && !service.shadow)
        return std::unexpected("ramp without shadow: expected shadow: { key, algorithm }, which it moves to");
    if (!service.shadow) return {};
    const HashKeyRule& key = service.shadow->key.value_or(service.key);
    if (auto fits = check_protocol(service.protocol, key); !fits)
        return std::unexpected("shadow: " + fits.error());
    if ((key.kind == KeyKind::source) != (service.key.kind == KeyKind::source))
        return std::unexpected(fmt::format(
            "shadow: key {} beside the service's {}: expected both or neither to be source, which needs no "
            "first payload",
            key.to_string(), service.key.to_string()));
    return {};
}

Parsed<void> check_bridge(const ServiceConfig& service, const BridgeConfig& bridge) {
    if (bridge.address.family() != service.vip.address.family())
        return std::unexpected(fmt::format("bridge {} has the address {}: expected IPv{} as the service's {}",
                                           bridge.name, bridge.address.to_string(),
                                           service.vip.address.family(), service.vip.address.to_string()));
    if (bridge.address == service.vip.address)
        return std::unexpected(fmt::format("bridge {} has the service's own address {}", bridge.name,
                                           bridge.address.to_string()));
    for (const BridgeConfig& other : service.bridges) {
        if (other.name == bridge.name)
            return std::unexpected(
                fmt::format("bridge {} is there twice: expected a name of its own", bridge.name));
        if (other.address == bridge.address)
            return std::unexpected(
                fmt::format("bridge {} has the address of {}: expected another, or one bridge with a "
                            "greater weight",
                            bridge.name, other.name));
        if (!bridge.server.empty() && other.server == bridge.server)
            return std::unexpected(fmt::format(
                "bridge {} has the server {} of {}: expected one of its own, for a place in the ring is one "
                "bridge's",
                bridge.name, bridge.server, other.name));
    }
    return {};
}

Parsed<void> BridgeNumbers::add(const BridgeConfig& bridge) {
    if (bridge.number == 0) return {};
    const auto expected = fmt::format("expected a number of its own, 1 to {}", kMaxBridgeNumber);
    for (const BridgeConfig& other : seen_) {
        const bool same_host =
            other.address == bridge.address ||
            (other.name == bridge.name && other.address.family() != bridge.address.family());
        if (other.number == bridge.number && !same_host)
            return std::unexpected(
                fmt::format("bridge {}: number {} is used twice (bridge {} at {} has it); {}", bridge.name,
                            bridge.number, other.name, other.address.to_string(), expected));
        if (other.number != bridge.number && other.address == bridge.address)
            return std::unexpected(fmt::format(
                "bridge {}: number {}, but the bridge at {} has number {} elsewhere; expected the "
                "same number for one address",
                bridge.name, bridge.number, bridge.address.to_string(), other.number));
    }
    seen_.push_back(bridge);
    return {};
}

Parsed<void> check_weights(const ServiceConfig& service) {
    const bool shadow_jumps = service.shadow && service.shadow->algorithm == Algorithm::jump;
    if (service.algorithm != Algorithm::jump && !shadow_jumps) return {};
    for (const BridgeConfig& bridge : service.bridges) {
        if (bridge.weight > 1)
            return std::unexpected(
                fmt::format("bridge {} has weight {}: algorithm jump knows no weights, expected 0 or 1",
                            bridge.name, bridge.weight));
    }
    return {};
}

Parsed<void> check_bridge_count(const BalancerConfig& config) {
    std::vector<splice_address> addresses;
    for (const ServiceConfig& service : config.services) {
        for (const BridgeConfig& bridge : service.bridges) addresses.push_back(bridge.address.raw());
    }
    const auto less = [](const splice_address& one, const splice_address& other) {
        return std::memcmp(&one, &other, sizeof(one)) < 0;
    };
    const auto same = [](const splice_address& one, const splice_address& other) {
        return splice_address_equal(&one, &other);
    };
    std::ranges::sort(addresses, less);
    const auto count =
        static_cast<std::size_t>(std::ranges::unique(addresses, same).begin() - addresses.begin());
    if (count <= kMaxBridges) return {};
    return std::unexpected(fmt::format(
        "the services name {} different bridge addresses: expected at most {} of all services together",
        count, kMaxBridges));
}

std::vector<std::string> warnings_about(const BalancerConfig& config) {
    std::vector<std::string> warnings;
    for (const ServiceConfig& service : config.services) {
        if (std::ranges::none_of(service.bridges, takes_connections))
            warnings.push_back(fmt::format(
                "service {}: all its bridges have weight 0 or are not ready, so it takes no new connections; "
                "give one a weight from 1 to {} and the state ready",
                service.name, kMaxWeight));
        if (!config.common.channel && std::ranges::any_of(service.bridges, [](const BridgeConfig& bridge) {
                return bridge.max_connections != 0;
            }))
            warnings.push_back(fmt::format(
                "service {}: max_connections holds for nobody, because the channel is off: bridges report "
                "their connections by it",
                service.name));
        if (service.algorithm != Algorithm::ketama &&
            std::ranges::any_of(service.bridges,
                                [](const BridgeConfig& bridge) { return !bridge.server.empty(); }))
            warnings.push_back(fmt::format(
                "service {}: only algorithm ketama places bridges by their server, and this is {}",
                service.name, to_string(service.algorithm)));
    }
    return warnings;
}

std::vector<std::string> remarks_about(const BalancerConfig& config) {
    std::vector<std::string> remarks = remarks_about_channel(config.common);
    for (const ServiceConfig& service : config.services) {
        if (service.timestamps == Timestamps::plain) continue;
        std::vector<std::string_view> without;
        for (const BridgeConfig& bridge : service.bridges) {
            if (bridge.number == 0) without.push_back(bridge.name);
        }
        if (without.empty()) continue;
        remarks.push_back(fmt::format(
            "service {} has no lanes: no number for {}{}; give each bridge one of its own (number: 1 to {})",
            service.name,
            fmt::join(without.begin(), without.begin() + std::min<std::ptrdiff_t>(std::ssize(without), 3),
                      ", "),
            without.size() > 3 ? fmt::format(" and {} more", without.size() - 3) : "", kMaxBridgeNumber));
    }
    return remarks;
}

std::optional<std::string> fixed_key_that_differs(const BalancerConfig& running,
                                                  const BalancerConfig& wanted) {
    if (const auto key = fixed_key_that_differs(running.common, wanted.common)) return key;
    if (running.xdp_mode != wanted.xdp_mode) return "xdp_mode";
    return std::nullopt;
}

Parsed<XdpMode> parse_xdp_mode(std::string_view text) {
    for (const XdpMode mode : {XdpMode::automatic, XdpMode::native, XdpMode::generic}) {
        if (text == to_string(mode)) return mode;
    }
    return std::unexpected("expected auto, native or generic");
}

BalancerConfig parse_balancer_config(const std::string& text, const std::string& file) {
    const YamlMap top = parse_yaml(text, file)
                            .map(joined(joined(kCommonKeys, kServiceSettings),
                                        {"xdp_mode", "stop_resets", "ipam", "cookie_guesses", "deny"}));
    BalancerConfig config;
    config.common = common_from_yaml(top, Endpoint::parse(kBalancerApi).value(), ApiKind::changes);
    top.read("xdp_mode", config.xdp_mode, parse_xdp_mode);
    top.read("stop_resets", config.stop_resets, parse_yes);
    if (const auto ipam = top.find("ipam")) read_ipam(*ipam, config.ipam);
    if (const auto deny = top.find("deny")) read_deny(*deny, config.deny);
    if (const auto guesses = top.find("cookie_guesses")) read_guess_limits(*guesses, config.cookie_guesses);
    ServiceDefaults& defaults = config.defaults;
    read_settings(top, defaults);
    ServiceKeys keys;
    BridgeNumbers numbers;
    const YamlValue services = top.require("services");
    for (const YamlValue& entry : services.items(kMaxServices)) {
        ServiceConfig service = read_service(entry, defaults, numbers);
        if (auto fits = keys.add(service.dscp, service.vip); !fits) entry.fail(fits.error());
        const auto same_name = [&](const ServiceConfig& other) { return other.name == service.name; };
        if (std::ranges::any_of(config.services, same_name))
            entry.fail(fmt::format("service {} is there twice: expected a name of its own", service.name));
        config.services.push_back(std::move(service));
    }
    if (auto fits = check_bridge_count(config); !fits) services.fail(fits.error());
    if (auto fits = check_presence(config); !fits) services.fail(fits.error());
    return config;
}

ServiceConfig parse_service(const std::string& text, const ServiceDefaults& defaults) {
    BridgeNumbers none;
    return read_service(parse_yaml(text, "the service"), defaults, none, false);
}

Parsed<void> check_service(const ServiceConfig& service) {
    if (auto fits = check_protocol(service.protocol, service.key); !fits) return fits;
    if (auto fits = check_choice(service); !fits) return fits;
    ServiceConfig seen = service;
    seen.bridges.clear();
    for (const BridgeConfig& bridge : service.bridges) {
        if (auto fits = check_bridge(seen, bridge); !fits) return fits;
        seen.bridges.push_back(bridge);
    }
    if (auto fits = check_weights(service); !fits) return fits;
    if (auto fits = check_need(service); !fits) return fits;
    return check_timestamps(service);
}

Parsed<void> check_services(const BalancerConfig& config) {
    ServiceKeys keys;
    BridgeNumbers numbers;
    for (auto service = config.services.begin(); service != config.services.end(); ++service) {
        const auto about = [&](const std::string& sentence) {
            return std::unexpected(fmt::format("service {}: {}", service->name, sentence));
        };
        if (std::any_of(config.services.begin(), service,
                        [&](const ServiceConfig& other) { return other.name == service->name; }))
            return about("it is there twice: expected a name of its own");
        if (auto fits = keys.add(service->dscp, service->vip); !fits) return about(fits.error());
        if (auto fits = check_service(*service); !fits) return about(fits.error());
        for (const BridgeConfig& bridge : service->bridges) {
            if (auto fits = numbers.add(bridge); !fits) return about(fits.error());
        }
    }
    if (auto fits = check_presence(config); !fits) return fits;
    return check_bridge_count(config);
}

Parsed<AddressRange> parse_address_range(std::string_view text) {
    const std::size_t slash = text.find('/');
    const auto address = parse_host_address(text.substr(0, slash));
    const unsigned most = address && address->family() == 4 ? 32 : 128;
    const auto prefix = slash == std::string_view::npos ? Parsed<std::uint64_t>(most)
                                                        : parse_number(text.substr(slash + 1), 0, most);
    const auto expected = std::unexpected(
        "expected an address or a range such as 198.51.100.0/28, from a prefix of 16 bits for IPv4 "
        "or of 64 for IPv6 on, without bits beyond it");
    if (!address || !prefix || *prefix < most / 2) return expected;
    const AddressRange range{*address, static_cast<unsigned>(*prefix)};
    if (range.at(0) != *address) return expected;
    return range;
}

IpAddress AddressRange::at(std::uint64_t number) const noexcept {
    splice_address raw = first.raw();
    const unsigned host_bits = (first.family() == 4 ? 32 : 128) - prefix;
    for (unsigned bit = 0; bit < host_bits && bit < 64; ++bit) {
        std::uint8_t& byte = raw.bytes[15 - bit / 8];
        byte = static_cast<std::uint8_t>((byte & ~(1U << bit % 8)) | ((number >> bit & 1U) << bit % 8));
    }
    return IpAddress(raw);
}

std::uint64_t AddressRange::size() const noexcept {
    const unsigned host_bits = (first.family() == 4 ? 32 : 128) - prefix;
    return host_bits >= 63 ? std::uint64_t{1} << 63 : std::uint64_t{1} << host_bits;
}

std::expected<BalancerConfig, ConfigFailure> load_balancer_config(const std::string& path) {
    return load_config(path, parse_balancer_config);
}

}  // namespace splice
