#include "libsplice/engine/attached_program.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include <string_view>
#include <utility>

#include "libsplice/engine/descriptor.hpp"
#include "libsplice/engine/tcx_link.hpp"

namespace splice {
namespace {

constexpr std::string_view kBridgePrograms = "bridge_";

std::string name_of(std::uint32_t program) {
    const Descriptor descriptor(bpf_prog_get_fd_by_id(program));
    if (!descriptor) return {};
    bpf_prog_info info{};
    std::uint32_t length = sizeof(info);
    if (bpf_obj_get_info_by_fd(descriptor.get(), &info, &length) != 0) return {};
    return info.name;
}

std::optional<bpf_link_info> info_of(int link) {
    bpf_link_info info{};
    std::uint32_t length = sizeof(info);
    if (bpf_obj_get_info_by_fd(link, &info, &length) != 0) return std::nullopt;
    return info;
}

// Of all links of the host: the kernel has no question for those of one interface. Another network namespace
// may have an interface of that index, so the program tells the link.
std::uint32_t xdp_link_of(const InterfaceInfo& interface, std::uint32_t program_id) {
    for (std::uint32_t id = 0; bpf_link_get_next_id(id, &id) == 0;) {
        const Descriptor link(bpf_link_get_fd_by_id(id));
        if (!link) continue;
        const auto info = info_of(link.get());
        if (info && info->type == BPF_LINK_TYPE_XDP && info->xdp.ifindex == interface.index &&
            info->prog_id == program_id)
            return id;
    }
    return 0;
}

}  // namespace

std::optional<AttachedProgram> attached_xdp_program(const InterfaceInfo& interface) {
    bpf_xdp_query_opts answer{};
    answer.sz = sizeof(answer);
    if (bpf_xdp_query(static_cast<int>(interface.index), 0, &answer) != 0) return std::nullopt;
    for (const std::uint32_t id :
         {answer.prog_id, answer.drv_prog_id, answer.skb_prog_id, answer.hw_prog_id}) {
        if (id != 0)
            return AttachedProgram{.id = id, .name = name_of(id), .link_id = xdp_link_of(interface, id)};
    }
    return std::nullopt;
}

std::optional<AttachedProgram> attached_tc_program(const InterfaceInfo& interface, TcSide side) {
    if (auto there = attached_tcx_program(interface.index, side)) return there;
    const std::uint32_t filter = attached_tc_filter(interface.index, side);
    if (filter == 0) return std::nullopt;
    return AttachedProgram{.id = filter, .name = name_of(filter)};
}

std::optional<AttachedProgram> attached_tcx_program(std::uint32_t interface, TcSide side) {
    for (const std::uint32_t id : tcx_programs(interface, side)) {
        std::string name = name_of(id);
        if (name.starts_with(kBridgePrograms))
            return AttachedProgram{
                .id = id, .name = std::move(name), .link_id = tcx_link_of(interface, side, id)};
    }
    return std::nullopt;
}

std::uint32_t attached_tc_filter(std::uint32_t interface, TcSide side) {
    libbpf_set_print(nullptr);  // that there is none is no error to be printed
    bpf_tc_hook hook{};
    hook.sz = sizeof(hook);
    hook.ifindex = static_cast<int>(interface);
    hook.attach_point = side == TcSide::ingress ? BPF_TC_INGRESS : BPF_TC_EGRESS;
    bpf_tc_opts options{};
    options.sz = sizeof(options);
    options.handle = kTcHandle;
    options.priority = kTcPriority;
    return bpf_tc_query(&hook, &options) == 0 ? options.prog_id : 0;
}

std::uint32_t pinned_link_id(const std::string& path) {
    const Descriptor link(bpf_obj_get(path.c_str()));
    if (!link) return 0;
    const auto info = info_of(link.get());
    return info ? info->id : 0;
}

}  // namespace splice
