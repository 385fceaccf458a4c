#include "packetbridge/rules.hpp"

namespace splice {
namespace {

std::uint32_t whole_seconds(Duration duration) noexcept {
    return static_cast<std::uint32_t>(std::chrono::ceil<std::chrono::seconds>(duration).count());
}

}  // namespace

std::shared_ptr<const BridgeRules> build_rules(const PacketbridgeConfig& config, const splice_secret& secret,
                                               ServiceNumbers& services) {
    auto rules = std::make_shared<BridgeRules>();
    rules->secret = secret;
    rules->addresses = config.addresses;
    rules->number = config.number;
    std::vector<std::string> names;
    for (const BridgeServiceConfig& service : config.services) names.push_back(service.vip.to_string());
    const std::vector<std::uint16_t> numbers = services.assign(names);
    for (const BridgeServiceConfig& service : config.services) {
        rules->services.push_back({.number = numbers[rules->services.size()],
                                   .carriage = splice_carriage_by_dscp(service.dscp),
                                   .vip = service.vip,
                                   .backend = service.backend,
                                   .window_scale = service.window_scale});
    }
    rules->timeouts = {.open_s = whole_seconds(config.common.idle_timeout),
                       .closing_s = whole_seconds(kClosingTimeout),
                       .half_closed_s = whole_seconds(config.common.idle_timeout)};
    rules->max_flows = config.common.max_flows;
    return rules;
}

}  // namespace splice
