// Another program's classifier on the same side of the same link: it sets bits of the packet's mark, if any,
// lets every packet go on, and is counted by the kernel.
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "libsplice/engine/descriptor.hpp"
#include "tests/bpf/bridge_host.hpp"

namespace splice::testing {

class Bystander {
  public:
    // Classifiers run in the order of `priority`; ours has kTcPriority. By the same as the host's programs:
    // by TCX one with a lower priority runs before all that are there, another after them. It goes with the
    // interface.
    Bystander(int interface, bpf_tc_attach_point side, std::uint32_t priority, std::uint32_t mark_bits = 0)
        : statistics_(bpf_enable_stats(BPF_STATS_RUN_TIME)) {
        constexpr auto kMark = static_cast<std::int16_t>(offsetof(__sk_buff, mark));
        const bpf_insn program[] = {
            {BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_1, kMark, 0},
            {BPF_ALU | BPF_OR | BPF_K, BPF_REG_2, 0, 0, static_cast<std::int32_t>(mark_bits)},
            {BPF_STX | BPF_MEM | BPF_W, BPF_REG_1, BPF_REG_2, kMark, 0},
            {BPF_ALU | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, TC_ACT_UNSPEC},
            {BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
        };
        program_ = Descriptor(
            bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "bystander", "GPL", program, std::size(program), nullptr));
        if (!program_) throw std::runtime_error("load a classifier: " + std::to_string(errno));
        if (BridgeHost::hangs_by_tcx())
            attach_link(interface, side, priority < kTcPriority);
        else
            attach_filter(interface, side, priority);
    }

    [[nodiscard]] std::uint64_t packets() const {
        bpf_prog_info info{};
        std::uint32_t size = sizeof(info);
        if (bpf_obj_get_info_by_fd(program_.get(), &info, &size) != 0)
            throw std::runtime_error("ask for its count");
        return info.run_cnt;
    }

  private:
    void attach_filter(int interface, bpf_tc_attach_point side, std::uint32_t priority) {
        bpf_tc_hook hook{};
        hook.sz = sizeof(hook);
        hook.ifindex = interface;
        hook.attach_point = side;
        bpf_tc_opts options{};
        options.sz = sizeof(options);
        options.prog_fd = program_.get();
        options.priority = priority;
        if (bpf_tc_attach(&hook, &options) != 0) throw std::runtime_error("attach a classifier");
    }

    void attach_link(int interface, bpf_tc_attach_point side, bool before) {
        bpf_link_create_opts options{};
        options.sz = sizeof(options);
        options.flags = before ? 1U << 3 : 0;  // BPF_F_BEFORE
        const auto type = static_cast<bpf_attach_type>(side == BPF_TC_INGRESS ? 46 : 47);
        link_ = Descriptor(bpf_link_create(program_.get(), interface, type, &options));
        if (!link_) throw std::runtime_error("attach a classifier by TCX");
    }

    Descriptor statistics_;  // the kernel counts while it is open
    Descriptor program_;
    Descriptor link_;
};

}  // namespace splice::testing
