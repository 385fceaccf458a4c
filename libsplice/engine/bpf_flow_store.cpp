#include "libsplice/engine/bpf_flow_store.hpp"

#include <bpf/bpf.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "libsplice/engine/clock.hpp"
#include "libsplice/engine/randomness.hpp"

namespace splice {
namespace {

using namespace std::chrono_literals;

// Between two pieces of a sweep, so that packets are not kept waiting.
constexpr Duration kPause = 10ms;
// Between the ends of two sweeps: at least this, and so long that sweeping takes a small share of a
// processor.
constexpr Duration kLeastPeriod = 1s;
constexpr int kPeriodPerCost = 200;
constexpr int kPeriodPerCostPressed = 20;

}  // namespace

BpfFlowStore::BpfFlowStore(int map, splice_source_flows& sources, splice_service_flows& services)
    : map_(map), sources_(sources), services_(services), walk_(map) {
    std::memset(&sources_, 0, sizeof(sources_));
    std::memset(&services_, 0, sizeof(services_));
    sources_.key = random_source_key();
}

std::optional<splice_flow_entry> BpfFlowStore::find(const splice_flow_key& key) noexcept {
    splice_flow_entry entry;
    if (bpf_map_lookup_elem(map_, &key, &entry) != 0) return std::nullopt;
    return entry;
}

// A new flow is the program's: it has asked for the source's share.
Verdict BpfFlowStore::put(const splice_flow_key& key, const splice_flow_entry& entry) noexcept {
    return bpf_map_update_elem(map_, &key, &entry, BPF_ANY) == 0 ? SPLICE_CONTINUE
                                                                 : SPLICE_drop_flow_table_full;
}

void BpfFlowStore::erase(const splice_flow_key& key) noexcept {
    (void)bpf_map_delete_elem(map_, &key);
}

void BpfFlowStore::erase_if(const Condition& condition) {
    std::vector<splice_flow_key> erased;
    for_each_bpf_entry<splice_flow_key, splice_flow_entry>(
        map_, [&](const splice_flow_key& key, const splice_flow_entry&) {
            if (condition(key)) erased.push_back(key);
        });
    delete_bpf_entries(map_, erased);
}

void BpfFlowStore::change_if(const Change& change) {
    std::vector<std::pair<splice_flow_key, splice_flow_entry>> changed;
    for_each_bpf_entry<splice_flow_key, splice_flow_entry>(
        map_, [&](const splice_flow_key& key, splice_flow_entry entry) {
            if (change(entry)) changed.emplace_back(key, entry);
        });
    // Those that have gone meanwhile stay gone.
    for (const auto& [key, entry] : changed) (void)bpf_map_update_elem(map_, &key, &entry, BPF_EXIST);
}

// The kernel gives whole buckets, and says so when there is no room for the first one.
FlowPiece BpfFlowStore::piece(std::uint64_t place, std::size_t most) const {
    constexpr std::size_t kLongestChain = 4096;
    std::vector<splice_flow_key> keys;
    std::vector<splice_flow_entry> values;
    for (; most <= kLongestChain; ++most) {
        keys.resize(most);
        values.resize(most);
        BpfCursor cursor = place == 0 ? BpfCursor{} : BpfCursor{place};
        const std::uint32_t count =
            read_bpf_batch(map_, cursor, keys.data(), values.data(), static_cast<std::uint32_t>(most));
        if (count == 0 && !cursor && errno == ENOSPC) continue;
        FlowPiece piece{.flows = {}, .looked_at = std::max<std::size_t>(count, 1), .next = cursor};
        piece.flows.reserve(count);
        for (std::uint32_t i = 0; i < count; ++i) piece.flows.emplace_back(keys[i], values[i]);
        return piece;
    }
    return {};
}

void BpfFlowStore::set_limits(std::size_t capacity, const splice_idle_timeouts& timeouts) noexcept {
    capacity_ = capacity;
    timeouts_ = timeouts;
}

void BpfFlowStore::set_service_shares(std::span<const ServiceShare> shares) noexcept {
    set_most(services_, shares);
}

bool BpfFlowStore::idle(const splice_flow_entry& entry, std::uint32_t now_s) const noexcept {
    // The program's clock may be a tick ahead of ours: such an entry is not idle.
    const auto silent = static_cast<std::int32_t>(now_s - entry.last_seen_s);
    return silent >= 0 && static_cast<std::uint32_t>(silent) >=
                              splice_silence_limit_s(splice_flow_silence(&entry), &timeouts_,
                                                     splice_pressure_with_shares(pressure(), sources_.share));
}

std::size_t BpfFlowStore::expire(Instant now, const Gone& gone) {
    if (now.monotonic < next_piece_) return 0;
    const Duration used = thread_cpu_time();
    if (walk_.at_beginning()) {
        counting_.set_as_of(read_clock().monotonic);
        swept_for_ = pressure();
        begun_before_ = begun_;
    }
    const bool more = walk_.next();
    const auto keys = walk_.keys();
    std::vector<splice_flow_key> expired;
    for (std::size_t i = 0; i < keys.size(); ++i) {
        if (!idle(walk_.values()[i], now.seconds())) {
            counting_.add(walk_.values()[i]);
            ++of_sources_[splice_source_place(&sources_.key, &keys[i].client)];
            ++of_services_[walk_.values()[i].service & (SPLICE_SERVICE_NUMBERS - 1)];
            continue;
        }
        gone(keys[i]);
        expired.push_back(keys[i]);
    }
    delete_bpf_entries(map_, expired);
    counted_ += keys.size() - expired.size();
    // Not what else runs on a busy processor: a sweep that waits for it would put off the next one for
    // minutes.
    cost_ += thread_cpu_time() - used;
    next_piece_ = now.monotonic + kPause;
    if (!more) end_sweep(now);
    return expired.size();
}

void BpfFlowStore::end_sweep(Instant now) {
    size_ = std::exchange(counted_, 0);
    begun_ -= std::exchange(begun_before_, 0);
    counts_ = std::exchange(counting_, {});
    const splice_pressure left = pressure();
    if (std::max(left, swept_for_) >= SPLICE_PRESSURE_HIGH)
        shares_until_ = now.monotonic + std::chrono::seconds(SPLICE_SOURCE_SHARE_S);
    // What the program counts meanwhile may be lost: of a source's flows, as many as begin in microseconds.
    for (std::size_t place = 0; place < SPLICE_SOURCE_PLACES; ++place)
        sources_.flows[place] = std::exchange(of_sources_[place], 0);
    for (std::size_t number = 0; number < SPLICE_SERVICE_NUMBERS; ++number)
        services_.flows[number] = std::exchange(of_services_[number], 0);
    std::atomic_ref(sources_.share)
        .store(now.monotonic < shares_until_ ? splice_source_share(capacity_) : 0, std::memory_order_release);
    const int per_cost = left >= SPLICE_PRESSURE_HIGH ? kPeriodPerCostPressed : kPeriodPerCost;
    next_piece_ = now.monotonic + std::max(kLeastPeriod, cost_ * per_cost);
    swept_for_ = left;
    cost_ = {};
}

void BpfFlowStore::note_begun(std::uint64_t flows) noexcept {
    begun_ += flows;
    if (walk_.at_beginning() && pressure() > swept_for_) next_piece_ = {};
}

}  // namespace splice
