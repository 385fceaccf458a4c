#include "libsplice/core/heavy_keys.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace splice {

HeavyKeys::HeavyKeys(std::size_t capacity) : capacity_(capacity), table_(std::bit_ceil(capacity * 4), kNone) {
    counters_.reserve(capacity);
}

std::size_t HeavyKeys::find(std::uint64_t hash) const noexcept {
    const std::size_t mask = table_.size() - 1;
    std::size_t at = hash & mask;
    while (table_[at] != kNone && counters_[table_[at]].hash != hash) at = (at + 1) & mask;
    return table_[at];
}

void HeavyKeys::index(std::size_t counter) noexcept {
    const std::size_t mask = table_.size() - 1;
    std::size_t at = counters_[counter].hash & mask;
    while (table_[at] != kNone) at = (at + 1) & mask;
    table_[at] = static_cast<std::uint32_t>(counter);
}

// The entries after it move up, so that none is cut off from its place.
void HeavyKeys::remove_from_index(std::uint64_t hash) noexcept {
    const std::size_t mask = table_.size() - 1;
    std::size_t hole = hash & mask;
    while (counters_[table_[hole]].hash != hash) hole = (hole + 1) & mask;
    for (std::size_t at = (hole + 1) & mask; table_[at] != kNone; at = (at + 1) & mask) {
        const std::size_t wanted = counters_[table_[at]].hash & mask;
        if (((at - wanted) & mask) < ((at - hole) & mask)) continue;
        table_[hole] = table_[at];
        hole = at;
    }
    table_[hole] = kNone;
}

void HeavyKeys::swap(std::size_t a, std::size_t b) noexcept {
    std::swap(heap_[a], heap_[b]);
    std::swap(place_[heap_[a].counter], place_[heap_[b].counter]);
}

void HeavyKeys::sink(std::size_t place) noexcept {
    for (;;) {
        std::size_t least = place;
        for (const std::size_t child : {place * 2 + 1, place * 2 + 2}) {
            if (child < heap_.size() && heap_[child].requests < heap_[least].requests) least = child;
        }
        if (least == place) return;
        swap(place, least);
        place = least;
    }
}

void HeavyKeys::rise(std::size_t place) noexcept {
    for (; place > 0 && heap_[place].requests < heap_[(place - 1) / 2].requests; place = (place - 1) / 2)
        swap(place, (place - 1) / 2);
}

// The key's counter, which may have been another's until now.
std::size_t HeavyKeys::counter_for(std::uint64_t hash, std::string_view key) {
    std::size_t counter = find(hash);
    if (counter != kNone) return counter;
    if (counters_.size() < capacity_) {
        counter = counters_.size();
        counters_.push_back({.hash = hash, .requests = 0, .error = 0, .bytes = 0, .key = std::string(key)});
        heap_.push_back({0, static_cast<std::uint32_t>(counter)});
        place_.push_back(static_cast<std::uint32_t>(heap_.size() - 1));
        rise(heap_.size() - 1);
    } else {
        // The least counter is this key's from now on, and its count the error.
        counter = heap_.front().counter;
        remove_from_index(counters_[counter].hash);
        Counter& taken = counters_[counter];
        taken.hash = hash;
        taken.error = taken.requests;
        taken.bytes = 0;
        taken.key.assign(key);
    }
    index(counter);
    return counter;
}

void HeavyKeys::count(std::uint64_t hash, std::string_view key, std::uint64_t bytes) {
    const std::size_t counter = counter_for(hash, key);
    Counter& counted = counters_[counter];
    counted.bytes += bytes;
    heap_[place_[counter]].requests = ++counted.requests;
    sink(place_[counter]);
}

void HeavyKeys::set_known(std::uint64_t hash, std::string_view key, std::uint64_t requests,
                          std::uint64_t bytes) {
    const std::size_t counter = counter_for(hash, key);
    Counter& counted = counters_[counter];
    counted.requests = requests;
    counted.error = 0;
    counted.bytes = bytes;
    heap_[place_[counter]].requests = requests;
    sink(place_[counter]);
}

// Halving keeps the order, so the heap stays one.
void HeavyKeys::halve() noexcept {
    for (Counter& counter : counters_) {
        counter.requests /= 2;
        counter.error /= 2;
        counter.bytes /= 2;
    }
    for (HeapPlace& place : heap_) place.requests /= 2;
}

std::vector<HeavyKeys::Counter> HeavyKeys::top(std::size_t most) const {
    std::vector<Counter> sorted = counters_;
    std::ranges::sort(sorted, [](const Counter& a, const Counter& b) {
        return a.requests != b.requests ? a.requests > b.requests : a.key < b.key;
    });
    if (sorted.size() > most) sorted.resize(most);
    return sorted;
}

}  // namespace splice
