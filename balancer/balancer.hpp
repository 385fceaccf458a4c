// The running balancer: what main() starts, reloads and lets go.
#pragma once

#include <atomic>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "balancer/config.hpp"
#include "balancer/control/api.hpp"
#include "balancer/control/bridge_index.hpp"
#include "balancer/control/channel.hpp"
#include "balancer/control/channel_words.hpp"
#include "balancer/control/desired.hpp"
#include "balancer/control/drains.hpp"
#include "balancer/control/full_bridges.hpp"
#include "balancer/control/health_words.hpp"
#include "balancer/control/plan.hpp"
#include "balancer/control/vips.hpp"
#include "balancer/dataplane.hpp"
#include "balancer/options.hpp"
#include "balancer/trouble.hpp"
#include "libsplice/engine/interface_lock.hpp"
#include "libsplice/engine/port_guard.hpp"
#include "libsplice/ops/api_server.hpp"
#include "libsplice/ops/connection_log.hpp"
#include "libsplice/ops/host_facts.hpp"
#include "libsplice/ops/steps.hpp"
#include "libsplice/ops/task_queue.hpp"

namespace splice {

// The configuration that the options lead to: the file's, or the flags' own.
std::expected<BalancerConfig, ConfigFailure> configuration_of(const BalancerOptions& options);

// The secret that the configuration names. The error is a sentence.
std::expected<splice_secret, std::string> read_secret(const BalancerConfig& config);
// What --check looks at beyond the configuration itself: the secret, the interface, whether rules can be
// built.
std::expected<void, ConfigFailure> check_against_host(const BalancerConfig& config);

class Balancer {
  public:
    // Errors are one line; what was begun is undone, and what an earlier process kept goes on. `tasks`
    // outlives the balancer, and is not run after its end.
    static std::expected<std::unique_ptr<Balancer>, std::string> start(const BalancerOptions& options,
                                                                       const BalancerConfig& config,
                                                                       TaskQueue& tasks);
    // In this order: the API, the VIPs, the packets, the guard.
    ~Balancer();
    Balancer(const Balancer&) = delete;
    Balancer& operator=(const Balancer&) = delete;

    // Whether packets are handled after destruction, too (--keep).
    [[nodiscard]] bool goes_on() const { return dataplane_ && dataplane_->goes_on(); }

    // Before stop(), when another process follows at once (SIGUSR1): what can go on in the kernel does, as
    // with `keep`. Where nothing can, it stops as always, and says so.
    void hand_over();

    // Before destruction, when the balancer stops because somebody said so: for a moment it resets each
    // connection that it strands at its client's next packet, so that clients do not wait for answers.
    void stop();

    // Reads configuration and secret anew. An error leaves everything as it is; either way one line in the
    // log.
    void reload(std::string_view why);
    // Of the configuration in use.
    [[nodiscard]] const std::vector<std::string>& deny_files() const noexcept { return config_.deny; }
    // Logs what the counters show to be wrong. About once a second.
    void look();
    // Puts right what others changed on this host. `all`: not only what is told of by no notice.
    void look_at_host(bool all);

  private:
    Balancer(const BalancerOptions& options, const BalancerConfig& config, TaskQueue& tasks);
    std::expected<void, std::string> open();
    std::expected<void, std::string> start_api();
    // What the API changed earlier, over the file's.
    std::expected<void, std::string> read_state();
    // Makes a change that the API was asked for, or leaves all as it is; the reply says which.
    ApiReply change(const ApiEdit& edit);
    void post_change(ApiEdit edit, ApiAnswer answer);
    std::expected<void, std::string> start_engine();
    std::expected<void, std::string> start_channel();
    // Bridges and secret are what runs.
    void follow_channel();
    // Who is full is passed over.
    void follow_full();
    void start_guard();
    void guard_no_others();
    void follow_routes();
    void follow_own_addresses();
    void follow(std::string_view what, Plan plan);
    // The secret is the file's; or the one in use, where the plan is to change nothing that somebody wrote.
    // By the secret and the deny lists as their files are now; and as they are in use.
    [[nodiscard]] std::expected<Plan, std::string> plan_with_files(const BalancerConfig& config) const;
    [[nodiscard]] std::expected<Plan, std::string> plan_for(const BalancerConfig& config) const;
    [[nodiscard]] std::expected<Plan, std::string> plan_for(const BalancerConfig& config,
                                                            const splice_secret& secret,
                                                            std::shared_ptr<const PrefixSet> denied) const;
    std::expected<void, StepsFailure> apply(Plan plan);
    std::expected<void, StepsFailure> change_host(const Plan& plan);
    [[nodiscard]] BalancerState state() const;
    [[nodiscard]] HostFactList facts(const BalancerConfig& config);
    std::expected<void, std::string> take_uplinks();
    [[nodiscard]] HostFact need_fact(const ServiceConfig& service);
    // Of that service's bridges, those that take connections and are not known to be ill; as of what runs.
    [[nodiscard]] std::size_t bridges_up(const std::string& service) const;
    // The checks have found something new: who is placed follows them.
    void take_health();
    void follow_health();
    // What runs now is what is wanted.
    void settle();

    TaskQueue& tasks_;
    BalancerOptions options_;
    BalancerConfig config_;  // what runs: the file's, with what the API has changed laid over
    BalancerConfig file_;    // what the file or the flags say
    std::shared_ptr<const Desired> desired_ = std::make_shared<const Desired>();
    EngineDecision engine_;
    std::vector<InterfaceInfo> uplinks_;  // at least one, once it is open
    std::vector<InterfaceLock> locks_;    // of each
    BridgeIndex index_;
    ServiceNumbers services_;
    std::shared_ptr<const SplicerSetup> setup_;
    std::optional<PortGuard> guard_;  // gone last; without nftables there is none
    ConnectionLog connection_log_{"balancer"};
    std::unique_ptr<DataPlane> dataplane_;
    Vips vips_;
    HostFacts host_;
    Reloads reloads_;
    Drains drains_;
    HealthWords health_words_;
    HealthReport health_;  // what runs goes by it, but where `health_is_new_`
    bool health_is_new_ = false;
    std::unique_ptr<BalancerChannel> channel_;  // null: it is off
    ChannelWords channel_words_;
    FullBridges full_;
    std::vector<FullBridge> told_full_;  // the data path
    bool full_is_new_ = false;           // it has another setup, and may have forgotten
    std::unique_ptr<BalancerApi> api_;
    std::uint64_t changes_asked_ = 0;  // the API's thread alone
    std::atomic<unsigned> changes_waiting_ = 0;
    std::optional<ApiServer> api_server_;
    CounterWarnings trouble_{kBalancerTrouble};
    std::shared_ptr<const RouteMtus> followed_mtus_;
};

}  // namespace splice
