// Bridges that have as many connections as they may (`max_connections`), by what they report over the
// channel: new keys pass them over, and go to their next choices.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "balancer/config.hpp"
#include "libsplice/core/channel_asks.hpp"
#include "libsplice/core/splicer.hpp"

namespace splice {

// By the names of service and bridge.
using FullSet = std::set<std::pair<std::string, std::string>>;

// The connections at which a bridge that was full is not any more: a twentieth below its bound, and at least
// one.
[[nodiscard]] std::uint32_t not_full_at(std::uint32_t max_connections) noexcept;

class FullBridges {
  public:
    struct Line {
        bool warns = false;
        std::string text;
    };
    // Who is full now. A bridge that does not answer, or does not say how many connections it has, is not:
    // the channel's loss takes nobody out. The lines to log: a bridge that becomes full is told of once a
    // minute at most. The main thread.
    std::vector<Line> look(Duration now, const BalancerConfig& config, const ChannelReport& report);
    // Any thread.
    [[nodiscard]] FullSet names() const;

  private:
    mutable std::mutex mutex_;
    FullSet full_;                                                  // under mutex_
    std::map<std::pair<std::string, std::string>, Duration> told_;  // when
};

// As the data path has them, in the setup of this configuration.
[[nodiscard]] std::vector<FullBridge> full_bridges(const BalancerConfig& config, const SplicerSetup& setup,
                                                   const FullSet& names);

}  // namespace splice
