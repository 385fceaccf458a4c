#include "libsplice/core/flow_store.hpp"

#include <utility>

namespace splice {

std::optional<splice_flow_entry> MemoryFlowStore::find(const splice_flow_key& key) noexcept {
    const Table::Entry* entry = table_.find(key);
    if (!entry) return std::nullopt;
    return entry->second.value;
}

bool MemoryFlowStore::put(const splice_flow_key& key, const splice_flow_entry& entry) noexcept {
    Table::Entry* slot = table_.find(key);
    if (slot) {
        counts_.replace(slot->second.value, entry);
    } else {
        slot = table_.insert(key, capacity_, entry.last_seen_s);
        if (!slot) return false;
        counts_.add(entry);
    }
    slot->second.value = entry;
    table_.touch(*slot, static_cast<std::uint8_t>(splice_flow_silence(&entry)), entry.last_seen_s);
    return true;
}

void MemoryFlowStore::erase(const splice_flow_key& key) noexcept {
    Table::Entry* entry = table_.find(key);
    if (!entry) return;
    counts_.remove(entry->second.value);
    table_.erase(*entry);
}

void MemoryFlowStore::erase_if(const Condition& condition) {
    table_.erase_if([&](const Table::Entry& entry) {
        if (!condition(entry.first)) return false;
        counts_.remove(entry.second.value);
        return true;
    });
}

void MemoryFlowStore::change_if(const Change& change) {
    table_.erase_if([&](Table::Entry& entry) {
        splice_flow_entry changed = entry.second.value;
        if (change(changed)) counts_.replace(std::exchange(entry.second.value, changed), changed);
        return false;
    });
}

FlowPiece MemoryFlowStore::piece(std::uint64_t place, std::size_t most) const {
    FlowPiece piece;
    std::uint64_t bucket = place;
    for (; bucket < table_.buckets(); ++bucket) {
        const std::size_t more = table_.bucket_size(static_cast<std::size_t>(bucket));
        // Empty buckets cost little, but there may be many.
        piece.looked_at = piece.flows.size() + static_cast<std::size_t>(bucket - place) / 8;
        if (bucket != place && (piece.flows.size() + more > most || piece.looked_at > most)) break;
        table_.visit_bucket(static_cast<std::size_t>(bucket), [&](const Table::Entry& entry) {
            piece.flows.emplace_back(entry.first, entry.second.value);
        });
    }
    if (bucket < table_.buckets()) piece.next = bucket;
    return piece;
}

void MemoryFlowStore::set_limits(std::size_t capacity, const splice_idle_timeouts& timeouts) noexcept {
    capacity_ = capacity;
    timeouts_ = timeouts;
}

std::size_t MemoryFlowStore::expire(Instant now, const Gone& gone) {
    return table_.expire(now.seconds(), limits_s(), [&](const Table::Entry& entry) {
        counts_.remove(entry.second.value);
        gone(entry.first);
    });
}

std::array<std::uint32_t, SPLICE_SILENCES> MemoryFlowStore::limits_s() const noexcept {
    std::array<std::uint32_t, SPLICE_SILENCES> limits{};
    for (std::size_t i = 0; i < SPLICE_SILENCES; ++i)
        limits[i] =
            splice_silence_limit_s(static_cast<splice_silence>(i), &timeouts_, table_.size() > capacity_ / 2);
    return limits;
}

std::optional<Duration> MemoryFlowStore::next_expiry() const noexcept {
    const auto second = table_.next_expiry_s(limits_s());
    if (!second) return std::nullopt;
    return std::chrono::seconds(*second);
}

}  // namespace splice
