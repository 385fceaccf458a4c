#include "packetbridge/adopted_sockets.hpp"

#include <algorithm>

namespace splice {

std::optional<splice_bridge_flow> AdoptedSockets::find(const splice_flow_key& key) const noexcept {
    const auto& services = rules_->services;
    const auto service = std::ranges::find_if(services, [&](const BridgeService& candidate) {
        return splice_htons(candidate.backend.port) == key.server_port &&
               splice_address_equal(&candidate.backend.address.raw(), &key.server);
    });
    if (service == services.end() || !sockets_.has_connection(key)) return std::nullopt;
    splice_bridge_flow flow{};
    flow.translation.vip = service->vip.address.raw();
    flow.translation.vip_port = splice_htons(service->vip.port);
    flow.translation.backend = service->backend.address.raw();
    flow.translation.backend_port = splice_htons(service->backend.port);
    flow.state = SPLICE_BRIDGE_ESTABLISHED;
    flow.dscp = service->dscp;
    return flow;
}

}  // namespace splice
