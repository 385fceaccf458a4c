// Configuration files: the balancer's and the packet bridge's, each input as both.
//
// Aborts when a file is refused by anything but a ConfigError, whose text is one line that names the file;
// when what is taken breaks a bound that docs/operations.md or the flags state; when what is taken, written
// down key by key and read again, is another configuration.
//
// Input: the file.
#include <array>
#include <optional>
#include <set>

#include "balancer/config.hpp"
#include "libsplice/config/error.hpp"
#include "packetbridge/config.hpp"
#include "tests/fuzz/support/fuzzer.hpp"

namespace splice::fuzz {
namespace {

constexpr const char* kFile = "fuzz.yaml";

// As YAML that needs no thought: double quotes, every byte that might mean something escaped.
std::string scalar(std::string_view text) {
    std::string quoted = "\"";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        const bool plain = byte >= 0x80 || (c >= ' ' && c < 0x7f && c != '"' && c != '\\');
        quoted += plain ? std::string(1, c) : fmt::format("\\x{:02x}", byte);
    }
    return quoted + "\"";
}

std::string of_duration(Duration duration) {
    return fmt::format("{}ms", duration / 1ms);
}

std::string_view level_name(LogLevel level) {
    constexpr std::array<std::string_view, 5> kNames{"trace", "debug", "info", "warning", "error"};
    return kNames.at(static_cast<std::size_t>(level));
}

void require_duration(Duration is, Duration least, Duration most) {
    FUZZ_REQUIRE(is >= least && is <= most && is % 1ms == Duration{}, "{}", is.count());
}

// Both executables' keys of the top level.
std::string written(const CommonConfig& config) {
    require_duration(config.idle_timeout, 1s, 168h);
    FUZZ_REQUIRE(config.max_flows >= 1 && config.max_flows <= 100'000'000, "{}", config.max_flows);
    FUZZ_REQUIRE(!config.interface.empty() && config.interface.size() < 16, "{}", config.interface);
    std::string text;
    text += fmt::format("interface: {}\nsecret_file: {}\nbpffs: {}\n", scalar(config.interface),
                        scalar(config.secret_file), scalar(config.bpffs));
    text += fmt::format("engine: {}\nkeep: {}\nidle_timeout: {}\nmax_flows: {}\n", to_string(config.engine),
                        config.keep, of_duration(config.idle_timeout), config.max_flows);
    text += fmt::format("api: {{ listen: {} }}\n", scalar(config.api ? config.api->to_string() : "off"));
    FUZZ_REQUIRE(!config.channel || *config.channel != 0, "channel: {}", 0);
    text += fmt::format("channel: {}\n", config.channel ? std::to_string(*config.channel) : "off");
    const ConnectionLogSettings& connections = config.connection_log;
    FUZZ_REQUIRE(connections.sample >= 0 && connections.sample <= 1, "{}", connections.sample);
    FUZZ_REQUIRE(connections.limit >= 1 && connections.limit <= 1'000'000, "{}", connections.limit);
    text += fmt::format(
        "log: {{ level: {}, format: {}, connections: {{ sample: {:.17f}, limit: {}, file: {} }} }}\n",
        level_name(config.log.level), config.log.format == LogFormat::json ? "json" : "text",
        connections.sample, connections.limit, scalar(connections.file));
    return text;
}

// --- The balancer

void require_bounds(const ServiceConfig& service) {
    const ServiceDefaults& settings = service.settings;
    FUZZ_REQUIRE(service.dscp >= 1 && service.dscp <= 62, "{}", service.dscp);
    FUZZ_REQUIRE(service.vip.port != 0, "port 0");
    FUZZ_REQUIRE(key_fits(service.protocol, service.key.kind), "{}", service.key.to_string());
    const auto key_again = HashKeyRule::parse(service.key.to_string());
    FUZZ_REQUIRE(key_again && *key_again == service.key, "{}", service.key.to_string());
    const auto vip_again = Endpoint::parse(service.vip.to_string());
    FUZZ_REQUIRE(vip_again && *vip_again == service.vip, "{}", service.vip.to_string());
    require_duration(settings.first_payload_wait, 1ms, 10s);
    require_duration(settings.idle_timeout, 1s, 168h);
    FUZZ_REQUIRE(settings.first_payload_max >= 1 && settings.first_payload_max <= 65536, "{}",
                 settings.first_payload_max);
    FUZZ_REQUIRE(settings.window_scale <= 14, "{}", settings.window_scale);
    FUZZ_REQUIRE(settings.table_rows >= 1 && settings.table_rows <= 1U << 24, "{}", settings.table_rows);
    FUZZ_REQUIRE(!settings.mss || (*settings.mss >= 536 && *settings.mss <= 65475), "{}", *settings.mss);
    FUZZ_REQUIRE(!service.bridges.empty() && service.bridges.size() <= 4096, "{}", service.bridges.size());
    std::set<std::string> names, addresses, servers;
    for (const BridgeConfig& bridge : service.bridges) {
        FUZZ_REQUIRE(names.insert(bridge.name).second, "{} twice", bridge.name);
        FUZZ_REQUIRE(addresses.insert(bridge.address.to_string()).second, "{} twice",
                     bridge.address.to_string());
        FUZZ_REQUIRE(bridge.address.family() == service.vip.address.family(), "{}",
                     bridge.address.to_string());
        FUZZ_REQUIRE(!(bridge.address == service.vip.address), "the VIP");
        FUZZ_REQUIRE(bridge.number <= 1018, "{}", bridge.number);
        FUZZ_REQUIRE(bridge.server.size() <= 255, "{}", bridge.server);
        FUZZ_REQUIRE(bridge.server.empty() || servers.insert(bridge.server).second, "{} twice",
                     bridge.server);
        FUZZ_REQUIRE(bridge.weight <= (service.algorithm == Algorithm::jump ? 1U : 256U), "{}",
                     bridge.weight);
    }
}

std::string written(const HealthConfig& health) {
    const auto& [probe, rule] = health;
    require_duration(rule.interval, 100ms, 1h);
    require_duration(rule.timeout, 100ms, rule.interval);
    FUZZ_REQUIRE(rule.rise >= 1 && rule.rise <= 100 && rule.fall >= 1 && rule.fall <= 100, "{} {}", rule.rise,
                 rule.fall);
    FUZZ_REQUIRE(rule.max_ejection_percent <= 100 && rule.panic_threshold_percent <= 100, "percents");
    std::string text = fmt::format("  health: {{ type: {}", to_string(probe.kind));
    const auto add = [&](std::string_view key, const std::string& value) {
        FUZZ_REQUIRE(value.size() <= 255, "{}", value.size());
        if (!value.empty()) text += fmt::format(", {}: {}", key, scalar(value));
    };
    if (probe.kind == ProbeKind::http) {
        add("method", probe.method);
        add("path", probe.path);
        std::string ranges;
        for (const StatusRange& range : probe.expect) {
            FUZZ_REQUIRE(range.first >= 100 && range.first <= range.last && range.last <= 599, "{}",
                         range.first);
            ranges += fmt::format("{}{}-{}", ranges.empty() ? "" : ", ", range.first, range.last);
        }
        text += fmt::format(", expect: [{}]", ranges);
    }
    add("host", probe.host);
    add("body", probe.body);
    add("sni", probe.sni);
    add("send", probe.send);
    text += fmt::format(", interval: {}, timeout: {}", of_duration(rule.interval), of_duration(rule.timeout));
    if (rule.pass) {
        FUZZ_REQUIRE(rule.pass->passed >= 1 && rule.pass->passed <= rule.pass->of && rule.pass->of <= 32,
                     "{}", rule.pass->of);
        text += fmt::format(", pass: {}/{}", rule.pass->passed, rule.pass->of);
    } else {
        text += fmt::format(", rise: {}, fall: {}", rule.rise, rule.fall);
    }
    return text + fmt::format(", max_ejection_percent: {}, panic_threshold_percent: {} }}\n",
                              rule.max_ejection_percent, rule.panic_threshold_percent);
}

std::string written(const ServiceConfig& service) {
    const ServiceDefaults& settings = service.settings;
    std::string text = fmt::format("- name: {}\n  vip: {}\n  port: {}\n  dscp: {}\n  protocol: {}\n",
                                   scalar(service.name), scalar(service.vip.address.to_string()),
                                   service.vip.port, service.dscp, to_string(service.protocol));
    // Depth and length are words of the key.
    text += fmt::format("  proxy_protocol: {}\n", to_string(service.proxy_protocol));
    text += fmt::format("  hash: {{ key: {}, algorithm: {} }}\n", scalar(service.key.to_string()),
                        to_string(service.algorithm));
    text += fmt::format("  first_payload_wait: {}\n  first_payload_max: {}\n  idle_timeout: {}\n",
                        of_duration(settings.first_payload_wait), settings.first_payload_max,
                        of_duration(settings.idle_timeout));
    if (settings.mss) text += fmt::format("  mss: {}\n", *settings.mss);
    text += fmt::format("  window_scale: {}\n  table_rows: {}\n  bridges:\n", settings.window_scale,
                        settings.table_rows);
    for (const BridgeConfig& bridge : service.bridges)
        text += fmt::format("  - {{ name: {}, address: {}, weight: {}{} }}\n", scalar(bridge.name),
                            scalar(bridge.address.to_string()), bridge.weight,
                            (bridge.number == 0 ? "" : fmt::format(", number: {}", bridge.number)) +
                                (bridge.server.empty() ? "" : ", server: " + scalar(bridge.server)));
    if (service.health) text += written(*service.health);
    return text;
}

std::string written(const BalancerConfig& config) {
    std::string text = written(config.common) + fmt::format("xdp_mode: {}\nstop_resets: {}\nservices:\n",
                                                            to_string(config.xdp_mode), config.stop_resets);
    std::set<std::uint8_t> marks;
    std::set<std::string> vips, names;
    for (const ServiceConfig& service : config.services) {
        require_bounds(service);
        FUZZ_REQUIRE(marks.insert(service.dscp).second, "DSCP {} twice", service.dscp);
        FUZZ_REQUIRE(vips.insert(service.vip.to_string()).second, "{} twice", service.vip.to_string());
        FUZZ_REQUIRE(names.insert(service.name).second, "{} twice", service.name);
        text += written(service);
    }
    return text;
}

// --- The packet bridge

std::string written(const PacketbridgeConfig& config) {
    std::string text = written(config.common) + fmt::format("mode: {}\naddress:\n", to_string(config.mode));
    std::set<std::string> addresses, vips;
    std::set<std::uint8_t> marks;
    for (const IpAddress& address : config.addresses) {
        FUZZ_REQUIRE(addresses.insert(address.to_string()).second, "{} twice", address.to_string());
        text += fmt::format("- {}\n", scalar(address.to_string()));
    }
    FUZZ_REQUIRE(config.number <= 1018, "{}", config.number);
    if (config.number != 0) text += fmt::format("number: {}\n", config.number);
    text += "services:\n";
    for (const BridgeServiceConfig& service : config.services) {
        const int family = service.vip.address.family();
        FUZZ_REQUIRE(service.dscp >= 1 && service.dscp <= 62 && marks.insert(service.dscp).second, "{}",
                     service.dscp);
        FUZZ_REQUIRE(vips.insert(service.vip.to_string()).second, "{} twice", service.vip.to_string());
        FUZZ_REQUIRE(service.backend.address.family() == family, "{}", service.backend.to_string());
        FUZZ_REQUIRE(
            std::ranges::any_of(config.addresses, [&](const IpAddress& is) { return is.family() == family; }),
            "no address for {}", service.vip.to_string());
        FUZZ_REQUIRE(service.window_scale <= 14 && service.vip.port != 0 && service.backend.port != 0, "{}",
                     service.vip.to_string());
        text += fmt::format("- {{ dscp: {}, vip: {}, port: {}, backend: {}, window_scale: {} }}\n",
                            service.dscp, scalar(service.vip.address.to_string()), service.vip.port,
                            scalar(service.backend.to_string()), service.window_scale);
    }
    return text;
}

// --- Both

template <class Parser>
auto parse(const std::string& text, Parser&& parser) -> std::optional<decltype(parser(text, kFile))> {
    try {
        return parser(text, kFile);
    } catch (const ConfigError& error) {
        const std::string_view what = error.what();
        FUZZ_REQUIRE(what.starts_with(kFile), "{}", printable(what));
        FUZZ_REQUIRE(std::ranges::none_of(
                         what, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; }),
                     "{}", printable(what));
        return std::nullopt;
    }
}

template <class Parser>
void fuzz_config(const std::string& text, Parser&& parser) {
    const auto config = parse(text, parser);
    if (!config) return;
    const std::string first = written(*config);
    const auto again = parse(first, parser);
    FUZZ_REQUIRE(again.has_value(), "refused: {}", first);
    const std::string second = written(*again);
    FUZZ_REQUIRE(first == second, "{}\nbecame\n{}", first, second);
}

}  // namespace
}  // namespace splice::fuzz

FUZZER(yaml)(splice::Bytes input) {
    using namespace splice::fuzz;
    const std::string text(splice::as_text(input));
    fuzz_config(text, splice::parse_balancer_config);
    fuzz_config(text, splice::parse_packetbridge_config);
}
