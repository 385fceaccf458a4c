#include "libsplice/engine/socket_diag.hpp"

#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cstring>

namespace splice {
namespace {

void put_address(__be32 (&to)[4], const splice_address& address, bool is_ipv4) noexcept {
    if (is_ipv4)
        to[0] = address.words[3];
    else
        std::memcpy(to, address.words, sizeof(address.words));
}

}  // namespace

SystemResult<SocketDiag> SocketDiag::open() {
    auto socket = NetlinkSocket::open(NETLINK_SOCK_DIAG, "open sock_diag netlink");
    if (!socket) return std::unexpected(socket.error());
    return SocketDiag(std::move(*socket));
}

// The kernel looks the ends up as it does for a packet: a connection first, then whoever listens.
std::optional<std::uint8_t> SocketDiag::state_of(const splice_flow_key& key) noexcept {
    NetlinkMessage message(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST);
    const bool is_ipv4 = splice_address_is_ipv4(&key.server) != 0;
    auto* request = message.put_extra_header<inet_diag_req_v2>();
    request->sdiag_family = is_ipv4 ? AF_INET : AF_INET6;
    request->sdiag_protocol = IPPROTO_TCP;
    request->idiag_states = ~0U;
    request->id.idiag_sport = key.server_port;
    request->id.idiag_dport = key.client_port;
    put_address(request->id.idiag_src, key.server, is_ipv4);
    put_address(request->id.idiag_dst, key.client, is_ipv4);
    request->id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
    request->id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    std::optional<std::uint8_t> state;
    (void)socket_.ask(message, [&](const nlmsghdr* answer) {
        if (answer->nlmsg_type == SOCK_DIAG_BY_FAMILY)
            state = static_cast<const inet_diag_msg*>(mnl_nlmsg_get_payload(answer))->idiag_state;
    });
    return state;
}

bool SocketDiag::has_connection(const splice_flow_key& key) noexcept {
    const auto state = state_of(key);
    return state && *state != TCP_LISTEN;
}

bool SocketDiag::has_listener(const Endpoint& local) noexcept {
    const bool is_ipv4 = local.address.family() == 4;
    splice_flow_key key{};
    if (is_ipv4) splice_address_from_ipv4(&key.client, 0);
    key.server = local.address.raw();
    key.server_port = splice_htons(local.port);
    return state_of(key) == TCP_LISTEN;
}

}  // namespace splice
