#include "packetbridge/adopted_sockets.hpp"

#include <algorithm>

namespace splice {

CarriedFlow AdoptedSockets::find(const splice_flow_key& key) const noexcept {
    const auto& services = setup_->services;
    const auto service = std::ranges::find_if(services, [&](const JoinerService& candidate) {
        return splice_htons(candidate.backend.port) == key.server_port &&
               splice_address_equal(&candidate.backend.address.raw(), &key.server);
    });
    if (service == services.end() || !sockets_.has_connection(key)) return {};
    AdoptedSocket socket;
    socket.translation.vip = service->vip.address.raw();
    socket.translation.vip_port = splice_htons(service->vip.port);
    socket.translation.backend = service->backend.address.raw();
    socket.translation.backend_port = splice_htons(service->backend.port);
    socket.service = service->number;
    return socket;
}

}  // namespace splice
