// The balancer's configuration as somebody wrote it, and nothing that only the running host knows.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/limits.hpp"
#include "libsplice/base/time.hpp"
#include "libsplice/base/xdp_mode.hpp"
#include "libsplice/config/common.hpp"
#include "libsplice/config/error.hpp"
#include "libsplice/core/hash_key.hpp"
#include "libsplice/core/health.hpp"
#include "libsplice/core/placement/placement.hpp"
#include "libsplice/core/probe_rule.hpp"

namespace splice {

inline constexpr std::uint32_t kMostConnections = 100'000'000;  // that max_connections can say

enum class BridgeState : std::uint8_t {
    ready,
    drain,  // takes no new connections; those that it has go on
    down,   // takes no new connections; those that it has are reset
};
[[nodiscard]] std::string_view to_string(BridgeState state) noexcept;

struct BridgeConfig {
    std::string name;
    IpAddress address;
    std::uint32_t weight = 1;  // 0: takes no new flows
    std::uint16_t number = 0;  // its own in the fleet, 1 to kMaxBridgeNumber; 0: it has none
    // What ketama places by, as nginx by the text of its `server` line: HOST or HOST:PORT. Empty: the
    // address, with the service's port unless that is 80.
    std::string server{};
    BridgeState state = BridgeState::ready;
    // With so many connections of the service, from all balancers, it is passed over; 0: no bound.
    std::uint32_t max_connections = 0;
};

// The one rule for who may be placed; of these, health takes out who is ill (Health::placed()).
[[nodiscard]] inline bool takes_connections(const BridgeConfig& bridge) noexcept {
    return bridge.weight != 0 && bridge.state == BridgeState::ready;
}

struct HealthConfig {
    ProbeRule probe;
    HealthRule rule;
};

struct HotKeysConfig {
    std::uint32_t top = 64;
    std::uint32_t spread = 2;
};

// Another way to choose, which is watched. What it does not name is the service's.
struct ShadowConfig {
    std::optional<HashKeyRule> key;
    std::optional<Algorithm> algorithm;
};

// Who says on the uplink's link that the VIP is here (layer 2).
enum class Presence : std::uint8_t {
    automatic,  // l2 where the VIP is of the uplink's subnet, else none
    l2,         // this host: it makes sure that no other has the VIP, and announces it
    standby,    // whoever gives it the address: until then this host serves it and is silent
    none,       // nobody: routers send packets here. The host still answers who asks
};

// What a service takes from the top level unless it says otherwise.
struct ServiceDefaults {
    Duration first_payload_wait = kFirstPayloadWait;
    std::size_t first_payload_max = kFirstPayloadMax;
    Duration idle_timeout = kIdleTimeout;
    std::optional<std::uint16_t> mss;  // nothing: the uplink's MTU less headers
    std::uint8_t window_scale = kWindowScale;
    std::uint32_t table_rows = kTableRows;
    Presence presence = Presence::automatic;
    splice_rate_limit new_connections = kNoRateLimit;
    double table_share = 1;  // of the flow table
};

// What a client's timestamps are for (datapath/lane.h).
enum class Timestamps : std::uint8_t {
    automatic,  // lanes where every bridge has a number
    lanes,
    plain,  // the balancer's millisecond clock, continued by the bridge
};

struct ServiceConfig {
    std::string name;
    Endpoint vip;
    std::uint8_t dscp = 1;
    Protocol protocol = Protocol::http;
    HashKeyRule key;
    ProxyProtocol proxy_protocol = ProxyProtocol::off;
    Algorithm algorithm = Algorithm::rendezvous;
    double bounded_load = 0;  // times the mean; 0: no bound
    double warmup = 0;        // share of openings for the second choice
    std::optional<HotKeysConfig> hot_keys;
    std::optional<ShadowConfig> shadow;
    double ramp = 0;           // share of rows that the shadow serves
    std::uint32_t subset = 0;  // key sni: so many bridges for a name; 0: one
    std::uint32_t need = 0;    // with fewer bridges that take connections the balancer is not ready
    Timestamps timestamps = Timestamps::automatic;
    std::vector<BridgeConfig> bridges;
    std::optional<HealthConfig> health;
    ServiceDefaults settings;
};

// Addresses from which services get theirs: "198.51.100.0/28", or one address.
struct AddressRange {
    IpAddress first;
    unsigned prefix = 32;  // bits; at least half of the address's

