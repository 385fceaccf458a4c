#include "libsplice/engine/ruleset_stamp.hpp"

// Before the kernel's own headers, which then leave out what it defines.
#include <netinet/in.h>

#include <fmt/format.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <sys/socket.h>

#include <cstring>
#include <fstream>

#include "libsplice/engine/descriptor.hpp"
#include "libsplice/engine/netlink.hpp"

namespace splice {
namespace {

// To ask for a legacy table that is not loaded would load it, so only those are asked for that the kernel
// names.
template <class Info>
void append_legacy(std::string& stamp, int family, int level, int question, const char* names) {
    std::ifstream tables(names);
    const Descriptor socket(::socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
    for (std::string name; tables >> name;) {
        Info info{};
        std::strncpy(info.name, name.c_str(), sizeof(info.name) - 1);
        socklen_t length = sizeof(info);
        if (getsockopt(socket.get(), level, question, &info, &length) != 0) continue;
        stamp += fmt::format(" {} {} {}", name, info.num_entries, info.size);
    }
}

}  // namespace

std::uint32_t nftables_generation() {
    auto socket = NetlinkSocket::open(NETLINK_NETFILTER, "ask for nftables' generation");
    if (!socket) return 0;
    NetlinkMessage request(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, 0);
    request.put_extra_header<nfgenmsg>()->nfgen_family = AF_UNSPEC;
    std::uint32_t generation = 0;
    (void)socket->ask(request, [&](const nlmsghdr* message) {
        for_each_attribute(message, sizeof(nfgenmsg), [&](const nlattr* attribute) {
            if (mnl_attr_get_type(attribute) == NFTA_GEN_ID) generation = ntohl(mnl_attr_get_u32(attribute));
        });
    });
    return generation;
}

std::string ruleset_stamp() {
    std::string stamp = std::to_string(nftables_generation());
    append_legacy<ipt_getinfo>(stamp, AF_INET, IPPROTO_IP, IPT_SO_GET_INFO, "/proc/net/ip_tables_names");
    append_legacy<ip6t_getinfo>(stamp, AF_INET6, IPPROTO_IPV6, IP6T_SO_GET_INFO,
                                "/proc/net/ip6_tables_names");
    return stamp;
}

}  // namespace splice
