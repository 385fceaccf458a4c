#include "libsplice/engine/link_socket.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/if_ether.h>
#include <netpacket/packet.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace splice {

std::string to_string(const MacAddress& mac) {
    return fmt::format("{:02x}", fmt::join(mac, ":"));
}

SystemResult<LinkSocket> open_link(std::uint32_t interface, std::uint16_t protocol,
                                   const std::string& doing) {
    LinkSocket link{.socket = Descriptor(socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0)), .own = {}};
    if (!link.socket) return system_error(doing, errno, "it needs CAP_NET_RAW: run it as root");
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(protocol);
    address.sll_ifindex = static_cast<int>(interface);
    socklen_t length = sizeof(address);
    auto* const raw = reinterpret_cast<sockaddr*>(&address);
    if (bind(link.socket.get(), raw, sizeof(address)) != 0 ||
        getsockname(link.socket.get(), raw, &length) != 0)
        return system_error(doing, errno);
    if (address.sll_hatype == ARPHRD_ETHER && address.sll_halen == ETH_ALEN)
        std::memcpy(link.own.emplace().data(), address.sll_addr, ETH_ALEN);
    return link;
}

SystemResult<void> send_on_link(const LinkSocket& link, std::uint32_t interface, std::uint16_t protocol,
                                const MacAddress& to, const void* packet, std::size_t length,
                                const std::string& doing) {
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(protocol);
    address.sll_ifindex = static_cast<int>(interface);
    address.sll_halen = ETH_ALEN;
    std::memcpy(address.sll_addr, to.data(), to.size());
    if (sendto(link.socket.get(), packet, length, 0, reinterpret_cast<const sockaddr*>(&address),
               sizeof(address)) < 0)
        return system_error(doing, errno);
    return {};
}

SystemResult<void> send_arp_request(const LinkSocket& link, std::uint32_t interface,
                                    const std::optional<IpAddress>& sender, const IpAddress& target,
                                    const std::string& doing) {
    constexpr MacAddress kEverybody{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    ether_arp arp{};
    arp.arp_hrd = htons(ARPHRD_ETHER);
    arp.arp_pro = htons(ETHERTYPE_IP);
    arp.arp_hln = ETH_ALEN;
    arp.arp_pln = 4;
    arp.arp_op = htons(ARPOP_REQUEST);
    std::memcpy(arp.arp_sha, link.own->data(), ETH_ALEN);
    if (sender) std::memcpy(arp.arp_spa, sender->raw().bytes + 12, 4);
    std::memcpy(arp.arp_tpa, target.raw().bytes + 12, 4);
    return send_on_link(link, interface, ETH_P_ARP, kEverybody, &arp, sizeof(arp), doing);
}

}  // namespace splice
