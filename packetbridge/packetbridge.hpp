// The running packet bridge: what main() starts, reloads and lets go.
#pragma once

#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libsplice/engine/arp_silence.hpp"
#include "libsplice/engine/interface.hpp"
#include "libsplice/engine/interface_lock.hpp"
#include "libsplice/ops/api_server.hpp"
#include "libsplice/ops/connection_log.hpp"
#include "libsplice/ops/host_facts.hpp"
#include "packetbridge/backend_watch.hpp"
#include "packetbridge/balancer_links.hpp"
#include "packetbridge/channel.hpp"
#include "packetbridge/config.hpp"
#include "packetbridge/connection_count.hpp"
#include "packetbridge/control/api.hpp"
#include "packetbridge/dataplane.hpp"
#include "packetbridge/options.hpp"
#include "packetbridge/self_test.hpp"
#include "packetbridge/setup.hpp"
#include "packetbridge/trouble.hpp"

namespace splice {

// The configuration that the options lead to: the file's, or the flags' own.
std::expected<PacketbridgeConfig, ConfigFailure> configuration_of(const PacketbridgeOptions& options);

// What --check looks at beyond the configuration itself: the secret, the interface, the addresses.
std::expected<void, std::string> check_against_host(const PacketbridgeConfig& config);

// What of this host will disappoint, as sentences: for --check.
std::vector<std::string> warnings_about_host(const PacketbridgeConfig& config);

class Packetbridge {
  public:
    // Errors are one line; what was begun is undone.
    static std::expected<std::unique_ptr<Packetbridge>, std::string> start(const PacketbridgeOptions& options,
                                                                           const PacketbridgeConfig& config);
    ~Packetbridge();
    Packetbridge(const Packetbridge&) = delete;
    Packetbridge& operator=(const Packetbridge&) = delete;

    // Whether packets are handled after destruction, too (--keep).
    [[nodiscard]] bool goes_on() const { return dataplane_ && dataplane_->goes_on(); }

    // Before stop(), when another process follows at once (SIGUSR1): what can go on in the kernel does, as
    // with `keep`. Where nothing can, it stops as always, and says so.
    void hand_over();

    // Before destruction, when the bridge stops because somebody said so. It opens nothing any more, so that
    // balancers turn to other bridges, until none has tried for a moment; then connections that nobody will
    // translate any more are ended, so that clients do not wait.
    void stop();

    // Reads configuration and secret anew. An error leaves everything as it is; either way one line in the
    // log.
    void reload(std::string_view why);
    // Logs what the counters show to be wrong. About once a second.
    void look();
    // Puts right what others changed on this host. `all`: not only what is told of by no notice.
    void look_at_host(bool all);

  private:
    Packetbridge(const PacketbridgeOptions& options, const PacketbridgeConfig& config);
    std::expected<void, std::string> open();
    std::expected<void, std::string> take_uplinks();
    std::expected<void, std::string> take_host_lock();
    std::expected<void, std::string> apply(const PacketbridgeConfig& config);
    // "adopt", "adopt, but translate for 192.0.2.10:80"
    [[nodiscard]] std::string describe_mode() const;
    void begin_self_test(const JoinerSetup& setup);
    void leave();
    [[nodiscard]] splice_balancer_links find_balancers(const PacketbridgeConfig& config);
    void warn_of_unknown_balancers();
    void follow_balancers();
    [[nodiscard]] BridgeChannel::Told told(const PacketbridgeConfig& config,
                                           const splice_secret& secret) const;
    [[nodiscard]] PacketbridgeState state() const;
    [[nodiscard]] HostFactList facts();
    // Whether an IPv4 VIP is on this host, and on another interface than this uplink.
    [[nodiscard]] bool has_vip_beside(const std::string& uplink) const;

    PacketbridgeOptions options_;
    PacketbridgeConfig config_;
    BridgeEngineDecision engine_;
    std::vector<InterfaceInfo> uplinks_;  // at least one, once it is open
    std::vector<InterfaceLock> locks_;    // of each
    ServiceNumbers numbers_;
    BalancerLinks links_;
    std::vector<IpAddress> told_unknown_;  // balancers that a line has named
    std::shared_ptr<const JoinerSetup> setup_;
    std::optional<InterfaceLock> host_lock_;
    ConnectionLog connection_log_{"packetbridge"};
    std::unique_ptr<BridgeDataPlane> dataplane_;
    ArpSilence silence_;  // what `host_` refers to
    HostFacts host_;
    Reloads reloads_;
    BackendWatch backends_;
    std::optional<ConnectionCount> connections_;
    std::unique_ptr<BridgeChannel> channel_;  // null: it is off
    std::unique_ptr<PacketbridgeApi> api_;
    std::optional<ApiServer> api_server_;
    CounterWarnings trouble_{kBridgeTrouble};
    std::optional<SelfTest> self_test_;  // while it tries, and after
};

}  // namespace splice
