#include "libsplice/core/bridge.hpp"

#include <algorithm>
#include <cstring>

#include "libsplice/core/flow_table.hpp"
#include "libsplice/core/overtakers.hpp"
#include "libsplice/core/segment_hold.hpp"
#include "libsplice/datapath/bridge_flow.h"
#include "libsplice/datapath/bridge_rules.h"
#include "libsplice/datapath/forward.h"
#include "libsplice/datapath/parse.h"
#include "libsplice/datapath/refusal.h"
#include "libsplice/datapath/segment.h"

namespace splice {
namespace {

enum List : std::uint8_t { kOpen, kClosing, kOpening, kListCount };

// A spliced connection, or one whose handshake is being replayed.
struct Flow : splice_bridge_flow {
    List list = kOpening;
    splice_negotiated negotiated{};
    Hop hop;
    std::unique_ptr<SegmentHold> hold;  // while opening
};
using Table = FlowTable<Flow, kListCount>;

// A connection that the machine knows, or that is carried elsewhere.
struct Known {
    Table::Entry* entry = nullptr;
    std::optional<splice_bridge_flow> carried;
    bool displaced = false;  // carried elsewhere once, and given up there for a connection that begins

    [[nodiscard]] const splice_bridge_flow* flow() const noexcept {
        return entry ? &entry->second.value : carried ? &*carried : nullptr;
    }
    [[nodiscard]] const splice_bridge_flow* established() const noexcept {
        const splice_bridge_flow* known = flow();
        return known && known->state == SPLICE_BRIDGE_ESTABLISHED ? known : nullptr;
    }
};

splice_flow_key backend_key(const splice_packet& packet, const BridgeService& service) noexcept {
    return splice_bridge_key_of_marked(&packet, &service.backend.address.raw(),
                                       splice_htons(service.backend.port));
}

// What a SYN says, which is never scaled (RFC 7323 section 2.2).
std::uint16_t syn_window(const Flow& flow) noexcept {
    const std::uint32_t scale =
        flow.negotiated.window_scale == SPLICE_NO_WINDOW_SCALE ? 0 : flow.negotiated.window_scale;
    return static_cast<std::uint16_t>(
        std::min<std::uint32_t>(65535, std::uint32_t{flow.client_window} << scale));
}

std::byte* begin_of(MutableBytes bytes) noexcept {
    return bytes.data();
}
std::byte* end_of(MutableBytes bytes) noexcept {
    return bytes.data() + bytes.size();
}
Bytes bytes_of(const splice_segment& segment) noexcept {
    return std::as_bytes(std::span(segment.bytes, segment.length));
}

}  // namespace

struct Bridge::Impl {
    // One marked packet on its way through the rules.
    struct Walk {
        Instant now;
        MutableBytes bytes;
        splice_packet packet;
        const Hop& hop;
        const BridgeService& service;
        splice_flow_key key;
        Known known;
        Actions& out;
    };

    Impl(std::shared_ptr<const BridgeRules> initial, BridgeFlows* elsewhere, BridgeCounters& c)
        : rules(std::move(initial)), carried(elsewhere), counters(c) {}

    Verdict from_balancer(Instant now, MutableBytes bytes, bool checksum_finished, const Hop& hop,
                          Actions& out);
    Verdict tcp_from_balancer(Walk& walk, bool checksum_finished);
    Verdict icmp_from_balancer(Walk& walk);
    Verdict open(Walk& walk, const splice_negotiated& negotiated);
    void begin_flow(const Walk& walk, const splice_negotiated& negotiated, Flow& flow) const;
    Verdict reopen(Walk& walk, const splice_negotiated& negotiated);
    Verdict hold(Walk& walk);
    Verdict hold_unknown(Walk& walk);
    [[nodiscard]] static bool insists(const Walk& walk) noexcept;
    Verdict repeat_unknown(const Walk& walk, Overtakers::Segment& held);
    Verdict judge_unknown(const splice_flow_key& key, Actions& out);
    Verdict deliver(Walk& walk);

    Verdict from_backend(Instant now, MutableBytes bytes, bool checksum_finished, Actions& out);
    Verdict icmp_from_backend(MutableBytes bytes, splice_packet& packet);
    Verdict opening_answer(Instant now, const splice_packet& packet, MutableBytes bytes, Table::Entry& entry,
                           Actions& out);
    Verdict learn(Instant now, const splice_packet& syn_ack, MutableBytes bytes, Table::Entry& entry,
                  Actions& out);
    Verdict bounce(Table::Entry& entry, Actions& out);
    static void bounce_packet(MutableBytes bytes, const splice_address& vip, const Hop& hop, Actions& out);
    Verdict reset_old_backend(const splice_packet& packet, Table::Entry& entry, Actions& out);
    void acknowledge_again(const splice_packet& syn_ack, MutableBytes bytes, const splice_flow_key& key,
                           const splice_bridge_flow& flow, Actions& out);
    void send_replay_syn(const Table::Entry& entry, Actions& out);
    void take_overtakers(Table::Entry& entry);
    Verdict answer_unknown(Overtakers::Segment& segment, Actions& out);
    [[nodiscard]] Known find(const splice_flow_key& key) noexcept;

