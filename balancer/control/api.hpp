// What the balancer's API says. GET / lists it.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "balancer/config.hpp"
#include "balancer/dataplane.hpp"
#include "libsplice/engine/port_guard.hpp"
#include "libsplice/ops/api_server.hpp"
#include "libsplice/ops/host_facts.hpp"

namespace splice {

// What runs, for the API's thread: swapped whole at a reload.
struct BalancerState {
    BalancerConfig config;
    std::shared_ptr<const SplicerSetup> setup;
    std::string engine;
    std::string engine_reason;
};

class BalancerApi {
  public:
    // `dataplane`, `host` and `guard`, which may be null, must outlive the API.
    BalancerApi(BalancerState state, DataPlane& dataplane, const HostFacts& host, const PortGuard* guard);

    void replace(BalancerState state);
    // Bound to this object.
    [[nodiscard]] ApiRoutes routes();

  private:
    [[nodiscard]] std::string metrics() const;
    [[nodiscard]] std::string status() const;

    DataPlane& dataplane_;
    const HostFacts& host_;
    const PortGuard* guard_;
    mutable std::mutex mutex_;
    BalancerState state_;                      // under mutex_
    std::vector<std::vector<double>> shares_;  // under mutex_: of the keys, by service and bridge
};

// The share of the keys that each of the service's bridges gets as its first choice, in the order of the
// configuration; they sum up to 1 while any bridge takes flows.
std::vector<double> first_choice_shares(const SplicerService& service);

}  // namespace splice
