#include "libsplice/engine/interface.hpp"

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "libsplice/engine/netlink.hpp"

namespace splice {
namespace {

// IFA_PROTO of addresses that we added. The kernel uses 1 to 3 (linux/if_addr.h); the rest is anyone's.
constexpr std::uint8_t kAddressProtocol = 0x51;
constexpr std::string_view kLabelSuffix = ":slb";
constexpr const char* kLoopback = "lo";

// linux/if_addr.h of Linux 5.18 and newer has it.
constexpr std::uint16_t kIfaProto = 11;

SystemResult<NetlinkSocket> open_route_socket() {
    return NetlinkSocket::open(NETLINK_ROUTE, "open a route netlink socket");
}

// What a VRF holds sends by itself.
bool is_port(const nlattr* link_info) {
    bool found = false;
    for_each_nested(link_info, [&](const nlattr* attribute) {
        if (mnl_attr_get_type(attribute) == IFLA_INFO_SLAVE_KIND)
            found = std::string_view(mnl_attr_get_str(attribute)) != "vrf";
    });
    return found;
}

InterfaceInfo read_link(const nlmsghdr* message) {
    const auto* const link = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
    InterfaceInfo info;
    info.index = static_cast<std::uint32_t>(link->ifi_index);
    info.up = (link->ifi_flags & IFF_UP) != 0;
    info.ethernet = link->ifi_type == ARPHRD_ETHER || link->ifi_type == ARPHRD_LOOPBACK;
    for_each_attribute(message, sizeof(*link), [&](const nlattr* attribute) {
        if (mnl_attr_get_type(attribute) == IFLA_IFNAME) info.name = mnl_attr_get_str(attribute);
        if (mnl_attr_get_type(attribute) == IFLA_MTU) info.mtu = mnl_attr_get_u32(attribute);
        if (mnl_attr_get_type(attribute) == IFLA_LINKINFO) info.port = is_port(attribute);
    });
    return info;
}

std::string names_of(const std::vector<InterfaceInfo>& interfaces) {
    std::string names;
    for (const InterfaceInfo& each : interfaces) names += (names.empty() ? "" : ", ") + each.name;
    return names;
}

// An address of this host, as the kernel lists it.
struct HostAddress {
    IpAddress address;
    std::uint32_t interface = 0;
    std::uint8_t prefix_length = 0;
    std::uint8_t scope = RT_SCOPE_UNIVERSE;
    std::uint32_t flags = 0;  // IFA_F_
    bool ours = false;
};

IpAddress read_address(const nlattr* attribute) noexcept {
    splice_address address{};
    if (mnl_attr_get_payload_len(attribute) == sizeof(in_addr)) {
        splice_address_from_ipv4(&address, mnl_attr_get_u32(attribute));
    } else {
        std::memcpy(address.bytes, mnl_attr_get_payload(attribute),
                    std::min<std::size_t>(sizeof(address.bytes), mnl_attr_get_payload_len(attribute)));
    }
    return IpAddress(address);
}

HostAddress read_host_address(const nlmsghdr* message) {
    const auto* const header = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(message));
    HostAddress found;
    found.interface = header->ifa_index;
    found.prefix_length = header->ifa_prefixlen;
    found.scope = header->ifa_scope;
    found.flags = header->ifa_flags;
    bool has_local = false;
    for_each_attribute(message, sizeof(*header), [&](const nlattr* attribute) {
        switch (mnl_attr_get_type(attribute)) {
            case IFA_LOCAL:  // on a point-to-point link IFA_ADDRESS is the peer's
                found.address = read_address(attribute);
                has_local = true;
                break;
            case IFA_ADDRESS:
                if (!has_local) found.address = read_address(attribute);
                break;
            case IFA_FLAGS:  // all of them: the header has room for eight
                found.flags = mnl_attr_get_u32(attribute);
                break;
            case IFA_LABEL:
                found.ours |= std::string_view(mnl_attr_get_str(attribute)).ends_with(kLabelSuffix);
                break;
            case kIfaProto:
                found.ours |= mnl_attr_get_u8(attribute) == kAddressProtocol;
                break;
            default:
                break;
        }
    });
    return found;
}

SystemResult<std::vector<HostAddress>> list_addresses(NetlinkSocket& socket, int family) {
    NetlinkMessage request(RTM_GETADDR, 0);
    request.put_extra_header<ifaddrmsg>()->ifa_family = family == 4 ? AF_INET : AF_INET6;
    std::vector<HostAddress> found;
    const int error = socket.dump(request, [&](const nlmsghdr* message) {
        if (message->nlmsg_type == RTM_NEWADDR) found.push_back(read_host_address(message));
    });
    if (error != 0) return system_error("list the addresses of this host", error);
    return found;
}

// Every place where this host has the address.
SystemResult<std::vector<HostAddress>> find_address(NetlinkSocket& socket, const IpAddress& address) {
    auto found = list_addresses(socket, address.family());
    if (found) std::erase_if(*found, [&](const HostAddress& each) { return !(each.address == address); });
    return found;
}

SystemResult<std::vector<HostAddress>> find_address(const IpAddress& address) {
    auto socket = open_route_socket();
    if (!socket) return std::unexpected(socket.error());
    return find_address(*socket, address);
}

void put_address(NetlinkMessage& message, std::uint32_t interface, const IpAddress& address,
                 std::uint8_t prefix_length) noexcept {
    const bool ipv4 = address.family() == 4;
    auto* const header = message.put_extra_header<ifaddrmsg>();
    header->ifa_family = ipv4 ? AF_INET : AF_INET6;
    header->ifa_prefixlen = prefix_length;
    header->ifa_flags = ipv4 ? 0 : IFA_F_NODAD;
    header->ifa_scope = RT_SCOPE_UNIVERSE;
    header->ifa_index = interface;
    const std::size_t length = ipv4 ? 4 : 16;
    const __u8* const bytes = address.raw().bytes + (16 - length);
    mnl_attr_put(message.header(), IFA_LOCAL, length, bytes);
    mnl_attr_put(message.header(), IFA_ADDRESS, length, bytes);
}

std::uint8_t host_prefix(const IpAddress& address) noexcept {
    return address.family() == 4 ? 32 : 128;
}

bool share_prefix(const IpAddress& one, const IpAddress& other, unsigned bits) noexcept {
    if (one.family() != other.family()) return false;
    const unsigned first = one.family() == 4 ? 96 : 0;
    for (unsigned bit = first; bit < first + bits; ++bit) {
        const auto differ = one.raw().bytes[bit / 8] ^ other.raw().bytes[bit / 8];
        if ((differ >> (7 - bit % 8) & 1) != 0) return false;
    }
    return true;
}

int add_tagged(NetlinkSocket& socket, const InterfaceInfo& interface, const IpAddress& address,
               bool is_source) noexcept {
    NetlinkMessage message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
    put_address(message, interface.index, address, host_prefix(address));
    if (!is_source && address.family() == 6) {
        const ifa_cacheinfo lives{.ifa_prefered = 0, .ifa_valid = UINT32_MAX, .cstamp = 0, .tstamp = 0};
        mnl_attr_put(message.header(), IFA_CACHEINFO, sizeof(lives), &lives);
    }
    mnl_attr_put_u8(message.header(), kIfaProto, kAddressProtocol);
    const std::string label = interface.name + std::string(kLabelSuffix);
    if (address.family() == 4 && label.size() < IFNAMSIZ)
        mnl_attr_put_strz(message.header(), IFA_LABEL, label.c_str());
    return socket.order(message);
}

int remove_address(NetlinkSocket& socket, std::uint32_t interface, const IpAddress& address,
                   std::uint8_t prefix_length) noexcept {
    NetlinkMessage message(RTM_DELADDR, 0);
    put_address(message, interface, address, prefix_length);
    return socket.order(message);
}

}  // namespace

