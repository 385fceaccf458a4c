#include "packetbridge/kernel_flows.hpp"

#include <bpf/bpf.h>

#include "libsplice/base/limits.hpp"

namespace splice {
namespace {

constexpr std::size_t kSweepBatches = 16;  // batches a sweep: a million flows pass in 16 sweeps

// An opening of a process that is gone is finished by nobody.
std::uint32_t limit_s(const splice_bridge_flow& flow, const splice_idle_timeouts& timeouts) noexcept {
    if (flow.state == SPLICE_BRIDGE_OPENING)
        return 2 * static_cast<std::uint32_t>(std::chrono::seconds(kOpeningTimeout).count());
    return splice_bridge_idle_limit_s(&flow, &timeouts);
}

}  // namespace

KernelFlows::KernelFlows(int map) : map_(map), walk_(map) {
    // A map that was taken over has flows in it.
    for (bool more = true; more;) {
        more = walk_.next();
        size_ += walk_.keys().size();
    }
}

bool KernelFlows::put(const splice_flow_key& key, const splice_bridge_flow& flow) noexcept {
    if (bpf_map_update_elem(map_, &key, &flow, BPF_EXIST) == 0) return true;
    if (bpf_map_update_elem(map_, &key, &flow, BPF_NOEXIST) != 0) return false;
    ++size_;
    return true;
}

CarriedFlow KernelFlows::find(const splice_flow_key& key) const noexcept {
    splice_bridge_flow flow;
    if (bpf_map_lookup_elem(map_, &key, &flow) != 0) return {};
    return flow;
}

void KernelFlows::erase(const splice_flow_key& key) noexcept {
    if (bpf_map_delete_elem(map_, &key) == 0) --size_;
}

void KernelFlows::for_each(const Visit& visit) const {
    for_each_bpf_entry<splice_flow_key, splice_bridge_flow>(map_, visit);
}

std::size_t KernelFlows::sweep(std::uint32_t now_s, const splice_idle_timeouts& timeouts,
                               const Unwanted& unwanted) {
    std::size_t expired = 0;
    for (std::size_t i = 0; i < kSweepBatches; ++i) {
        const bool more = walk_.next();
        for (std::size_t at = 0; at < walk_.keys().size(); ++at) {
            const splice_bridge_flow& flow = walk_.values()[at];
            // A packet may have come since the second began.
            const auto silent_s = static_cast<std::int32_t>(now_s - flow.last_seen_s);
            const bool idle = silent_s >= static_cast<std::int32_t>(limit_s(flow, timeouts));
            if (!idle && !unwanted(flow)) continue;
            if (sampled_ && (flow.flags & SPLICE_BRIDGE_SAMPLED) && flow.state == SPLICE_BRIDGE_ESTABLISHED)
                sampled_->ended(walk_.keys()[at], flow, idle ? SPLICE_END_IDLE : SPLICE_END_SERVICE_GONE);
            erase(walk_.keys()[at]);
            expired += idle;
        }
        if (!more) break;
    }
    return expired;
}

std::size_t KernelFlows::sweep_all(std::uint32_t now_s, const splice_idle_timeouts& timeouts,
                                   const Unwanted& unwanted) {
    std::size_t expired = 0;
    walk_.rewind();
    do {
        expired += sweep(now_s, timeouts, unwanted);
    } while (!walk_.at_beginning());
    return expired;
}

}  // namespace splice
