#include "libsplice/engine/stacked_devices.hpp"

#include <linux/rtnetlink.h>
#include <net/if.h>

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "libsplice/engine/netlink.hpp"

namespace splice {
namespace {

struct Device {
    std::uint32_t index = 0;
    std::string name;
    std::uint32_t master = 0;  // whose port it is
    std::uint32_t on = 0;      // what it is made on; 0: nothing here
};

// A veth's link is its peer, which is not below it.
bool is_made_on_another(const nlattr* link_info) {
    bool found = false;
    for_each_nested(link_info, [&](const nlattr* attribute) {
        if (mnl_attr_get_type(attribute) != IFLA_INFO_KIND) return;
        const std::string_view kind = mnl_attr_get_str(attribute);
        found = kind == "vlan" || kind == "macvlan" || kind == "macvtap" || kind == "ipvlan";
    });
    return found;
}

Device read_device(const nlmsghdr* message) {
    const auto* const link = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
    Device device;
    device.index = static_cast<std::uint32_t>(link->ifi_index);
    bool here = false;
    for_each_attribute(message, sizeof(*link), [&](const nlattr* attribute) {
        switch (mnl_attr_get_type(attribute)) {
            case IFLA_IFNAME:
                device.name = mnl_attr_get_str(attribute);
                break;
            case IFLA_MASTER:
                device.master = mnl_attr_get_u32(attribute);
                break;
            case IFLA_LINK:
                device.on = mnl_attr_get_u32(attribute);
                break;
            case IFLA_LINKINFO:
                here |= is_made_on_another(attribute);
                break;
            default:
                break;
        }
    });
    // One in another namespace has a number of that.
    for_each_attribute(message, sizeof(*link), [&](const nlattr* attribute) {
        if (mnl_attr_get_type(attribute) == IFLA_LINK_NETNSID) here = false;
    });
    if (!here) device.on = 0;
    return device;
}

std::vector<Device> list_devices() {
    std::vector<Device> devices;
    auto socket = NetlinkSocket::open(NETLINK_ROUTE, "open a route netlink socket");
    if (!socket) return devices;
    NetlinkMessage request(RTM_GETLINK, 0);
    request.put_extra_header<ifinfomsg>()->ifi_family = AF_UNSPEC;
    (void)socket->dump(request, [&](const nlmsghdr* message) {
        if (message->nlmsg_type == RTM_NEWLINK) devices.push_back(read_device(message));
    });
    return devices;
}

}  // namespace

std::vector<std::string> with_devices_below(const std::string& interface) {
    std::vector<std::string> names{interface};
    const std::vector<Device> devices = list_devices();
    // Each name once, so it ends.
    for (std::size_t at = 0; at < names.size(); ++at) {
        const auto self = std::ranges::find(devices, names[at], &Device::name);
        if (self == devices.end()) continue;
        for (const Device& each : devices) {
            const bool below = each.master == self->index || each.index == self->on;
            if (below && std::ranges::find(names, each.name) == names.end()) names.push_back(each.name);
        }
    }
    return names;
}

}  // namespace splice
