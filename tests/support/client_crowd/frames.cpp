#include "tests/support/client_crowd/frames.hpp"

#include <cstring>

#include "libsplice/datapath/segment.h"

namespace splice::crowd {
namespace {

constexpr std::size_t kEthernet = 14;
constexpr std::size_t kNameLength = 8;
constexpr std::string_view kRest = "and the rest of it";

std::string_view payload_of(crowd_step step) noexcept {
    if (step == CROWD_FIRST) return kRequest;
    return step == CROWD_NEXT ? kRest : std::string_view();
}

splice_segment header_of(crowd_step step, const Ends& ends) noexcept {
    const bool syn = step == CROWD_FLOOD || step == CROWD_SYN;
    splice_segment_draft draft{};
    draft.from = &ends.client;
    draft.to = &ends.vip;
    draft.family = splice_address_is_ipv4(&ends.vip) ? 4 : 6;
    draft.to_port = splice_htons(ends.port);
    draft.window = 64240;
    draft.flags = syn ? SPLICE_SYN : SPLICE_ACK | SPLICE_PSH;
    const splice_option_words options = syn ? splice_syn_options(1460, 1, 7, 1, 1, 0)
                                            : splice_syn_options(0, 0, SPLICE_NO_WINDOW_SCALE, 1, 1, 1);
    splice_segment segment;
    splice_write_segment(&segment, &draft, &options);
    return segment;
}

}  // namespace

crowd_frame frame_of(crowd_step step, const Ends& ends) {
    const splice_segment header = header_of(step, ends);
    const std::string_view payload = payload_of(step);
    crowd_frame frame{};
    frame.family = splice_address_is_ipv4(&ends.vip) ? 4 : 6;
    frame.length = static_cast<std::uint32_t>(kEthernet + header.length + payload.size());
    std::memcpy(frame.bytes, ends.to.data(), 6);
    std::memcpy(frame.bytes + 6, ends.from.data(), 6);
    splice_store_be16(frame.bytes + 12, frame.family == 4 ? SPLICE_ETHERTYPE_IPV4 : SPLICE_ETHERTYPE_IPV6);
    std::uint8_t* const ip = frame.bytes + kEthernet;
    std::memcpy(ip, header.bytes, header.length);
    std::memcpy(ip + header.length, payload.data(), payload.size());
    const std::size_t ip_header = frame.family == 4 ? 20 : 40;
    const std::size_t segment = header.length - ip_header + payload.size();
    splice_store_be16(ip + (frame.family == 4 ? 2 : 4),
                      static_cast<std::uint16_t>(frame.family == 4 ? ip_header + segment : segment));
    if (frame.family == 4) {
        splice_store16(ip + 10, 0);
        frame.ip_sum = splice_sum_bytes(0, ip, ip_header);
    }
    splice_store16(ip + ip_header + 16, 0);
    if (step == CROWD_FIRST) std::memset(ip + ip_header + CROWD_NAME_OFFSET, 0, kNameLength);
    const std::size_t addresses = frame.family == 4 ? 8 : 32;
    frame.tcp_sum = splice_sum_bytes(splice_htons(SPLICE_PROTOCOL_TCP) + splice_htons(segment),
                                     ip + ip_header - addresses, addresses);
    frame.tcp_sum = splice_sum_bytes(frame.tcp_sum, ip + ip_header, segment);
    return frame;
}

}  // namespace splice::crowd
