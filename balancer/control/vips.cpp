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

HostFactList Vips::facts(const std::vector<IpAddress>& wanted) {
    HostFactList facts;
    for (const IpAddress& address : wanted) {
        const bool again =
            std::ranges::any_of(facts, [&](const HostFact& fact) { return fact.words == words_of(address); });
        if (again) continue;  // two services of one address
        facts.push_back({.kind = "address",
                         .words = words_of(address),
                         .observe = [address]() -> std::optional<std::string> {
                             const auto there = is_address_assigned(address);
                             if (there && *there) return std::nullopt;
                             return there ? "is missing" : "cannot be looked up: " + there.error().text;
                         },
                         .put_right = [this, address] { return add_again(address); }});
    }
    return facts;
}

std::string Vips::words_of(const IpAddress& address) const {
    return "the address " + address.to_string() + " of " + interface_;
}

// Also one that the host had by itself: the services need it.
SystemResult<void> Vips::add_again(const IpAddress& address) {
    const auto known = std::ranges::find(added_, address, &std::pair<IpAddress, AddedAddress>::first);
    if (known != added_.end()) {
        known->second.keep();  // it is gone already
        added_.erase(known);
    }
    auto added = AddedAddress::add(interface_, address);
    if (!added) return std::unexpected(added.error());
    added_.emplace_back(address, std::move(*added));
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
