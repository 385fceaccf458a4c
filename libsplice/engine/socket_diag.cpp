#include "libsplice/engine/socket_diag.hpp"

#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cstring>
#include <string_view>

namespace splice {
namespace {

void put_address(__be32 (&to)[4], const splice_address& address, bool is_ipv4) noexcept {
    if (is_ipv4)
        to[0] = address.words[3];
    else
        std::memcpy(to, address.words, sizeof(address.words));
}

// The kernel names the protocol above TCP (TCP_ULP).
bool is_mptcp(const nlattr* upper_layer) {
    bool found = false;
    for_each_nested(upper_layer, [&](const nlattr* attribute) {
        if (mnl_attr_get_type(attribute) == INET_ULP_INFO_NAME)
            found |= std::string_view(mnl_attr_get_str(attribute)) == "mptcp";
    });
    return found;
}

}  // namespace

SystemResult<SocketDiag> SocketDiag::open() {
    auto socket = NetlinkSocket::open(NETLINK_SOCK_DIAG, "open sock_diag netlink");
    if (!socket) return std::unexpected(socket.error());
    return SocketDiag(std::move(*socket));
}

// The kernel looks the ends up as it does for a packet: a connection first, then whoever listens.
std::optional<SocketDiag::Socket> SocketDiag::find(const splice_flow_key& key) noexcept {
    NetlinkMessage message(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST);
    const bool is_ipv4 = splice_address_is_ipv4(&key.server) != 0;
    auto* request = message.put_extra_header<inet_diag_req_v2>();
    request->sdiag_family = is_ipv4 ? AF_INET : AF_INET6;
    request->sdiag_protocol = IPPROTO_TCP;
    request->idiag_states = ~0U;
    request->idiag_ext = 1U << (INET_DIAG_INFO - 1);  // with it comes what is above TCP
    request->id.idiag_sport = key.server_port;
    request->id.idiag_dport = key.client_port;
    put_address(request->id.idiag_src, key.server, is_ipv4);
    put_address(request->id.idiag_dst, key.client, is_ipv4);
    request->id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
    request->id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    std::optional<Socket> found;
    (void)socket_.ask(message, [&](const nlmsghdr* answer) {
        if (answer->nlmsg_type != SOCK_DIAG_BY_FAMILY) return;
        Socket& socket = found.emplace();
        const auto* const told = static_cast<const inet_diag_msg*>(mnl_nlmsg_get_payload(answer));
        socket.state = told->idiag_state;
        socket.facts.waiting = told->idiag_rqueue;
        socket.facts.most_waiting = told->idiag_wqueue;
        for_each_attribute(answer, sizeof(inet_diag_msg), [&](const nlattr* attribute) {
            if (mnl_attr_get_type(attribute) == INET_DIAG_ULP_INFO) socket.facts.mptcp |= is_mptcp(attribute);
            if (mnl_attr_get_type(attribute) == INET_DIAG_MARK)
                socket.facts.mark = mnl_attr_get_u32(attribute);
        });
    });
    return found;
}

bool SocketDiag::has_connection(const splice_flow_key& key) noexcept {
    const auto socket = find(key);
    return socket && socket->state != TCP_LISTEN;
}

std::optional<SocketDiag::Listener> SocketDiag::listener(const Endpoint& local) noexcept {
    const bool is_ipv4 = local.address.family() == 4;
    splice_flow_key key{};
    if (is_ipv4) splice_address_from_ipv4(&key.client, 0);
    key.server = local.address.raw();
    key.server_port = splice_htons(local.port);
    const auto socket = find(key);
    if (!socket || socket->state != TCP_LISTEN) return std::nullopt;
    return socket->facts;
}

std::vector<std::uint64_t> SocketDiag::count_served(std::span<const Endpoint> locals) {
    std::vector<std::uint64_t> counts(locals.size());
    std::vector<bool> counted(locals.size());
    for (std::size_t i = 0; i < locals.size(); ++i) {
        if (counted[i]) continue;
        const int family = locals[i].address.family();
        const std::uint16_t port = locals[i].port;
        NetlinkMessage message(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP);
        auto* request = message.put_extra_header<inet_diag_req_v2>();
        request->sdiag_family = family == 4 ? AF_INET : AF_INET6;
        request->sdiag_protocol = IPPROTO_TCP;
        request->idiag_states = 1U << TCP_ESTABLISHED | 1U << TCP_CLOSE_WAIT;
        request->id.idiag_sport = splice_htons(port);
        // All ends of that port and family by one walk.
        const auto is_asked = [&](std::size_t each) {
            return locals[each].port == port && locals[each].address.family() == family;
        };
        (void)socket_.dump(message, [&](const nlmsghdr* answer) {
            if (answer->nlmsg_type != SOCK_DIAG_BY_FAMILY) return;
            const auto* const told = static_cast<const inet_diag_msg*>(mnl_nlmsg_get_payload(answer));
            if (told->id.idiag_sport != splice_htons(port)) return;
            for (std::size_t each = i; each < locals.size(); ++each) {
                __be32 local[4] = {};
                put_address(local, locals[each].address.raw(), family == 4);
                if (is_asked(each) && std::memcmp(local, told->id.idiag_src, family == 4 ? 4 : 16) == 0)
                    ++counts[each];
            }
        });
        for (std::size_t each = i; each < locals.size(); ++each)
            counted[each] = counted[each] || is_asked(each);
    }
    return counts;
}

}  // namespace splice
