#include "packetbridge/earlier_layout.hpp"

#include <cstddef>
#include <cstring>

#include "libsplice/bpf/bridge_maps.h"

namespace splice {
namespace {

// Layout 2: the service is told by its DSCP alone.
struct BridgeFlow2 {
    std::uint64_t vip[2];
    std::uint64_t backend[2];
    std::uint16_t vip_port;
    std::uint16_t backend_port;
    std::uint32_t seq_shift;
    std::uint32_t ts_shift;
    std::uint8_t advertised_window_scale;
    std::uint8_t backend_window_scale;
    std::uint8_t zero[2];
    std::uint32_t zero_too[2];
    std::uint32_t client_isn;
    std::uint32_t cookie_isn;
    std::uint32_t client_next;
    std::uint32_t client_tsval;
    std::uint32_t last_seen_s;
    std::uint16_t client_window;
    std::uint8_t state;
    std::uint8_t flags;
    std::uint8_t dscp;
    std::uint8_t timestamps;
    std::uint8_t more_zero[2];
    std::uint32_t client_ack;
    std::uint32_t server_next;
    std::uint32_t client_una;
};
static_assert(sizeof(BridgeFlow2) == 96 && offsetof(BridgeFlow2, client_isn) == 56 &&
              offsetof(BridgeFlow2, client_una) == 92);

splice_bridge_flow converted(const BridgeFlow2& was) noexcept {
    splice_bridge_flow flow{};
    std::memcpy(&flow.translation.vip, was.vip, sizeof(was.vip));
    std::memcpy(&flow.translation.backend, was.backend, sizeof(was.backend));
    flow.translation.vip_port = was.vip_port;
    flow.translation.backend_port = was.backend_port;
    flow.translation.seq_shift = was.seq_shift;
    flow.translation.ts_shift = was.ts_shift;
    flow.translation.advertised_window_scale = was.advertised_window_scale;
    flow.translation.backend_window_scale = was.backend_window_scale;
    flow.client_isn = was.client_isn;
    flow.cookie_isn = was.cookie_isn;
    flow.client_next = was.client_next;
    flow.client_tsval = was.client_tsval;
    flow.last_seen_s = was.last_seen_s;
    flow.client_window = was.client_window;
    flow.state = was.state;
    flow.flags = was.flags;
    flow.timestamps = was.timestamps;
    flow.client_ack = was.client_ack;
    flow.server_next = was.server_next;
    flow.client_una = was.client_una;
    return flow;
}

splice_bridge_flow lasting(splice_bridge_flow flow) noexcept {
    flow.client_next = flow.client_ack = flow.client_una = flow.server_next = 0;
    flow.last_seen_s = 0;
    flow.flags = 0;
    return flow;
}

void advance(std::uint32_t& number, std::uint32_t seen) noexcept {
    if (splice_seq_after(seen, number)) number = seen;
}

splice_bridge_flow merge(const splice_bridge_flow& earlier, const splice_bridge_flow& ours) noexcept {
    splice_bridge_flow both = ours;
    advance(both.client_next, earlier.client_next);
    advance(both.client_ack, earlier.client_ack);
    advance(both.client_una, earlier.client_una);
    advance(both.server_next, earlier.server_next);
    both.flags |= earlier.flags & (SPLICE_BRIDGE_CLIENT_FIN | SPLICE_BRIDGE_BACKEND_FIN);
    return both;
}

std::optional<splice_bridge_flow> served(const JoinerSetup& setup, splice_bridge_flow flow) noexcept {
    for (const JoinerService& service : setup.services) {
        flow.service = service.number;
        if (serves(setup, flow)) return flow;
    }
    return std::nullopt;
}

}  // namespace

bool is_readable_bridge_layout(int layout) noexcept {
    return layout == 2 || layout == SPLICE_BRIDGE_LAYOUT;
}

FlowTakeOver<splice_bridge_flow>::Conversion conversion_from(int layout, const JoinerSetup& setup) {
    return {.convert = [layout, setup](const splice_flow_key&,
                                       const std::byte* earlier) -> std::optional<splice_bridge_flow> {
                if (layout == 2) {
                    BridgeFlow2 was;
                    std::memcpy(&was, earlier, sizeof(was));
                    return served(setup, converted(was));
                }
                splice_bridge_flow flow;
                std::memcpy(&flow, earlier, sizeof(flow));
                return served(setup, flow);
            },
            .lasting = lasting,
            .merge = merge};
}

}  // namespace splice
