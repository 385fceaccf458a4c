#include "balancer/control/vips.hpp"

#include <algorithm>

namespace splice {

SystemResult<void> Vips::add_missing(const std::vector<IpAddress>& wanted) {
    const auto before = static_cast<std::ptrdiff_t>(added_.size());
    const auto undo = [&](const SystemError& error) {
        added_.erase(added_.begin() + before, added_.end());
        return std::unexpected(error);
    };
    for (const IpAddress& address : wanted) {
        if (has(address)) continue;
        const auto there = host_has_address(address);
        if (!there) return undo(there.error());
        if (*there) continue;
        auto added = AddedAddress::add(interface_, address);
        if (!added) return undo(added.error());
        added_.emplace_back(address, std::move(*added));
    }
    return {};
}

void Vips::remove_others(const std::vector<IpAddress>& wanted) {
    std::erase_if(added_,
                  [&](const auto& entry) { return std::ranges::find(wanted, entry.first) == wanted.end(); });
}

void Vips::keep() noexcept {
    for (auto& [address, added] : added_) added.keep();
}

std::vector<IpAddress> Vips::added() const {
    std::vector<IpAddress> addresses;
    addresses.reserve(added_.size());
    for (const auto& [address, owned] : added_) addresses.push_back(address);
    return addresses;
}

bool Vips::has(const IpAddress& address) const {
    return std::ranges::any_of(added_, [&](const auto& entry) { return entry.first == address; });
}

}  // namespace splice
