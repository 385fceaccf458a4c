#include "tools/replay/configured.hpp"

#include "balancer/rules.hpp"
#include "libsplice/config/secret_file.hpp"
#include "packetbridge/rules.hpp"

namespace splice::replay {
namespace {

std::unexpected<ConfigFailure> wrong(std::string text) {
    return std::unexpected(ConfigFailure{ConfigFailure::Kind::wrong, std::move(text)});
}

}  // namespace

std::expected<Configured, ConfigFailure> load_configured(const std::string& path,
                                                         const std::string& bridge_path) {
    const auto balancer = load_balancer_config(path);
    if (!balancer) return std::unexpected(balancer.error());
    std::string remark;
    splice_secret secret = kSecret;
    if (const auto read = read_secret_file(balancer->common.secret_file))
        secret = *read;
    else
        remark = "a fixed secret is used: " + read.error();

    BridgeIndex index;
    ServiceNumbers services;
    auto rules = build_rules(*balancer, secret, RunningHost{}, index, services);
    if (!rules) return wrong(path + ": " + rules.error());
    std::shared_ptr<const BridgeRules> delivery;
    if (!bridge_path.empty()) {
        const auto packetbridge = load_packetbridge_config(bridge_path);
        if (!packetbridge) return std::unexpected(packetbridge.error());
        ServiceNumbers delivered;
        delivery = build_rules(*packetbridge, secret, delivered);
    }
    return Configured{Fleets::configured(*rules, delivery), std::move(remark)};
}

}  // namespace splice::replay
