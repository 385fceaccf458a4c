#include "libsplice/engine/tc_filter.hpp"

#include <bpf/libbpf.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "libsplice/engine/attached_program.hpp"
#include "libsplice/engine/descriptor.hpp"
#include "libsplice/engine/netlink.hpp"

namespace splice {
namespace {

bpf_tc_hook hook_of(std::uint32_t interface, bpf_tc_attach_point point) noexcept {
    bpf_tc_hook hook{};
    hook.sz = sizeof(hook);
    hook.ifindex = static_cast<int>(interface);
    hook.attach_point = point;
    return hook;
}

bpf_tc_attach_point point_of(TcSide side) noexcept {
    return side == TcSide::ingress ? BPF_TC_INGRESS : BPF_TC_EGRESS;
}

bpf_tc_opts our_place() noexcept {
    bpf_tc_opts options{};
    options.sz = sizeof(options);
    options.handle = kTcHandle;
    options.priority = kTcPriority;
    return options;
}

// The programs read an Ethernet header; loopback has one too.
bool has_ethernet_header(const std::string& interface) noexcept {
    const Descriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::copy_n(interface.data(), std::min(interface.size(), sizeof(request.ifr_name) - 1), request.ifr_name);
    if (ioctl(socket.get(), SIOCGIFHWADDR, &request) < 0) return false;
    return request.ifr_hwaddr.sa_family == ARPHRD_ETHER || request.ifr_hwaddr.sa_family == ARPHRD_LOOPBACK;
}

std::string attaching(const std::string& interface, TcSide side) {
    return std::string("attach to the ").append(to_string(side)).append(" of ").append(interface);
}

// Whether any filter hangs on either side, as far as the kernel tells: then the qdisc is somebody's.
bool is_in_use(std::uint32_t interface) {
    auto socket = NetlinkSocket::open(NETLINK_ROUTE, "open rtnetlink");
    if (!socket) return true;
    bool found = false;
    for (const std::uint32_t parent :
         {TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS), TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)}) {
        NetlinkMessage message(RTM_GETTFILTER, NLM_F_REQUEST);
        auto* filter = message.put_extra_header<tcmsg>();
        filter->tcm_family = AF_UNSPEC;
        filter->tcm_ifindex = static_cast<int>(interface);
        filter->tcm_parent = parent;
        if (socket->dump(message, [&](const nlmsghdr*) { found = true; }) != 0) return true;
    }
    return found;
}

// Of the qdisc that has the interface's ingress; empty: none. An `ingress` qdisc takes filters of clsact's
// ingress, and, in the same list, those that are meant for its egress.
std::string ingress_qdisc_of(std::uint32_t interface) {
    auto socket = NetlinkSocket::open(NETLINK_ROUTE, "open rtnetlink");
    std::string kind;
    if (!socket) return kind;
    NetlinkMessage message(RTM_GETQDISC, NLM_F_REQUEST);
    auto* qdisc = message.put_extra_header<tcmsg>();
    qdisc->tcm_family = AF_UNSPEC;
    qdisc->tcm_ifindex = static_cast<int>(interface);
    (void)socket->dump(message, [&](const nlmsghdr* answer) {
        const auto* const found = static_cast<const tcmsg*>(mnl_nlmsg_get_payload(answer));
        if (answer->nlmsg_type != RTM_NEWQDISC || found->tcm_parent != TC_H_INGRESS ||
            found->tcm_ifindex != static_cast<int>(interface))
            return;
        for_each_attribute(answer, sizeof(tcmsg), [&](const nlattr* attribute) {
            if (mnl_attr_get_type(attribute) == TCA_KIND) kind = mnl_attr_get_str(attribute);
        });
    });
    return kind;
}

void detach(std::uint32_t interface, TcSide side) noexcept {
    bpf_tc_hook hook = hook_of(interface, point_of(side));
    bpf_tc_opts options = our_place();
    (void)bpf_tc_detach(&hook, &options);
    if (is_in_use(interface)) return;
    bpf_tc_hook both = hook_of(interface, static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS));
    (void)bpf_tc_hook_destroy(&both);
}

}  // namespace

std::string_view to_string(TcSide side) noexcept {
    return side == TcSide::ingress ? "ingress" : "egress";
}

SystemResult<void> check_ethernet(const std::string& interface, TcSide side) {
    const std::string what = attaching(interface, side);
    if (if_nametoindex(interface.c_str()) == 0) return system_error(what, errno);
    if (!has_ethernet_header(interface))
        return system_error(what, 0, "the interface has no Ethernet header; try --engine nfqueue");
    return {};
}

SystemResult<TcFilter> TcFilter::attach(const std::string& interface, TcSide side, int program) {
    if (auto fits = check_ethernet(interface, side); !fits) return std::unexpected(fits.error());
    const std::string what = attaching(interface, side);
    const std::uint32_t index = if_nametoindex(interface.c_str());
    if (const std::string kind = ingress_qdisc_of(index); !kind.empty() && kind != "clsact")
        return system_error(what, EBUSY,
                            "another program's `" + kind +
                                "` qdisc has the interface's ingress, and no egress: delete "
                                "it (tc qdisc del dev " +
                                interface + " " + kind + "), or try --engine nfqueue");
    bpf_tc_hook hook = hook_of(index, point_of(side));
    if (const int error = bpf_tc_hook_create(&hook); error != 0 && error != -EEXIST)
        return system_error(what + ": make the clsact qdisc", -error, "does the kernel have sch_ingress?");
    bpf_tc_opts options = our_place();
    options.prog_fd = program;
    options.flags = BPF_TC_F_REPLACE;
    if (const int error = bpf_tc_attach(&hook, &options); error != 0)
        return system_error(what, -error, "does the kernel have cls_bpf?");
    return TcFilter(index, side);
}

TcFilter::TcFilter(TcFilter&& other) noexcept
    : interface_(std::exchange(other.interface_, 0)), side_(other.side_) {}

TcFilter& TcFilter::operator=(TcFilter&& other) noexcept {
    std::swap(interface_, other.interface_);
    std::swap(side_, other.side_);
    return *this;
}

TcFilter::~TcFilter() {
    if (interface_ != 0) detach(interface_, side_);
}

void remove_tc_filter(const std::string& interface, TcSide side) noexcept {
    const std::uint32_t index = if_nametoindex(interface.c_str());
    if (index != 0 && attached_tc_filter(index, side) != 0) detach(index, side);
}

}  // namespace splice
