// Bridges that take no new connections while those that they have go on: what the log tells of them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "balancer/config.hpp"
#include "libsplice/base/time.hpp"
#include "libsplice/core/flow_counts.hpp"
#include "libsplice/core/splicer.hpp"
#include "libsplice/ops/log.hpp"

namespace splice {

class Drains {
  public:
    // The configuration and the setup built from it, which run since `now`. The lines to log: bridges whose
    // state this has changed. The first call tells only of those that are not ready.
    std::vector<LogMessage> replace(const BalancerConfig& config, const SplicerSetup& setup, Duration now);
    // The lines to log now: each bridge that drains is told to be empty once. Asks for the counts only while
    // there is one that may be.
    std::vector<LogMessage> look(const std::function<FlowCounts()>& counts);

  private:
    struct Bridge {
        std::string service;
        std::string name;
        std::uint16_t service_number = 0;
        std::uint16_t number = 0;  // in flow entries: one address for as long as there are any
        bool drains = false;       // it takes no new connections, and keeps those that it has
        BridgeState state = BridgeState::ready;
        Duration since{};
        bool told = false;
    };

    std::vector<Bridge> bridges_;
};

}  // namespace splice
