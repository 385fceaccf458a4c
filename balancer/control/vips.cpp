#include "balancer/control/vips.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "libsplice/engine/address_probe.hpp"
#include "libsplice/engine/announcement.hpp"
#include "libsplice/engine/clock.hpp"
#include "libsplice/ops/log.hpp"

namespace splice {
namespace {

constexpr Duration kAnnounceInterval = std::chrono::seconds(2);
constexpr const char* kLoopback = "lo";

}  // namespace

std::vector<Vip> vips_of(const BalancerConfig& config) {
    std::vector<Vip> vips;
    for (const ServiceConfig& service : config.services) {
        const Vip vip{service.vip.address, service.settings.presence};
        if (std::ranges::find(vips, vip) == vips.end()) vips.push_back(vip);
    }
    return vips;
}

bool Vips::is_announced(const Vip& vip) const {
    if (vip.presence != Presence::automatic) return vip.presence == Presence::l2;
    return is_in_subnet(interface_index(uplinks_.front()), vip.address).value_or(false);
}

std::expected<void, std::string> Vips::check_free(const std::vector<Vip>& wanted) const {
    std::vector<IpAddress> asked;
    for (const Vip& vip : wanted) {
        const auto places = places_of(vip.address);
        const auto here = [](const AddressPlace& place) { return !(place.loopback && place.ours); };
        if (is_announced(vip) && places && std::ranges::none_of(*places, here)) asked.push_back(vip.address);
    }
    if (asked.empty()) return {};
    const auto found = probe_addresses(uplinks_.front(), asked);
    if (!found) {
        log_warning(found.error().text + "; whether another host has them is not known");
        return {};
    }
    if (found->empty()) return {};
    return std::unexpected(fmt::format(
        "another host has {} on {}: {} answers for it; take it away there, choose another vip, or write "
        "presence: standby where this balancer shall wait for it (none: where routers send its packets)",
        found->front().address.to_string(), uplinks_.front(), found->front().mac));
}

void Vips::follow(const std::vector<Vip>& wanted) {
    std::vector<Place> here;
    for (const Vip& vip : wanted) {
        if (vip.presence != Presence::standby) continue;
        const auto places = places_of(vip.address);
        if (!places) return;  // the next notice or look tells
        for (const AddressPlace& place : *places) {
            if (!place.loopback && place.in_use)
                here.push_back({interface_name(place.interface), vip.address});
        }
    }
    const auto before = std::exchange(taken_over_, std::move(here));
    for (const Place& place : before) {
        if (std::ranges::find(taken_over_, place) == taken_over_.end())
            log_info(fmt::format("{} is not on {} any more: this balancer is on standby for it",
                                 place.address.to_string(), place.interface),
                     {{"address", place.address.to_string()}, {"interface", place.interface}});
    }
    for (const Place& place : taken_over_) {
        if (std::ranges::find(before, place) != before.end()) continue;
        log_info(fmt::format("{} is on {} now: this balancer has taken it over, and announces it",
                             place.address.to_string(), place.interface),
                 {{"address", place.address.to_string()}, {"interface", place.interface}});
        announce(place);
    }
}

HostFactList Vips::facts(const std::vector<Vip>& wanted) {
    HostFactList facts;
    const bool silent = std::ranges::any_of(wanted, [](const Vip& vip) {
        return vip.presence == Presence::standby && vip.address.family() == 4;
    });
    for (const std::string& uplink : silent ? uplinks_ : std::vector<std::string>()) {
        for (HostFact& each : silence_.facts(uplink, [] { return true; })) facts.push_back(std::move(each));
    }
    for (const Vip& vip : wanted) facts.push_back(fact(vip));
    return facts;
}

HostFact Vips::fact(const Vip& vip) {
    const Place place{vip.presence == Presence::standby ? kLoopback : uplinks_.front(), vip.address};
    return {.kind = "address",
            .words = fmt::format("the address {} of {}", place.address.to_string(), place.interface),
            .observe = [this, place] { return observe(place); },
            .put_right = [this, vip, place] { return add(vip, place); },
            .undo = [this, place] { remove(place); }};
}

// One that a killed run left is missing, too: adding takes it over. On standby the address must be on
// loopback, wherever else it is; otherwise the host has it by itself where it has it at all.
std::optional<std::string> Vips::observe(const Place& place) const {
    const auto places = places_of(place.address);
    if (!places) return "cannot be looked up: " + places.error().text;
    const bool added = has(place);
    const bool standby = place.interface == kLoopback;
    const bool there = std::ranges::any_of(*places, [&](const AddressPlace& each) {
        return (added || !each.ours) && (!standby || each.loopback);
    });
    return there ? std::nullopt : std::optional<std::string>("is missing");
}

// Also one that the host had by itself: the services need it.
SystemResult<void> Vips::add(const Vip& vip, const Place& place) {
    const auto known = std::ranges::find(added_, place, &std::pair<Place, AddedAddress>::first);
    if (known != added_.end()) {
        known->second.keep();  // it is gone already
        added_.erase(known);
    }
    const bool standby = place.interface == kLoopback;
    auto added = standby ? AddedAddress::add_to_loopback(place.address)
                         : AddedAddress::add(place.interface, place.address);
    if (!added) return std::unexpected(added.error());
    added_.emplace_back(place, std::move(*added));
    if (is_announced(vip)) announce(place);
    return {};
}

void Vips::announce(const Place& place) {
    tell(place);
    announce_next_.emplace_back(place, read_clock().monotonic + kAnnounceInterval);
}

void Vips::tell(const Place& place) {
    if (const auto told = announce_address(place.interface, place.address); !told)
        log_warning(told.error().text +
                    "; hosts that knew it elsewhere find out by themselves, in half a minute");
}

void Vips::announce_again(Duration now) {
    std::erase_if(announce_next_, [&](const auto& due) {
        if (due.second > now) return false;
        if (has(due.first) || std::ranges::find(taken_over_, due.first) != taken_over_.end()) tell(due.first);
        return true;
    });
}

void Vips::remove(const Place& place) {
    std::erase_if(added_, [&](const auto& entry) { return entry.first == place; });
}

void Vips::keep() noexcept {
    for (auto& [place, added] : added_) added.keep();
}

std::vector<IpAddress> Vips::added() const {
    std::vector<IpAddress> addresses;
    addresses.reserve(added_.size());
    for (const auto& [place, owned] : added_) addresses.push_back(place.address);
    return addresses;
}

bool Vips::has(const Place& place) const {
    return std::ranges::any_of(added_, [&](const auto& entry) { return entry.first == place; });
}

}  // namespace splice
