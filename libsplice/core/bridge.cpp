#include "libsplice/core/bridge.hpp"

#include <algorithm>
#include <cstring>
#include <deque>

#include "libsplice/core/flow_table.hpp"
#include "libsplice/core/segment_hold.hpp"
#include "libsplice/datapath/bridge_rules.h"
#include "libsplice/datapath/forward.h"
#include "libsplice/datapath/parse.h"
#include "libsplice/datapath/segment.h"

namespace splice {
namespace {

enum List : std::uint8_t { kOpen, kClosing, kReset, kOpening, kListCount };

enum class State : std::uint8_t { opening, established };

// A spliced connection, or one whose handshake is being replayed.
struct Flow {
    splice_translation translation{};
    Seq client_isn;
    Seq cookie_isn;
    TsVal client_tsval;  // of the first payload; what the replayed SYN says
    State state = State::opening;
    List list = kOpening;
    bool timestamps = false;
    std::uint8_t service = 0;
    splice_negotiated negotiated{};
    std::uint16_t syn_window = 0;
    Hop hop;
    std::unique_ptr<SegmentHold> hold;  // while opening
};
using Table = FlowTable<Flow, kListCount>;

// A segment that may have overtaken its connection's first payload.
struct Unknown {
    Duration due;
    splice_flow_key key;  // towards the backend
    Hop hop;
    std::vector<std::byte> bytes;
};

splice_flow_key backend_key(const splice_packet& packet, const BridgeService& service) noexcept {
    return {packet.key.client, service.backend.address.raw(), packet.key.client_port,
            splice_htons(service.backend.port), 0};
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
        std::uint8_t service_index;
        splice_flow_key key;
        Table::Entry* entry;
        Actions& out;
    };

    Impl(std::shared_ptr<const BridgeRules> initial, BridgeCounters& c)
        : rules(std::move(initial)), counters(c) {}

    Verdict from_balancer(Instant now, MutableBytes bytes, bool checksum_finished, const Hop& hop,
                          Actions& out);
    Verdict icmp_from_balancer(Walk& walk, const BridgeService& service);
    Verdict open(Walk& walk, const splice_negotiated& negotiated);
    Verdict reopen(Walk& walk, const splice_negotiated& negotiated);
    Verdict hold(Walk& walk);
    Verdict hold_unknown(Walk& walk);
    Verdict deliver(Walk& walk);

    Verdict from_backend(Instant now, MutableBytes bytes, bool checksum_finished, Actions& out);
    Verdict icmp_from_backend(MutableBytes bytes, splice_packet& packet);
    Verdict opening_answer(Instant now, const splice_packet& packet, MutableBytes bytes, Table::Entry& entry,
                           Actions& out);
    Verdict learn(Instant now, const splice_packet& syn_ack, MutableBytes bytes, Table::Entry& entry,
                  Actions& out);
    Verdict bounce(Table::Entry& entry, Actions& out);
    Verdict reset_old_backend(const splice_packet& packet, Table::Entry& entry, Actions& out);
    Verdict acknowledge_again(const splice_packet& syn_ack, MutableBytes bytes, const Table::Entry& entry,
                              Actions& out);
    void send_replay_syn(const Table::Entry& entry, Actions& out);
    void take_overtakers(Table::Entry& entry);

    Verdict translate_toward_backend(const Flow& flow, splice_packet& packet, MutableBytes bytes);
    Verdict translate_toward_client(const Flow& flow, splice_packet& packet, MutableBytes bytes);
    void touch(Table::Entry& entry, const splice_packet& packet, std::uint32_t now_s);
    void drop_hold(Flow& flow) noexcept;
    void forget(Table::Entry& entry) noexcept { drop_hold(entry.second.value); }

    [[nodiscard]] const BridgeService* service_of(const splice_packet& packet,
                                                  std::uint8_t& index) const noexcept;
    [[nodiscard]] std::array<std::uint32_t, kListCount> limits() const noexcept {
        const auto opening_s = static_cast<std::uint32_t>(std::chrono::seconds(kOpeningTimeout).count());
        return {rules->timeouts.open_s, rules->timeouts.closing_s, rules->timeouts.reset_s, opening_s};
    }
    void publish() noexcept {
        counters.flows.store(table.size(), std::memory_order_relaxed);
        counters.flows_opening.store(opening, std::memory_order_relaxed);
        counters.held_bytes.store(held_bytes, std::memory_order_relaxed);
    }