SystemResult<std::vector<InterfaceInfo>> list_interfaces() {
    auto socket = open_route_socket();
    if (!socket) return std::unexpected(socket.error());
    NetlinkMessage request(RTM_GETLINK, 0);
    request.put_extra_header<ifinfomsg>()->ifi_family = AF_UNSPEC;
    std::vector<InterfaceInfo> found;
    const int error = socket->dump(request, [&](const nlmsghdr* message) {
        if (message->nlmsg_type == RTM_NEWLINK) found.push_back(read_link(message));
    });
    if (error != 0) return system_error("list the network interfaces", error);
    return found;
}

SystemResult<InterfaceInfo> find_interface(const std::string& name) {
    auto interfaces = list_interfaces();
    if (!interfaces) return std::unexpected(interfaces.error());
    const auto found = std::ranges::find(*interfaces, name, &InterfaceInfo::name);
    if (found != interfaces->end()) return *found;
    return system_error("find interface " + name, ENODEV, "this host has " + names_of(*interfaces));
}

std::uint32_t interface_index(const std::string& name) noexcept {
    return if_nametoindex(name.c_str());
}

HostFact interface_fact(const std::string& name) {
    return {.kind = "interface",
            .words = "the interface " + name,
            .observe = [name]() -> std::optional<std::string> {
                const auto found = find_interface(name);
                if (!found) return "is gone";
                return found->up ? std::nullopt : std::optional<std::string>("is down");
            },
            .put_right = [name]() -> SystemResult<void> {
                const auto found = find_interface(name);
                if (!found) return std::unexpected(SystemError{"waiting until it comes back", ENODEV});
                return std::unexpected(
                    SystemError{"waiting until it is up (try: ip link set " + name + " up)", ENETDOWN});
            },
            .ground = true};
}

