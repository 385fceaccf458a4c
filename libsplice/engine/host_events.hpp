// Notices of the kernel that somebody changed this host: links, addresses, traffic control (rtnetlink(7)) and
// nftables. Sysctls and legacy iptables send none.
#pragma once

#include <vector>

#include "libsplice/engine/netlink.hpp"

namespace splice {

class HostEvents {
  public:
    // A kernel without nftables has no notices of it, which is no error.
    static SystemResult<HostEvents> open();

    // Each is readable when a notice waits.
    [[nodiscard]] std::vector<int> descriptors() const;
    // Takes all notices that wait. True: something may have changed; an overrun, which lost notices, counts
    // as that.
    bool drain() noexcept;

  private:
    HostEvents() = default;
    std::vector<NetlinkSocket> sockets_;
};

}  // namespace splice
