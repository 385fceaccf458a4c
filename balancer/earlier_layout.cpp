#include "balancer/earlier_layout.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "libsplice/bpf/balancer_maps.h"

namespace splice {
namespace {

// Layout 3: the service is told by its DSCP alone.
struct FlowEntry3 {
    std::uint32_t last_seen_s;
    std::uint32_t row : 24;
    std::uint32_t cookie_high : 8;
    std::uint16_t bridge;
    std::uint8_t dscp;
    std::uint8_t flags;
    std::uint8_t state : 4;
    std::uint8_t tries : 4;
    std::uint8_t first_ack;
    std::uint16_t cookie;
};
static_assert(sizeof(FlowEntry3) == 16);

// Layout 4 had no sequence number.
constexpr std::size_t kFlowEntry4 = offsetof(splice_flow_entry, seq);
static_assert(kFlowEntry4 == 20);

// What a packet that is sent on leaves in the entry.
constexpr std::uint8_t kTouched = SPLICE_FLOW_ANSWERED | SPLICE_FLOW_CLIENT_FIN;

splice_flow_entry converted(const FlowEntry3& was, std::uint16_t service) noexcept {
    splice_flow_entry entry{};
    entry.last_seen_s = was.last_seen_s;
    entry.row = was.row & SPLICE_ROW_MASK;
    entry.cookie_high = was.cookie_high;
    entry.bridge = was.bridge;
    entry.service = service;
    entry.carriage = splice_carriage_by_dscp(was.dscp);
    entry.cookie = was.cookie;
    entry.flags = was.flags;
    entry.state = was.state & 15;
    entry.tries = was.tries & 15;
    entry.first_ack = was.first_ack;
    return entry;
}

splice_flow_entry lasting(splice_flow_entry entry) noexcept {
    entry.last_seen_s = 0;
    entry.seq = 0;
    entry.flags &= SPLICE_FLOW_REOPENED;
    // Not open: it counts packets.
    if (entry.state != SPLICE_FLOW_OPEN) entry.row = 0;
    return entry;
}

splice_flow_entry merge(const splice_flow_entry& earlier, const splice_flow_entry& ours) noexcept {
    splice_flow_entry both = ours;
    both.flags |= earlier.flags & kTouched;
    return both;
}

std::uint16_t service_of(const SplicerSetup& setup, const splice_flow_key& key) noexcept {
    const auto service = std::ranges::find_if(setup.services, [&](const SplicerService& one) {
        return splice_htons(one.vip.port) == key.server_port &&
               splice_address_equal(&one.vip.address.raw(), &key.server);
    });
    return service == setup.services.end() ? std::uint16_t{SPLICE_NO_SERVICE} : service->number;
}

}  // namespace

bool is_readable_layout(int layout) noexcept {
    return layout == 3 || layout == 4 || layout == SPLICE_BALANCER_LAYOUT;
}

FlowTakeOver<splice_flow_entry>::Conversion conversion_from(int layout, const SplicerSetup& setup) {
    return {.convert = [layout, setup](const splice_flow_key& key,
                                       const std::byte* earlier) -> std::optional<splice_flow_entry> {
                const std::uint16_t service = service_of(setup, key);
                if (service == SPLICE_NO_SERVICE) return std::nullopt;
                if (layout == 3) {
                    FlowEntry3 was;
                    std::memcpy(&was, earlier, sizeof(was));
                    return converted(was, service);
                }
                splice_flow_entry entry{};
                std::memcpy(&entry, earlier, layout == 4 ? kFlowEntry4 : sizeof(entry));
                return entry;
            },
            .lasting = lasting,
            .merge = merge};
}

}  // namespace splice
