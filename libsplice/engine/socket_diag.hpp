// What TCP sockets this host has, asked of the kernel (sock_diag(7)).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/netlink.hpp"

namespace splice {

class SocketDiag {
  public:
    static SystemResult<SocketDiag> open();
    // Whether a connection of these ends is there, in whatever state but LISTEN; TIME_WAIT counts. The key
    // names the peer as the client and this host's address as the VIP.
    [[nodiscard]] bool has_connection(const splice_flow_key& key) noexcept;
    [[nodiscard]] bool has_listener(const Endpoint& local) noexcept { return listener(local).has_value(); }
    // The socket that listens there, by the address or by any; nothing: none.
    struct Listener {
        bool mptcp = false;      // IPPROTO_MPTCP: its connections may be of several paths
        std::uint32_t mark = 0;  // SO_MARK; 0 also where this process may not be told (CAP_NET_ADMIN)
        // Connections that it has not accepted yet. When there are more than `most_waiting`, the kernel drops
        // what comes.
        std::uint32_t waiting = 0;
        std::uint32_t most_waiting = 0;
    };
    [[nodiscard]] std::optional<Listener> listener(const Endpoint& local) noexcept;

    // How many connections each of these local ends has that a client may still be served on: established,
    // or closed by the client alone. Looks at every connection of their ports. 0 where the kernel does not
    // say.
    [[nodiscard]] std::vector<std::uint64_t> count_served(std::span<const Endpoint> locals);

  private:
    explicit SocketDiag(NetlinkSocket socket) noexcept : socket_(std::move(socket)) {}
    struct Socket {
        std::uint8_t state = 0;
        Listener facts;
    };
    std::optional<Socket> find(const splice_flow_key& key) noexcept;
    NetlinkSocket socket_;
};

}  // namespace splice
