#include "balancer/control/full_bridges.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace splice {
namespace {

constexpr Duration kToldAgain = 60s;

// What the bridge says it has of the service; nothing: it says nothing.
std::optional<std::uint32_t> reported(const ServiceConfig& service, const ChannelState& state) noexcept {
    if (!state.is_present()) return std::nullopt;
    const auto& services = state.presence->services;
    const auto told = std::ranges::find_if(services, [&](const ChannelService& each) {
        return each.vip == service.vip && each.dscp == service.dscp;
    });
    if (told == services.end() || told->connections == kConnectionsUnknown) return std::nullopt;
    return told->connections;
}

}  // namespace

std::uint32_t not_full_at(std::uint32_t max_connections) noexcept {
    return max_connections - std::max(max_connections / 20, 1U);
}

std::vector<FullBridges::Line> FullBridges::look(Duration now, const BalancerConfig& config,
                                                 const ChannelReport& report) {
    const FullSet before = names();
    FullSet full;
    std::vector<Line> lines;
    for (const ServiceConfig& service : config.services) {
        for (const BridgeConfig& bridge : service.bridges) {
            const auto state = report.find(bridge.address);
            if (bridge.max_connections == 0 || state == report.end()) continue;
            const auto connections = reported(service, state->second);
            if (!connections) continue;
            const std::pair name(service.name, bridge.name);
            const bool was = before.contains(name);
            if (*connections < (was ? not_full_at(bridge.max_connections) + 1 : bridge.max_connections))
                continue;
            full.insert(name);
            const auto told = told_.find(name);
            if (was || (told != told_.end() && now - told->second < kToldAgain)) continue;
            told_[name] = now;
            lines.push_back(
                {true, fmt::format("service {}: bridge {} has {} connections, and max_connections is {}: "
                                   "new keys go to their next choices until it has {}",
                                   service.name, bridge.name, *connections, bridge.max_connections,
                                   not_full_at(bridge.max_connections))});
        }
    }
    std::erase_if(told_, [&](const auto& each) {
        return now - each.second >= kToldAgain && !full.contains(each.first);
    });
    const std::lock_guard lock(mutex_);
    full_ = std::move(full);
    return lines;
}

FullSet FullBridges::names() const {
    const std::lock_guard lock(mutex_);
    return full_;
}

std::vector<FullBridge> full_bridges(const BalancerConfig& config, const SplicerSetup& setup,
                                     const FullSet& names) {
    std::vector<FullBridge> full;
    for (std::size_t i = 0; i < config.services.size() && !names.empty(); ++i) {
        const ServiceConfig& service = config.services[i];
        for (std::size_t place = 0; place < service.bridges.size(); ++place) {
            if (names.contains({service.name, service.bridges[place].name}))
                full.push_back({.vip = service.vip, .bridge = setup.services[i].bridges[place]});
        }
    }
    return full;
}

}  // namespace splice
