#include "packetbridge/config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "libsplice/config/load.hpp"
#include "libsplice/config/yaml_reader.hpp"
#include "libsplice/datapath/balancer_links.h"

namespace splice {
namespace {

constexpr std::array<std::string_view, 3> kModes = {"auto", "adopt", "translate"};
constexpr std::size_t kMaxAddresses = 64;
// Beside them stand this host's own.
constexpr std::size_t kMaxBalancers = SPLICE_BALANCER_LINKS - kMaxUplinks;
constexpr Duration kShortestBackendInterval = std::chrono::seconds(1);
constexpr Duration kLongestBackendInterval = std::chrono::hours(1);

void add_address(const YamlValue& value, PacketbridgeConfig& config) {
    const IpAddress address = value.as(parse_host_address);
    if (auto fits = check_address(config.addresses, address); !fits) value.fail(fits.error());
    config.addresses.push_back(address);
}

// A scalar or a list.
void read_addresses(const YamlValue& value, PacketbridgeConfig& config) {
    if (!value.is_list()) return add_address(value, config);
    for (const YamlValue& entry : value.items(kMaxAddresses)) add_address(entry, config);
}

// Addresses and Ethernet addresses, mixed; a scalar or a list.
void read_balancer(const YamlValue& value, BalancersConfig& balancers) {
    const std::string text = value.text();
    if (const auto mac = parse_mac(text)) return balancers.macs.push_back(*mac);
    const auto address = parse_host_address(text);
    if (!address)
        value.fail_about(
            text,
            "expected an address of a balancer such as 192.0.2.1, or an Ethernet address such as "
            "02:00:00:00:00:01");
    balancers.addresses.push_back(*address);
}

void read_balancers(const YamlValue& value, BalancersConfig& balancers) {
    if (!value.is_list()) return read_balancer(value, balancers);
    for (const YamlValue& entry : value.items(kMaxBalancers)) read_balancer(entry, balancers);
}

BridgeServiceConfig read_service(const YamlValue& entry, std::uint8_t window_scale) {
    const YamlMap map = entry.map({"dscp", "vip", "port", "backend", "window_scale"});
    BridgeServiceConfig service;
    service.window_scale = window_scale;
    service.dscp = map.require("dscp").as(parse_dscp);
    service.vip.address = map.require("vip").as(parse_host_address);
    service.vip.port = map.require("port").as(parse_port);
    service.backend = map.require("backend").as(parse_host_endpoint);
    map.read("window_scale", service.window_scale, parse_window_scale);
    return service;
}

}  // namespace

Parsed<std::uint64_t> parse_mac(std::string_view text) {
    constexpr std::size_t kBytes = 6, kDigits = 2, kBase = 16;
    const auto expected = std::unexpected("expected an Ethernet address such as 02:00:00:00:00:01");
    if (text.size() != kBytes * (kDigits + 1) - 1) return expected;
    std::uint64_t mac = 0;
    for (std::size_t i = 0; i < kBytes; i++) {
        const char* const at = text.data() + i * (kDigits + 1);
        std::uint8_t byte = 0;
        const auto [end, error] = std::from_chars(at, at + kDigits, byte, kBase);
        if (error != std::errc{} || end != at + kDigits || (i + 1 < kBytes && *end != ':')) return expected;
        mac |= static_cast<std::uint64_t>(byte) << (8 * i);
    }
    return mac;
}

Parsed<Mode> parse_mode(std::string_view text) {
    const auto found = std::ranges::find(kModes, text);
    if (found == kModes.end()) return std::unexpected("expected auto, adopt or translate");
    return static_cast<Mode>(found - kModes.begin());
}

std::string_view to_string(Mode mode) noexcept {
    return kModes[static_cast<std::size_t>(mode)];
}

Parsed<TcAttach> parse_tc_attach(std::string_view text) {
    for (const TcAttach attach : {TcAttach::automatic, TcAttach::tcx, TcAttach::clsact}) {
        if (text == to_string(attach)) return attach;
    }
    return std::unexpected("expected auto, tcx or clsact");
}

Parsed<BackendInterval> parse_backend_interval(std::string_view text) {
    if (text == "off") return BackendInterval{};
    const auto interval = parse_duration(text);
    if (!interval || *interval < kShortestBackendInterval || *interval > kLongestBackendInterval)
        return std::unexpected("expected a duration from 1s to 1h, or off");
    return BackendInterval{*interval};
}

std::vector<std::string> remarks_about(const PacketbridgeConfig& config) {
    std::vector<std::string> remarks = remarks_about_channel(config.common);
    if (config.number == 0)
        remarks.push_back(fmt::format(
            "no lanes: this bridge has no number; give it the one that balancers know it by (number: 1 to "
            "{})",
            kMaxBridgeNumber));
    return remarks;
}

std::optional<std::string> fixed_key_that_differs(const PacketbridgeConfig& running,
                                                  const PacketbridgeConfig& wanted) {
    if (const auto key = fixed_key_that_differs(running.common, wanted.common)) return key;
    if (running.mode != wanted.mode) return "mode";
    if (running.tc != wanted.tc) return "tc";
    return std::nullopt;
}

Parsed<BridgeServiceConfig> parse_bridge_service(std::string_view text) {
    const auto form = std::unexpected(
        "expected DSCP=VIP:PORT,backend=ADDRESS:PORT such as 1=192.0.2.10:80,backend=192.0.2.30:80");
    const std::size_t equals = text.find('=');
    const std::size_t comma = text.find(",backend=");
    if (equals == std::string_view::npos || comma == std::string_view::npos || comma < equals) return form;
    const auto dscp = parse_dscp(text.substr(0, equals));
    if (!dscp) return std::unexpected(dscp.error());
    const auto vip = parse_host_endpoint(text.substr(equals + 1, comma - equals - 1));
    if (!vip) return std::unexpected("the VIP: " + vip.error());
    const auto backend = parse_host_endpoint(text.substr(comma + 9));
    if (!backend) return std::unexpected("the backend: " + backend.error());
    return BridgeServiceConfig{.dscp = *dscp, .vip = *vip, .backend = *backend};
}

Parsed<void> check_address(const std::vector<IpAddress>& earlier, const IpAddress& address) {
    if (std::ranges::find(earlier, address) == earlier.end()) return {};
    return std::unexpected(fmt::format("address {} is there twice", address.to_string()));
}

Parsed<void> check_service(const PacketbridgeConfig& config, const BridgeServiceConfig& service) {
    const int family = service.vip.address.family();
    if (service.backend.address.family() != family)
        return std::unexpected(fmt::format("backend {}: expected an IPv{} address as the VIP's {}",
                                           service.backend.to_string(), family,
                                           service.vip.address.to_string()));
    const auto same_family = [&](const IpAddress& address) { return address.family() == family; };
    if (std::ranges::none_of(config.addresses, same_family))
        return std::unexpected(
            fmt::format("service {}: this bridge has no IPv{} address for it, expected one in address",
                        service.vip.to_string(), family));
    return {};
}

PacketbridgeConfig parse_packetbridge_config(const std::string& text, const std::string& file) {
    auto known = kCommonKeys;
    known.insert(known.end(), {"address", "number", "mode", "tc", "window_scale", "local_clients",
                               "backend_check", "balancers"});
    const YamlMap top = parse_yaml(text, file).map(known);
    PacketbridgeConfig config;
    config.common = common_from_yaml(top, Endpoint::parse(kPacketbridgeApi).value(), ApiKind::tells);
    top.read("number", config.number, parse_bridge_number);
    top.read("mode", config.mode, parse_mode);
    top.read("tc", config.tc, parse_tc_attach);
    top.read("local_clients", config.local_clients, parse_yes);
    top.read("backend_check", config.backend_check, parse_backend_interval);
    if (const auto balancers = top.find("balancers")) read_balancers(*balancers, config.balancers);
    read_addresses(top.require("address"), config);
    std::uint8_t window_scale = kWindowScale;
    top.read("window_scale", window_scale, parse_window_scale);
    ServiceKeys keys;
    for (const YamlValue& entry : top.require("services").items(kMaxServices)) {
        const BridgeServiceConfig service = read_service(entry, window_scale);
        if (auto fits = check_service(config, service); !fits) entry.fail(fits.error());
        if (auto fits = keys.add(service.dscp, service.vip); !fits) entry.fail(fits.error());
        config.services.push_back(service);
    }
    return config;
}

std::expected<PacketbridgeConfig, ConfigFailure> load_packetbridge_config(const std::string& path) {
    return load_config(path, parse_packetbridge_config);
}

}  // namespace splice