    Verdict translate_toward_backend(const splice_bridge_flow& flow, splice_packet& packet,
                                     MutableBytes bytes);
    Verdict translate_toward_client(const splice_bridge_flow& flow, splice_packet& packet,
                                    MutableBytes bytes);
    void list_anew(Table::Entry& entry, std::uint32_t now_s);
    void drop_hold(Flow& flow) noexcept;
    void forget(Table::Entry& entry, HeldLoss why) noexcept {
        Flow& flow = entry.second.value;
        if (flow.hold) counters.held_lost.add(why, flow.hold->packets());
        drop_hold(flow);
        if (carried) carried->erase(entry.first);
    }

    void drop_flow(const splice_flow_key& key, const Known& known) noexcept {
        if (known.entry) {
            forget(*known.entry, HeldLoss::begun_anew);
            table.erase(*known.entry);
        } else {
            carried->erase(key);
        }
    }

    [[nodiscard]] const BridgeService* service_of(const splice_packet& packet) const noexcept;
    [[nodiscard]] Verdict judge_unmarked(Instant now, const splice_packet& packet) noexcept;
    [[nodiscard]] std::array<std::uint32_t, kListCount> limits() const noexcept {
        const auto opening_s = static_cast<std::uint32_t>(std::chrono::seconds(kOpeningTimeout).count());
        return {rules->timeouts.open_s, rules->timeouts.closing_s, opening_s};
    }
    void publish() noexcept {
        counters.flows.store(table.size(), std::memory_order_relaxed);
        counters.flows_opening.store(opening, std::memory_order_relaxed);
        counters.held_bytes.store(held(), std::memory_order_relaxed);
    }
    [[nodiscard]] std::size_t held() const noexcept { return held_bytes + overtakers.memory(); }

