#include "libsplice/core/joiner.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "libsplice/base/seq.hpp"
#include "libsplice/core/joiner/connections.hpp"
#include "libsplice/core/joiner/marked_segment.hpp"
#include "libsplice/core/joiner/openings.hpp"
#include "libsplice/core/joiner/segments.hpp"
#include "libsplice/core/joiner/strangers.hpp"
#include "libsplice/datapath/bridge_rules.h"
#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/packet.h"
#include "libsplice/datapath/translate_icmp.h"

namespace splice {

struct Joiner::Impl {
    Impl(std::shared_ptr<const JoinerSetup> initial, BridgeFlows* elsewhere, JoinerCounters& c)
        : setup(std::move(initial)),
          counters(c),
          connections(elsewhere, c.held_lost),
          strangers(connections, c.held_lost) {}

    Verdict from_balancer(Instant now, MutableBytes bytes, bool checksum_finished, const Hop& hop,
                          Actions& out);
    Verdict take_step(MarkedSegment& segment, const splice_bridge_decision& decision,
                      const splice_negotiated& negotiated);
    Verdict open(const MarkedSegment& segment, const splice_negotiated& negotiated);
    Verdict reopen(const MarkedSegment& segment, const splice_negotiated& negotiated);
    Verdict deliver(MarkedSegment& segment);
    Verdict icmp_from_balancer(MutableBytes bytes, splice_packet& packet, const JoinerService& service);
    [[nodiscard]] Verdict judge_unmarked(Instant now, const splice_packet& packet) noexcept;

    void tell_balancer(const splice_flow_key& key, const splice_bridge_flow& flow, Actions& out);

    Verdict from_backend(Instant now, MutableBytes bytes, bool checksum_finished, Actions& out);
    Verdict established_answer(Instant now, const splice_packet& packet, MutableBytes bytes,
                               const splice_flow_key& key, const KnownConnection& known, Actions& out);
    Verdict icmp_from_backend(MutableBytes bytes, splice_packet& packet);

    [[nodiscard]] std::size_t held() const noexcept {
        return connections.held_bytes() + strangers.held_bytes();
    }
    [[nodiscard]] std::size_t room() const noexcept {
        return setup->hold_memory - std::min(held(), setup->hold_memory);
    }
    void publish() noexcept {
        counters.flows.store(connections.size(), std::memory_order_relaxed);
        counters.flows_opening.store(connections.openings(), std::memory_order_relaxed);
        counters.held_bytes.store(held(), std::memory_order_relaxed);
    }

