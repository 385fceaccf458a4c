// Distinct keys and what was asked of each, in constant memory: all of them while they are few, then an even
// share by their hash (P. Gibbons, "Distinct Sampling for Highly-Accurate Answers to Distinct Values
// Queries", VLDB 2001). A key that is in the sample was counted from its first request on.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "tools/hash/limits.hpp"

namespace splice::hash {

class KeySample {
  public:
    struct Entry {
        std::uint64_t hash = 0;
        std::uint64_t requests = 0;  // 0: no entry
        std::uint64_t bytes = 0;
        std::uint16_t bridge = 0;
        std::uint16_t bridge_then = 0;  // a second placement's
    };

    explicit KeySample(std::size_t most_keys = kSampledKeys) : most_keys_(most_keys), entries_(kFirstSlots) {}

    // `hash` must be spread well: XXH64.
    // What is known of the key then; nothing when it is not in the sample. Valid until the next call.
    const Entry* count(std::uint64_t hash, std::uint64_t bytes, std::uint16_t bridge,
                       std::uint16_t bridge_then = 0) {
        if ((hash & dropped_mask_) != 0) return nullptr;
        Entry* entry = &slot(hash);
        if (entry->requests == 0) {
            if (size_ + 1 > entries_.size() / 2) {
                grow();
                if ((hash & dropped_mask_) != 0) return nullptr;
                entry = &slot(hash);
            }
            *entry = {.hash = hash, .requests = 0, .bytes = 0, .bridge = bridge, .bridge_then = bridge_then};
            ++size_;
        }
        ++entry->requests;
        entry->bytes += bytes;
        return entry;
    }
    // Brings the key's place near, for a count() that comes soon.
    void prefetch(std::uint64_t hash) const noexcept {
        __builtin_prefetch(&entries_[(hash >> 32) & (entries_.size() - 1)], 1);
    }

    [[nodiscard]] bool is_exact() const noexcept { return dropped_mask_ == 0; }
    // How many keys each entry stands for.
    [[nodiscard]] std::uint64_t scale() const noexcept { return dropped_mask_ + 1; }
    [[nodiscard]] std::uint64_t distinct() const noexcept { return size_ * scale(); }
    // Some have no requests: they are no entries.
    [[nodiscard]] const std::vector<Entry>& slots() const noexcept { return entries_; }

  private:
    static constexpr std::size_t kFirstSlots = 1024;

    // The sample goes by the low bits, the place by the high ones.
    Entry& slot(std::uint64_t hash) noexcept {
        const std::size_t mask = entries_.size() - 1;
        std::size_t at = (hash >> 32) & mask;
        while (entries_[at].requests != 0 && entries_[at].hash != hash) at = (at + 1) & mask;
        return entries_[at];
    }
    void grow() {
        std::size_t slots = entries_.size();
        if (size_ >= most_keys_)
            dropped_mask_ = dropped_mask_ * 2 + 1;
        else
            slots *= 2;
        const std::vector<Entry> old = std::exchange(entries_, std::vector<Entry>(slots));
        size_ = 0;
        for (const Entry& entry : old) {
            if (entry.requests == 0 || (entry.hash & dropped_mask_) != 0) continue;
            slot(entry.hash) = entry;
            ++size_;
        }
    }

    std::size_t most_keys_;
    std::vector<Entry> entries_;
    std::size_t size_ = 0;
    std::uint64_t dropped_mask_ = 0;
};

}  // namespace splice::hash
