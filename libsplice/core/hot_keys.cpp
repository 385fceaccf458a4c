#include "libsplice/core/hot_keys.hpp"

#include <algorithm>

#include "libsplice/base/limits.hpp"

namespace splice {

HotKeys::HotKeys(std::size_t top) : top_(top), counts_(std::max<std::size_t>(top * 8, 256)) {}

void HotKeys::count(std::uint64_t hash, std::string_view key) {
    counts_.count(hash, key.substr(0, kHotKeyShown), 0);
    ++counted_;
}

bool HotKeys::advance(Duration now) {
    if (ticked_ && now < *ticked_ + kHotTick) return false;
    ticked_ = now;
    news_ = true;
    std::unordered_set<std::uint64_t> hot;
    keys_.clear();
    const auto top = counts_.top(top_ * 2);
    for (std::size_t i = 0; i < top.size(); ++i) {
        const std::uint64_t sure = top[i].requests - top[i].error;
        const bool was = hot_.contains(top[i].hash);
        if (was ? sure < kHotLeast / 2 : i >= top_ || sure < kHotLeast) continue;
        hot.insert(top[i].hash);
        keys_.push_back({.hash = top[i].hash,
                         .key = top[i].key,
                         .share = static_cast<double>(sure) / static_cast<double>(std::max(counted_, sure))});
    }
    if (!halved_) halved_ = now;
    while (now >= *halved_ + kLoadWindow / 2) {
        *halved_ += kLoadWindow / 2;
        counts_.halve();
        counted_ /= 2;
        if (counted_ == 0) *halved_ = now;
    }
    const bool changed = hot != hot_;
    hot_ = std::move(hot);
    return changed;
}

void HotTable::replace(std::uint8_t service, const std::vector<HotKeys::Key>& keys) {
    std::vector<std::uint64_t>& hashes = hashes_[service % hashes_.size()];
    for (const std::uint64_t hash : hashes) {
        __u64* const bucket = table_->marks[splice_hot_bucket(hash)];
        __u64* const end = bucket + SPLICE_HOT_WAYS;
        std::fill(std::remove(bucket, end, splice_hot_mark(hash, service)), end, __u64{0});
    }
    hashes.clear();
    for (const HotKeys::Key& key : keys) {
        __u64* const bucket = table_->marks[splice_hot_bucket(key.hash)];
        __u64* const free = std::find(bucket, bucket + SPLICE_HOT_WAYS, __u64{0});
        if (free == bucket + SPLICE_HOT_WAYS) continue;
        *free = splice_hot_mark(key.hash, service);
        hashes.push_back(key.hash);
    }
}

}  // namespace splice