    std::shared_ptr<const BridgeRules> rules;
    BridgeFlows* carried;  // null: the machine carries connections itself
    BridgeCounters& counters;
    Table table;
    Overtakers overtakers;       // keys name the backend
    std::size_t held_bytes = 0;  // in the holds of openings
    std::size_t opening = 0;
};

Bridge::Bridge(std::shared_ptr<const BridgeRules> rules, BridgeFlows* carried)
    : impl_(std::make_unique<Impl>(std::move(rules), carried, counters_)) {}
Bridge::~Bridge() = default;

std::size_t Bridge::flows() const noexcept {
    return impl_->table.size();
}

Verdict Bridge::handle_from_balancer(Instant now, MutableBytes packet, bool checksum_finished, const Hop& hop,
                                     Actions& out) noexcept {
    const Verdict verdict = impl_->from_balancer(now, packet, checksum_finished, hop, out);
    counters_.verdicts.add(verdict);
    impl_->publish();
    return verdict;
}

Verdict Bridge::handle_from_backend(Instant now, MutableBytes packet, bool checksum_finished,
                                    Actions& out) noexcept {
    const Verdict verdict = impl_->from_backend(now, packet, checksum_finished, out);
    counters_.verdicts.add(verdict);
    impl_->publish();
    return verdict;
}

bool serves(const BridgeRules& rules, const splice_bridge_flow& flow) noexcept {
    return std::ranges::any_of(rules.services, [&](const BridgeService& service) {
        return service.dscp == flow.dscp && splice_htons(service.vip.port) == flow.translation.vip_port &&
               splice_htons(service.backend.port) == flow.translation.backend_port &&
               splice_address_equal(&service.vip.address.raw(), &flow.translation.vip) &&
               splice_address_equal(&service.backend.address.raw(), &flow.translation.backend);
    });
}

void Bridge::replace_rules(std::shared_ptr<const BridgeRules> rules) {
    swap_rules(std::move(rules));
    end_unserved_flows();
}

void Bridge::swap_rules(std::shared_ptr<const BridgeRules> rules) {
    impl_->rules = std::move(rules);
}

void Bridge::end_unserved_flows() {
    impl_->table.erase_if([&](Table::Entry& entry) {
        const bool goes_on = serves(*impl_->rules, entry.second.value);
        if (!goes_on) impl_->forget(entry, HeldLoss::service_gone);
        return !goes_on;
    });
    impl_->publish();
}

void Bridge::expire(Instant now, Actions& /*out*/) noexcept {
    // Their connections did not begin, and the client did not insist so far.
    for (const Overtakers::Segment& segment : impl_->overtakers.take_due(now)) {
        impl_->overtakers.remember(segment);
        counters_.held_lost.add(HeldLoss::expired, 1);
    }
    const std::size_t expired =
        impl_->table.expire(now.seconds(), impl_->limits(),
                            [this](Table::Entry& entry) { impl_->forget(entry, HeldLoss::expired); });
    counters_.flows_expired.fetch_add(expired, std::memory_order_relaxed);
    impl_->publish();
}

std::optional<Duration> Bridge::next_deadline() const noexcept {
    std::optional<Duration> next;
    if (const auto idle_s = impl_->table.next_expiry_s(impl_->limits())) next = std::chrono::seconds(*idle_s);
    const std::optional<Duration> due = impl_->overtakers.next_due();
    if (due && (!next || *due < *next)) next = due;
    return next;
}

// --- From the balancer
// ------------------------------------------------------------------------------------------

Verdict Bridge::Impl::from_balancer(Instant now, MutableBytes bytes, bool checksum_finished, const Hop& hop,
                                    Actions& out) {
    splice_packet packet{};
    if (const Verdict verdict = splice_parse_ip(begin_of(bytes), end_of(bytes), &packet);
        verdict != SPLICE_CONTINUE)
        return verdict;
    // A link's padding is no part of the packet: a raw socket would send it as if it were.
    bytes = bytes.first(splice_ip_length(&packet));
    const BridgeService* service = service_of(packet);
    if (!service) return judge_unmarked(now, packet);
    Walk walk{now, bytes, packet, hop, *service, {}, {}, out};
    if (packet.protocol != SPLICE_PROTOCOL_TCP) return icmp_from_balancer(walk);
    if (splice_ntohs(packet.ends.destination_port) != service->vip.port) return SPLICE_pass_not_service;
    return tcp_from_balancer(walk, checksum_finished);
}

Verdict Bridge::Impl::tcp_from_balancer(Walk& walk, bool checksum_finished) {
    const MutableBytes bytes = walk.bytes;
    if (!checksum_finished) splice_finish_tcp_checksum(bytes.data(), &walk.packet);

    // From here on the segment is the VIP's, as the client sent it: the cookie is about that address.
    const splice_address bridge_address = walk.packet.ends.destination;
    walk.packet.ends.destination = walk.service.vip.address.raw();
    walk.key = backend_key(walk.packet, walk.service);
    walk.known = find(walk.key);
    const splice_bridge_flow* flow = walk.known.flow();
    const splice_bridge_known known = splice_bridge_known_flow(flow, &walk.packet, walk.service.dscp);
    splice_negotiated negotiated{};
    const splice_bridge_decision decision = splice_bridge_decide(
        &walk.packet, known, &rules->secret, static_cast<std::uint64_t>(walk.now.unix_s), &negotiated);
    walk.packet.ends.destination = bridge_address;  // as it stands in the packet

    // What is delivered keeps its checksum for the backend to judge. What opens, or is kept and compared with
    // what else comes, is judged here: a damaged number would make one connection two.
    const bool decides = decision.step != SPLICE_BRIDGE_DELIVER && decision.step != SPLICE_BRIDGE_DROP;
    if (decides && !splice_verify_tcp_checksum(bytes.data(), &walk.packet))
        return SPLICE_drop_bad_tcp_checksum;
    switch (decision.step) {
        case SPLICE_BRIDGE_OPEN:
            return walk.known.displaced ? reopen(walk, negotiated) : open(walk, negotiated);
        case SPLICE_BRIDGE_REOPEN:
            return reopen(walk, negotiated);
        case SPLICE_BRIDGE_DELIVER:
            return flow->state == SPLICE_BRIDGE_OPENING ? hold(walk) : deliver(walk);
        case SPLICE_BRIDGE_BOUNCE:
            bounce_packet(bytes, walk.service.vip.address.raw(), walk.hop, walk.out);
            return SPLICE_bounce_tuple_in_use;
        case SPLICE_BRIDGE_UNKNOWN:
            return hold_unknown(walk);
        case SPLICE_BRIDGE_DROP:
            break;
    }
    return decision.verdict;
}

Verdict Bridge::Impl::icmp_from_balancer(Walk& walk) {
    splice_packet quoted{};
    if (const Verdict verdict =
            splice_parse_icmp_error(begin_of(walk.bytes), end_of(walk.bytes), &walk.packet, &quoted);
        verdict != SPLICE_CONTINUE)
        return verdict;
    // The quoted packet went from the VIP to the client.
    splice_flow_key key = splice_flow_toward_client(&quoted);
    key.server = walk.service.backend.address.raw();
    key.server_port = splice_htons(walk.service.backend.port);
    const Known known = find(key);
    const splice_bridge_flow* flow = known.established();
    if (!flow) return SPLICE_drop_orphan_icmp;
    const Verdict verdict = splice_translate_icmp_toward_backend(begin_of(walk.bytes), end_of(walk.bytes),
                                                                 &walk.packet, &flow->translation);
    return verdict == SPLICE_CONTINUE ? SPLICE_deliver_icmp : verdict;
}

// An opening is only ever the machine's own: one elsewhere is a flow whose ports the kernel program has given
// to the segment that comes now, or is left from a process before.
Known Bridge::Impl::find(const splice_flow_key& key) noexcept {
    Known known;
    known.entry = table.find(key);
    if (!known.entry && carried) known.carried = carried->find(key);
    known.displaced = known.carried && known.carried->state != SPLICE_BRIDGE_ESTABLISHED;
    if (known.displaced) known.carried.reset();
    return known;
}

// A valid cookie and no flow: the handshake is replayed, the packet waits for its end.
Verdict Bridge::Impl::open(Walk& walk, const splice_negotiated& negotiated) {
    if (held() + walk.bytes.size() > rules->hold_memory) return SPLICE_drop_hold_full;
    Table::Entry* entry = table.insert(walk.key, rules->max_flows, walk.now.seconds());
    if (!entry) return SPLICE_drop_flow_table_full;
    Flow& flow = entry->second.value;
    begin_flow(walk, negotiated, flow);
    if (carried && !carried->put(walk.key, flow)) {
        table.erase(*entry);
        return SPLICE_drop_flow_table_full;
    }
    table.touch(*entry, kOpening, walk.now.seconds());
    ++opening;
    flow.hold =
        std::make_unique<SegmentHold>(Seq(walk.packet.seq), SegmentHoldLimits{kHoldMax, kHoldPackets});
    flow.hold->add(walk.packet, walk.bytes);
    held_bytes += flow.hold->memory();
    take_overtakers(*entry);
    send_replay_syn(*entry, walk.out);
    return SPLICE_open_replay;
}

void Bridge::Impl::begin_flow(const Walk& walk, const splice_negotiated& negotiated, Flow& flow) const {
    const BridgeService& service = walk.service;
    splice_tcp_options options{};
    splice_parse_tcp_options(begin_of(walk.bytes), end_of(walk.bytes), &walk.packet, &options);
    flow.translation.vip = service.vip.address.raw();
    flow.translation.vip_port = splice_htons(service.vip.port);
    flow.translation.backend = service.backend.address.raw();
    flow.translation.backend_port = splice_htons(service.backend.port);
    flow.translation.advertised_window_scale =
        negotiated.window_scale == SPLICE_NO_WINDOW_SCALE ? 0 : service.window_scale;
    // What the shift will be once the backend's TSval is known: its TSecr names the balancer's.
    flow.translation.ts_shift = options.tsecr;
    splice_bridge_flow_begin(&flow, walk.packet.seq - 1, walk.packet.ack - 1);
    flow.client_tsval = options.tsval;
    flow.client_window = walk.packet.window;
    flow.timestamps = options.timestamps_offset != 0;
    flow.last_seen_s = walk.now.seconds();
    flow.state = SPLICE_BRIDGE_OPENING;
    flow.dscp = service.dscp;
    flow.negotiated = negotiated;
    flow.hop = walk.hop;
}

// The same addresses and ports, another connection: what is known of the old one is worth nothing any more.
// Should the backend still hold it, it answers the replayed SYN from it, and reset_old_backend() clears it.
Verdict Bridge::Impl::reopen(Walk& walk, const splice_negotiated& negotiated) {
    drop_flow(walk.key, walk.known);
    const Verdict verdict = open(walk, negotiated);
    return verdict == SPLICE_open_replay ? SPLICE_reopen_replay : verdict;
}

Verdict Bridge::Impl::hold(Walk& walk) {
    Flow& flow = walk.known.entry->second.value;
    if (held() + walk.bytes.size() > rules->hold_memory) return SPLICE_drop_hold_full;
    const std::size_t before = flow.hold->memory();
    const SegmentHold::Added added = flow.hold->add(walk.packet, walk.bytes);
    held_bytes += flow.hold->memory() - before;
    switch (added) {
        case SegmentHold::Added::stored:
            return SPLICE_open_hold;
        case SegmentHold::Added::duplicate:
            // The client repeats itself: so does the replay, whose SYN or answer may be lost.
            if (walk.packet.payload_length == 0) return SPLICE_open_hold;
            send_replay_syn(*walk.known.entry, walk.out);
            return SPLICE_open_replay_again;
        case SegmentHold::Added::outside:
        case SegmentHold::Added::full:
            break;
    }
    return SPLICE_drop_hold_full;
}

Verdict Bridge::Impl::deliver(Walk& walk) {
    const splice_packet packet = walk.packet;
    const Verdict verdict = translate_toward_backend(*walk.known.flow(), walk.packet, walk.bytes);
    if (verdict != SPLICE_CONTINUE) return verdict;
    if (Table::Entry* entry = walk.known.entry) {
        splice_bridge_flow_touch_by_client(&entry->second.value, &packet, walk.now.seconds());
        list_anew(*entry, walk.now.seconds());
    }
    return SPLICE_deliver;
}

// It may have overtaken its connection's first payload, and that may be lost: then the client repeats it, the
// earliest that is not acknowledged. A tail loss probe (RFC 8985 section 7) repeats the last segment first,
// and once; so a segment that comes a third time is the earliest itself, and its connection is not here. Nor
// is it where the client acknowledges more than one number: then it was answered once.
Verdict Bridge::Impl::hold_unknown(Walk& walk) {
    const auto same_connection = [&](const Overtakers::Segment& segment) {
        return FlowKeyEqual{}(segment.key, walk.key);
    };
    const Overtakers::Segment* other = overtakers.find(same_connection);
    Overtakers::Segment* again = overtakers.find([&](const Overtakers::Segment& segment) {
        return same_connection(segment) && segment.seq == Seq(walk.packet.seq) &&
               segment.ack == Seq(walk.packet.ack);
    });
    const bool answered_once = other && other->ack != Seq(walk.packet.ack);
    if (again && !answered_once) return repeat_unknown(walk, *again);
    if (held() + walk.bytes.size() > rules->hold_memory) return SPLICE_drop_hold_full;
    Overtakers::Segment* held =
        overtakers.add(walk.now, kUnknownWait, walk.key, walk.packet, walk.hop, walk.bytes);
    if (!held) return SPLICE_drop_hold_full;
    const std::optional<int> before = overtakers.recall(walk.key, Seq(walk.packet.seq), Seq(walk.packet.ack));
    if (before && insists(walk)) held->repeats = *before + 1;
    return answered_once || held->repeats >= kUnknownRepeats ? judge_unknown(walk.key, walk.out)
                                                             : SPLICE_hold_unknown;
}

// Whether the segment counts when it comes again. A bare ACK is repeated only where the server repeats
// itself, so the connection is here; of one that is not it would be an overtaker still.
bool Bridge::Impl::insists(const Walk& walk) noexcept {
    return walk.packet.payload_length != 0 || (walk.packet.tcp_flags & SPLICE_FIN) != 0 ||
           walk.known.established();
}

// Duplicates that the network made come closer together than a client repeats itself.
Verdict Bridge::Impl::repeat_unknown(const Walk& walk, Overtakers::Segment& held) {
    if (!insists(walk) || walk.now.monotonic - held.counted < kUnknownRepeatGap)
        return SPLICE_drop_duplicate_payload;
    held.counted = walk.now.monotonic;
    held.due = walk.now.monotonic + kUnknownWait;
    return ++held.repeats < kUnknownRepeats ? SPLICE_hold_unknown : judge_unknown(walk.key, walk.out);
}

// Nothing of this connection waits any longer. One RST is enough, for the last, which acknowledges the most.
Verdict Bridge::Impl::judge_unknown(const splice_flow_key& key, Actions& out) {
    std::vector<Overtakers::Segment> segments;
    overtakers.take_of(key, [&](Overtakers::Segment& segment) {
        segments.push_back(segment);
        return true;
    });
    Verdict verdict = SPLICE_CONTINUE;
    const bool known = find(key).established() != nullptr;
    for (Overtakers::Segment& segment : segments)
        if (known || &segment == &segments.back()) verdict = answer_unknown(segment, out);
    return verdict == SPLICE_CONTINUE ? SPLICE_drop_orphan : verdict;
}

// It is no overtaker. A connection may be carried elsewhere by now; else the client is told, in the VIP's
// name, for it knows no other.
Verdict Bridge::Impl::answer_unknown(Overtakers::Segment& segment, Actions& out) {
    splice_packet packet{};
    const MutableBytes bytes(segment.bytes);
    if (splice_parse_ip(begin_of(bytes), end_of(bytes), &packet) != SPLICE_CONTINUE) return SPLICE_CONTINUE;
    const Known known = find(segment.key);
    if (const splice_bridge_flow* flow = known.established()) {
        // The backend's socket is to judge it. Its numbers are not learnt, for anyone can insist: if the
        // segment is the connection's, the backend's answer says so.
        const Verdict verdict = translate_toward_backend(*flow, packet, bytes);
        if (verdict != SPLICE_CONTINUE) return verdict;
        out.send(bytes);
        return SPLICE_deliver;
    }
    // The RST comes from the VIP, to which the client wrote.
    const BridgeService* service = service_of(packet);
    if (!service) return SPLICE_CONTINUE;
    packet.ends.destination = service->vip.address.raw();
    splice_segment reset;
    splice_write_rst(&reset, &packet);
    if (!reset.length) return SPLICE_CONTINUE;
    out.send(bytes_of(reset));
    return SPLICE_answer_unknown_rst;
}

// The first payload has come: what overtook it and acknowledges the same cookie joins it.
void Bridge::Impl::take_overtakers(Table::Entry& entry) {
    Flow& flow = entry.second.value;
    overtakers.take_of(entry.first, [&](const Overtakers::Segment& segment) {
        splice_packet packet{};
        const std::byte* data = segment.bytes.data();
        if (splice_parse_ip(data, data + segment.bytes.size(), &packet) != SPLICE_CONTINUE) return false;
        if (packet.ack - 1 != flow.cookie_isn) return false;
        const std::size_t before = flow.hold->memory();
        flow.hold->add(packet, segment.bytes);
        held_bytes += flow.hold->memory() - before;
        return true;
    });
}

// --- From the backend
// -------------------------------------------------------------------------------------------

Verdict Bridge::Impl::from_backend(Instant now, MutableBytes bytes, bool checksum_finished, Actions& out) {
    splice_packet packet{};
    if (const Verdict verdict = splice_parse_ip(begin_of(bytes), end_of(bytes), &packet);
        verdict != SPLICE_CONTINUE)
        return verdict;
    bytes = bytes.first(splice_ip_length(&packet));
    if (packet.protocol != SPLICE_PROTOCOL_TCP) return icmp_from_backend(bytes, packet);
    // The flow is named by the client's end, wherever the packet comes from.
    const splice_flow_key key = splice_flow_toward_client(&packet);
    const Known known = find(key);
    const splice_bridge_flow* flow = known.flow();
    if (!flow) return SPLICE_pass_not_spliced;
    if (!checksum_finished) splice_finish_tcp_checksum(bytes.data(), &packet);
    // What is only passed on keeps its checksum, right or wrong, for the client to judge; what decides is
    // judged here: a wrong number learnt now would be wrong for the connection's whole life.
    const bool decides = flow->state == SPLICE_BRIDGE_OPENING || (packet.tcp_flags & SPLICE_SYN);
    if (decides && !splice_verify_tcp_checksum(bytes.data(), &packet)) return SPLICE_drop_bad_tcp_checksum;
    if (flow->state == SPLICE_BRIDGE_OPENING) return opening_answer(now, packet, bytes, *known.entry, out);
    if ((packet.tcp_flags & (SPLICE_SYN | SPLICE_ACK)) == (SPLICE_SYN | SPLICE_ACK)) {
        if (packet.ack == flow->client_isn + 1) {
            acknowledge_again(packet, bytes, key, *flow, out);
            return SPLICE_acknowledge_backend;
        }
        // The backend answers another SYN on these ports, so it has ended our connection: the client has
        // turned to the backend directly, and its connection is none of ours.
        drop_flow(key, known);
        return SPLICE_pass_not_spliced;
    }
    const splice_packet as_written = packet;
    const Verdict verdict = translate_toward_client(*flow, packet, bytes);
    if (verdict != SPLICE_CONTINUE) return verdict;
    if (known.entry) {
        splice_bridge_flow_touch_by_backend(&known.entry->second.value, &as_written, now.seconds());
        list_anew(*known.entry, now.seconds());
    }
    return SPLICE_toward_client;
}

Verdict Bridge::Impl::icmp_from_backend(MutableBytes bytes, splice_packet& packet) {
    splice_packet quoted{};
    if (const Verdict verdict = splice_parse_icmp_error(begin_of(bytes), end_of(bytes), &packet, &quoted);
        verdict != SPLICE_CONTINUE)
        return verdict;
    const Known known = find(*splice_flow_toward_server(&quoted));
    const splice_bridge_flow* flow = known.established();
    if (!flow) return SPLICE_pass_icmp_not_ours;
    const Verdict verdict =
        splice_translate_icmp_toward_client(begin_of(bytes), end_of(bytes), &packet, &flow->translation);
    return verdict == SPLICE_CONTINUE ? SPLICE_toward_client_icmp : verdict;
}

// The backend's answer to a replayed SYN (RFC 9293 section 3.10.7.3).
Verdict Bridge::Impl::opening_answer(Instant now, const splice_packet& packet, MutableBytes bytes,
                                     Table::Entry& entry, Actions& out) {
    const bool acknowledges_us =
        (packet.tcp_flags & SPLICE_ACK) && packet.ack == entry.second.value.client_isn + 1;
    if (packet.tcp_flags & SPLICE_RST)
        return acknowledges_us ? bounce(entry, out) : SPLICE_drop_backend_early;
    if (!(packet.tcp_flags & SPLICE_ACK)) return SPLICE_drop_backend_early;
    if (!acknowledges_us) return reset_old_backend(packet, entry, out);
    if (packet.tcp_flags & SPLICE_SYN) return learn(now, packet, bytes, entry, out);
    return SPLICE_drop_backend_early;
}

Verdict Bridge::Impl::learn(Instant now, const splice_packet& syn_ack, MutableBytes bytes,
                            Table::Entry& entry, Actions& out) {
    Flow& flow = entry.second.value;
    splice_tcp_options options{};
    splice_parse_tcp_options(begin_of(bytes), end_of(bytes), &syn_ack, &options);
    flow.translation.seq_shift = flow.cookie_isn - syn_ack.seq;
    // ts_shift holds the first payload's TSecr until now. Without the backend's timestamps there is nothing
    // to shift.
    flow.timestamps = flow.timestamps && options.timestamps_offset;
    flow.translation.ts_shift = flow.timestamps ? flow.translation.ts_shift - options.tsval : 0;
    const bool scaled = flow.negotiated.window_scale != SPLICE_NO_WINDOW_SCALE;
    flow.translation.backend_window_scale =
        scaled && options.window_scale != SPLICE_NO_WINDOW_SCALE ? options.window_scale : 0;
    flow.state = SPLICE_BRIDGE_ESTABLISHED;
    flow.list = kOpen;
    flow.last_seen_s = now.seconds();
    --opening;
    flow.hold->for_each([&](MutableBytes held) {
        splice_packet packet{};
        if (splice_parse_ip(begin_of(held), end_of(held), &packet) == SPLICE_CONTINUE)
            splice_bridge_flow_touch_by_client(&flow, &packet, now.seconds());
    });
    // Before what is held leaves: the answer to it must find the flow.
    if (carried && !carried->put(entry.first, flow)) {
        forget(entry, HeldLoss::expired);
        table.erase(entry);
        return SPLICE_drop_flow_table_full;
    }

    flow.hold->for_each([&](MutableBytes held) {
        splice_packet packet{};
        if (splice_parse_ip(begin_of(held), end_of(held), &packet) != SPLICE_CONTINUE) return;
        if (translate_toward_backend(flow, packet, held) != SPLICE_CONTINUE) return;
        list_anew(entry, now.seconds());
        out.send(held);
    });
    drop_hold(flow);
    if (carried) table.erase(entry);
    return SPLICE_learn_backend_isn;
}

// Nobody listens: the balancer takes the flow's next choice.
Verdict Bridge::Impl::bounce(Table::Entry& entry, Actions& out) {
    Flow& flow = entry.second.value;
    flow.hold->for_each([&](MutableBytes held) { bounce_packet(held, flow.translation.vip, flow.hop, out); });
    drop_hold(flow);
    forget(entry, HeldLoss::expired);
    table.erase(entry);
    return SPLICE_bounce_refused;
}

// As it came from the balancer, back to the hop that brought it.
void Bridge::Impl::bounce_packet(MutableBytes bytes, const splice_address& vip, const Hop& hop,
                                 Actions& out) {
    splice_packet packet{};
    if (splice_parse_ip(begin_of(bytes), end_of(bytes), &packet) != SPLICE_CONTINUE) return;
    const std::uint16_t mark = splice_refusal_mark(&packet.ends.destination);
    if (splice_forward(begin_of(bytes), end_of(bytes), &packet, &vip, SPLICE_DSCP_BOUNCE) != SPLICE_CONTINUE)
        return;
    splice_write_refusal(begin_of(bytes), end_of(bytes), &packet, mark);
    out.send_to_hop(hop, bytes);
}

// An unacceptable ACK in answer to a SYN is an old connection's: RST with the number that it expects, and the
// SYN again (RFC 9293 section 3.10.7.3, and section 3.5.1 on half-open connections).
Verdict Bridge::Impl::reset_old_backend(const splice_packet& packet, Table::Entry& entry, Actions& out) {
    splice_segment reset;
    splice_write_rst(&reset, &packet);
    if (reset.length) out.send(bytes_of(reset));
    send_replay_syn(entry, out);
    return SPLICE_clear_old_backend;
}

// The backend's accept queue was full, or what completed its handshake is lost; a client that has nothing to
// repeat could not help it.
void Bridge::Impl::acknowledge_again(const splice_packet& syn_ack, MutableBytes bytes,
                                     const splice_flow_key& key, const splice_bridge_flow& flow,
                                     Actions& out) {
    splice_tcp_options options{};
    splice_parse_tcp_options(begin_of(bytes), end_of(bytes), &syn_ack, &options);
    splice_segment acknowledgement;
    splice_write_ack(&acknowledgement, &key, syn_ack.family, syn_ack.ack, syn_ack.seq + 1, flow.client_window,
                     flow.timestamps, flow.client_tsval, options.tsval);
    out.send(bytes_of(acknowledgement));
}

void Bridge::Impl::send_replay_syn(const Table::Entry& entry, Actions& out) {
    const Flow& flow = entry.second.value;
    const std::uint32_t family = splice_address_is_ipv4(&entry.first.server) ? 4 : 6;
    splice_segment syn;
    splice_write_replay_syn(&syn, &entry.first, family, flow.client_isn, syn_window(flow), &flow.negotiated,
                            flow.timestamps, flow.client_tsval);
    out.send(bytes_of(syn));
}

// --- Both ways
// --------------------------------------------------------------------------------------------------

Verdict Bridge::Impl::translate_toward_backend(const splice_bridge_flow& flow, splice_packet& packet,
                                               MutableBytes bytes) {
    splice_tcp_options options{};
    splice_parse_tcp_options(begin_of(bytes), end_of(bytes), &packet, &options);
    splice_translate_deltas deltas{};
    const Verdict verdict = splice_translate_toward_backend(begin_of(bytes), end_of(bytes), &packet, &options,
                                                            &flow.translation, &deltas);
    if (verdict == SPLICE_CONTINUE) splice_translate_finish(begin_of(bytes), end_of(bytes), &packet, &deltas);
    return verdict;
}

Verdict Bridge::Impl::translate_toward_client(const splice_bridge_flow& flow, splice_packet& packet,
                                              MutableBytes bytes) {
    splice_tcp_options options{};
    splice_parse_tcp_options(begin_of(bytes), end_of(bytes), &packet, &options);
    splice_translate_deltas deltas{};
    const Verdict verdict = splice_translate_toward_client(begin_of(bytes), end_of(bytes), &packet, &options,
                                                           &flow.translation, &deltas);
    if (verdict == SPLICE_CONTINUE) splice_translate_finish(begin_of(bytes), end_of(bytes), &packet, &deltas);
    return verdict;
}

// Its time-out begins anew, and is that of what its packets have said.
void Bridge::Impl::list_anew(Table::Entry& entry, std::uint32_t now_s) {
    Flow& flow = entry.second.value;
    flow.list = splice_bridge_is_closing(&flow) ? kClosing : kOpen;
    table.touch(entry, flow.list, now_s);
}

void Bridge::Impl::drop_hold(Flow& flow) noexcept {
    if (!flow.hold) return;
    held_bytes -= flow.hold->memory();
    flow.hold.reset();
    if (flow.state == SPLICE_BRIDGE_OPENING) --opening;
}

// Unmarked packets pass. One of a connection that is spliced here lost its mark on the way: worth a count of
// its own.
Verdict Bridge::Impl::judge_unmarked(Instant now, const splice_packet& packet) noexcept {
    for (const BridgeService& service : rules->services) {
        if (splice_htons(service.vip.port) != packet.ends.destination_port ||
            service.vip.address.family() != packet.family)
            continue;
        const bool to_us =
            std::ranges::find(rules->addresses, IpAddress(packet.ends.destination)) != rules->addresses.end();
        if (to_us && splice_dscp(&packet) != 0) return SPLICE_pass_mark_of_no_service;
        splice_packet sent = packet;
        sent.ends.destination = service.vip.address.raw();
        if (to_us && splice_bridge_mark_lost(&sent, &rules->secret, static_cast<std::uint64_t>(now.unix_s)))
            return SPLICE_pass_mark_lost;
        const Known known = find(backend_key(packet, service));
        if (known.entry || known.carried) return SPLICE_pass_unmarked_known_flow;
    }
    return SPLICE_pass_unmarked;
}

const BridgeService* Bridge::Impl::service_of(const splice_packet& packet) const noexcept {
    for (const BridgeService& service : rules->services) {
        if (service.dscp == splice_dscp(&packet) && service.vip.address.family() == packet.family)
            return &service;
    }
    return nullptr;
}

}  // namespace splice
