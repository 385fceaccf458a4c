// Values of pinned maps as earlier layouts had them: balancer 3, bridge 2. Frozen; the product has its own
// copies, so that a slip in one of them shows.
#pragma once

#include <cstdint>

namespace splice::testing {

struct Flow3 {
    std::uint32_t last_seen_s = 0;
    std::uint32_t row : 24 = 0;
    std::uint32_t cookie_high : 8 = 0;
    std::uint16_t bridge = 0;
    std::uint8_t dscp = 0;
    std::uint8_t flags = 0;
    std::uint8_t state : 4 = 0;
    std::uint8_t tries : 4 = 0;
    std::uint8_t first_ack = 0;
    std::uint16_t cookie = 0;
};
static_assert(sizeof(Flow3) == 16);

struct alignas(8) Translation2 {
    std::uint8_t vip[16] = {};
    std::uint8_t backend[16] = {};
    std::uint16_t vip_port = 0;
    std::uint16_t backend_port = 0;
    std::uint32_t seq_shift = 0;
    std::uint32_t ts_shift = 0;
    std::uint8_t advertised_window_scale = 0;
    std::uint8_t backend_window_scale = 0;
    std::uint8_t zero[2] = {};
    std::uint32_t zero_too = 0;
};
static_assert(sizeof(Translation2) == 56);

struct BridgeFlow2 {
    Translation2 translation;
    std::uint32_t client_isn = 0;
    std::uint32_t cookie_isn = 0;
    std::uint32_t client_next = 0;
    std::uint32_t client_tsval = 0;
    std::uint32_t last_seen_s = 0;
    std::uint16_t client_window = 0;
    std::uint8_t state = 0;
    std::uint8_t flags = 0;
    std::uint8_t dscp = 0;
    std::uint8_t timestamps = 0;
    std::uint8_t zero[2] = {};
    std::uint32_t client_ack = 0;
    std::uint32_t server_next = 0;
    std::uint32_t client_una = 0;
};
static_assert(sizeof(BridgeFlow2) == 96);

}  // namespace splice::testing
