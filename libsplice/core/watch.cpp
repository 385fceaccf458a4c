#include "libsplice/core/watch.hpp"

#include <utility>

namespace splice {
namespace {

std::vector<std::uint64_t> read(const std::vector<std::atomic<std::uint64_t>>& counts) {
    std::vector<std::uint64_t> values;
    values.reserve(counts.size());
    for (const auto& count : counts) values.push_back(count.load(std::memory_order_relaxed));
    return values;
}

}  // namespace

void ServiceWatch::compare(std::uint16_t now, std::uint16_t then) noexcept {
    if (now >= now_.size() || then >= then_.size()) return;
    openings_.fetch_add(1, std::memory_order_relaxed);
    if (now != then) moved_.fetch_add(1, std::memory_order_relaxed);
    now_[now].fetch_add(1, std::memory_order_relaxed);
    then_[then].fetch_add(1, std::memory_order_relaxed);
}

void ServiceWatch::show(std::vector<HotKeys::Key> keys) {
    hot_.store(std::make_shared<const std::vector<HotKeys::Key>>(std::move(keys)));
}

ServiceWatch::Shadow ServiceWatch::shadow() const {
    return {.openings = openings_.load(std::memory_order_relaxed),
            .moved = moved_.load(std::memory_order_relaxed),
            .now = read(now_),
            .then = read(then_)};
}

std::vector<HotKeys::Key> ServiceWatch::hot_keys() const {
    const auto shown = hot_.load();
    return shown ? *shown : std::vector<HotKeys::Key>{};
}

}  // namespace splice