    std::shared_ptr<const JoinerSetup> setup;
    JoinerCounters& counters;
    BridgeConnections connections;
    Openings openings{connections};
    Strangers strangers;
};

Joiner::Joiner(std::shared_ptr<const JoinerSetup> setup, BridgeFlows* carried)
    : impl_(std::make_unique<Impl>(std::move(setup), carried, counters_)) {}
Joiner::~Joiner() = default;

void Joiner::tell_sampled(SampledFlows& sampled) noexcept {
    impl_->connections.tell_sampled(sampled);
}

std::size_t Joiner::flows() const noexcept {
    return impl_->connections.size();
}

Verdict Joiner::handle_from_balancer(Instant now, MutableBytes packet, bool checksum_finished, const Hop& hop,
                                     Actions& out) noexcept {
    const Verdict verdict = impl_->from_balancer(now, packet, checksum_finished, hop, out);
    counters_.verdicts.add(verdict);
    impl_->publish();
    return verdict;
}

Verdict Joiner::handle_from_backend(Instant now, MutableBytes packet, bool checksum_finished,
                                    Actions& out) noexcept {
    const Verdict verdict = impl_->from_backend(now, packet, checksum_finished, out);
    counters_.verdicts.add(verdict);
    impl_->publish();
    return verdict;
}

bool Joiner::is_spliced_answer(Bytes head) const noexcept {
    splice_packet packet{};
    // The rest of the segment is somewhere else, however long its header says that it is.
    constexpr std::uint64_t kAnyLength = 1U << 20;
    return splice_parse_ip_beginning(head.data(), head.data() + head.size(), kAnyLength, &packet) ==
               SPLICE_CONTINUE &&
           packet.protocol == SPLICE_PROTOCOL_TCP &&
           impl_->connections.find(splice_flow_toward_client(&packet)).exists();
}

void Joiner::replace_setup(std::shared_ptr<const JoinerSetup> setup) {
    swap_setup(std::move(setup));
    end_unserved_flows();
}

void Joiner::swap_setup(std::shared_ptr<const JoinerSetup> setup) {
    impl_->setup = std::move(setup);
}

void Joiner::end_unserved_flows() {
    impl_->connections.erase_unserved(*impl_->setup);
    impl_->publish();
}

const JoinerSetup& Joiner::setup() const noexcept {
    return *impl_->setup;
}

void Joiner::for_each_established(const BridgeFlows::Visit& visit) {
    impl_->connections.for_each_established(visit);
}

std::size_t Joiner::reset_flows(Actions& out) {
    std::size_t count = 0;
    const auto send = [&](const splice_ends& ends, std::uint32_t seq) {
        splice_segment reset;
        splice_write_ending_rst(&reset, &ends, static_cast<std::uint32_t>(IpAddress(ends.source).family()),
                                seq);
        out.send(bytes_of(reset));
    };
    impl_->connections.for_each_established([&](const splice_flow_key& key, const splice_bridge_flow& flow) {
        constexpr std::uint8_t kBothFins = SPLICE_BRIDGE_CLIENT_FIN | SPLICE_BRIDGE_BACKEND_FIN;
        if ((flow.flags & kBothFins) == kBothFins || (flow.flags & SPLICE_BRIDGE_RESET)) return;
        const splice_translation& ends = flow.translation;
        send({key.client, ends.backend, key.client_port, ends.backend_port, 0}, flow.client_next);
        send({ends.vip, key.client, ends.vip_port, key.client_port, 0}, flow.server_next);
        impl_->tell_balancer(key, flow, out);
        impl_->connections.tell(key, flow, SPLICE_END_RESET);
        ++count;
    });
    return count;
}

// Clients that are reset say nothing more, so the balancer would count the connection as open until it is
// idle for long. By which of this host's addresses the balancer knows it, no flow tells: the name of each is
// sealed, and the balancer takes its own.
void Joiner::Impl::tell_balancer(const splice_flow_key& key, const splice_bridge_flow& flow, Actions& out) {
    const splice_translation& ends = flow.translation;
    const int family = IpAddress(key.client).family();
    for (const IpAddress& own : setup->addresses) {
        if (own.family() != family) continue;
        const splice_ends as_client{key.client, own.raw(), key.client_port, ends.vip_port, 0};
        splice_segment reset;
        splice_write_ending_rst(&reset, &as_client, static_cast<std::uint32_t>(family), flow.client_next);
        std::vector<std::byte> bytes(bytes_of(reset).begin(), bytes_of(reset).end());
        bounce(bytes, ends.vip, setup->secret, {}, out);
    }
}

void Joiner::expire(Instant now, Actions& /*out*/) noexcept {
    impl_->strangers.expire(now);
    const std::size_t expired = impl_->connections.expire(now, impl_->setup->timeouts);
    counters_.flows_expired.fetch_add(expired, std::memory_order_relaxed);
    impl_->publish();
}

std::optional<Duration> Joiner::next_deadline() const noexcept {
    std::optional<Duration> next;
    if (const auto idle_s = impl_->connections.next_expiry_s(impl_->setup->timeouts))
        next = std::chrono::seconds(*idle_s);
    const std::optional<Duration> due = impl_->strangers.next_deadline();
    if (due && (!next || *due < *next)) next = due;
    return next;
}

// --- From the balancer ---------------------------------------------------------------------------------

namespace {

// 0: it has none, or it is not known: the packet comes from this host.
std::uint64_t mac_of(const Hop& hop) noexcept {
    std::uint64_t mac = 0;
    if (hop.address_length == 6) std::memcpy(&mac, hop.address, 6);
    return mac;
}

}  // namespace

Verdict Joiner::Impl::from_balancer(Instant now, MutableBytes bytes, bool checksum_finished, const Hop& hop,
                                    Actions& out) {
    splice_packet packet{};
    if (const Verdict verdict = splice_parse_ip(begin_of(bytes), end_of(bytes), &packet);
        verdict != SPLICE_CONTINUE)
        return verdict;
    // A link's padding is no part of the packet: a raw socket would send it as if it were.
    bytes = bytes.first(splice_ip_length(&packet));
    const JoinerService* service = service_of(*setup, packet);
    if (!service) return judge_unmarked(now, packet);
    if (!splice_balancer_links_have(&setup->balancers, mac_of(hop))) return SPLICE_drop_not_balancer;
    if (packet.protocol != SPLICE_PROTOCOL_TCP) return icmp_from_balancer(bytes, packet, *service);
    if (splice_ntohs(packet.ends.destination_port) != service->vip.port) return SPLICE_pass_not_service;
    if (!checksum_finished) splice_finish_tcp_checksum(bytes.data(), &packet);

    const splice_flow_key key = backend_key(packet, *service);
    MarkedSegment segment{now, bytes, packet, hop, *service, key, connections.find(key), room(), out};
    // The cookie is about the VIP's address, to which the client sent the segment.
    packet.ends.destination = service->vip.address.raw();
    splice_bridge_known known = segment.known.known_to(packet, service->number);
    const splice_bridge_flow* flow = segment.known.flow();
    const bool laned = flow && flow->translation.lane_from != 0;
    if (splice_bridge_asks_for_lane(known, laned, &setup->secret, setup->number))
        known = splice_bridge_known_by_lane(known, lane_of(segment, *setup), setup->number);
    splice_negotiated negotiated{};
    const splice_bridge_decision decision = splice_bridge_decide(
        &packet, known, &setup->secret, static_cast<std::uint64_t>(now.unix_s), &negotiated);
    return take_step(segment, setup->leaving ? splice_bridge_leave(decision) : decision, negotiated);
}

Verdict Joiner::Impl::take_step(MarkedSegment& segment, const splice_bridge_decision& decision,
                                const splice_negotiated& negotiated) {
    // What is delivered keeps its checksum for the backend to judge. What opens, or is kept and compared with
    // what else comes, is judged here: a damaged number would make one connection two.
    const bool decides = decision.step != SPLICE_BRIDGE_DELIVER && decision.step != SPLICE_BRIDGE_DROP;
    if (decides && !splice_verify_tcp_checksum(segment.bytes.data(), &segment.packet))
        return SPLICE_drop_bad_tcp_checksum;
    switch (decision.step) {
        case SPLICE_BRIDGE_OPEN:
            return segment.known.displaced ? reopen(segment, negotiated) : open(segment, negotiated);
        case SPLICE_BRIDGE_REOPEN:
            return reopen(segment, negotiated);
        case SPLICE_BRIDGE_DELIVER:
            return segment.known.established() ? deliver(segment) : openings.hold(segment);
        case SPLICE_BRIDGE_BOUNCE:
            bounce(segment.bytes, segment.service.vip.address.raw(), setup->secret, segment.hop, segment.out);
            return decision.verdict;
        case SPLICE_BRIDGE_UNKNOWN:
            return strangers.take(segment, *setup);
        case SPLICE_BRIDGE_DROP:
            break;
    }
    return decision.verdict;
}

Verdict Joiner::Impl::open(const MarkedSegment& segment, const splice_negotiated& negotiated) {
    const Openings::Opened opened = openings.open(segment, negotiated, *setup);
    if (opened.entry) strangers.join(*opened.entry);
    return opened.verdict;
}

// The same addresses and ports, another connection: what is known of the old one is worth nothing any more.
// Should the backend still hold it, it answers the replayed SYN from it, and the opening clears it.
Verdict Joiner::Impl::reopen(const MarkedSegment& segment, const splice_negotiated& negotiated) {
    connections.erase(segment.key, segment.known);
    const Verdict verdict = open(segment, negotiated);
    return verdict == SPLICE_open_replay ? SPLICE_reopen_replay : verdict;
}

Verdict Joiner::Impl::deliver(MarkedSegment& segment) {
    const Verdict verdict =
        translate_toward_backend(*segment.known.established(), segment.packet, segment.bytes);
    if (verdict != SPLICE_CONTINUE) return verdict;
    if (BridgeFlowTable::Entry* entry = segment.known.entry) {
        splice_bridge_flow_touch_by_client(&entry->second.value, &segment.packet, segment.now.seconds());
        connections.tell_end(*entry);
        connections.touch(*entry, segment.now.seconds());
    }
    return SPLICE_deliver;
}

Verdict Joiner::Impl::icmp_from_balancer(MutableBytes bytes, splice_packet& packet,
                                         const JoinerService& service) {
    splice_packet quoted{};
    if (const Verdict verdict = splice_parse_icmp_error(begin_of(bytes), end_of(bytes), &packet, &quoted);
        verdict != SPLICE_CONTINUE)
        return verdict;
    // The quoted packet went from the VIP to the client.
    splice_flow_key key = splice_flow_toward_client(&quoted);
    key.server = service.backend.address.raw();
    key.server_port = splice_htons(service.backend.port);
    const KnownConnection known = connections.find(key);
    const splice_translation* how = known.established();
    if (!how) return SPLICE_drop_orphan_icmp;
    const Verdict verdict =
        splice_translate_icmp_toward_backend(begin_of(bytes), end_of(bytes), &packet, how);
    return verdict == SPLICE_CONTINUE ? SPLICE_deliver_icmp : verdict;
}

// Unmarked packets pass. One of a connection that is spliced here lost its mark on the way: worth a count of
// its own.
Verdict Joiner::Impl::judge_unmarked(Instant now, const splice_packet& packet) noexcept {
    for (const JoinerService& service : setup->services) {
        if (splice_htons(service.vip.port) != packet.ends.destination_port ||
            service.vip.address.family() != packet.family)
            continue;
        const bool to_us =
            std::ranges::find(setup->addresses, IpAddress(packet.ends.destination)) != setup->addresses.end();
        if (to_us && splice_uncarry(&packet).kind != SPLICE_CARRIAGE_NONE)
            return SPLICE_pass_mark_of_no_service;
        splice_packet sent = packet;
        sent.ends.destination = service.vip.address.raw();
        if (to_us && splice_bridge_mark_lost(&sent, &setup->secret, static_cast<std::uint64_t>(now.unix_s)))
            return SPLICE_pass_mark_lost;
        if (connections.find(backend_key(packet, service)).exists()) return SPLICE_pass_unmarked_known_flow;
    }
    return SPLICE_pass_unmarked;
}

// --- From the backend ----------------------------------------------------------------------------------

Verdict Joiner::Impl::from_backend(Instant now, MutableBytes bytes, bool checksum_finished, Actions& out) {
    splice_packet packet{};
    if (const Verdict verdict = splice_parse_ip(begin_of(bytes), end_of(bytes), &packet);
        verdict != SPLICE_CONTINUE)
        return verdict;
    bytes = bytes.first(splice_ip_length(&packet));
    if (packet.protocol != SPLICE_PROTOCOL_TCP) return icmp_from_backend(bytes, packet);
    const splice_flow_key key = splice_flow_toward_client(&packet);
    const KnownConnection known = connections.find(key);
    const splice_bridge_flow* flow = known.flow();
    if (!flow) return SPLICE_pass_not_spliced;
    if (!checksum_finished) splice_finish_tcp_checksum(bytes.data(), &packet);
    // What is only passed on keeps its checksum, right or wrong, for the client to judge; what decides is
    // judged here: a wrong number learnt now would be wrong for the connection's whole life.
    const bool decides = flow->state == SPLICE_BRIDGE_OPENING || (packet.tcp_flags & SPLICE_SYN);
    if (decides && !splice_verify_tcp_checksum(bytes.data(), &packet)) return SPLICE_drop_bad_tcp_checksum;
    if (flow->state == SPLICE_BRIDGE_OPENING)
        return openings.take_answer(now, packet, bytes, *known.entry, setup->secret, out);
    return established_answer(now, packet, bytes, key, known, out);
}

Verdict Joiner::Impl::established_answer(Instant now, const splice_packet& packet, MutableBytes bytes,
                                         const splice_flow_key& key, const KnownConnection& known,
                                         Actions& out) {
    const splice_bridge_flow& flow = *known.flow();
    if ((packet.tcp_flags & (SPLICE_SYN | SPLICE_ACK)) == (SPLICE_SYN | SPLICE_ACK)) {
        if (Seq(packet.ack) == Seq(flow.client_isn) + 1) {
            Openings::acknowledge_again(packet, bytes, key, flow, out);
            return SPLICE_acknowledge_backend;
        }
        // The backend answers another SYN on these ports, so it has ended our connection: the client has
        // turned to the backend directly, and its connection is none of ours.
        connections.erase(key, known);
        return SPLICE_pass_not_spliced;
    }
    const Verdict verdict = translate_toward_client(flow.translation, packet, bytes);
    if (verdict != SPLICE_CONTINUE) return verdict;
    if (known.entry) {
        splice_bridge_flow_touch_by_backend(&known.entry->second.value, &packet, now.seconds());
        connections.tell_end(*known.entry);
        connections.touch(*known.entry, now.seconds());
    }
    return SPLICE_toward_client;
}

Verdict Joiner::Impl::icmp_from_backend(MutableBytes bytes, splice_packet& packet) {
    splice_packet quoted{};
    if (const Verdict verdict = splice_parse_icmp_error(begin_of(bytes), end_of(bytes), &packet, &quoted);
        verdict != SPLICE_CONTINUE)
        return verdict;
    // The quoted packet went from the client to the backend.
    const KnownConnection known = connections.find(*splice_flow_toward_server(&quoted));
    const splice_translation* how = known.established();
    if (!how) return SPLICE_pass_icmp_not_ours;
    const Verdict verdict = splice_translate_icmp_toward_client(begin_of(bytes), end_of(bytes), &packet, how);
    return verdict == SPLICE_CONTINUE ? SPLICE_toward_client_icmp : verdict;
}

}  // namespace splice
