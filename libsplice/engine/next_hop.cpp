#include "libsplice/engine/next_hop.hpp"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <utility>

#include "libsplice/engine/interface.hpp"

namespace splice {
namespace {

// Neighbours whose Ethernet address may be used.
constexpr std::uint16_t kUsableStates =
    NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT | NUD_NOARP;
// Those the kernel should ask for, because nothing was heard of them.
constexpr std::uint16_t kFreshStates = NUD_REACHABLE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT | NUD_NOARP;

struct Route {
    std::uint32_t interface = 0;
    IpAddress neighbour;
    std::uint32_t mtu = 0;  // 0: the interface's
    bool local = false;     // the destination is this host
};

struct Interface {
    std::optional<EthernetAddress> address;
    std::uint32_t mtu = 0;
    std::uint32_t macvlan_on = 0;  // a macvlan: the device that it is stacked on
};

bool is_macvlan(const nlattr* link_info) {
    const auto* attribute = static_cast<const nlattr*>(mnl_attr_get_payload(link_info));
    const char* const end =
        static_cast<const char*>(mnl_attr_get_payload(link_info)) + mnl_attr_get_payload_len(link_info);
    for (; mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)));
         attribute = mnl_attr_next(attribute)) {
        if (mnl_attr_get_type(attribute) == IFLA_INFO_KIND)
            return std::string_view(mnl_attr_get_str(attribute)) == "macvlan";
    }
    return false;
}

struct Neighbour {
    std::uint32_t interface = 0;
    IpAddress address;
    EthernetAddress ethernet{};
    std::uint16_t state = 0;
};

std::uint8_t family_of(const IpAddress& address) noexcept {
    return address.family() == 4 ? AF_INET : AF_INET6;
}

void put_address(NetlinkMessage& message, std::uint16_t attribute, const IpAddress& address) noexcept {
    const std::size_t length = address.family() == 4 ? 4 : 16;
    mnl_attr_put(message.header(), attribute, length, address.raw().bytes + (16 - length));
}

IpAddress get_address(const nlattr* attribute) noexcept {
    splice_address address{};
    if (mnl_attr_get_payload_len(attribute) == sizeof(in_addr))
        splice_address_from_ipv4(&address, mnl_attr_get_u32(attribute));
    else if (mnl_attr_get_payload_len(attribute) == sizeof(address.bytes))
        std::memcpy(address.bytes, mnl_attr_get_payload(attribute), sizeof(address.bytes));
    return IpAddress(address);
}

std::optional<EthernetAddress> get_ethernet(const nlattr* attribute) noexcept {
    EthernetAddress address{};
    if (mnl_attr_get_payload_len(attribute) != address.size()) return std::nullopt;
    std::memcpy(address.data(), mnl_attr_get_payload(attribute), address.size());
    return address;
}

std::uint32_t get_mtu(const nlattr* metrics) noexcept {
    std::uint32_t mtu = 0;
    const auto* const end =
        static_cast<const char*>(mnl_attr_get_payload(metrics)) + mnl_attr_get_payload_len(metrics);
    const auto* attribute = static_cast<const nlattr*>(mnl_attr_get_payload(metrics));
    while (mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)))) {
        if (mnl_attr_get_type(attribute) == RTAX_MTU) mtu = mnl_attr_get_u32(attribute);
        attribute = mnl_attr_next(attribute);
    }
    return mtu;
}

std::optional<Route> find_route(NetlinkSocket& socket, const IpAddress& destination) {
    NetlinkMessage request(RTM_GETROUTE, 0);
    auto* const header = request.put_extra_header<rtmsg>();
    header->rtm_family = family_of(destination);
    header->rtm_dst_len = destination.family() == 4 ? 32 : 128;
    put_address(request, RTA_DST, destination);
    std::optional<Route> route;
    (void)socket.ask(request, [&](const nlmsghdr* message) {
        const auto* const found = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message));
        const bool local = found->rtm_type == RTN_LOCAL;
        if (message->nlmsg_type != RTM_NEWROUTE || (found->rtm_type != RTN_UNICAST && !local)) return;
        Route& unicast = route.emplace(0U, destination, 0U, local);
        for_each_attribute(message, sizeof(rtmsg), [&](const nlattr* attribute) {
            if (mnl_attr_get_type(attribute) == RTA_OIF) unicast.interface = mnl_attr_get_u32(attribute);
            if (mnl_attr_get_type(attribute) == RTA_GATEWAY) unicast.neighbour = get_address(attribute);
            // The route's own, or what path MTU discovery has found (RTAX_MTU).
            if (mnl_attr_get_type(attribute) == RTA_METRICS) unicast.mtu = get_mtu(attribute);
        });
    });
    return route;
}

