#include "balancer/control/bridge_index.hpp"

#include <algorithm>
#include <utility>

#include "libsplice/base/limits.hpp"
#include "libsplice/datapath/flow.h"

namespace splice {
namespace {

// Twice what a configuration can name: all of them can be replaced by one reload.
constexpr std::size_t kMaxSlots = 2 * kMaxBridges;
static_assert(kMaxSlots < SPLICE_NO_BRIDGE);

}  // namespace

BridgeIndex::BridgeIndex(const std::vector<IpAddress>& addresses, Duration now) {
    for (const IpAddress& address : addresses)
        slots_.push_back({.address = address, .left = address.is_unspecified() ? Duration::min() : now});
}

std::expected<std::vector<std::uint16_t>, std::string> BridgeIndex::assign(
    const std::vector<IpAddress>& addresses, Duration now, Duration rest) {
    longest_rest_ = std::max(longest_rest_, rest);
    std::vector<bool> was_used(slots_.size());
    for (std::size_t i = 0; i < slots_.size(); i++) was_used[i] = std::exchange(slots_[i].used, false);
    // Those that stay first, so that a newcomer cannot take the number of one that comes later in the list.
    for (const IpAddress& address : addresses) {
        if (const auto number = find(address)) slots_[*number].used = true;
    }
    for (std::size_t i = 0; i < was_used.size(); i++) {
        if (was_used[i] && !slots_[i].used) slots_[i].left = now;
    }
    std::vector<std::uint16_t> numbers;
    for (const IpAddress& address : addresses) {
        const auto number = take(address, now);
        if (!number)
            return std::unexpected("too many bridges came and went; try again when idle_timeout has passed");
        numbers.push_back(*number);
    }
    return numbers;
}

std::vector<IpAddress> BridgeIndex::addresses() const {
    std::vector<IpAddress> all;
    all.reserve(slots_.size());
    for (const Slot& slot : slots_) all.push_back(slot.address);
    return all;
}

std::optional<std::uint16_t> BridgeIndex::find(const IpAddress& address) const noexcept {
    for (std::size_t i = 0; i < slots_.size(); i++) {
        if (slots_[i].address == address) return static_cast<std::uint16_t>(i);
    }
    return std::nullopt;
}

std::optional<std::uint16_t> BridgeIndex::take(const IpAddress& address, Duration now) {
    if (const auto number = find(address)) {
        slots_[*number].used = true;
        return number;
    }
    if (slots_.size() < kMaxSlots) {
        slots_.push_back({.address = address, .used = true});
        return static_cast<std::uint16_t>(slots_.size() - 1);
    }
    // The one that rests longest.
    const auto slot = std::ranges::min_element(
        slots_, {}, [](const Slot& one) { return one.used ? Duration::max() : one.left; });
    if (slot->used || slot->left + longest_rest_ > now) return std::nullopt;
    *slot = {.address = address, .used = true};
    return static_cast<std::uint16_t>(slot - slots_.begin());
}

}  // namespace splice
