#include "libsplice/engine/announcement.hpp"

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "libsplice/engine/descriptor.hpp"
#include "libsplice/engine/interface.hpp"
#include "libsplice/engine/link_socket.hpp"

namespace splice {
namespace {

// The kernel writes the checksum, and the IPv6 header from the address that the socket is bound to.
SystemResult<void> announce_ipv6(const LinkSocket& link, std::uint32_t interface, const IpAddress& address,
                                 const std::string& doing) {
    const Descriptor out(socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6));
    if (!out) return system_error(doing, errno, "it needs CAP_NET_RAW: run it as root");
    const int hops = 255;  // others are refused (RFC 4861 section 7.1.2)
    const auto index = static_cast<int>(interface);
    sockaddr_in6 own{};
    own.sin6_family = AF_INET6;
    std::memcpy(&own.sin6_addr, address.raw().bytes, sizeof(own.sin6_addr));
    if (setsockopt(out.get(), IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof(hops)) != 0 ||
        setsockopt(out.get(), IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof(index)) != 0 ||
        bind(out.get(), reinterpret_cast<const sockaddr*>(&own), sizeof(own)) != 0)
        return system_error(doing, errno);
    struct {
        nd_neighbor_advert advert{};
        nd_opt_hdr option{.nd_opt_type = ND_OPT_TARGET_LINKADDR, .nd_opt_len = 1};  // times 8 bytes
        MacAddress mac{};
    } message;
    static_assert(sizeof(message) == sizeof(nd_neighbor_advert) + 8);
    message.advert.nd_na_type = ND_NEIGHBOR_ADVERT;
    message.advert.nd_na_flags_reserved = ND_NA_FLAG_OVERRIDE;
    message.advert.nd_na_target = own.sin6_addr;
    message.mac = *link.own;
    sockaddr_in6 all_nodes{};
    all_nodes.sin6_family = AF_INET6;
    all_nodes.sin6_scope_id = interface;
    inet_pton(AF_INET6, "ff02::1", &all_nodes.sin6_addr);
    if (sendto(out.get(), &message, sizeof(message), 0, reinterpret_cast<const sockaddr*>(&all_nodes),
               sizeof(all_nodes)) < 0)
        return system_error(doing, errno);
    return {};
}

}  // namespace

SystemResult<void> announce_address(const std::string& interface, const IpAddress& address) {
    const std::string doing = "announce " + address.to_string() + " on " + interface;
    const std::uint32_t index = interface_index(interface);
    if (index == 0) return system_error(doing, ENODEV);
    const bool ipv4 = address.family() == 4;
    const auto link = open_link(index, ipv4 ? ETH_P_ARP : ETH_P_IPV6, doing);
    if (!link) return std::unexpected(link.error());
    if (!link->own) return {};
    return ipv4 ? send_arp_request(*link, index, address, address, doing)
                : announce_ipv6(*link, index, address, doing);
}

}  // namespace splice
