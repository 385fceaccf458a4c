#include "libsplice/engine/host_events.hpp"

#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <initializer_list>
#include <utility>

namespace splice {
namespace {

// The kernel throws notices away that do not fit, and says so with ENOBUFS.
constexpr std::size_t kNotices = 16384;

int join(const NetlinkSocket& socket, unsigned group) noexcept {
    return setsockopt(socket.descriptor(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0
               ? errno
               : 0;
}

}  // namespace

SystemResult<HostEvents> HostEvents::open() {
    HostEvents events;
    auto routes = NetlinkSocket::open(NETLINK_ROUTE, "open a netlink socket for the host's changes");
    if (!routes) return std::unexpected(routes.error());
    for (const unsigned group : {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_TC}) {
        if (const int error = join(*routes, group)) return system_error("ask for the host's changes", error);
    }
    events.sockets_.push_back(std::move(*routes));
    auto tables = NetlinkSocket::open(NETLINK_NETFILTER, "open a netlink socket for nftables' changes");
    if (tables && join(*tables, NFNLGRP_NFTABLES) == 0) events.sockets_.push_back(std::move(*tables));
    return events;
}

std::vector<int> HostEvents::descriptors() const {
    std::vector<int> all;
    all.reserve(sockets_.size());
    for (const NetlinkSocket& socket : sockets_) all.push_back(socket.descriptor());
    return all;
}

bool HostEvents::drain() noexcept {
    bool changed = false;
    std::array<std::byte, kNotices> notices;
    for (const NetlinkSocket& socket : sockets_) {
        for (;;) {
            const ssize_t length = recv(socket.descriptor(), notices.data(), notices.size(), MSG_DONTWAIT);
            if (length < 0 && errno == EINTR) continue;
            if (length < 0 && errno != ENOBUFS) break;
            changed = true;
        }
    }
    return changed;
}

}  // namespace splice
