#include "tools/replay/configured.hpp"

#include "balancer/setup.hpp"
#include "libsplice/config/secret_file.hpp"
#include "packetbridge/setup.hpp"

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
    auto setup = build_setup(*balancer, secret, RunningHost{}, index, services);
    if (!setup) return wrong(path + ": " + setup.error());
    std::shared_ptr<const JoinerSetup> delivery;
    if (!bridge_path.empty()) {
        const auto packetbridge = load_packetbridge_config(bridge_path);
        if (!packetbridge) return std::unexpected(packetbridge.error());
        ServiceNumbers delivered;
        delivery = build_setup(*packetbridge, secret, delivered);
    }
    return Configured{Fleets::configured(*setup, delivery), std::move(remark)};
}

}  // namespace splice::replay
