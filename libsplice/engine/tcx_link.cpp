#include "libsplice/engine/tcx_link.hpp"

#include <bpf/bpf.h>
#include <net/if.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

namespace splice {
namespace {

// linux/bpf.h of Linux 6.6 and newer has these.
constexpr auto kTcxIngress = static_cast<bpf_attach_type>(46);
constexpr auto kTcxEgress = static_cast<bpf_attach_type>(47);
constexpr std::uint32_t kLinkTypeTcx = 11;
constexpr std::uint32_t kBefore = 1U << 3;  // BPF_F_BEFORE: nothing in particular, so all

// The beginning of struct bpf_link_info there, as far as a TCX link has it.
struct TcxLinkInfo {
    std::uint32_t type;
    std::uint32_t id;
    std::uint32_t program;
    std::uint32_t pad;
    std::uint32_t interface;
    std::uint32_t attach_type;
};

constexpr std::size_t kMostPrograms = 64;  // of one side, as many as the kernel takes

bpf_attach_type type_of(TcSide side) noexcept {
    return side == TcSide::ingress ? kTcxIngress : kTcxEgress;
}

std::optional<TcxLinkInfo> info_of(int link) noexcept {
    TcxLinkInfo info{};
    std::uint32_t length = sizeof(info);
    if (bpf_obj_get_info_by_fd(link, &info, &length) != 0 || info.type != kLinkTypeTcx) return std::nullopt;
    return info;
}

// 0 or errno.
int ask_programs(std::uint32_t interface, TcSide side, std::vector<std::uint32_t>& ids) {
    std::array<std::uint32_t, kMostPrograms> found{};
    struct bpf_prog_query_opts options{};
    options.sz = sizeof(options);
    options.prog_ids = found.data();
    options.prog_cnt = found.size();
    if (bpf_prog_query_opts(static_cast<int>(interface), type_of(side), &options) != 0) return errno;
    ids.assign(found.begin(), found.begin() + options.prog_cnt);
    return 0;
}

}  // namespace

bool kernel_has_tcx() noexcept {
    std::vector<std::uint32_t> ids;
    const std::uint32_t loopback = if_nametoindex("lo");
    // A kernel without it knows no such attach type: EINVAL.
    return ask_programs(loopback, TcSide::ingress, ids) == 0;
}

std::vector<std::uint32_t> tcx_programs(std::uint32_t interface, TcSide side) {
    std::vector<std::uint32_t> ids;
    (void)ask_programs(interface, side, ids);
    return ids;
}

SystemResult<TcxLink> TcxLink::attach(const std::string& interface, TcSide side, int program) {
    bpf_link_create_opts options{};
    options.sz = sizeof(options);
    options.flags = kBefore;
    const auto index = static_cast<int>(if_nametoindex(interface.c_str()));
    Descriptor link(bpf_link_create(program, index, type_of(side), &options));
    if (!link)
        return system_error("attach by TCX to the " + std::string(to_string(side)) + " of " + interface,
                            errno, "Linux 6.6 has TCX; try --tc clsact");
    return TcxLink(std::move(link));
}

std::optional<TcxLink> TcxLink::open_pinned(const std::string& path, std::uint32_t interface, TcSide side) {
    TcxLink link(Descriptor(bpf_obj_get(path.c_str())));
    if (!link.link_ || !link.is_at(interface, side)) return std::nullopt;
    return link;
}

std::optional<TcxLink> TcxLink::open_by_id(std::uint32_t id, std::uint32_t interface, TcSide side) {
    TcxLink link(Descriptor(bpf_link_get_fd_by_id(id)));
    if (!link.link_ || !link.is_at(interface, side)) return std::nullopt;
    return link;
}

SystemResult<void> TcxLink::replace_program(int program) {
    if (bpf_link_update(link_.get(), program, nullptr) == 0) return {};
    return system_error("replace the program of a TCX link", errno);
}

SystemResult<void> TcxLink::pin(const std::string& path) {
    (void)unlink(path.c_str());
    if (bpf_obj_pin(link_.get(), path.c_str()) == 0) return {};
    return system_error("pin the TCX link at " + path, errno);
}

void TcxLink::detach() noexcept {
    (void)bpf_link_detach(link_.get());
}

// The index is 0 once the link is detached or the interface is gone.
bool TcxLink::runs(std::uint32_t interface, std::uint32_t program) const noexcept {
    const auto info = info_of(link_.get());
    return interface != 0 && info && info->interface == interface && info->program == program;
}

bool TcxLink::is_at(std::uint32_t interface, TcSide side) const noexcept {
    const auto info = info_of(link_.get());
    return interface != 0 && info && info->interface == interface &&
           info->attach_type == static_cast<std::uint32_t>(type_of(side));
}

// Of all links of the host: the kernel has no question for those of one interface. Another network namespace
// may have an interface of that index, so the program tells the link.
std::uint32_t tcx_link_of(std::uint32_t interface, TcSide side, std::uint32_t program) {
    for (std::uint32_t id = 0; bpf_link_get_next_id(id, &id) == 0;) {
        const auto link = TcxLink::open_by_id(id, interface, side);
        if (link && link->runs(interface, program)) return id;
    }
    return 0;
}

}  // namespace splice
