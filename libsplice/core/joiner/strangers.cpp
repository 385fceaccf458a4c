#include "libsplice/core/joiner/strangers.hpp"

#include <vector>

#include "libsplice/base/seq.hpp"
#include "libsplice/core/joiner/segments.hpp"
#include "libsplice/datapath/lane.h"

namespace splice {
namespace {

// Whether the segment counts when it comes again. A bare ACK is repeated only where the server repeats
// itself, so the connection is here; of one that is not it would be an overtaker still.
bool insists(const MarkedSegment& segment) noexcept {
    return segment.packet.payload_length != 0 || (segment.packet.tcp_flags & SPLICE_FIN) != 0 ||
           segment.known.established();
}

// Whether its client echoes a bridge's clock, so that it has been answered and has overtaken nothing, and
// what is here is not what it is of: nothing, or a connection of another time, when the clock is another
// bridge's.
bool is_elsewhere(const MarkedSegment& segment, const JoinerSetup& setup) noexcept {
    const std::uint32_t lane = lane_of(segment, setup);
    if (lane == SPLICE_NO_LANE) return false;
    if (!segment.known.exists()) return true;
    return !setup.secret.lane_is_derived && splice_lane_compare(lane, setup.number) == SPLICE_LANE_DISAGREES;
}

}  // namespace

// If the first payload is lost, the client repeats it: the earliest segment that is not acknowledged. A tail
// loss probe (RFC 8985 section 7) repeats the last segment first, and once. So a segment that comes a third
// time is the earliest itself, and its connection is not here. Different acknowledgement numbers prove that a
// server once answered: then the connection is gone, too. So does a lane, at once.
Verdict Strangers::take(const MarkedSegment& segment, const JoinerSetup& setup) {
    if (is_elsewhere(segment, setup)) {
        bounce(segment.bytes, segment.service.vip.address.raw(), setup.secret, segment.hop, segment.out);
        return SPLICE_bounce_not_mine;
    }
    const Seq seq(segment.packet.seq), ack(segment.packet.ack);
    const auto same_connection = [&](const Overtakers::Segment& other) {
        return FlowKeyEqual{}(other.key, segment.key);
    };
    const Overtakers::Segment* other = waiting_.find(same_connection);
    Overtakers::Segment* again = waiting_.find([&](const Overtakers::Segment& one) {
        return same_connection(one) && one.seq == seq && one.ack == ack;
    });
    const bool answered_once = other && other->ack != ack;
    if (again && !answered_once) return repeat(segment, *again, setup);
    if (segment.bytes.size() > segment.room) return SPLICE_drop_hold_full;
    Overtakers::Segment* held =
        waiting_.add(segment.now, kUnknownWait, segment.key, segment.packet, segment.hop, segment.bytes);
    if (!held) return SPLICE_drop_hold_full;
    const std::optional<int> before = waiting_.recall(segment.key, seq, ack);
    if (before && insists(segment)) held->repeats = *before + 1;
    return answered_once || held->repeats >= kUnknownRepeats ? judge(segment.key, setup, segment.out)
                                                             : SPLICE_hold_unknown;
}

// Duplicates that the network made come closer together than a client repeats itself.
Verdict Strangers::repeat(const MarkedSegment& segment, Overtakers::Segment& held, const JoinerSetup& setup) {
    const Duration now = segment.now.monotonic;
    if (!insists(segment) || now - held.counted < kUnknownRepeatGap) return SPLICE_drop_duplicate_payload;
    held.counted = now;
    held.due = now + kUnknownWait;
    return ++held.repeats < kUnknownRepeats ? SPLICE_hold_unknown : judge(segment.key, setup, segment.out);
}

// Nothing of this connection waits any longer. One bounce is enough, of the last, which acknowledges the
// most.
Verdict Strangers::judge(const splice_flow_key& key, const JoinerSetup& setup, Actions& out) {
    std::vector<Overtakers::Segment> segments;
    waiting_.take_of(key, [&](Overtakers::Segment& segment) {
        segments.push_back(segment);
        return true;
    });
    Verdict verdict = SPLICE_CONTINUE;
    const bool known = connections_.find(key).established() != nullptr;
    for (Overtakers::Segment& segment : segments)
        if (known || &segment == &segments.back()) verdict = answer(segment, setup, out);
    return verdict == SPLICE_CONTINUE ? SPLICE_drop_orphan : verdict;
}

// It is no overtaker. A connection may be carried elsewhere by now; else a balancer finds who has it, or
// tells the client.
Verdict Strangers::answer(Overtakers::Segment& segment, const JoinerSetup& setup, Actions& out) {
    splice_packet packet{};
    const MutableBytes bytes(segment.bytes);
    if (splice_parse_ip(begin_of(bytes), end_of(bytes), &packet) != SPLICE_CONTINUE) return SPLICE_CONTINUE;
    const KnownConnection known = connections_.find(segment.key);
    if (const splice_translation* how = known.established()) {
        // The backend's socket is to judge it. Its numbers are not learnt, for anyone can insist: if the
        // segment is the connection's, the backend's answer says so.
        const Verdict verdict = translate_toward_backend(*how, packet, bytes);
        if (verdict != SPLICE_CONTINUE) return verdict;
        out.send(bytes);
        return SPLICE_deliver;
    }
    const JoinerService* service = service_of(setup, packet);
    if (!service) return SPLICE_CONTINUE;
    bounce(bytes, service->vip.address.raw(), setup.secret, segment.hop, out);
    return SPLICE_bounce_not_mine;
}

void Strangers::join(BridgeFlowTable::Entry& opened) {
    BridgeFlow& flow = opened.second.value;
    waiting_.take_of(opened.first, [&](const Overtakers::Segment& segment) {
        splice_packet packet{};
        const std::byte* data = segment.bytes.data();
        if (splice_parse_ip(data, data + segment.bytes.size(), &packet) != SPLICE_CONTINUE) return false;
        if (Seq(packet.ack) - 1 != Seq(flow.cookie_isn)) return false;
        connections_.hold(flow, packet, segment.bytes);
        return true;
    });
}

void Strangers::expire(Instant now) {
    // Their connections did not begin, and the client did not insist so far.
    for (const Overtakers::Segment& segment : waiting_.take_due(now)) {
        waiting_.remember(segment);
        held_lost_.add(HeldLoss::expired, 1);
    }
}

}  // namespace splice