HostFact uplinks_fact(const std::vector<std::string>& names) {
    if (names.size() == 1) return interface_fact(names.front());
    std::string all;
    for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
    return {.kind = "interface",
            .words = "one of the interfaces " + all,
            .observe = [names]() -> std::optional<std::string> {
                for (const std::string& name : names) {
                    const auto found = find_interface(name);
                    if (found && found->up) return std::nullopt;
                }
                return "is needed, and each is down or gone";
            },
            .put_right = []() -> SystemResult<void> {
                return std::unexpected(SystemError{"waiting until one is up", ENETDOWN});
            },
            .ground = true};
}

SystemResult<bool> host_has_address(const IpAddress& address) {
    const auto places = find_address(address);
    if (!places) return std::unexpected(places.error());
    return std::ranges::any_of(*places, [](const HostAddress& place) { return !place.ours; });
}

SystemResult<bool> is_address_assigned(const IpAddress& address) {
    const auto places = find_address(address);
    if (!places) return std::unexpected(places.error());
    return !places->empty();
}

SystemResult<std::optional<IpAddress>> interface_address(std::uint32_t interface, int family,
                                                         const std::vector<IpAddress>& but) {
    auto socket = open_route_socket();
    if (!socket) return std::unexpected(socket.error());
    const auto all = list_addresses(*socket, family);
    if (!all) return std::unexpected(all.error());
    constexpr std::uint32_t kNotInUse = IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_DEPRECATED;
    // For IPv4 the first of these says "secondary", for IPv6 "temporary": another one is meant either way.
    const auto fits = [&](const HostAddress& each) {
        return each.interface == interface && !each.ours && each.scope == RT_SCOPE_UNIVERSE &&
               (each.flags & (kNotInUse | IFA_F_SECONDARY)) == 0 &&
               std::ranges::find(but, each.address) == but.end();
    };
    const auto found = std::ranges::find_if(*all, fits);
    if (found == all->end()) return std::optional<IpAddress>();
    return found->address;
}