Neighbour read_neighbour(const nlmsghdr* message) {
    const auto* const header = static_cast<const ndmsg*>(mnl_nlmsg_get_payload(message));
    Neighbour neighbour;
    neighbour.interface = static_cast<std::uint32_t>(header->ndm_ifindex);
    neighbour.state = header->ndm_state;
    bool has_ethernet = false;
    for_each_attribute(message, sizeof(ndmsg), [&](const nlattr* attribute) {
        if (mnl_attr_get_type(attribute) == NDA_DST) neighbour.address = get_address(attribute);
        if (mnl_attr_get_type(attribute) == NDA_LLADDR) {
            if (const auto ethernet = get_ethernet(attribute)) {
                neighbour.ethernet = *ethernet;
                has_ethernet = true;
            }
        }
    });
    if (!has_ethernet) neighbour.state = NUD_INCOMPLETE;
    return neighbour;
}

std::vector<Neighbour> list_neighbours(NetlinkSocket& socket) {
    NetlinkMessage request(RTM_GETNEIGH, 0);
    request.put_extra_header<ndmsg>()->ndm_family = AF_UNSPEC;
    std::vector<Neighbour> neighbours;
    (void)socket.dump(request, [&](const nlmsghdr* message) {
        if (message->nlmsg_type == RTM_NEWNEIGH) neighbours.push_back(read_neighbour(message));
    });
    return neighbours;
}

// Has the kernel resolve or confirm it, as a packet of its own would (NTF_USE).
void use_neighbour(NetlinkSocket& socket, const Route& route) noexcept {
    NetlinkMessage request(RTM_NEWNEIGH, NLM_F_CREATE);
    auto* const header = request.put_extra_header<ndmsg>();
    header->ndm_family = family_of(route.neighbour);
    header->ndm_ifindex = static_cast<int>(route.interface);
    header->ndm_flags = NTF_USE;
    header->ndm_state = NUD_NONE;
    put_address(request, NDA_DST, route.neighbour);
    (void)socket.order(request);
}

std::map<std::uint32_t, Interface> list_interfaces(NetlinkSocket& socket) {
    NetlinkMessage request(RTM_GETLINK, 0);
    request.put_extra_header<ifinfomsg>()->ifi_family = AF_UNSPEC;
    std::map<std::uint32_t, Interface> interfaces;
    (void)socket.dump(request, [&](const nlmsghdr* message) {
        if (message->nlmsg_type != RTM_NEWLINK) return;
        const auto* const header = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
        Interface& found = interfaces[static_cast<std::uint32_t>(header->ifi_index)];
        std::uint32_t lower = 0;
        bool elsewhere = false;  // the lower device is in another network namespace
        bool macvlan = false;
        for_each_attribute(message, sizeof(ifinfomsg), [&](const nlattr* attribute) {
            if (mnl_attr_get_type(attribute) == IFLA_MTU) found.mtu = mnl_attr_get_u32(attribute);
            if (mnl_attr_get_type(attribute) == IFLA_ADDRESS && header->ifi_type == ARPHRD_ETHER)
                found.address = get_ethernet(attribute);
            if (mnl_attr_get_type(attribute) == IFLA_LINK) lower = mnl_attr_get_u32(attribute);
            if (mnl_attr_get_type(attribute) == IFLA_LINK_NETNSID) elsewhere = true;
            if (mnl_attr_get_type(attribute) == IFLA_LINKINFO) macvlan = is_macvlan(attribute);
        });
        if (macvlan && !elsewhere) found.macvlan_on = lower;
    });
    return interfaces;
}

}  // namespace

