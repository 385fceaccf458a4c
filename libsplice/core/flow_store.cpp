#include "libsplice/core/flow_store.hpp"

#include <algorithm>
#include <utility>

namespace splice {

void FlowStore::set_most(splice_service_flows& services, std::span<const ServiceShare> shares) noexcept {
    std::ranges::fill(services.most, 0);
    for (const auto& [service, flows] : shares) services.most[service & (SPLICE_SERVICE_NUMBERS - 1)] = flows;
}

MemoryFlowStore::MemoryFlowStore(const splice_source_key& source_key)
    : sources_(std::make_unique<splice_source_flows>()) {
    counts_.set_as_of(Duration::max());
    sources_->key = source_key;
}

void MemoryFlowStore::count_out(const Table::Entry& entry) noexcept {
    counts_.remove(entry.second.value);
    --sources_->flows[place_of_source(entry.first)];
    --flows_of_service(entry.second.value.service);
}

std::optional<splice_flow_entry> MemoryFlowStore::find(const splice_flow_key& key) noexcept {
    const Table::Entry* entry = table_.find(key);
    if (!entry) return std::nullopt;
    return entry->second.value;
}

Verdict MemoryFlowStore::put(const splice_flow_key& key, const splice_flow_entry& entry) noexcept {
    Table::Entry* slot = table_.find(key);
    if (slot) {
        counts_.replace(slot->second.value, entry);
        --flows_of_service(slot->second.value.service);
        ++flows_of_service(entry.service);
    } else {
        const std::uint32_t place = place_of_source(key);
        if (pressure() >= SPLICE_PRESSURE_HIGH) shares_until_s_ = entry.last_seen_s + SPLICE_SOURCE_SHARE_S;
        set_share(entry.last_seen_s);
        if (table_.size() < capacity_ && !splice_source_has_room(sources_.get(), place))
            return SPLICE_drop_source_share;
        if (table_.size() < capacity_ && !splice_service_flows_have_room(services_.get(), entry.service))
            return SPLICE_drop_service_share;
        slot = table_.insert(key, capacity_, entry.last_seen_s);
        if (!slot) return SPLICE_drop_flow_table_full;
        ++sources_->flows[place];
        ++flows_of_service(entry.service);
        counts_.add(entry);
    }
    slot->second.value = entry;
    table_.touch(*slot, static_cast<std::uint8_t>(splice_flow_silence(&entry)), entry.last_seen_s);
    return SPLICE_CONTINUE;
}

void MemoryFlowStore::erase(const splice_flow_key& key) noexcept {
    Table::Entry* entry = table_.find(key);
    if (!entry) return;
    count_out(*entry);
    table_.erase(*entry);
}

void MemoryFlowStore::erase_if(const Condition& condition) {
    table_.erase_if([&](const Table::Entry& entry) {
        if (!condition(entry.first)) return false;
        count_out(entry);
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

void MemoryFlowStore::set_service_shares(std::span<const ServiceShare> shares) noexcept {
    set_most(*services_, shares);
}

void MemoryFlowStore::set_share(std::uint32_t now_s) noexcept {
    sources_->share = now_s < shares_until_s_ ? splice_source_share(capacity_) : 0;
}

std::size_t MemoryFlowStore::expire(Instant now, const Gone& gone) {
    set_share(now.seconds());
    return table_.expire(now.seconds(), limits_s(), [&](const Table::Entry& entry) {
        count_out(entry);
        gone(entry.first);
    });
}

std::array<std::uint32_t, SPLICE_SILENCES> MemoryFlowStore::limits_s() const noexcept {
    std::array<std::uint32_t, SPLICE_SILENCES> limits{};
    for (std::size_t i = 0; i < SPLICE_SILENCES; ++i)
        limits[i] = splice_silence_limit_s(static_cast<splice_silence>(i), &timeouts_,
                                           splice_pressure_with_shares(pressure(), sources_->share));
    return limits;
}

std::optional<Duration> MemoryFlowStore::next_expiry() const noexcept {
    const auto second = table_.next_expiry_s(limits_s());
    if (!second) return std::nullopt;
    return std::chrono::seconds(*second);
}

}  // namespace splice
