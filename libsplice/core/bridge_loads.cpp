#include "libsplice/core/bridge_loads.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace splice {
namespace {

constexpr std::uint32_t kMask = SPLICE_STATES - 1;

std::uint16_t share_of_65536(double share) noexcept {
    return static_cast<std::uint16_t>(std::clamp(std::lround(share * 65536), 0L, 65535L));
}

}  // namespace

void BridgeLoads::set_services(std::vector<LoadedService> services) {
    const auto before = std::exchange(services_, std::move(services));
    const auto loads = std::exchange(loads_, {});
    const auto states = std::exchange(states_, {});
    counted_.clear();
    if (services_.empty()) return;
    loads_.resize(SPLICE_STATES);
    states_.resize(SPLICE_STATES);
    counted_.resize(SPLICE_STATES);
    for (const LoadedService& service : services_) {
        const auto was = std::ranges::find(before, service.identity, &LoadedService::identity);
        if (was == before.end()) continue;
        for (const LoadedBridge& each : service.bridges) {
            if (std::ranges::find(was->bridges, each.bridge, &LoadedBridge::bridge) == was->bridges.end())
                continue;
            loads_[(service.states + each.bridge) & kMask] = loads[(was->states + each.bridge) & kMask];
            states_[(service.states + each.bridge) & kMask] = states[(was->states + each.bridge) & kMask];
        }
        renew(service);
    }
}

void BridgeLoads::count(const splice_choice_rule& rule, const splice_placement_row& row,
                        splice_choice choice) noexcept {
    for (std::uint32_t rank = 0; rank < SPLICE_CHOICES; ++rank) {
        if ((choice.offered >> rank & 1) != 0) ++counted_[(rule.states + row.choices[rank]) & kMask].offered;
    }
    const std::uint32_t taken = (rule.states + row.choices[choice.rank]) & kMask;
    ++counted_[taken].taken;
    if (choice.why == SPLICE_CHOSE_SPREAD) ++states_[taken].load;
}

void BridgeLoads::add(std::uint32_t state, splice_openings openings) noexcept {
    if (counted_.empty()) return;
    counted_[state & kMask].offered += openings.offered;
    counted_[state & kMask].taken += openings.taken;
}

void BridgeLoads::set_takes(std::uint32_t state, bool takes) noexcept {
    if (states_.empty()) return;
    if (!takes) {
        states_[state & kMask] = {};
        loads_[state & kMask] = {};
        counted_[state & kMask] = {};
    }
    states_[state & kMask].flags = takes ? 0 : SPLICE_BRIDGE_TAKES_NONE;
}

bool BridgeLoads::advance(Duration now) {
    if (services_.empty() || (ticked_ && now < *ticked_ + kLoadTick)) return false;
    const Duration since = ticked_ ? now - *ticked_ : Duration{};
    const auto kept_after = [&](Duration time) {
        return std::exp(-std::chrono::duration<double>(time) / std::chrono::duration<double>(window_));
    };
    const double kept = kept_after(since);
    // Who is asked late, because nothing came, counts what came before the silence as that.
    const double kept_of_counted = kept_after(std::max<Duration>(since - kLoadTick, Duration{}));
    ticked_ = now;
    for (const LoadedService& service : services_) {
        for (const LoadedBridge& each : service.bridges) {
            const std::uint32_t state = (service.states + each.bridge) & kMask;
            const splice_openings counted = std::exchange(counted_[state], {});
            loads_[state].offered = loads_[state].offered * kept + counted.offered * kept_of_counted;
            loads_[state].taken = loads_[state].taken * kept + counted.taken * kept_of_counted;
        }
        renew(service);
    }
    return true;
}

std::optional<Duration> BridgeLoads::next_tick() const noexcept {
    if (services_.empty()) return {};
    return ticked_ ? *ticked_ + kLoadTick : Duration{};
}

BridgeLoads::Load BridgeLoads::load(std::uint32_t state) const noexcept {
    return loads_.empty() ? Load{} : loads_[state & kMask];
}

void BridgeLoads::renew(const LoadedService& service) noexcept {
    const auto takes = [&](const LoadedBridge& each) {
        return states_[(service.states + each.bridge) & kMask].flags == 0;
    };
    double total = 0;
    double weights = 0;
    double heaviest = 1;
    for (const LoadedBridge& each : service.bridges) {
        total += loads_[(service.states + each.bridge) & kMask].taken;
        if (!takes(each)) continue;
        weights += each.weight;
        heaviest = std::max(heaviest, static_cast<double>(each.weight));
    }
    for (const LoadedBridge& each : service.bridges) {
        const Load& load = loads_[(service.states + each.bridge) & kMask];
        splice_bridge_state& state = states_[(service.states + each.bridge) & kMask];
        constexpr double kMost = 1e9;
        // A bridge of half the weight counts each opening twice.
        state.load = static_cast<std::uint32_t>(std::min(load.taken * heaviest / each.weight, kMost));
        state.passes = 0;
        if (service.bounded_load <= 0 || weights <= 0) continue;
        // The opening that comes counts, too, and a bound is a whole number of them, as in Mirrokni's ceil(c
        // m / n).
        const double bound = std::ceil(service.bounded_load * (total + 1) * each.weight / weights);
        if (load.offered > bound) state.passes = share_of_65536(1 - bound / load.offered);
    }
}

}  // namespace splice
