// Bridges that take no new connections while those that they have go on: what the log tells of them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "balancer/config.hpp"
#include "libsplice/base/time.hpp"
#include "libsplice/core/flow_counts.hpp"
#include "libsplice/core/splicer.hpp"

namespace splice {

// The connections of one bridge of a service.
[[nodiscard]] FlowCount flows_of(const FlowCounts& counts, const SplicerRules& rules,
                                 const SplicerService& service, const IpAddress& bridge) noexcept;

class Drains {
  public:
    // The configuration and its rules, which run since `now`. The lines to log: bridges whose state this has
    // changed. The first call tells only of those that are not ready.
    std::vector<std::string> replace(const BalancerConfig& config, std::shared_ptr<const SplicerRules> rules,
                                     Duration now);
    // The lines to log now: each bridge that drains is told to be empty once. Asks for the counts only while
    // there is one that may be.
    std::vector<std::string> look(const std::function<FlowCounts()>& counts);

  private:
    struct Bridge {
        std::string service;
        std::string name;
        IpAddress address;
        bool drains = false;  // it takes no new connections, and keeps those that it has
        BridgeState state = BridgeState::ready;
        Duration since{};
        bool told = false;
    };

    std::shared_ptr<const SplicerRules> rules_;
    std::vector<Bridge> bridges_;
};

}  // namespace splice
