// The Ethernet addresses that the configured balancers' packets come from.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "libsplice/datapath/balancer_links.h"
#include "libsplice/engine/next_hop.hpp"
#include "packetbridge/config.hpp"

namespace splice {

class BalancerLinks {
  public:
    // As this host's routes and neighbours say now, or said last: one that was never known is asked for, and
    // is there at a later call. This host's own addresses on `uplinks` are believed, too.
    [[nodiscard]] splice_balancer_links find(const BalancersConfig& balancers,
                                             const std::vector<std::string>& uplinks);
    // What could not be found at the last call.
    [[nodiscard]] const std::vector<IpAddress>& unknown() const noexcept { return unknown_; }

  private:
    struct Known {
        IpAddress address;
        std::uint64_t mac;
    };
    std::optional<NextHops> hops_;
    std::vector<Known> known_;
    std::vector<IpAddress> unknown_;
};

[[nodiscard]] bool same(const splice_balancer_links& a, const splice_balancer_links& b) noexcept;

}  // namespace splice
