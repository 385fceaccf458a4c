#include "libsplice/core/bridge/services.hpp"

#include <algorithm>

#include "libsplice/datapath/carriage.h"

namespace splice {

bool serves(const BridgeRules& rules, const splice_bridge_flow& flow) noexcept {
    return std::ranges::any_of(rules.services, [&](const BridgeService& service) {
        return service.number == flow.service && splice_htons(service.vip.port) == flow.translation.vip_port &&
               splice_htons(service.backend.port) == flow.translation.backend_port &&
               splice_address_equal(&service.vip.address.raw(), &flow.translation.vip) &&
               splice_address_equal(&service.backend.address.raw(), &flow.translation.backend);
    });
}

const BridgeService* service_of(const BridgeRules& rules, const splice_packet& packet) noexcept {
    const splice_carriage carriage = splice_uncarry(&packet);
    for (const BridgeService& service : rules.services) {
        if (splice_carriage_equal(service.carriage, carriage) && service.vip.address.family() == packet.family)
            return &service;
    }
    return nullptr;
}

splice_flow_key backend_key(const splice_packet& packet, const BridgeService& service) noexcept {
    return splice_bridge_key_of_marked(&packet, &service.backend.address.raw(),
                                       splice_htons(service.backend.port));
}

}  // namespace splice
