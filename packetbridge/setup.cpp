#include "packetbridge/setup.hpp"

namespace splice {
namespace {

std::uint32_t whole_seconds(Duration duration) noexcept {
    return static_cast<std::uint32_t>(std::chrono::ceil<std::chrono::seconds>(duration).count());
}

}  // namespace

std::shared_ptr<const JoinerSetup> build_setup(const PacketbridgeConfig& config, const splice_secret& secret,
                                               ServiceNumbers& services,
                                               const splice_balancer_links& balancers) {
    auto setup = std::make_shared<JoinerSetup>();
    setup->secret = secret;
    setup->addresses = config.addresses;
    setup->number = config.number;
    setup->balancers = balancers;
    std::vector<std::string> names;
    names.reserve(config.services.size());
    for (const BridgeServiceConfig& service : config.services) names.push_back(service.vip.to_string());
    const std::vector<std::uint16_t> numbers = services.assign(names);
    for (const BridgeServiceConfig& service : config.services) {
        setup->services.push_back({.number = numbers[setup->services.size()],
                                   .carriage = splice_carriage_by_dscp(service.dscp),
                                   .vip = service.vip,
                                   .backend = service.backend,
                                   .window_scale = service.window_scale});
    }
    setup->timeouts = {.open_s = whole_seconds(config.common.idle_timeout),
                       .closing_s = whole_seconds(kClosingTimeout),
                       .half_closed_s = whole_seconds(config.common.idle_timeout)};
    setup->max_flows = config.common.max_flows;
    setup->sample = sample_share(config.common.connection_log);
    return setup;
}

}  // namespace splice
