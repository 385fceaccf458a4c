#include "balancer/control/vips.hpp"

#include <algorithm>

#include "libsplice/engine/announcement.hpp"
#include "libsplice/engine/clock.hpp"
#include "libsplice/ops/log.hpp"

namespace splice {
namespace {

constexpr Duration kAnnounceInterval = std::chrono::seconds(2);

}  // namespace

HostFactList Vips::facts(const std::vector<IpAddress>& wanted) {
    HostFactList facts;
    for (const IpAddress& address : wanted) {
        const bool again =
            std::ranges::any_of(facts, [&](const HostFact& fact) { return fact.words == words_of(address); });
        if (again) continue;  // two services of one address
        facts.push_back({.kind = "address",
                         .words = words_of(address),
                         .observe = [this, address] { return observe(address); },
                         .put_right = [this, address] { return add(address); },
                         .undo = [this, address] { remove(address); }});
    }
    return facts;
}

std::string Vips::words_of(const IpAddress& address) const {
    return "the address " + address.to_string() + " of " + interface_;
}

// One that a killed run left is missing, too: adding takes it over.
std::optional<std::string> Vips::observe(const IpAddress& address) const {
    const auto there = has(address) ? is_address_assigned(address) : host_has_address(address);
    if (there && *there) return std::nullopt;
    return there ? "is missing" : "cannot be looked up: " + there.error().text;
}

// Also one that the host had by itself: the services need it.
SystemResult<void> Vips::add(const IpAddress& address) {
    const auto known = std::ranges::find(added_, address, &std::pair<IpAddress, AddedAddress>::first);
    if (known != added_.end()) {
        known->second.keep();  // it is gone already
        added_.erase(known);
    }
    auto added = AddedAddress::add(interface_, address);
    if (!added) return std::unexpected(added.error());
    added_.emplace_back(address, std::move(*added));
    announce(address);
    announce_next_.emplace_back(address, read_clock().monotonic + kAnnounceInterval);
    return {};
}

void Vips::announce(const IpAddress& address) const {
    if (const auto told = announce_address(interface_, address); !told)
        log_warning(told.error().text +
                    "; hosts that knew it elsewhere find out by themselves, in half a minute");
}

void Vips::announce_again(Duration now) {
    std::erase_if(announce_next_, [&](const auto& due) {
        if (due.second > now) return false;
        if (has(due.first)) announce(due.first);
        return true;
    });
}

void Vips::remove(const IpAddress& address) {
    std::erase_if(added_, [&](const auto& entry) { return entry.first == address; });
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