    std::shared_ptr<const BridgeRules> rules;
    BridgeCounters& counters;
    Table table;
    std::deque<Unknown> unknowns;  // by due time
    std::size_t held_bytes = 0;
    std::size_t opening = 0;
};

Bridge::Bridge(std::shared_ptr<const BridgeRules> rules)
    : impl_(std::make_unique<Impl>(std::move(rules), counters_)) {}
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

void Bridge::replace_rules(std::shared_ptr<const BridgeRules> rules) {
    const std::shared_ptr<const BridgeRules> old = std::exchange(impl_->rules, std::move(rules));
    // A flow goes on as long as a service of the same mark, VIP and backend does.
    std::vector<std::optional<std::uint8_t>> moved(old->services.size());
    for (std::size_t i = 0; i < old->services.size(); ++i) {
        const BridgeService& was = old->services[i];
        const auto& now = impl_->rules->services;
        const auto same = std::ranges::find_if(now, [&](const BridgeService& service) {
            return service.dscp == was.dscp && service.vip == was.vip && service.backend == was.backend;
        });
        if (same != now.end()) moved[i] = static_cast<std::uint8_t>(same - now.begin());
    }
    impl_->table.erase_if([&](Table::Entry& entry) {
        Flow& flow = entry.second.value;
        const auto& service = moved[flow.service];
        if (service)
            flow.service = *service;
        else
            impl_->forget(entry);
        return !service;
    });
    impl_->publish();
}

void Bridge::expire(Instant now, Actions& out) noexcept {
    auto& unknowns = impl_->unknowns;
    while (!unknowns.empty() && unknowns.front().due <= now.monotonic) {
        const Unknown& unknown = unknowns.front();
        splice_packet packet{};
        splice_segment reset;
        reset.length = 0;
        const std::byte* data = unknown.bytes.data();
        if (splice_parse_ip(data, data + unknown.bytes.size(), &packet) == SPLICE_CONTINUE)
            splice_write_rst(&reset, &packet);
        if (reset.length) {
            // In the VIP's name: the client knows no other.
            out.send(bytes_of(reset));
            counters_.verdicts.add(SPLICE_answer_unknown_rst);
        }
        impl_->held_bytes -= unknown.bytes.size();
        unknowns.pop_front();
    }
    const std::size_t expired = impl_->table.expire(now.seconds(), impl_->limits(),
                                                    [this](Table::Entry& entry) { impl_->forget(entry); });
    counters_.flows_expired.fetch_add(expired, std::memory_order_relaxed);
    impl_->publish();
}

std::optional<Duration> Bridge::next_deadline() const noexcept {
    std::optional<Duration> next;
    if (const auto idle_s = impl_->table.next_expiry_s(impl_->limits())) next = std::chrono::seconds(*idle_s);
    if (!impl_->unknowns.empty() && (!next || impl_->unknowns.front().due < *next))
        next = impl_->unknowns.front().due;
    return next;
}

// --- From the balancer
// ------------------------------------------------------------------------------------------

Verdict Bridge::Impl::from_balancer(Instant now, MutableBytes bytes, bool checksum_finished, const Hop& hop,
                                    Actions& out) {
    Walk walk{now, bytes, {}, hop, 0, {}, nullptr, out};
    if (const Verdict verdict = splice_parse_ip(begin_of(bytes), end_of(bytes), &walk.packet);
        verdict != SPLICE_CONTINUE)
        return verdict;
    const BridgeService* service = service_of(walk.packet, walk.service_index);
    if (!service) return SPLICE_pass_unmarked;
    if (walk.packet.protocol != SPLICE_PROTOCOL_TCP) return icmp_from_balancer(walk, *service);
    if (splice_ntohs(walk.packet.key.vip_port) != service->vip.port) return SPLICE_pass_not_service;
    if (!checksum_finished) splice_finish_tcp_checksum(bytes.data(), &walk.packet);

    // From here on the segment is the VIP's, as the client sent it: the cookie is about that address.
    const splice_address bridge_address = walk.packet.key.vip;
    walk.packet.key.vip = service->vip.address.raw();
    walk.key = backend_key(walk.packet, *service);
    walk.entry = table.find(walk.key);

    splice_bridge_known known = SPLICE_KNOWN_NOTHING;
    if (walk.entry) {
        const Flow& flow = walk.entry->second.value;
        if (flow.service != walk.service_index) return SPLICE_drop_backend_tuple_in_use;
        const bool same =
            flow.client_isn == Seq(walk.packet.seq - 1) && flow.cookie_isn == Seq(walk.packet.ack - 1);
        known = same ? SPLICE_KNOWN_SAME : SPLICE_KNOWN_OTHER;
    }
    splice_negotiated negotiated{};
    const splice_bridge_decision decision = splice_bridge_decide(
        &walk.packet, known, &rules->secret, static_cast<std::uint64_t>(now.unix_s), &negotiated);
    walk.packet.key.vip = bridge_address;  // as it stands in the packet

    const bool begins = decision.step == SPLICE_BRIDGE_OPEN || decision.step == SPLICE_BRIDGE_REOPEN;
    if (begins && !splice_verify_tcp_checksum(bytes.data(), &walk.packet))
        return SPLICE_drop_bad_tcp_checksum;
    switch (decision.step) {
        case SPLICE_BRIDGE_OPEN:
            return open(walk, negotiated);
        case SPLICE_BRIDGE_REOPEN:
            return reopen(walk, negotiated);
        case SPLICE_BRIDGE_DELIVER:
            return walk.entry->second.value.state == State::opening ? hold(walk) : deliver(walk);
        case SPLICE_BRIDGE_UNKNOWN:
            return hold_unknown(walk);
        case SPLICE_BRIDGE_DROP:
            break;
    }
    return decision.verdict;
}

Verdict Bridge::Impl::icmp_from_balancer(Walk& walk, const BridgeService& service) {
    splice_packet quoted{};
    if (const Verdict verdict =
            splice_parse_icmp_error(begin_of(walk.bytes), end_of(walk.bytes), &walk.packet, &quoted);
        verdict != SPLICE_CONTINUE)
        return verdict;
    // The quoted packet went from the VIP to the client.
    const splice_flow_key key{quoted.key.vip, service.backend.address.raw(), quoted.key.vip_port,
                              splice_htons(service.backend.port), 0};
    Table::Entry* entry = table.find(key);
    if (!entry || entry->second.value.state != State::established) return SPLICE_drop_orphan_icmp;
    const Verdict verdict = splice_translate_icmp_toward_backend(
        begin_of(walk.bytes), end_of(walk.bytes), &walk.packet, &entry->second.value.translation);
    return verdict == SPLICE_CONTINUE ? SPLICE_deliver_icmp : verdict;
}

// A valid cookie and no flow: the handshake is replayed, the packet waits for its end.
Verdict Bridge::Impl::open(Walk& walk, const splice_negotiated& negotiated) {
    if (held_bytes + walk.bytes.size() > rules->hold_memory) return SPLICE_drop_hold_full;
    walk.entry = table.insert(walk.key, rules->max_flows, walk.now.seconds());
    if (!walk.entry) return SPLICE_drop_flow_table_full;
    table.touch(*walk.entry, kOpening, walk.now.seconds());
    ++opening;

    const BridgeService& service = rules->services[walk.service_index];
    splice_tcp_options options{};
    splice_parse_tcp_options(begin_of(walk.bytes), end_of(walk.bytes), &walk.packet, &options);
    Flow& flow = walk.entry->second.value;
    flow.translation.vip = service.vip.address.raw();
    flow.translation.vip_port = splice_htons(service.vip.port);
    flow.translation.backend = service.backend.address.raw();
    flow.translation.backend_port = splice_htons(service.backend.port);
    flow.client_isn = Seq(walk.packet.seq - 1);
    flow.cookie_isn = Seq(walk.packet.ack - 1);
    flow.timestamps = options.timestamps_offset != 0;
    flow.client_tsval = TsVal(options.tsval);
    // What the shift will be once the backend's TSval is known: its TSecr names the balancer's.
    flow.translation.ts_shift = options.tsecr;
    flow.service = walk.service_index;
    flow.negotiated = negotiated;
    flow.hop = walk.hop;
    const std::uint32_t scale =
        negotiated.window_scale == SPLICE_NO_WINDOW_SCALE ? 0 : negotiated.window_scale;
    flow.syn_window = static_cast<std::uint16_t>(
        std::min<std::uint32_t>(65535, std::uint32_t{walk.packet.window} << scale));
    flow.hold =
        std::make_unique<SegmentHold>(Seq(walk.packet.seq), SegmentHoldLimits{kHoldMax, kHoldPackets});
    flow.hold->add(walk.packet, walk.bytes);
    held_bytes += flow.hold->memory();
    take_overtakers(*walk.entry);
    send_replay_syn(*walk.entry, walk.out);
    return SPLICE_open_replay;
}

// The same addresses and ports, another connection: what is known of the old one is worth nothing any more.
// Should the backend still hold it, it answers the replayed SYN from it, and reset_old_backend() clears it.
Verdict Bridge::Impl::reopen(Walk& walk, const splice_negotiated& negotiated) {
    forget(*walk.entry);
    table.erase(*walk.entry);
    const Verdict verdict = open(walk, negotiated);
    return verdict == SPLICE_open_replay ? SPLICE_reopen_replay : verdict;
}

Verdict Bridge::Impl::hold(Walk& walk) {
    Flow& flow = walk.entry->second.value;
    if (held_bytes + walk.bytes.size() > rules->hold_memory) return SPLICE_drop_hold_full;
    const std::size_t before = flow.hold->memory();
    const SegmentHold::Added added = flow.hold->add(walk.packet, walk.bytes);
    held_bytes += flow.hold->memory() - before;
    switch (added) {
        case SegmentHold::Added::stored:
            return SPLICE_open_hold;
        case SegmentHold::Added::duplicate:
            // The client repeats itself: so does the replay, whose SYN or answer may be lost.
            if (walk.packet.payload_length == 0) return SPLICE_open_hold;
            send_replay_syn(*walk.entry, walk.out);
            return SPLICE_open_replay_again;
        case SegmentHold::Added::outside:
        case SegmentHold::Added::full:
            break;
    }
    return SPLICE_drop_hold_full;
}

Verdict Bridge::Impl::deliver(Walk& walk) {
    const Verdict verdict = translate_toward_backend(walk.entry->second.value, walk.packet, walk.bytes);
    if (verdict != SPLICE_CONTINUE) return verdict;
    touch(*walk.entry, walk.packet, walk.now.seconds());
    return SPLICE_deliver;
}

Verdict Bridge::Impl::hold_unknown(Walk& walk) {
    if (unknowns.size() >= kUnknownPackets || held_bytes + walk.bytes.size() > rules->hold_memory)
        return SPLICE_drop_hold_full;
    Unknown unknown{walk.now.monotonic + kUnknownWait, walk.key, walk.hop, {}};
    unknown.bytes.assign(walk.bytes.begin(), walk.bytes.end());
    // The RST that may answer it comes from the VIP, which the client wrote to.
    splice_packet packet = walk.packet;
    const BridgeService& service = rules->services[walk.service_index];
    if (splice_forward(unknown.bytes.data(), unknown.bytes.data() + unknown.bytes.size(), &packet,
                       &service.vip.address.raw(), service.dscp) != SPLICE_CONTINUE)
        return SPLICE_drop_ttl_expired;
    held_bytes += unknown.bytes.size();
    unknowns.push_back(std::move(unknown));
    return SPLICE_hold_unknown;
}

// The first payload has come: what overtook it and acknowledges the same cookie joins it.
void Bridge::Impl::take_overtakers(Table::Entry& entry) {
    Flow& flow = entry.second.value;
    std::erase_if(unknowns, [&](const Unknown& unknown) {
        if (!FlowKeyEqual{}(unknown.key, entry.first)) return false;
        splice_packet packet{};
        const std::byte* data = unknown.bytes.data();
        if (splice_parse_ip(data, data + unknown.bytes.size(), &packet) != SPLICE_CONTINUE) return false;
        if (Seq(packet.ack - 1) != flow.cookie_isn) return false;
        held_bytes -= unknown.bytes.size();
        const std::size_t before = flow.hold->memory();
        flow.hold->add(packet, unknown.bytes);
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
    if (packet.protocol != SPLICE_PROTOCOL_TCP) return icmp_from_backend(bytes, packet);
    // The flow is named by the client's end, wherever the packet comes from.
    const splice_flow_key key{packet.key.vip, packet.key.client, packet.key.vip_port, packet.key.client_port,
                              0};
    Table::Entry* entry = table.find(key);
    if (!entry) return SPLICE_pass_not_spliced;
    if (!checksum_finished) splice_finish_tcp_checksum(bytes.data(), &packet);

    Flow& flow = entry->second.value;
    if (flow.state == State::opening) return opening_answer(now, packet, bytes, *entry, out);
    if ((packet.tcp_flags & (SPLICE_SYN | SPLICE_ACK)) == (SPLICE_SYN | SPLICE_ACK)) {
        if (Seq(packet.ack) == flow.client_isn + 1) return acknowledge_again(packet, bytes, *entry, out);
        // The backend answers another SYN on these ports, so it has ended our connection: the client has turned to
        // the backend directly, and its connection is none of ours.
        forget(*entry);
        table.erase(*entry);
        return SPLICE_pass_not_spliced;
    }
    const Verdict verdict = translate_toward_client(flow, packet, bytes);
    if (verdict != SPLICE_CONTINUE) return verdict;
    touch(*entry, packet, now.seconds());
    return SPLICE_toward_client;
}

Verdict Bridge::Impl::icmp_from_backend(MutableBytes bytes, splice_packet& packet) {
    splice_packet quoted{};
    if (const Verdict verdict = splice_parse_icmp_error(begin_of(bytes), end_of(bytes), &packet, &quoted);
        verdict != SPLICE_CONTINUE)
        return verdict;
    Table::Entry* entry = table.find(quoted.key);  // it went from the client to the backend
    if (!entry || entry->second.value.state != State::established) return SPLICE_pass_icmp_not_ours;
    const Verdict verdict = splice_translate_icmp_toward_client(begin_of(bytes), end_of(bytes), &packet,
                                                                &entry->second.value.translation);
    return verdict == SPLICE_CONTINUE ? SPLICE_toward_client_icmp : verdict;
}

// The backend's answer to a replayed SYN (RFC 9293 section 3.10.7.3).
Verdict Bridge::Impl::opening_answer(Instant now, const splice_packet& packet, MutableBytes bytes,
                                     Table::Entry& entry, Actions& out) {
    const bool acknowledges_us =
        (packet.tcp_flags & SPLICE_ACK) && Seq(packet.ack) == entry.second.value.client_isn + 1;
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
    const Seq backend_isn(syn_ack.seq);
    flow.translation.seq_shift = (flow.cookie_isn - backend_isn.value()).value();
    // ts_shift holds the first payload's TSecr until now. Without the backend's timestamps there is nothing
    // to shift.
    flow.timestamps = flow.timestamps && options.timestamps_offset;
    flow.translation.ts_shift = flow.timestamps ? flow.translation.ts_shift - options.tsval : 0;
    const bool scaled = flow.negotiated.window_scale != SPLICE_NO_WINDOW_SCALE;
    flow.translation.advertised_window_scale = scaled ? rules->services[flow.service].window_scale : 0;
    flow.translation.backend_window_scale =
        scaled && options.window_scale != SPLICE_NO_WINDOW_SCALE ? options.window_scale : 0;
    flow.state = State::established;
    flow.list = kOpen;
    --opening;

    flow.hold->for_each([&](MutableBytes held) {
        splice_packet packet{};
        if (splice_parse_ip(begin_of(held), end_of(held), &packet) != SPLICE_CONTINUE) return;
        if (translate_toward_backend(flow, packet, held) != SPLICE_CONTINUE) return;
        touch(entry, packet, now.seconds());
        out.send(held);
    });
    drop_hold(flow);
    return SPLICE_learn_backend_isn;
}

// Nobody listens: the balancer takes the flow's next choice.
Verdict Bridge::Impl::bounce(Table::Entry& entry, Actions& out) {
    Flow& flow = entry.second.value;
    flow.hold->for_each([&](MutableBytes held) {
        splice_packet packet{};
        if (splice_parse_ip(begin_of(held), end_of(held), &packet) != SPLICE_CONTINUE) return;
        if (splice_forward(begin_of(held), end_of(held), &packet, &flow.translation.vip,
                           SPLICE_DSCP_BOUNCE) == SPLICE_CONTINUE)
            out.send_to_hop(flow.hop, held);
    });
    forget(entry);
    table.erase(entry);
    return SPLICE_bounce_refused;
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
Verdict Bridge::Impl::acknowledge_again(const splice_packet& syn_ack, MutableBytes bytes,
                                        const Table::Entry& entry, Actions& out) {
    const Flow& flow = entry.second.value;
    splice_tcp_options options{};
    splice_parse_tcp_options(begin_of(bytes), end_of(bytes), &syn_ack, &options);
    const bool scaled = flow.negotiated.window_scale != SPLICE_NO_WINDOW_SCALE;
    const auto window = static_cast<std::uint16_t>(scaled ? flow.syn_window >> flow.negotiated.window_scale
                                                          : flow.syn_window);
    splice_segment acknowledgement;
    splice_write_ack(&acknowledgement, &entry.first, syn_ack.family, syn_ack.ack, syn_ack.seq + 1, window,
                     flow.timestamps, flow.client_tsval.value(), options.tsval);
    out.send(bytes_of(acknowledgement));
    return SPLICE_acknowledge_backend;
}

void Bridge::Impl::send_replay_syn(const Table::Entry& entry, Actions& out) {
    const Flow& flow = entry.second.value;
    const std::uint32_t family = splice_address_is_ipv4(&entry.first.vip) ? 4 : 6;
    splice_segment syn;
    splice_write_replay_syn(&syn, &entry.first, family, flow.client_isn.value(), flow.syn_window,
                            &flow.negotiated, flow.timestamps, flow.client_tsval.value());
    out.send(bytes_of(syn));
}

// --- Both ways
// --------------------------------------------------------------------------------------------------

Verdict Bridge::Impl::translate_toward_backend(const Flow& flow, splice_packet& packet, MutableBytes bytes) {
    splice_tcp_options options{};
    splice_parse_tcp_options(begin_of(bytes), end_of(bytes), &packet, &options);
    splice_translate_deltas deltas{};
    const Verdict verdict = splice_translate_toward_backend(begin_of(bytes), end_of(bytes), &packet, &options,
                                                            &flow.translation, &deltas);
    if (verdict == SPLICE_CONTINUE) splice_translate_finish(begin_of(bytes), end_of(bytes), &packet, &deltas);
    return verdict;
}

Verdict Bridge::Impl::translate_toward_client(const Flow& flow, splice_packet& packet, MutableBytes bytes) {
    splice_tcp_options options{};
    splice_parse_tcp_options(begin_of(bytes), end_of(bytes), &packet, &options);
    splice_translate_deltas deltas{};
    const Verdict verdict = splice_translate_toward_client(begin_of(bytes), end_of(bytes), &packet, &options,
                                                           &flow.translation, &deltas);
    if (verdict == SPLICE_CONTINUE) splice_translate_finish(begin_of(bytes), end_of(bytes), &packet, &deltas);
    return verdict;
}

// A FIN of either side shortens the idle time-out, which each later packet renews; a RST ends the flow soon.
void Bridge::Impl::touch(Table::Entry& entry, const splice_packet& packet, std::uint32_t now_s) {
    Flow& flow = entry.second.value;
    if (packet.tcp_flags & SPLICE_RST)
        flow.list = kReset;
    else if (packet.tcp_flags & SPLICE_FIN)
        flow.list = kClosing;
    table.touch(entry, flow.list, now_s);
}

void Bridge::Impl::drop_hold(Flow& flow) noexcept {
    if (!flow.hold) return;
    held_bytes -= flow.hold->memory();
    flow.hold.reset();
    if (flow.state == State::opening) --opening;
}

const BridgeService* Bridge::Impl::service_of(const splice_packet& packet,
                                              std::uint8_t& index) const noexcept {
    for (std::size_t i = 0; i < rules->services.size(); ++i) {
        const BridgeService& service = rules->services[i];
        if (service.dscp != splice_dscp(&packet) || service.vip.address.family() != packet.family) continue;
        index = static_cast<std::uint8_t>(i);
        return &service;
    }
    return nullptr;
}

}  // namespace splice
