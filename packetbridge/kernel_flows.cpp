#include "packetbridge/kernel_flows.hpp"

#include <bpf/bpf.h>

#include <cerrno>

#include "libsplice/base/limits.hpp"

namespace splice {
namespace {

constexpr std::uint32_t kBatch = 4096;     // entries a system call
constexpr std::size_t kSweepBatches = 16;  // batches a sweep: a million flows pass in 16 sweeps

// An opening of a process that is gone is finished by nobody.
std::uint32_t limit_s(const splice_bridge_flow& flow, const splice_idle_timeouts& timeouts) noexcept {
    if (flow.state == SPLICE_BRIDGE_OPENING)
        return 2 * static_cast<std::uint32_t>(std::chrono::seconds(kOpeningTimeout).count());
    return splice_bridge_idle_limit_s(&flow, &timeouts);
}

}  // namespace

struct KernelFlows::Batch {
    std::uint32_t count = 0;
};

KernelFlows::KernelFlows(int map) : map_(map), keys_(kBatch), values_(kBatch) {
    // A map that was taken over has flows in it.
    Batch batch;
    bool more = true;
    while (more) {
        more = next_batch(batch);
        size_ += batch.count;
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

// False: it was the last one, and the next begins anew.
bool KernelFlows::next_batch(Batch& batch) {
    bpf_map_batch_opts options{};
    options.sz = sizeof(options);
    batch.count = kBatch;
    const int error = bpf_map_lookup_batch(map_, at_beginning_ ? nullptr : &cursor_, &cursor_, keys_.data(),
                                           values_.data(), &batch.count, &options);
    if (error != 0 && errno != ENOENT) batch.count = 0;
    at_beginning_ = error != 0;
    return error == 0;
}

std::size_t KernelFlows::sweep(std::uint32_t now_s, const splice_idle_timeouts& timeouts,
                               const Unwanted& unwanted) {
    std::size_t expired = 0;
    for (std::size_t i = 0; i < kSweepBatches; ++i) {
        Batch batch;
        const bool more = next_batch(batch);
        for (std::uint32_t at = 0; at < batch.count; ++at) {
            const splice_bridge_flow& flow = values_[at];
            // A packet may have come since the second began.
            const auto silent_s = static_cast<std::int32_t>(now_s - flow.last_seen_s);
            const bool idle = silent_s >= static_cast<std::int32_t>(limit_s(flow, timeouts));
            if (!idle && !unwanted(flow)) continue;
            erase(keys_[at]);
            expired += idle;
        }
        if (!more) break;
    }
    return expired;
}

std::size_t KernelFlows::sweep_all(std::uint32_t now_s, const splice_idle_timeouts& timeouts,
                                   const Unwanted& unwanted) {
    std::size_t expired = 0;
    at_beginning_ = true;
    do {
        expired += sweep(now_s, timeouts, unwanted);
    } while (!at_beginning_);
    return expired;
}

}  // namespace splice