SystemResult<std::vector<AddressPlace>> places_of(const IpAddress& address) {
    const auto found = find_address(address);
    if (!found) return std::unexpected(found.error());
    const std::uint32_t loopback = interface_index(kLoopback);
    std::vector<AddressPlace> places;
    places.reserve(found->size());
    for (const HostAddress& each : *found)
        places.push_back({.interface = each.interface,
                          .loopback = each.interface == loopback,
                          .ours = each.ours,
                          .in_use = (each.flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) == 0});
    return places;
}

SystemResult<std::vector<IpAddress>> addresses_elsewhere(std::uint32_t interface, int family) {
    auto socket = open_route_socket();
    if (!socket) return std::unexpected(socket.error());
    const auto all = list_addresses(*socket, family);
    if (!all) return std::unexpected(all.error());
    std::vector<IpAddress> elsewhere;
    for (const HostAddress& each : *all)
        if (each.interface != interface) elsewhere.push_back(each.address);
    return elsewhere;
}

std::string interface_name(std::uint32_t interface) {
    std::array<char, IFNAMSIZ> name{};
    return if_indextoname(interface, name.data()) ? name.data() : "";
}

SystemResult<bool> is_in_subnet(std::uint32_t interface, const IpAddress& address) {
    auto socket = open_route_socket();
    if (!socket) return std::unexpected(socket.error());
    const auto all = list_addresses(*socket, address.family());
    if (!all) return std::unexpected(all.error());
    return std::ranges::any_of(*all, [&](const HostAddress& each) {
        return each.interface == interface && !each.ours &&
               share_prefix(each.address, address, each.prefix_length);
    });
}

AddedAddress::AddedAddress(std::uint32_t interface, const IpAddress& address) noexcept
    : interface_(interface), address_(address) {}

AddedAddress::AddedAddress(AddedAddress&& other) noexcept
    : interface_(std::exchange(other.interface_, 0)), address_(other.address_) {}

AddedAddress& AddedAddress::operator=(AddedAddress&& other) noexcept {
    std::swap(interface_, other.interface_);
    std::swap(address_, other.address_);
    return *this;
}

AddedAddress::~AddedAddress() {
    if (interface_ == 0) return;
    // Should it fail, the address is gone with its interface, or the next start takes it over.
    if (auto socket = open_route_socket())
        remove_address(*socket, interface_, address_, host_prefix(address_));
}

SystemResult<AddedAddress> AddedAddress::add(const std::string& interface, const IpAddress& address) {
    return add_at(interface, address, false);
}

SystemResult<AddedAddress> AddedAddress::add_to_loopback(const IpAddress& address) {
    return add_at(kLoopback, address, true);
}

SystemResult<AddedAddress> AddedAddress::add_at(const std::string& interface, const IpAddress& address,
                                                bool loopback) {
    const std::string doing = "add " + address.to_string() + " to " + interface;
    const auto info = find_interface(interface);
    if (!info) return std::unexpected(info.error());
    auto socket = open_route_socket();
    if (!socket) return std::unexpected(socket.error());
    const auto places = find_address(*socket, address);
    if (!places) return std::unexpected(places.error());

    bool there = false;
    for (const HostAddress& place : *places) {
        if (!place.ours && loopback && place.interface != info->index) continue;
        if (!place.ours) {
            return system_error(doing, EEXIST, "this host has it already, and it was not added by us");
        }
        // Left by a killed run: on this interface it is taken over, on another (the configuration changed)
        // removed.
        if (place.interface == info->index && place.prefix_length == host_prefix(address)) {
            there = true;
        } else {
            remove_address(*socket, place.interface, address, place.prefix_length);
        }
    }
    if (!there) {
        if (const int error = add_tagged(*socket, *info, address, !loopback)) {
            return system_error(doing, error, error == EPERM ? "it needs CAP_NET_ADMIN: run it as root" : "");
        }
    }
    return AddedAddress(info->index, address);
}

}  // namespace splice
