// The running balancer: what main() starts, reloads and lets go.
#pragma once

#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "balancer/config.hpp"
#include "balancer/control/api.hpp"
#include "balancer/control/bridge_index.hpp"
#include "balancer/control/vips.hpp"
#include "balancer/dataplane.hpp"
#include "balancer/options.hpp"
#include "balancer/rules.hpp"
#include "libsplice/ops/api_server.hpp"

namespace splice {

// The configuration that the options lead to: the file's, or the flags' own.
std::expected<BalancerConfig, ConfigFailure> configuration_of(const BalancerOptions& options);

class Balancer {
  public:
    // Errors are one line; what was begun is undone.
    static std::expected<std::unique_ptr<Balancer>, std::string> start(const BalancerOptions& options,
                                                                       const BalancerConfig& config);
    // In this order: the API, the VIPs, the packets.
    ~Balancer();
    Balancer(const Balancer&) = delete;
    Balancer& operator=(const Balancer&) = delete;

    // Reads configuration and secret anew. An error leaves everything as it is; either way one line in the
    // log.
    void reload(std::string_view why);

  private:
    Balancer(const BalancerOptions& options, const BalancerConfig& config);
    std::expected<void, std::string> open();
    std::expected<void, std::string> start_engine();
    std::expected<void, std::string> apply(const BalancerConfig& config);
    std::expected<std::shared_ptr<const SplicerRules>, std::string> prepare(const BalancerConfig& config,
                                                                            BridgeIndex& index) const;
    [[nodiscard]] BalancerState state() const;

    BalancerOptions options_;
    BalancerConfig config_;
    EngineDecision engine_;
    InterfaceInfo interface_;
    BridgeIndex index_;
    std::shared_ptr<const SplicerRules> rules_;
    std::unique_ptr<DataPlane> dataplane_;
    Vips vips_;
    std::unique_ptr<BalancerApi> api_;
    std::optional<ApiServer> api_server_;
};

}  // namespace splice