    [[nodiscard]] IpAddress at(std::uint64_t number) const noexcept;  // 0: the first
    [[nodiscard]] std::uint64_t size() const noexcept;
};

struct BalancerConfig {
    CommonConfig common;
    XdpMode xdp_mode = XdpMode::automatic;  // engine ebpf
    bool stop_resets = true;                // a stop ends the connections that it strands
    splice_guess_limits cookie_guesses = kGuessLimits;
    std::vector<std::string> deny;  // files of prefixes
    std::vector<ServiceConfig> services;
    ServiceDefaults defaults;          // of services that the API adds
    std::vector<AddressRange> ipam{};  // where these take their addresses
};

inline const char* const kBalancerApi = "127.0.0.1:10001";

Parsed<XdpMode> parse_xdp_mode(std::string_view text);
Parsed<ProxyProtocol> parse_proxy_protocol(std::string_view text);
Parsed<Timestamps> parse_timestamps(std::string_view text);
Parsed<Presence> parse_presence(std::string_view text);
[[nodiscard]] std::string_view to_string(Presence presence) noexcept;
// An address has one presence: the error names the service that says otherwise.
Parsed<void> check_presence(const BalancerConfig& config);
[[nodiscard]] std::string_view to_string(Timestamps timestamps) noexcept;
// Whether its clients' timestamps name bridges.
[[nodiscard]] bool has_lanes(const ServiceConfig& service) noexcept;
// That every bridge has the number that lanes need, and that an echo lives as long as a flow entry.
Parsed<void> check_timestamps(const ServiceConfig& service);
[[nodiscard]] std::string_view to_string(ProxyProtocol proxy_protocol) noexcept;
// HOST or HOST:PORT as in a `server` line of nginx; an IPv6 address in brackets.
Parsed<std::string> parse_ring_server(std::string_view text);
Parsed<BridgeState> parse_bridge_state(std::string_view text);
// 1 to kMostConnections.
Parsed<std::uint32_t> parse_max_connections(std::string_view text);
// NAME=ADDRESS[,weight=N][,number=N][,server=HOST:PORT][,state=ready|drain|down][,max_connections=N]
Parsed<BridgeConfig> parse_bridge(std::string_view text);
// 1.01 to 100.
Parsed<double> parse_bounded_load(std::string_view text);
// 2 to SPLICE_CHOICES.
Parsed<std::uint32_t> parse_subset(std::string_view text);
// What a service speaks when nobody says: tls for sni, tcp for source, http for the rest.
[[nodiscard]] Protocol natural_protocol(KeyKind key) noexcept;

// What is allowed and will most likely not be wanted, as sentences.
std::vector<std::string> warnings_about(const BalancerConfig& config);
// What the configuration leaves out, as sentences: for --check alone.
std::vector<std::string> remarks_about(const BalancerConfig& config);
// What a reload may not change: the first such key that differs, or nothing.
std::optional<std::string> fixed_key_that_differs(const BalancerConfig& running,
                                                  const BalancerConfig& wanted);

// Checks that need more than one value; the errors are sentences.
Parsed<void> check_protocol(Protocol protocol, const HashKeyRule& key);
// Whether what is asked of a bridge is what the service speaks.
Parsed<void> check_health(Protocol protocol, ProbeKind kind);
// Numbers of bridges of one file. A number is one host's: a second entry may have it only for the host's
// address of the other family, under the same name. The error is a sentence.
class BridgeNumbers {
  public:
    Parsed<void> add(const BridgeConfig& bridge);

  private:
    std::vector<BridgeConfig> seen_;
};

// Whether the rules for choices fit the key (subset is sni's).
Parsed<void> check_choice(const ServiceConfig& service);
// Whether the service, whose earlier bridges it has already, can take this one.
Parsed<void> check_bridge(const ServiceConfig& service, const BridgeConfig& bridge);
// 1 to kMaxBridges.
Parsed<std::uint32_t> parse_need(std::string_view text);
// Whether its bridges can be placed by its algorithm (jump knows no weights).
Parsed<void> check_weights(const ServiceConfig& service);
// Whether the bridges of all services together are not more than flow entries can tell apart.
Parsed<void> check_bridge_count(const BalancerConfig& config);

// Whether the services fit together, and each by itself; what parse_balancer_config() judges with the place
// in the file.
Parsed<void> check_services(const BalancerConfig& config);
// An address, or one with the length of its prefix.
Parsed<AddressRange> parse_address_range(std::string_view text);
// One service without its bridges, as it stands in the file; JSON is such a text, too. Throws ConfigError.
ServiceConfig parse_service(const std::string& text, const ServiceDefaults& defaults);

std::expected<BalancerConfig, ConfigFailure> load_balancer_config(const std::string& path);
// Throws ConfigError; `file` names the text in complaints.
BalancerConfig parse_balancer_config(const std::string& text, const std::string& file);

}  // namespace splice
