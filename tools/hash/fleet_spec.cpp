#include "tools/hash/fleet_spec.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "balancer/setup.hpp"
#include "libsplice/config/values.hpp"

namespace splice::hash {

std::expected<Placement, std::string> FleetSpec::place() const {
    std::vector<PlacementMember> serving = bridges;
    std::erase_if(serving, [](const PlacementMember& bridge) { return bridge.weight == 0; });
    return Placement::build(algorithm, serving, rows);
}

FleetSpec FleetSpec::as_shadow() const {
    FleetSpec then = *this;
    then.key = shadow->key;
    then.algorithm = shadow->algorithm;
    then.shadow.reset();
    return then;
}

std::expected<std::size_t, std::string> FleetSpec::find(std::string_view name) const {
    const auto found = std::ranges::find(bridges, name, &PlacementMember::name);
    if (found == bridges.end()) return std::unexpected(fmt::format("no bridge has the name {}", name));
    return static_cast<std::size_t>(found - bridges.begin());
}

double FleetSpec::due(std::size_t bridge) const noexcept {
    std::uint64_t weights = 0;
    for (const PlacementMember& each : bridges) weights += each.weight;
    return weights == 0 ? 0 : static_cast<double>(bridges[bridge].weight) / static_cast<double>(weights);
}

std::expected<PlacementMember, std::string> parse_member(std::string_view text) {
    const auto form = std::unexpected("expected NAME=ADDRESS[,weight=N]");
    const auto equals = text.find('=');
    if (equals == std::string_view::npos || equals == 0) return form;
    PlacementMember member{.name = std::string(text.substr(0, equals)), .server = {}};
    std::string_view rest = text.substr(equals + 1);
    const auto comma = rest.find(',');
    member.server = rest.substr(0, comma);
    if (!IpAddress::parse(member.server) && !Endpoint::parse(member.server))
        return std::unexpected(IpAddress::parse(member.server).error());
    if (comma == std::string_view::npos) return member;
    rest.remove_prefix(comma + 1);
    constexpr std::string_view kWeight = "weight=";
    if (!rest.starts_with(kWeight)) return std::unexpected("after the address only weight=N is known");
    const auto weight = parse_number(rest.substr(kWeight.size()), 1, kMaxWeight);
    if (!weight) return std::unexpected(fmt::format("a weight is a number from 1 to {}", kMaxWeight));
    member.weight = static_cast<std::uint32_t>(*weight);
    return member;
}

std::expected<void, std::string> add_member(FleetSpec& fleet, PlacementMember member) {
    if (fleet.bridges.size() == kMaxBridges)
        return std::unexpected(fmt::format("more than {} bridges", kMaxBridges));
    if (fleet.find(member.name)) return std::unexpected(fmt::format("two bridges are named {}", member.name));
    member.bridge = static_cast<std::uint16_t>(fleet.bridges.size());
    fleet.bridges.push_back(std::move(member));
    return {};
}

FleetSpec fleet_of(const ServiceConfig& service) {
    FleetSpec fleet{.protocol = service.protocol,
                    .key = service.key,
                    .algorithm = service.algorithm,
                    .rows = service.settings.table_rows,
                    .subset = service.subset,
                    .bridges = {}};
    fleet.weighing = {.bounded_load = service.bounded_load, .warmup = service.warmup};
    if (service.hot_keys) {
        fleet.weighing.spread = service.hot_keys->spread;
        fleet.weighing.hot_keys = service.hot_keys->top;
    }
    if (service.shadow)
        fleet.shadow = {.key = service.shadow->key.value_or(service.key),
                        .algorithm = service.shadow->algorithm.value_or(service.algorithm),
                        .ramp = service.ramp};
    for (std::size_t i = 0; i < service.bridges.size(); ++i) {
        const BridgeConfig& bridge = service.bridges[i];
        fleet.bridges.push_back({.name = bridge.name,
                                 .server = ketama_server(bridge, service.vip.port),
                                 .weight = takes_connections(bridge) ? bridge.weight : 0,
                                 .bridge = static_cast<std::uint16_t>(i)});
    }
    return fleet;
}

}  // namespace splice::hash
