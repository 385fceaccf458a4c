#include "balancer/control/shown.hpp"

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace splice {
namespace {

// Keys whose first choice stands for all: a ketama ring's points own arcs of different lengths.
constexpr std::size_t kSampledKeys = 1U << 16;

std::unordered_map<std::uint16_t, std::size_t> count_first_choices(const Placement& placement) {
    std::unordered_map<std::uint16_t, std::size_t> counts;
    if (placement.algorithm() == Algorithm::ketama) {
        for (std::size_t i = 0; i < kSampledKeys; i++)
            counts[placement.choose("/" + std::to_string(i)).bridges.choices[0]]++;
    } else {
        for (const splice_placement_row& row : placement.rows()) counts[row.choices[0]]++;
    }
    counts.erase(SPLICE_NO_BRIDGE);
    return counts;
}

}  // namespace

std::vector<double> first_choice_shares(const SplicerService& service) {
    auto counts = count_first_choices(*service.placement);
    std::size_t total = 0;
    for (const auto& [bridge, count] : counts) total += count;
    std::vector<double> shares;
    for (const std::uint16_t bridge : service.bridges)
        shares.push_back(total == 0 ? 0.0 : static_cast<double>(counts[bridge]) / static_cast<double>(total));
    return shares;
}

Shown::Shown(BalancerState state) : BalancerState(std::move(state)) {
    shares.reserve(setup->services.size());
    for (const SplicerService& service : setup->services) shares.push_back(first_choice_shares(service));
}

std::optional<std::size_t> place_of(const SplicerService& running, std::uint16_t bridge) {
    const auto found = std::ranges::find(running.bridges, bridge);
    if (found == running.bridges.end()) return {};
    return static_cast<std::size_t>(found - running.bridges.begin());
}

ServiceView view_of(const Snapshot& snapshot, std::size_t place) {
    const Shown& shown = *snapshot.shown;
    const ServiceConfig& service = shown.config.services[place];
    return {service,
            shown.setup->services[place],
            snapshot.counts,
            shown.shares[place],
            health_of(snapshot.health, service.name),
            snapshot.totals,
            snapshot.channel,
            shown.config.common.channel.value_or(kChannelPort),
            snapshot.full};
}

}  // namespace splice
