// The packet bridge's configuration as somebody wrote it.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/limits.hpp"
#include "libsplice/base/tc_attach.hpp"
#include "libsplice/base/time.hpp"
#include "libsplice/config/common.hpp"
#include "libsplice/config/error.hpp"

namespace splice {

enum class Mode : std::uint8_t { automatic, adopt, translate };
Parsed<Mode> parse_mode(std::string_view text);
[[nodiscard]] std::string_view to_string(Mode mode) noexcept;
Parsed<TcAttach> parse_tc_attach(std::string_view text);

struct BridgeServiceConfig {
    std::uint8_t dscp = 1;
    Endpoint vip;
    Endpoint backend;
    std::uint8_t window_scale = kWindowScale;  // what the balancer advertises
};

// Between two looks at the backends; nothing: none is made.
using BackendInterval = std::optional<Duration>;
inline constexpr Duration kBackendInterval = std::chrono::seconds(5);
Parsed<BackendInterval> parse_backend_interval(std::string_view text);

// Whose marks are believed; neither: anybody's.
struct BalancersConfig {
    std::vector<IpAddress> addresses;  // whose Ethernet addresses this host's routes and neighbours tell
    std::vector<std::uint64_t> macs;   // in the low 48 bits, as they are in a frame
    [[nodiscard]] bool any() const noexcept { return addresses.empty() && macs.empty(); }
};
// "02:00:00:00:00:01".
Parsed<std::uint64_t> parse_mac(std::string_view text);

struct PacketbridgeConfig {
    CommonConfig common;
    std::uint16_t number = 0;  // this bridge's own in the fleet, 1 to kMaxBridgeNumber; 0: it has none
    std::vector<IpAddress> addresses;  // of this host: where the balancer sends marked packets
    Mode mode = Mode::automatic;
    TcAttach tc = TcAttach::automatic;  // engine ebpf
    bool local_clients = true;          // programs on this host may be clients of the services
    BackendInterval backend_check = kBackendInterval;
    BalancersConfig balancers;
    std::vector<BridgeServiceConfig> services;
};

inline const char* const kPacketbridgeApi = "127.0.0.1:10002";

// DSCP=VIP:PORT,backend=ADDRESS:PORT
Parsed<BridgeServiceConfig> parse_bridge_service(std::string_view text);

// What the configuration leaves out, as sentences: for --check alone.
std::vector<std::string> remarks_about(const PacketbridgeConfig& config);

// What a reload may not change: the first such key that differs, or nothing.
std::optional<std::string> fixed_key_that_differs(const PacketbridgeConfig& running,
                                                  const PacketbridgeConfig& wanted);

// Checks that need more than one value; the errors are sentences.
Parsed<void> check_address(const std::vector<IpAddress>& earlier, const IpAddress& address);
// Whether a service can be reached and answered: one family throughout, and an address of that family here.
Parsed<void> check_service(const PacketbridgeConfig& config, const BridgeServiceConfig& service);

std::expected<PacketbridgeConfig, ConfigFailure> load_packetbridge_config(const std::string& path);
// Throws ConfigError; `file` names the text in complaints.
PacketbridgeConfig parse_packetbridge_config(const std::string& text, const std::string& file);

}  // namespace splice
