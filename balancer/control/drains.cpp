#include "balancer/control/drains.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace splice {
namespace {

std::string_view why(BridgeState state) noexcept {
    return state == BridgeState::ready ? "weight 0" : to_string(state);
}

}  // namespace

FlowCount flows_of(const FlowCounts& counts, const SplicerRules& rules, const SplicerService& service,
                   const IpAddress& bridge) noexcept {
    const auto found = std::ranges::find(rules.bridges, bridge, &SplicerBridge::address);
    if (found == rules.bridges.end()) return {};
    return counts.of(service.number, static_cast<std::uint16_t>(found - rules.bridges.begin()));
}

std::vector<std::string> Drains::replace(const BalancerConfig& config,
                                         std::shared_ptr<const SplicerRules> rules, Duration now) {
    std::vector<std::string> lines;
    std::vector<Bridge> bridges;
    for (const ServiceConfig& service : config.services) {
        for (const BridgeConfig& bridge : service.bridges) {
            Bridge next{.service = service.name,
                        .name = bridge.name,
                        .address = bridge.address,
                        .drains = !takes_connections(bridge) && bridge.state != BridgeState::down,
                        .state = bridge.state,
                        .since = now,
                        .told = false};
            const auto before = std::ranges::find_if(bridges_, [&](const Bridge& each) {
                return each.service == next.service && each.name == next.name;
            });
            const bool known = before != bridges_.end();
            const BridgeState was = known ? before->state : BridgeState::ready;
            if (was != next.state)
                lines.push_back(fmt::format("service {}: bridge {} is {}, was {}", next.service, next.name,
                                            to_string(next.state), to_string(was)));
            if (known && before->drains && next.drains && before->address == next.address) {
                next.since = before->since;
                next.told = before->told;
            }
            bridges.push_back(std::move(next));
        }
    }
    rules_ = std::move(rules);
    bridges_ = std::move(bridges);
    return lines;
}

std::vector<std::string> Drains::look(const std::function<FlowCounts()>& counts) {
    std::vector<std::string> lines;
    if (std::ranges::none_of(bridges_, [](const Bridge& each) { return each.drains && !each.told; }))
        return lines;
    const FlowCounts now = counts();
    for (Bridge& bridge : bridges_) {
        // What was counted before the bridge began to drain may lack a connection that it got after that.
        if (!bridge.drains || bridge.told || now.as_of() < bridge.since) continue;
        const auto service = std::ranges::find(rules_->services, bridge.service, &SplicerService::name);
        if (service == rules_->services.end()) continue;
        const FlowCount left = flows_of(now, *rules_, *service, bridge.address);
        if (left.open != 0) continue;
        bridge.told = true;
        std::string line = fmt::format("service {}: bridge {} ({}) is empty: no connection is open",
                                       bridge.service, bridge.name, why(bridge.state));
        if (left.half_closed != 0)
            line += fmt::format("; {} that clients have closed may still be answered", left.half_closed);
        lines.push_back(std::move(line));
    }
    return lines;
}

}  // namespace splice
