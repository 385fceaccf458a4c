#include "libsplice/core/splicer.hpp"

#include <algorithm>
#include <map>

#include "libsplice/core/flow_table.hpp"
#include "libsplice/core/http_refusal.hpp"
#include "libsplice/core/segment_hold.hpp"
#include "libsplice/datapath/balancer_rules.h"
#include "libsplice/datapath/forward.h"
#include "libsplice/datapath/parse.h"
#include "libsplice/datapath/segment.h"

namespace splice {
namespace {

// Idle lists of the flow table, by how long an entry may be silent.
enum List : std::uint8_t { kOpen, kClosing, kReset, kListCount };

List list_of(const splice_flow_entry& entry) noexcept {
    if (entry.flags & SPLICE_FLOW_RESET) return kReset;
    if ((entry.flags & SPLICE_FLOW_CLIENT_FIN) || entry.state == SPLICE_FLOW_REFUSED) return kClosing;
    return kOpen;
}

// The flow that an ICMP error's quoted packet (which went to the client) belongs to, as the client's packets
// name it.
splice_flow_key reversed(const splice_flow_key& key) noexcept {
    return {key.vip, key.client, key.vip_port, key.client_port, 0};
}

std::string_view source_key(const splice_packet& packet) noexcept {
    return {reinterpret_cast<const char*>(packet.key.client.bytes), sizeof(packet.key.client.bytes)};
}

}  // namespace

struct Splicer::Impl {
    // A flow that waits for the rest of its first payload.
    struct Pending {
        SegmentHold hold;
        std::multimap<Duration, splice_flow_key>::iterator deadline;
    };
    struct Flow {
        splice_flow_entry entry{};
        std::unique_ptr<Pending> pending;
    };
    using Table = FlowTable<Flow, kListCount>;

    // One packet on its way through the rules.
    struct Walk {
        Instant now;
        MutableBytes bytes;
        splice_packet packet;
        const SplicerService* service;
        std::uint16_t service_index;
        Table::Entry* entry;  // null: no flow yet
        Actions& out;
    };

    // Where a first payload goes, and why not by its key.
    struct Chosen {
        Choices choices;
        std::optional<Fallback> fallback;
    };

    Impl(std::shared_ptr<const SplicerRules> initial, SplicerCounters& c)
        : rules(std::move(initial)), counters(c) {}

    Verdict handle(Instant now, MutableBytes bytes, bool checksum_finished, Actions& out);
    Verdict handle_icmp(Walk& walk);
    Verdict take_step(Walk& walk);
    Verdict answer_syn(Walk& walk);
    Verdict begin(Walk& walk, bool by_source);
    Verdict open(Walk& walk, const Chosen& chosen);
    Verdict hold_first(Walk& walk);
    Verdict hold_more(Walk& walk);
    Verdict forward(Walk& walk, Verdict verdict);
    Verdict next_choice(Walk& walk);
    Verdict refuse(Walk& walk);
    Verdict end_refused(Walk& walk);

    // The answer that a held or whole first payload gives by now; nothing = wait for more.
    std::optional<Chosen> try_choose(const SplicerService& service, std::string_view source, Bytes stream,
                                     bool ended, bool at_limit);
    Chosen choose_source(const SplicerService& service, std::string_view source, Fallback why);
    void release(Instant now, Table::Entry& entry, const Chosen& chosen, Actions& out);
    bool send_to_bridge(MutableBytes bytes, const splice_flow_entry& entry, Actions& out);
    void drop_pending(Flow& flow) noexcept;
    void forget(Table::Entry& entry) noexcept;

