#include "libsplice/core/joiner/setup.hpp"

#include <algorithm>

#include "libsplice/datapath/carriage.h"

namespace splice {

bool serves(const JoinerSetup& setup, const splice_bridge_flow& flow) noexcept {
    return std::ranges::any_of(setup.services, [&](const JoinerService& service) {
        return service.number == flow.service &&
               splice_htons(service.vip.port) == flow.translation.vip_port &&
               splice_htons(service.backend.port) == flow.translation.backend_port &&
               splice_address_equal(&service.vip.address.raw(), &flow.translation.vip) &&
               splice_address_equal(&service.backend.address.raw(), &flow.translation.backend);
    });
}

const JoinerService* service_of(const JoinerSetup& setup, const splice_packet& packet) noexcept {
    const splice_carriage carriage = splice_uncarry(&packet);
    for (const JoinerService& service : setup.services) {
        if (splice_carriage_equal(service.carriage, carriage) &&
            service.vip.address.family() == packet.family)
            return &service;
    }
    return nullptr;
}

splice_flow_key backend_key(const splice_packet& packet, const JoinerService& service) noexcept {
    return splice_bridge_key_of_marked(&packet, &service.backend.address.raw(),
                                       splice_htons(service.backend.port));
}

}  // namespace splice
