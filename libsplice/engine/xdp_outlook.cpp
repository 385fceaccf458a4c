#include "libsplice/engine/xdp_outlook.hpp"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <linux/ethtool.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstring>

#include "libsplice/engine/attached_program.hpp"
#include "libsplice/engine/netlink.hpp"
#include "libsplice/engine/xdp_link.hpp"

namespace splice {
namespace {

// linux/netdev.h, which came with Linux 6.3.
constexpr std::uint8_t kNetdevGetDevice = 1;
constexpr std::uint16_t kNetdevIndex = 1;
constexpr std::uint16_t kNetdevXdpFeatures = 3;
constexpr std::uint64_t kXdpBasic = 1;  // aborted, drop, pass, tx

// Programs of a few instructions, by hand: bpf_helpers.h is for a compiler that is not here.
Descriptor load_program(const bpf_insn* instructions, std::size_t count) {
    return Descriptor(bpf_prog_load(BPF_PROG_TYPE_XDP, "outlook", "GPL", instructions, count, nullptr));
}

Descriptor load_pass() {
    const std::array<bpf_insn, 2> all = {{
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = XDP_PASS},
        {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
    }};
    return load_program(all.data(), all.size());
}

// return bpf_redirect(context->ingress_ifindex, 0)
Descriptor load_redirect() {
    const std::array<bpf_insn, 4> all = {{
        {.code = BPF_LDX | BPF_MEM | BPF_W,
         .dst_reg = 1,
         .src_reg = 1,
         .off = offsetof(xdp_md, ingress_ifindex),
         .imm = 0},
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .src_reg = 0, .off = 0, .imm = 0},
        {.code = BPF_JMP | BPF_CALL, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = BPF_FUNC_redirect},
        {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
    }};
    return load_program(all.data(), all.size());
}

// The number of a family of generic netlink; 0: the kernel has none of that name.
std::uint16_t family_named(NetlinkSocket& socket, const char* name) {
    NetlinkMessage request(GENL_ID_CTRL, 0);
    auto* const header = request.put_extra_header<genlmsghdr>();
    header->cmd = CTRL_CMD_GETFAMILY;
    header->version = 1;
    mnl_attr_put_strz(request.header(), CTRL_ATTR_FAMILY_NAME, name);
    std::uint16_t number = 0;
    (void)socket.ask(request, [&](const nlmsghdr* message) {
        for_each_attribute(message, sizeof(genlmsghdr), [&](const nlattr* attribute) {
            if (mnl_attr_get_type(attribute) == CTRL_ATTR_FAMILY_ID) number = mnl_attr_get_u16(attribute);
        });
    });
    return number;
}

std::optional<std::uint64_t> xdp_features(std::uint32_t interface) {
    auto socket = NetlinkSocket::open(NETLINK_GENERIC, "ask for a driver's XDP");
    if (!socket) return std::nullopt;
    const std::uint16_t family = family_named(*socket, "netdev");
    if (family == 0) return std::nullopt;
    NetlinkMessage request(family, 0);
    auto* const header = request.put_extra_header<genlmsghdr>();
    header->cmd = kNetdevGetDevice;
    header->version = 1;
    mnl_attr_put_u32(request.header(), kNetdevIndex, interface);
    std::optional<std::uint64_t> features;
    (void)socket->ask(request, [&](const nlmsghdr* message) {
        for_each_attribute(message, sizeof(genlmsghdr), [&](const nlattr* attribute) {
            if (mnl_attr_get_type(attribute) == kNetdevXdpFeatures) features = mnl_attr_get_u64(attribute);
        });
    });
    return features;
}

XdpOutlook try_native(const InterfaceInfo& interface, bool is_veth) {
    XdpOutlook found{.source = XdpOutlook::Source::tried, .native = false, .reason = {}};
    // As a start tries it: a veth counts as sent what does not arrive.
    if (is_veth) {
        const Descriptor redirect = load_redirect();
        if (redirect && !redirect_arrives(redirect.get(), interface)) {
            found.reason =
                "what native XDP sends is lost in this veth; turn on its peer's GRO with ethtool -K PEER gro "
                "on";
            return found;
        }
    }
    const Descriptor pass = load_pass();
    if (!pass) return {};
    const auto link = XdpLink::attach(pass.get(), interface, XdpMode::native);
    found.native = link.has_value();
    if (!link) found.reason = link.error().text;
    return found;
}

}  // namespace

bool is_tried_gently(std::string_view driver) noexcept {
    return driver == "veth" || driver == "virtio_net" || driver == "tun";
}

XdpOutlook look_at_xdp(const InterfaceInfo& interface) {
    const std::string driver = driver_of(interface.name);
    if (is_tried_gently(driver) && !attached_xdp_program(interface)) {
        if (XdpOutlook tried = try_native(interface, driver == "veth");
            tried.source == XdpOutlook::Source::tried)
            return tried;
    }
    const auto features = xdp_features(interface.index);
    if (!features) return {};
    return {.source = XdpOutlook::Source::told, .native = (*features & kXdpBasic) != 0, .reason = {}};
}

std::optional<ReceiveOffloads> receive_offloads(const std::string& interface) {
    const Descriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ethtool_value value{};
    value.cmd = ETHTOOL_GFLAGS;
    ifreq request{};
    std::strncpy(request.ifr_name, interface.c_str(), IFNAMSIZ - 1);
    request.ifr_data = reinterpret_cast<char*>(&value);
    if (ioctl(socket.get(), SIOCETHTOOL, &request) < 0) return std::nullopt;
    return ReceiveOffloads{.merges = (value.data & ETH_FLAG_LRO) != 0,
                           .takes_tags = (value.data & ETH_FLAG_RXVLAN) != 0};
}

}  // namespace splice
