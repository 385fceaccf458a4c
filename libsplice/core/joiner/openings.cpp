#include "libsplice/core/joiner/openings.hpp"

#include <algorithm>
#include <memory>
#include <utility>

#include "libsplice/base/seq.hpp"
#include "libsplice/core/joiner/segments.hpp"
#include "libsplice/datapath/choice.h"
#include "libsplice/datapath/sample.h"

namespace splice {
namespace {

// The window of a SYN is never scaled (RFC 7323 section 2.2).
std::uint16_t syn_window(const BridgeFlow& flow) noexcept {
    const std::uint32_t scale =
        flow.negotiated.window_scale == SPLICE_NO_WINDOW_SCALE ? 0 : flow.negotiated.window_scale;
    return static_cast<std::uint16_t>(
        std::min<std::uint32_t>(65535, std::uint32_t{flow.client_window} << scale));
}

void send_replay_syn(const BridgeFlowTable::Entry& entry, Actions& out) {
    const BridgeFlow& flow = entry.second.value;
    const std::uint32_t family = splice_address_is_ipv4(&entry.first.server) ? 4 : 6;
    splice_segment syn;
    splice_write_replay_syn(&syn, &entry.first, family, flow.client_isn, syn_window(flow), &flow.negotiated,
                            flow.timestamps, flow.client_tsval);
    out.send(bytes_of(syn));
}

BridgeFlow begun(const MarkedSegment& segment, const splice_negotiated& negotiated,
                 const JoinerSetup& setup) {
    const JoinerService& service = segment.service;
    const splice_packet& packet = segment.packet;
    splice_tcp_options options{};
    splice_parse_tcp_options(begin_of(segment.bytes), end_of(segment.bytes), &packet, &options);
    BridgeFlow flow{};
    flow.translation.vip = service.vip.address.raw();
    flow.translation.vip_port = splice_htons(service.vip.port);
    flow.translation.backend = service.backend.address.raw();
    flow.translation.backend_port = splice_htons(service.backend.port);
    flow.translation.advertised_window_scale =
        negotiated.window_scale == SPLICE_NO_WINDOW_SCALE ? 0 : service.window_scale;
    // What the shift will be once the backend's TSval is known.
    const std::uint32_t hash = splice_bridge_lane_hash(&packet, &service.vip.address.raw(), &setup.secret);
    flow.timestamps = options.timestamps_offset != 0;
    flow.translation.ts_shift = flow.timestamps
                                    ? splice_bridge_first_tsval(hash, options.tsecr, negotiated.proof,
                                                                setup.number, segment.now.unix_ms())
                                    : 0;
    flow.translation.lane_from = flow.translation.ts_shift == options.tsecr ? 0 : flow.translation.ts_shift;
    const Seq client_isn = Seq(packet.seq) - 1, cookie_isn = Seq(packet.ack) - 1;
    splice_bridge_flow_begin(&flow, client_isn.value(), cookie_isn.value());
    flow.client_tsval = options.tsval;
    flow.client_window = packet.window;
    flow.last_seen_s = segment.now.seconds();
    flow.state = SPLICE_BRIDGE_OPENING;
    flow.service = service.number;
    if (setup.sample != 0 && splice_in_sample(&setup.secret, splice_choice_cookie(packet.ack), setup.sample))
        flow.flags |= SPLICE_BRIDGE_SAMPLED;
    flow.negotiated = negotiated;
    flow.hop = segment.hop;
    flow.hold = std::make_unique<SegmentHold>(Seq(packet.seq), SegmentHoldLimits{kHoldMax, kHoldPackets});
    return flow;
}

// An unacceptable ACK in answer to a SYN is an old connection's: RST with the number that it expects, and the
// SYN again (RFC 9293 section 3.10.7.3, and section 3.5.1 on half-open connections).
Verdict reset_old_backend(const splice_packet& segment, const BridgeFlowTable::Entry& entry, Actions& out) {
    splice_segment reset;
    splice_write_rst(&reset, &segment);
    if (reset.length) out.send(bytes_of(reset));
    send_replay_syn(entry, out);
    return SPLICE_clear_old_backend;
}

}  // namespace

Openings::Opened Openings::open(const MarkedSegment& segment, const splice_negotiated& negotiated,
                                const JoinerSetup& setup) {
    if (segment.bytes.size() > segment.room) return {SPLICE_drop_hold_full, nullptr};
    BridgeFlowTable::Entry* entry =
        connections_.begin(segment.key, begun(segment, negotiated, setup), setup.max_flows);
    if (!entry) return {SPLICE_drop_flow_table_full, nullptr};
    connections_.hold(entry->second.value, segment.packet, segment.bytes);
    send_replay_syn(*entry, segment.out);
    return {SPLICE_open_replay, entry};
}

Verdict Openings::hold(const MarkedSegment& segment) {
    BridgeFlowTable::Entry& entry = *segment.known.entry;
    if (segment.bytes.size() > segment.room) return SPLICE_drop_hold_full;
    switch (connections_.hold(entry.second.value, segment.packet, segment.bytes)) {
        case SegmentHold::Added::stored:
            return SPLICE_open_hold;
        case SegmentHold::Added::duplicate:
            // The client repeats itself: so does the replay, whose SYN or answer may be lost.
            if (segment.packet.payload_length == 0) return SPLICE_open_hold;
            send_replay_syn(entry, segment.out);
            return SPLICE_open_replay_again;
        case SegmentHold::Added::outside:
        case SegmentHold::Added::full:
            break;
    }
    return SPLICE_drop_hold_full;
}

// The answer to a SYN (RFC 9293 section 3.10.7.3).
Verdict Openings::take_answer(Instant now, const splice_packet& segment, MutableBytes bytes,
                              BridgeFlowTable::Entry& entry, const splice_secret& secret, Actions& out) {
    const bool acknowledges_us =
        (segment.tcp_flags & SPLICE_ACK) && Seq(segment.ack) == Seq(entry.second.value.client_isn) + 1;
    if (segment.tcp_flags & SPLICE_RST)
        return acknowledges_us ? refuse(entry, secret, out) : SPLICE_drop_backend_early;
    if (!(segment.tcp_flags & SPLICE_ACK)) return SPLICE_drop_backend_early;
    if (!acknowledges_us) return reset_old_backend(segment, entry, out);
    if (segment.tcp_flags & SPLICE_SYN) return learn(now, segment, bytes, entry, out);
    return SPLICE_drop_backend_early;
}

Verdict Openings::learn(Instant now, const splice_packet& syn_ack, MutableBytes bytes,
                        BridgeFlowTable::Entry& entry, Actions& out) {
    BridgeFlow& flow = entry.second.value;
    splice_tcp_options options{};
    splice_parse_tcp_options(begin_of(bytes), end_of(bytes), &syn_ack, &options);
    flow.translation.seq_shift = static_cast<std::uint32_t>(Seq(flow.cookie_isn) - Seq(syn_ack.seq));
    // ts_shift holds the client's first TSval until now. Without the backend's timestamps there is nothing to
    // shift.
    flow.timestamps = flow.timestamps && options.timestamps_offset;
    if (!flow.timestamps) flow.translation.lane_from = 0;
    flow.translation.ts_shift =
        flow.timestamps ? static_cast<std::uint32_t>(TsVal(flow.translation.ts_shift) - TsVal(options.tsval))
                        : 0;
    const bool client_scales = flow.negotiated.window_scale != SPLICE_NO_WINDOW_SCALE;
    const bool backend_scales = client_scales && options.window_scale != SPLICE_NO_WINDOW_SCALE;
    flow.translation.backend_window_scale = backend_scales ? options.window_scale : 0;
    flow.translation.client_window_scale =
        client_scales && !backend_scales ? flow.negotiated.window_scale : 0;
    flow.last_seen_s = now.seconds();
    flow.hold->for_each([&](MutableBytes held) {
        splice_packet packet{};
        if (splice_parse_ip(begin_of(held), end_of(held), &packet) == SPLICE_CONTINUE)
            splice_bridge_flow_touch_by_client(&flow, &packet, now.seconds());
    });
    // Before what is held leaves: the answer to it must find the flow.
    if (!connections_.establish(entry)) return SPLICE_drop_flow_table_full;

    flow.hold->for_each([&](MutableBytes held) {
        splice_packet packet{};
        if (splice_parse_ip(begin_of(held), end_of(held), &packet) != SPLICE_CONTINUE) return;
        if (translate_toward_backend(flow.translation, packet, held) == SPLICE_CONTINUE) out.send(held);
    });
    connections_.touch(entry, now.seconds());
    connections_.settle(entry);
    return SPLICE_learn_backend_isn;
}

// Nobody listens: the balancer takes the flow's next choice.
Verdict Openings::refuse(BridgeFlowTable::Entry& entry, const splice_secret& secret, Actions& out) {
    BridgeFlow& flow = entry.second.value;
    flow.hold->for_each(
        [&](MutableBytes held) { bounce(held, flow.translation.vip, secret, flow.hop, out); });
    connections_.drop_hold(flow);
    connections_.erase(entry, HeldLoss::expired);
    return SPLICE_bounce_refused;
}

void Openings::acknowledge_again(const splice_packet& syn_ack, MutableBytes bytes, const splice_flow_key& key,
                                 const splice_bridge_flow& flow, Actions& out) {
    splice_tcp_options options{};
    splice_parse_tcp_options(begin_of(bytes), end_of(bytes), &syn_ack, &options);
    splice_segment acknowledgement;
    const Seq backend_next = Seq(syn_ack.seq) + 1;
    splice_write_ack(&acknowledgement, &key, syn_ack.family, syn_ack.ack, backend_next.value(),
                     splice_rescale_window(flow.client_window, flow.translation.client_window_scale, 0),
                     flow.timestamps, flow.client_tsval, options.tsval);
    out.send(bytes_of(acknowledgement));
}

}  // namespace splice
