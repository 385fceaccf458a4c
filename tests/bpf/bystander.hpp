// Another program's classifier on the same side of the same link: it sets bits of the packet's mark, if any,
// lets every packet go on, and counts those of TCP.
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <netinet/in.h>

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
        : counts_(bpf_map_create(BPF_MAP_TYPE_ARRAY, "bystander", sizeof(std::uint32_t),
                                 sizeof(std::uint64_t), 1, nullptr)) {
        if (!counts_) throw std::runtime_error("make a map: " + std::to_string(errno));
        constexpr auto kMark = static_cast<std::int16_t>(offsetof(__sk_buff, mark));
        constexpr std::int32_t kEthertype = 12, kProtocol4 = 14 + 9, kNextHeader6 = 14 + 6;
        const bpf_insn program[] = {
            {BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_6, BPF_REG_1, 0, 0},
            {BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_6, kMark, 0},
            {BPF_ALU | BPF_OR | BPF_K, BPF_REG_2, 0, 0, static_cast<std::int32_t>(mark_bits)},
            {BPF_STX | BPF_MEM | BPF_W, BPF_REG_6, BPF_REG_2, kMark, 0},
            // Not neighbour discovery and multicast listener reports, which come when they like.
            {BPF_LD | BPF_ABS | BPF_H, 0, 0, 0, kEthertype},
            {BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 3, ETH_P_IP},
            {BPF_JMP | BPF_JNE | BPF_K, BPF_REG_0, 0, 13, ETH_P_IPV6},
            {BPF_LD | BPF_ABS | BPF_B, 0, 0, 0, kNextHeader6},
            {BPF_JMP | BPF_JA, 0, 0, 1, 0},
            {BPF_LD | BPF_ABS | BPF_B, 0, 0, 0, kProtocol4},
            {BPF_JMP | BPF_JNE | BPF_K, BPF_REG_0, 0, 9, IPPROTO_TCP},
            {BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0, -4, 0},
            {BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_10, 0, 0},
            {BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, -4},
            {BPF_LD | BPF_IMM | BPF_DW, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, counts_.get()},
            {0, 0, 0, 0, 0},
            {BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem},
            {BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 2, 0},
            {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_1, 0, 0, 1},
            {BPF_STX | BPF_ATOMIC | BPF_DW, BPF_REG_0, BPF_REG_1, 0, BPF_ADD},
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

    // TCP packets that it has seen.
    [[nodiscard]] std::uint64_t packets() const {
        const std::uint32_t key = 0;
        std::uint64_t count = 0;
        if (bpf_map_lookup_elem(counts_.get(), &key, &count) != 0)
            throw std::runtime_error("ask for its count");
        return count;
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

    Descriptor counts_;
    Descriptor program_;
    Descriptor link_;
};

}  // namespace splice::testing
