#include "libsplice/engine/bpf_flow_store.hpp"

#include <bpf/bpf.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "libsplice/engine/clock.hpp"

namespace splice {
namespace {

using namespace std::chrono_literals;

// Entries asked for at once; the longest chain of the map's buckets must fit.
constexpr std::uint32_t kBatch = 4096;
// Between two pieces of a sweep, so that packets are not kept waiting.
constexpr Duration kPause = 10ms;
// Between the ends of two sweeps: at least this, and so long that sweeping takes a small share of a
// processor.
constexpr Duration kLeastPeriod = 1s;
constexpr int kPeriodPerCost = 200;

struct Batch {
    std::vector<splice_flow_key> keys = std::vector<splice_flow_key>(kBatch);
    std::vector<splice_flow_entry> entries = std::vector<splice_flow_entry>(kBatch);
    std::uint32_t count = 0;
};

// The next entries from `cursor` on, which it moves. False: these are the last.
bool read_batch(int map, std::optional<std::uint32_t>& cursor, Batch& batch) noexcept {
    std::uint32_t next = 0;
    batch.count = kBatch;
    const int error = bpf_map_lookup_batch(map, cursor ? &*cursor : nullptr, &next, batch.keys.data(),
                                           batch.entries.data(), &batch.count, nullptr);
    cursor = next;
    if (error == 0) return true;
    // ENOENT: the end, with what was left. Anything else gives nothing; the next sweep begins anew.
    if (errno != ENOENT) batch.count = 0;
    return false;
}

void delete_batch(int map, const std::vector<splice_flow_key>& keys) noexcept {
    std::size_t done = 0;
    while (done < keys.size()) {
        auto count = static_cast<std::uint32_t>(keys.size() - done);
        const int error = bpf_map_delete_batch(map, keys.data() + done, &count, nullptr);
        // It stops at an entry that is gone already: that one is skipped.
        done += count + (error != 0 ? 1 : 0);
    }
}

template <class Visit>
void for_each_batch(int map, Visit visit) {
    Batch batch;
    std::optional<std::uint32_t> cursor;
    for (bool more = true; more;) {
        more = read_batch(map, cursor, batch);
        visit(batch);
    }
}

}  // namespace

std::optional<splice_flow_entry> BpfFlowStore::find(const splice_flow_key& key) noexcept {
    splice_flow_entry entry;
    if (bpf_map_lookup_elem(map_, &key, &entry) != 0) return std::nullopt;
    return entry;
}

bool BpfFlowStore::put(const splice_flow_key& key, const splice_flow_entry& entry) noexcept {
    return bpf_map_update_elem(map_, &key, &entry, BPF_ANY) == 0;
}

void BpfFlowStore::erase(const splice_flow_key& key) noexcept {
    (void)bpf_map_delete_elem(map_, &key);
}

void BpfFlowStore::erase_if(const Condition& condition) {
    std::vector<splice_flow_key> erased;
    for_each_batch(map_, [&](const Batch& batch) {
        for (std::uint32_t i = 0; i < batch.count; ++i) {
            if (condition(batch.keys[i])) erased.push_back(batch.keys[i]);
        }
    });
    delete_batch(map_, erased);
}

void BpfFlowStore::set_limits(std::size_t capacity, const splice_idle_timeouts& timeouts) noexcept {
    capacity_ = capacity;
    timeouts_ = timeouts;
}

bool BpfFlowStore::idle(const splice_flow_entry& entry, std::uint32_t now_s) const noexcept {
    // The program's clock may be a tick ahead of ours: such an entry is not idle.
    const auto silent = static_cast<std::int32_t>(now_s - entry.last_seen_s);
    return silent >= 0 &&
           static_cast<std::uint32_t>(silent) >=
               splice_silence_limit_s(splice_flow_silence(&entry), &timeouts_, size_ > capacity_ / 2);
}

std::size_t BpfFlowStore::expire(Instant now, const Gone& gone) {
    if (now.monotonic < next_piece_) return 0;
    const Duration began = read_clock().monotonic;
    Batch batch;
    const bool more = read_batch(map_, cursor_, batch);
    std::vector<splice_flow_key> expired;
    for (std::uint32_t i = 0; i < batch.count; ++i) {
        if (!idle(batch.entries[i], now.seconds())) continue;
        gone(batch.keys[i]);
        expired.push_back(batch.keys[i]);
    }
    delete_batch(map_, expired);
    counted_ += batch.count - expired.size();
    cost_ += read_clock().monotonic - began;
    next_piece_ = now.monotonic + kPause;
    if (!more) {
        next_piece_ = now.monotonic + std::max(kLeastPeriod, cost_ * kPeriodPerCost);
        size_ = std::exchange(counted_, 0);
        cost_ = {};
        cursor_.reset();
    }
    return expired.size();
}

std::size_t copy_flows(int from, int to) {
    std::size_t copied = 0;
    for_each_batch(from, [&](const Batch& batch) {
        for (std::uint32_t i = 0; i < batch.count; ++i)
            copied += bpf_map_update_elem(to, &batch.keys[i], &batch.entries[i], BPF_NOEXIST) == 0 ? 1 : 0;
    });
    return copied;
}

}  // namespace splice
