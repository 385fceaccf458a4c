#include "balancer/control/drains.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

namespace splice {
namespace {

std::string_view why(BridgeState state) noexcept {
    return state == BridgeState::ready ? "weight 0" : to_string(state);
}

}  // namespace

std::vector<LogMessage> Drains::replace(const BalancerConfig& config, const SplicerSetup& setup,
                                        Duration now) {
    std::vector<LogMessage> lines;
    std::map<std::pair<std::string_view, std::string_view>, const Bridge*> known;  // by service and name
    for (const Bridge& bridge : bridges_) known[{bridge.service, bridge.name}] = &bridge;
    std::vector<Bridge> bridges;
    for (std::size_t i = 0; i < config.services.size(); ++i) {
        const ServiceConfig& service = config.services[i];
        for (std::size_t j = 0; j < service.bridges.size(); ++j) {
            const BridgeConfig& bridge = service.bridges[j];
            Bridge next{.service = service.name,
                        .name = bridge.name,
                        .service_number = setup.services[i].number,
                        .number = setup.services[i].bridges[j],
                        .drains = !takes_connections(bridge) && bridge.state != BridgeState::down,
                        .state = bridge.state,
                        .since = now,
                        .told = false};
            const auto found = known.find({next.service, next.name});
            const Bridge* before = found == known.end() ? nullptr : found->second;
            const BridgeState was = before ? before->state : BridgeState::ready;
            if (was != next.state)
                lines.push_back({fmt::format("service {}: bridge {} is {}, was {}", next.service, next.name,
                                             to_string(next.state), to_string(was)),
                                 {{"service", next.service},
                                  {"bridge", next.name},
                                  {"state", std::string(to_string(next.state))}}});
            if (before && before->drains && next.drains && before->number == next.number) {
                next.since = before->since;
                next.told = before->told;
            }
            bridges.push_back(std::move(next));
        }
    }
    bridges_ = std::move(bridges);
    return lines;
}

std::vector<LogMessage> Drains::look(const std::function<FlowCounts()>& counts) {
    std::vector<LogMessage> lines;
    if (std::ranges::none_of(bridges_, [](const Bridge& each) { return each.drains && !each.told; }))
        return lines;
    const FlowCounts now = counts();
    for (Bridge& bridge : bridges_) {
        // What was counted before the bridge began to drain may lack a connection that it got after that.
        if (!bridge.drains || bridge.told || now.as_of() < bridge.since) continue;
        const FlowCount left = now.of(bridge.service_number, bridge.number);
        if (left.open != 0) continue;
        bridge.told = true;
        std::string line = fmt::format("service {}: bridge {} ({}) is empty: no connection is open",
                                       bridge.service, bridge.name, why(bridge.state));
        if (left.half_closed != 0)
            line += fmt::format("; {} that clients have closed may still be answered", left.half_closed);
        lines.push_back({std::move(line), {{"service", bridge.service}, {"bridge", bridge.name}}});
    }
    return lines;
}

}  // namespace splice