    [[nodiscard]] const SplicerService* find_service(const splice_flow_key& key,
                                                     std::uint16_t& index) const noexcept;
    [[nodiscard]] const IpAddress* bridge_address(std::uint16_t bridge) const noexcept {
        return bridge < rules->bridges.size() ? &rules->bridges[bridge].address : nullptr;
    }
    [[nodiscard]] std::array<std::uint32_t, kListCount> limits() const noexcept {
        return {rules->timeouts.open_s, rules->timeouts.closing_s, rules->timeouts.reset_s};
    }
    void publish() noexcept {
        counters.flows.store(table.size(), std::memory_order_relaxed);
        counters.flows_pending.store(deadlines.size(), std::memory_order_relaxed);
        counters.held_bytes.store(held_bytes, std::memory_order_relaxed);
    }

    std::shared_ptr<const SplicerRules> rules;
    SplicerCounters& counters;
    Table table;
    std::multimap<Duration, splice_flow_key> deadlines;  // of pending flows
    std::size_t held_bytes = 0;
    std::string scratch;
};

Splicer::Splicer(std::shared_ptr<const SplicerRules> rules)
    : impl_(std::make_unique<Impl>(std::move(rules), counters_)) {}
Splicer::~Splicer() = default;

std::size_t Splicer::flows() const noexcept {
    return impl_->table.size();
}

Verdict Splicer::handle_packet(Instant now, MutableBytes packet, bool checksum_finished,
                               Actions& out) noexcept {
    const Verdict verdict = impl_->handle(now, packet, checksum_finished, out);
    counters_.verdicts.add(verdict);
    impl_->publish();
    return verdict;
}

void Splicer::replace_rules(std::shared_ptr<const SplicerRules> rules) {
    const std::shared_ptr<const SplicerRules> old = std::exchange(impl_->rules, std::move(rules));
    // Where each old service stands now, by VIP and port; flows of one that is gone end as orphans.
    std::vector<std::optional<std::uint16_t>> moved(old->services.size());
    for (std::size_t i = 0; i < old->services.size(); ++i) {
        const auto& now = impl_->rules->services;
        const auto same = std::ranges::find(now, old->services[i].vip, &SplicerService::vip);
        if (same != now.end()) moved[i] = static_cast<std::uint16_t>(same - now.begin());
    }
    impl_->table.erase_if([&](Impl::Table::Entry& entry) {
        splice_flow_entry& flow = entry.second.value.entry;
        const auto& service = moved[flow.service];
        if (service)
            flow.service = *service;
        else
            impl_->forget(entry);
        return !service;
    });
    impl_->publish();
}

void Splicer::expire(Instant now, Actions& out) noexcept {
    auto& deadlines = impl_->deadlines;
    while (!deadlines.empty() && deadlines.begin()->first <= now.monotonic) {
        // The entry is there: a deadline goes with its pending flow.
        Impl::Table::Entry& entry = *impl_->table.find(deadlines.begin()->second);
        const SplicerService& service = impl_->rules->services[entry.second.value.entry.service];
        const std::string_view source(reinterpret_cast<const char*>(entry.first.client.bytes),
                                      sizeof(entry.first.client.bytes));
        impl_->release(now, entry, impl_->choose_source(service, source, Fallback::wait_expired), out);
    }
    const std::size_t expired = impl_->table.expire(
        now.seconds(), impl_->limits(), [this](Impl::Table::Entry& entry) { impl_->forget(entry); });
    counters_.flows_expired.fetch_add(expired, std::memory_order_relaxed);
    impl_->publish();
}

std::optional<Duration> Splicer::next_deadline() const noexcept {
    std::optional<Duration> next;
    if (const auto idle_s = impl_->table.next_expiry_s(impl_->limits())) next = std::chrono::seconds(*idle_s);
    if (!impl_->deadlines.empty() && (!next || impl_->deadlines.begin()->first < *next))
        next = impl_->deadlines.begin()->first;
    return next;
}

// --- The walk of a packet
// -------------------------------------------------------------------------------------

Verdict Splicer::Impl::handle(Instant now, MutableBytes bytes, bool checksum_finished, Actions& out) {
    Walk walk{now, bytes, {}, nullptr, 0, nullptr, out};
    const std::byte* data = bytes.data();
    if (const Verdict verdict = splice_parse_ip(data, data + bytes.size(), &walk.packet);
        verdict != SPLICE_CONTINUE)
        return verdict;
    if (walk.packet.protocol != SPLICE_PROTOCOL_TCP) return handle_icmp(walk);

    walk.service = find_service(walk.packet.key, walk.service_index);
    if (!walk.service) return SPLICE_pass_not_service;
    if (!checksum_finished) splice_finish_tcp_checksum(bytes.data(), &walk.packet);
    walk.entry = table.find(walk.packet.key);
    return take_step(walk);
}

Verdict Splicer::Impl::take_step(Walk& walk) {
    const splice_flow_entry* entry = walk.entry ? &walk.entry->second.value.entry : nullptr;
    const bool chooses_by_source = walk.service->key.kind == KeyKind::source;
    const splice_balancer_decision decision = splice_balancer_decide(
        &walk.packet, entry, &rules->secret, static_cast<std::uint64_t>(walk.now.unix_s), chooses_by_source);

    // What is only sent on keeps its checksum, right or wrong, for its receiver to judge; what decides is
    // judged here.
    const bool decides = decision.step != SPLICE_STEP_FORWARD && decision.step != SPLICE_STEP_DROP;
    if (decides && !splice_verify_tcp_checksum(walk.bytes.data(), &walk.packet))
        return SPLICE_drop_bad_tcp_checksum;

    switch (decision.step) {
        case SPLICE_STEP_SYN_ACK:
            return answer_syn(walk);
        case SPLICE_STEP_CHOOSE:
            return begin(walk, chooses_by_source);
        case SPLICE_STEP_CHOOSE_SOURCE:
            return begin(walk, true);
        case SPLICE_STEP_HOLD:
            return hold_more(walk);
        case SPLICE_STEP_FORWARD:
            return forward(walk, SPLICE_forward_open);
        case SPLICE_STEP_NEXT_CHOICE:
            return next_choice(walk);
        case SPLICE_STEP_REFUSE:
            return end_refused(walk);
        case SPLICE_STEP_DROP:
            break;
    }
    return decision.verdict;
}

Verdict Splicer::Impl::answer_syn(Walk& walk) {
    splice_tcp_options offered{};
    splice_parse_tcp_options(walk.bytes.data(), walk.bytes.data() + walk.bytes.size(), &walk.packet,
                             &offered);
    if (offered.malformed) return SPLICE_drop_bad_tcp_options;
    const std::uint32_t cookie = splice_cookie_make(&rules->secret, &walk.packet, &offered,
                                                    static_cast<std::uint64_t>(walk.now.unix_s));
    const splice_syn_ack_terms terms{.mss = walk.service->mss,
                                     .window = kSynAckWindow,
                                     .window_scale = walk.service->window_scale,
                                     .zero = {},
                                     .tsval = walk.now.tsval()};
    splice_segment answer;
    splice_write_syn_ack(&answer, &walk.packet, &offered, cookie, &terms);
    walk.out.send(std::as_bytes(std::span(answer.bytes, answer.length)));
    if (!walk.entry) return SPLICE_answer_syn_ack;
    walk.entry->second.value.entry.flags |= SPLICE_FLOW_REOPENED;
    return SPLICE_answer_syn_ack_reopened;
}

Verdict Splicer::Impl::handle_icmp(Walk& walk) {
    splice_packet quoted{};
    const std::byte* data = walk.bytes.data();
    if (const Verdict verdict =
            splice_parse_icmp_error(data, data + walk.bytes.size(), &walk.packet, &quoted);
        verdict != SPLICE_CONTINUE)
        return verdict;
    const splice_flow_key key = reversed(quoted.key);
    if (!find_service(key, walk.service_index)) return SPLICE_pass_icmp_not_ours;
    Table::Entry* entry = table.find(key);
    if (!entry || entry->second.value.entry.state != SPLICE_FLOW_OPEN) return SPLICE_drop_orphan_icmp;
    const splice_flow_entry& flow = entry->second.value.entry;
    const IpAddress* bridge = bridge_address(flow.bridge);
    if (!bridge) return SPLICE_drop_orphan_icmp;
    const Verdict verdict = splice_forward(walk.bytes.data(), walk.bytes.data() + walk.bytes.size(),
                                           &walk.packet, &bridge->raw(), rules->services[flow.service].dscp);
    return verdict == SPLICE_CONTINUE ? SPLICE_forward_icmp : verdict;
}

// --- Choosing
// ---------------------------------------------------------------------------------------------------

Splicer::Impl::Chosen Splicer::Impl::choose_source(const SplicerService& service, std::string_view source,
                                                   Fallback why) {
    counters.fallbacks[static_cast<std::size_t>(why)].fetch_add(1, std::memory_order_relaxed);
    return {service.placement->choose(source), why};
}

std::optional<Splicer::Impl::Chosen> Splicer::Impl::try_choose(const SplicerService& service,
                                                               std::string_view source, Bytes stream,
                                                               bool ended, bool at_limit) {
    const KeyAnswer answer = first_payload_key(service.protocol, service.key, stream, scratch);
    if (const auto* key = std::get_if<Key>(&answer)) return Chosen{service.placement->choose(key->bytes), {}};
    if (const auto* none = std::get_if<NoKey>(&answer)) return choose_source(service, source, none->why);
    if (ended) return choose_source(service, source, Fallback::ended);
    if (at_limit) return choose_source(service, source, Fallback::too_long);
    return std::nullopt;
}

// A valid cookie: a connection begins here, anew where the ports were used before.
Verdict Splicer::Impl::begin(Walk& walk, bool by_source) {
    const std::string_view source = source_key(walk.packet);
    const bool ended = (walk.packet.tcp_flags & SPLICE_FIN) != 0;
    if (by_source) {
        const bool rule = walk.service->key.kind == KeyKind::source;
        return open(walk,
                    choose_source(*walk.service, source, rule ? Fallback::key_is_source : Fallback::ended));
    }
    const Bytes stream = Bytes(walk.bytes).subspan(walk.packet.payload_offset, walk.packet.payload_length);
    const bool at_limit = stream.size() >= walk.service->first_payload_max;
    if (const auto chosen = try_choose(*walk.service, source, stream, ended, at_limit))
        return open(walk, *chosen);
    return hold_first(walk);
}

// The first payload is whole in this one packet: it is edited in place and goes.
Verdict Splicer::Impl::open(Walk& walk, const Chosen& chosen) {
    const std::uint16_t bridge = chosen.choices.bridges.choices[0];
    if (bridge == SPLICE_NO_BRIDGE) return SPLICE_drop_no_bridge;
    if (!walk.entry) walk.entry = table.insert(walk.packet.key, rules->max_flows, walk.now.seconds());
    if (!walk.entry) return SPLICE_drop_flow_table_full;
    Flow& flow = walk.entry->second.value;
    drop_pending(flow);
    splice_flow_begin(&flow.entry, &walk.packet, SPLICE_FLOW_OPEN, walk.service_index, chosen.choices.row,
                      bridge, walk.now.seconds());
    if (!chosen.fallback) return forward(walk, SPLICE_forward_first_payload);
    const bool bare_ack = walk.packet.payload_length == 0 && !(walk.packet.tcp_flags & SPLICE_FIN);
    return forward(walk, bare_ack ? SPLICE_forward_first_ack : SPLICE_forward_first_payload_source);
}

Verdict Splicer::Impl::hold_first(Walk& walk) {
    if (held_bytes + walk.bytes.size() > rules->first_payload_memory) return SPLICE_drop_first_payload_memory;
    if (!walk.entry) walk.entry = table.insert(walk.packet.key, rules->max_flows, walk.now.seconds());
    if (!walk.entry) return SPLICE_drop_flow_table_full;
    Flow& flow = walk.entry->second.value;
    drop_pending(flow);
    splice_flow_begin(&flow.entry, &walk.packet, SPLICE_FLOW_PENDING, walk.service_index, 0, SPLICE_NO_BRIDGE,
                      walk.now.seconds());
    const SegmentHoldLimits limits{walk.service->first_payload_max, kFirstPayloadPackets};
    const Duration deadline = walk.now.monotonic + walk.service->first_payload_wait;
    flow.pending = std::make_unique<Pending>(
        Pending{SegmentHold(Seq(walk.packet.seq), limits), deadlines.emplace(deadline, walk.packet.key)});
    flow.pending->hold.add(walk.packet, walk.bytes);
    held_bytes += flow.pending->hold.memory();
    table.touch(*walk.entry, kOpen, walk.now.seconds());
    return SPLICE_hold_first_payload;
}

Verdict Splicer::Impl::hold_more(Walk& walk) {
    Flow& flow = walk.entry->second.value;
    SegmentHold& hold = flow.pending->hold;
    // The client gave up and began anew from the same port before its first payload was complete.
    if ((flow.entry.flags & SPLICE_FLOW_REOPENED) && Seq(walk.packet.seq) != hold.first() &&
        splice_balancer_cookie_valid(&walk.packet, &rules->secret,
                                     static_cast<std::uint64_t>(walk.now.unix_s)))
        return begin(walk, false);

    if (held_bytes + walk.bytes.size() > rules->first_payload_memory) return SPLICE_drop_first_payload_memory;
    const std::size_t before = hold.memory();
    const SegmentHold::Added added = hold.add(walk.packet, walk.bytes);
    held_bytes += hold.memory() - before;
    if (added == SegmentHold::Added::duplicate) return SPLICE_drop_duplicate_payload;
    if (added == SegmentHold::Added::outside) return SPLICE_drop_first_payload_window;
    const bool at_limit = hold.at_limit() || added == SegmentHold::Added::full;
    const bool ended = hold.ended() || (walk.packet.tcp_flags & SPLICE_RST);
    const auto chosen = try_choose(*walk.service, source_key(walk.packet), hold.stream(), ended, at_limit);
    if (!chosen) return SPLICE_hold_first_payload;
    release(walk.now, *walk.entry, *chosen, walk.out);
    return added == SegmentHold::Added::full ? SPLICE_drop_first_payload_window
                                             : SPLICE_release_first_payload;
}

// The choice is made: what was held goes, in order. Without a bridge it goes nowhere and the client will
// repeat it.
void Splicer::Impl::release(Instant now, Table::Entry& entry, const Chosen& chosen, Actions& out) {
    Flow& flow = entry.second.value;
    flow.entry.bridge = chosen.choices.bridges.choices[0];
    flow.entry.row = chosen.choices.row;
    flow.entry.state = SPLICE_FLOW_OPEN;
    flow.entry.last_seen_s = now.seconds();
    if (flow.entry.bridge == SPLICE_NO_BRIDGE) {
        counters.verdicts.add(SPLICE_drop_no_bridge);
        drop_pending(flow);
        table.erase(entry);
        return;
    }
    flow.pending->hold.for_each([&](MutableBytes bytes) { send_to_bridge(bytes, flow.entry, out); });
    drop_pending(flow);
    table.touch(entry, list_of(flow.entry), now.seconds());
}

// --- Sending on
// -------------------------------------------------------------------------------------------------

Verdict Splicer::Impl::forward(Walk& walk, Verdict verdict) {
    splice_flow_entry& flow = walk.entry->second.value.entry;
    const IpAddress* bridge = bridge_address(flow.bridge);
    if (!bridge) {
        table.erase(*walk.entry);
        return SPLICE_drop_orphan;
    }
    const Verdict edited = splice_forward(walk.bytes.data(), walk.bytes.data() + walk.bytes.size(),
                                          &walk.packet, &bridge->raw(), walk.service->dscp);
    if (edited != SPLICE_CONTINUE) return edited;
    splice_flow_touch(&flow, &walk.packet, walk.now.seconds());
    table.touch(*walk.entry, list_of(flow), walk.now.seconds());
    return verdict;
}

bool Splicer::Impl::send_to_bridge(MutableBytes bytes, const splice_flow_entry& entry, Actions& out) {
    const IpAddress* bridge = bridge_address(entry.bridge);
    splice_packet packet{};
    std::byte* data = bytes.data();
    if (!bridge || splice_parse_ip(data, data + bytes.size(), &packet) != SPLICE_CONTINUE) return false;
    if (splice_forward(data, data + bytes.size(), &packet, &bridge->raw(),
                       rules->services[entry.service].dscp) != SPLICE_CONTINUE)
        return false;
    out.send(bytes);
    return true;
}

Verdict Splicer::Impl::next_choice(Walk& walk) {
    splice_flow_entry& flow = walk.entry->second.value.entry;
    const splice_placement_row row = walk.service->placement->row(flow.row);
    const std::uint16_t next = flow.tries < SPLICE_CHOICES ? row.choices[flow.tries] : SPLICE_NO_BRIDGE;
    if (next == SPLICE_NO_BRIDGE) return refuse(walk);
    flow.bridge = next;
    ++flow.tries;
    return forward(walk, SPLICE_forward_next_choice);
}

// Every choice has refused. The entry stays for a while, to end what the client still sends.
Verdict Splicer::Impl::refuse(Walk& walk) {
    splice_flow_entry& flow = walk.entry->second.value.entry;
    flow.state = SPLICE_FLOW_REFUSED;
    table.touch(*walk.entry, kClosing, walk.now.seconds());
    if (walk.service->protocol == Protocol::http && walk.packet.payload_length) {
        walk.out.send(HttpRefusal(walk.now, walk.packet, walk.bytes).packet());
        return SPLICE_answer_refused_503;
    }
    splice_segment reset;
    splice_write_rst(&reset, &walk.packet);
    walk.out.send(std::as_bytes(std::span(reset.bytes, reset.length)));
    return SPLICE_answer_refused_rst;
}

// Our answer's acknowledgement needs none; a FIN or more payload gets the RST that lets the client forget.
Verdict Splicer::Impl::end_refused(Walk& walk) {
    if (!(walk.packet.tcp_flags & SPLICE_FIN) && walk.packet.payload_length == 0) return SPLICE_end_refused;
    splice_segment reset;
    splice_write_rst(&reset, &walk.packet);
    if (reset.length) walk.out.send(std::as_bytes(std::span(reset.bytes, reset.length)));
    return SPLICE_answer_refused_rst;
}

// --- Keeping
// ----------------------------------------------------------------------------------------------------

void Splicer::Impl::drop_pending(Flow& flow) noexcept {
    if (!flow.pending) return;
    held_bytes -= flow.pending->hold.memory();
    deadlines.erase(flow.pending->deadline);
    flow.pending.reset();
}

void Splicer::Impl::forget(Table::Entry& entry) noexcept {
    drop_pending(entry.second.value);
}

const SplicerService* Splicer::Impl::find_service(const splice_flow_key& key,
                                                  std::uint16_t& index) const noexcept {
    const std::uint16_t port = splice_ntohs(key.vip_port);
    for (std::size_t i = 0; i < rules->services.size(); ++i) {
        const Endpoint& vip = rules->services[i].vip;
        if (vip.port == port && splice_address_equal(&vip.address.raw(), &key.vip)) {
            index = static_cast<std::uint16_t>(i);
            return &rules->services[i];
        }
    }
    return nullptr;
}

}  // namespace splice