std::uint64_t mac_of(const EthernetAddress& address) noexcept {
    std::uint64_t mac = 0;
    std::memcpy(&mac, address.data(), address.size());
    return mac;
}

SystemResult<NextHops> NextHops::open() {
    auto questions = NetlinkSocket::open(NETLINK_ROUTE, "open a route netlink socket");
    if (!questions) return std::unexpected(questions.error());
    auto changes = NetlinkSocket::open(NETLINK_ROUTE, "open a route netlink socket");
    if (!changes) return std::unexpected(changes.error());
    for (const int group : {RTNLGRP_NEIGH, RTNLGRP_LINK, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE}) {
        if (setsockopt(changes->descriptor(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
            return system_error("subscribe to changes of routes and neighbours", errno);
    }
    return NextHops(std::move(*questions), std::move(*changes));
}

bool NextHops::drain() noexcept {
    std::array<std::byte, 8192> notices;
    bool changed = false;
    for (;;) {
        const ssize_t length = recv(changes_.descriptor(), notices.data(), notices.size(), MSG_DONTWAIT);
        if (length < 0 && errno == EINTR) continue;
        // ENOBUFS: some were lost, so anything may have changed.
        if (length < 0 && errno != ENOBUFS) return changed;
        changed = true;
    }
}

std::vector<std::optional<NextHop>> NextHops::resolve(std::span<const IpAddress> addresses) {
    const auto interfaces = list_interfaces(questions_);
    const auto neighbours = list_neighbours(questions_);
    std::vector<std::optional<NextHop>> hops;
    for (const IpAddress& address : addresses) {
        auto& hop = hops.emplace_back();
        const auto route = address.is_unspecified() ? std::nullopt : find_route(questions_, address);
        if (!route) continue;
        const auto interface = interfaces.find(route->interface);
        if (interface == interfaces.end()) continue;
        const std::uint32_t mtu = route->mtu ? route->mtu : interface->second.mtu;
        if (route->local) {
            hop = NextHop{.interface = route->interface, .mtu = mtu, .ethernet = false, .local = true};
            continue;
        }
        if (!interface->second.address) {
            hop = NextHop{.interface = route->interface, .mtu = mtu, .ethernet = false};
            continue;
        }
        const auto neighbour = std::ranges::find_if(neighbours, [&](const Neighbour& each) {
            return each.interface == route->interface && each.address == route->neighbour;
        });
        const bool known = neighbour != neighbours.end();
        if (!known || !(neighbour->state & kFreshStates)) use_neighbour(questions_, *route);
        if (known && (neighbour->state & kUsableStates))
            hop = NextHop{route->interface, *interface->second.address, neighbour->ethernet, mtu};
    }
    return hops;
}

std::optional<WayTo> way_to(const IpAddress& address) {
    auto socket = NetlinkSocket::open(NETLINK_ROUTE, "open a route netlink socket");
    if (!socket) return std::nullopt;
    const auto route = find_route(*socket, address);
    if (!route) return std::nullopt;
    std::string name = interface_name(route->interface);
    if (name.empty()) return std::nullopt;
    return WayTo{std::move(name), route->local, route->neighbour == address};
}

SystemResult<EthernetAddresses> ethernet_addresses_at(std::uint32_t interface) {
    auto socket = NetlinkSocket::open(NETLINK_ROUTE, "open a route netlink socket");
    if (!socket) return std::unexpected(socket.error());
    const auto interfaces = list_interfaces(*socket);
    const auto found = interfaces.find(interface);
    if (found == interfaces.end() || !found->second.address)
        return system_error("read the Ethernet address of interface " + std::to_string(interface), ENODEV,
                            "XDP works on Ethernet interfaces");
    EthernetAddresses addresses{.own = *found->second.address, .upper = {}};
    for (const auto& [index, each] : interfaces) {
        if (each.macvlan_on == interface && each.address) addresses.upper.push_back(*each.address);
    }
    return addresses;
}

SystemResult<EthernetAddress> ethernet_address_of(std::uint32_t interface) {
    const auto addresses = ethernet_addresses_at(interface);
    if (!addresses) return std::unexpected(addresses.error());
    return addresses->own;
}

}  // namespace splice
