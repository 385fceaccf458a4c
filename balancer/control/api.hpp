// What the balancer's API says. GET / lists it, openapi.json tells it whole.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "balancer/control/channel.hpp"
#include "balancer/control/explain.hpp"
#include "balancer/control/loadbalancers.hpp"
#include "balancer/control/shown.hpp"
#include "balancer/dataplane.hpp"
#include "libsplice/engine/port_guard.hpp"
#include "libsplice/ops/api_routes.hpp"
#include "libsplice/ops/host_facts.hpp"
#include "libsplice/ops/reloads.hpp"

namespace splice {

class BalancerApi {
  public:
    // `dataplane`, `host`, `reloads`, `full`, and `guard` and `channel`, which may be null,
    // must outlive the API.
    BalancerApi(BalancerState state, DataPlane& dataplane, const HostFacts& host, const Reloads& reloads,
                const PortGuard* guard, BalancerChannel* channel, const FullBridges& full);

    void replace(BalancerState state);
    // Any thread; waits for the packets' thread. Without totals, which cost a system call for each bridge.
    [[nodiscard]] Snapshot snapshot() const;
    // Bound to this object. `change` carries out what changes something.
    [[nodiscard]] ApiRoutes routes(MakeChange change);

  private:
    [[nodiscard]] Snapshot counted_snapshot() const;  // with totals
    [[nodiscard]] std::shared_ptr<const Shown> shown() const;
    [[nodiscard]] ChannelNews channel_news(const Shown& shown) const;
    // Every bridge is asked now, and then told of.
    void answer_check(const ApiAnswer& answer);
    [[nodiscard]] std::string check() const;
    [[nodiscard]] std::string metrics() const;
    [[nodiscard]] std::string status() const;
    [[nodiscard]] std::string stats() const;

    DataPlane& dataplane_;
    const HostFacts& host_;
    const Reloads& reloads_;
    const PortGuard* guard_;
    BalancerChannel* channel_;
    const FullBridges& full_;
    Explainer explainer_;
    mutable std::mutex mutex_;
    std::shared_ptr<const Shown> shown_;  // under mutex_
};

}  // namespace splice
