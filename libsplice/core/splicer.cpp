#include "libsplice/core/splicer.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>

#include "libsplice/core/http_refusal.hpp"
#include "libsplice/core/overtakers.hpp"
#include "libsplice/core/packet_too_big.hpp"
#include "libsplice/core/segment_bytes.hpp"
#include "libsplice/core/segment_hold.hpp"
#include "libsplice/datapath/balancer_rules.h"
#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/lane.h"
#include "libsplice/datapath/packet.h"
#include "libsplice/datapath/refusal.h"
#include "libsplice/datapath/sample.h"
#include "libsplice/datapath/segment.h"

namespace splice {
namespace {

// A service is the same over a reload while its address and port are.
std::uint64_t identity_of(const Endpoint& vip) noexcept {
    const splice_address& address = vip.address.raw();
    return (address.halves[0] * 31 + address.halves[1]) * 0x9e3779b97f4a7c15U + vip.port;
}

std::vector<LoadedService> loaded_services(const SplicerSetup& setup) {
    std::vector<LoadedService> services;
    for (const SplicerService& service : setup.services) {
        if (service.choice.weighs == 0) continue;
        services.push_back({.identity = identity_of(service.vip),
                            .mark = service.carriage.mark,
                            .states = service.choice.states,
                            .bounded_load = service.bounded_load,
                            .bridges = service.members});
    }
    return services;
}

// The client's address, of the packets or of the PROXY header that was read; it lives where that does.
std::string_view source_key(const splice_flow_key& key, const FirstPayloadScan& scan) noexcept {
    const splice_address& client = scan.proxy.source ? *scan.proxy.source : key.client;
    return {reinterpret_cast<const char*>(client.bytes), sizeof(client.bytes)};
}

// Of the monotonic clock, or a part of it; wraps.
std::uint32_t microseconds(Duration time) noexcept {
    return static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::microseconds>(time).count());
}

// What the client itself says, behind the PROXY header where one was read.
Bytes behind_header(Bytes stream, const FirstPayloadScan& scan) noexcept {
    return stream.subspan(scan.proxy.length);
}

}  // namespace

// What we answer to strangers, a second at a time.
class Budget {
  public:
    // False: this second has had its `most`.
    bool take(Instant now, std::uint32_t most) noexcept {
        if (now.monotonic >= began_ + 1s) {
            began_ = now.monotonic;
            taken_ = 0;
        }
        if (taken_ >= most) return false;
        ++taken_;
        return true;
    }

  private:
    Duration began_{};
    std::uint32_t taken_ = 0;
};

struct Splicer::Impl {
    // A flow that waits for the rest of its first payload.
    struct Pending {
        SegmentHold hold;
        FirstPayloadScan scan;  // of the hold's stream
        std::multimap<Duration, splice_flow_key>::iterator deadline;
        Duration since{};  // its first segment came
    };
    // One packet on its way through the rules.
    struct Walk {
        Instant now;
        MutableBytes bytes;
        splice_packet packet;
        splice_flow_key key;  // the packet's as it came: an edit changes that
        const SplicerService* service;
        std::optional<splice_flow_entry> entry;  // nothing: no flow yet
        Actions& out;
        std::optional<splice_refusal> refusal{};  // of a packet that was bounced
    };
    // Who may have a connection that is not known here, the likeliest first, each once.
    struct Candidates {
        std::array<std::uint16_t, 2 + SPLICE_CHOICES> bridges{};
        std::size_t count = 0;
        bool lane_unknown = false;  // nobody has the number that its timestamps name
    };

    // Where a first payload goes, and why not by its key.
    struct Chosen {
        Choices choices;
        std::optional<Fallback> fallback;
        std::string_view key;  // what was hashed, for as long as the stream, the flow's key and the scan live
        // Nothing where the source chose.
        [[nodiscard]] std::optional<std::string_view> own_key() const {
            return fallback ? std::nullopt : std::optional(key);
        }
    };
    // Which of the choices takes the flow.
    struct Taken {
        std::uint16_t bridge = SPLICE_NO_BRIDGE;
        std::uint8_t tries = 1;  // splice_flow_entry's
    };

    Impl(std::shared_ptr<const SplicerSetup> initial, FlowStore* shared, SplicerCounters& c)
        : setup(std::move(initial)),
          counters(c),
          flows(shared ? *shared : memory.emplace(setup->source_key)) {
        flows.set_limits(setup->max_flows, setup->timeouts);
        loads.set_services(loaded_services(*setup));
        set_hot_services();
        lanes = lanes_of(*setup);
        set_client_limits();
    }
    // Keys of a service that stays are hot as before.
    void set_hot_services();

    // What a packet without a known flow may do: wait for the first payload that it may have overtaken.
    enum class Orphan : std::uint8_t { waits, ends };

    Verdict handle(Instant now, MutableBytes bytes, bool checksum_finished, Orphan orphan, Actions& out);
    Verdict hold_orphan(const Walk& walk);
    Verdict handle_icmp(Walk& walk);
    Verdict take_step(Walk& walk, bool ordinary = false);
    // `proof`: of the cookie that is answered with, or that was.
    [[nodiscard]] splice_syn_ack_terms terms_of(const Walk& walk, std::uint16_t proof) const noexcept {
        return {.mss = walk.service->mss,
                .window = kSynAckWindow,
                .window_scale = walk.service->window_scale,
                .zero = {},
                .tsval = walk.service->keyed_clock
                             ? splice_clock_of_syn_ack(splice_lane_hash(&setup->secret.lane, &walk.key),
                                                       proof, walk.now.unix_ms())
                             : walk.now.tsval()};
    }
    [[nodiscard]] std::uint32_t lane_of(const Walk& walk) const noexcept;
    [[nodiscard]] std::optional<std::uint16_t> bridge_of_quoted(const Walk& walk,
                                                                splice_packet& quoted) const;
    [[nodiscard]] static splice_tcp_options options_of(const Walk& walk) noexcept {
        splice_tcp_options options{};
        const std::byte* data = walk.bytes.data();
        splice_parse_tcp_options(data, data + walk.bytes.size(), &walk.packet, &options);
        return options;
    }
    [[nodiscard]] Verdict proves(const Walk& walk, std::uint16_t proof) noexcept;
    void note_guess(const Walk& walk) noexcept;
    [[nodiscard]] bool is_denied(const Walk& walk) const noexcept;
    [[nodiscard]] Verdict allows(const Walk& walk) noexcept;
    void set_client_limits() noexcept;
    Verdict follow_lane(Walk& walk, std::uint32_t lane);
    Verdict follow_source(Walk& walk);
    Verdict carry_on(Walk& walk, std::uint16_t index, Verdict verdict);
    [[nodiscard]] splice_refusal refusal_of(const Walk& walk) const noexcept {
        const std::byte* const begin = walk.bytes.data();
        return splice_read_refusal(begin, begin + walk.bytes.size(), &walk.packet, &setup->secret);
    }
    [[nodiscard]] splice_refuser refuser_of(const Walk& walk) const noexcept;
    [[nodiscard]] Candidates candidates_for(const Walk& walk) const;
    Verdict take_bounced(Walk& walk);
    [[nodiscard]] bool is_late(const Walk& walk) const noexcept;
    Verdict answer_late(Walk& walk);
    // Tells the client that its connection is over; nothing where its packet is a RST itself (RFC 9293
    // section 3.10.7.1).
    static void send_reset(const Walk& walk);
    Verdict answer_keep_alive(Walk& walk);
    Verdict answer_syn(Walk& walk);
    Verdict begin(Walk& walk, bool by_source);
    Verdict open(Walk& walk, const Chosen& chosen);
    [[nodiscard]] bool pass_over_refuser(Walk& walk) const;
    Verdict hold_first(Walk& walk, const FirstPayloadScan& scan);
    Verdict hold_more(Walk& walk);
    Verdict forward(Walk& walk, Verdict verdict);
    // Edited in place, toward the bridge. SPLICE_CONTINUE, or why it is dropped.
    [[nodiscard]] static Verdict carry(Walk& walk, const IpAddress& bridge,
                                       splice_carriage carriage) noexcept {
        std::byte* const begin = walk.bytes.data();
        return splice_carry(begin, begin + walk.bytes.size(), &walk.packet, &bridge.raw(), carriage);
    }
    [[nodiscard]] std::uint32_t narrower_way(std::uint16_t bridge, std::size_t size) const noexcept;
    Verdict answer_too_big(Instant now, Bytes packet, std::uint32_t mtu, Actions& out);
    Verdict next_choice(Walk& walk);
    Verdict refuse(Walk& walk);
    Verdict refuse_without_bridge(Walk& walk);
    Verdict end_refused(Walk& walk);
    Verdict reset_ended(Walk& walk);
    std::size_t end_flows_of_down_bridges();
    // An IP packet of so many bytes goes to that bridge.
    void count_traffic(std::uint16_t service, std::uint16_t bridge, std::size_t bytes);
    void note_sign(const Walk& walk, splice_flow_sign sign);
    void note_lane(Walk& walk);

    // In `stream`, `scratch`, or for ever.
    KeyAnswer key_of(const SplicerService& service, Bytes stream, FirstPayloadScan& scan);
    // The answer that a held or whole first payload gives by now; nothing = wait for more. `no_more`: why
    // nothing else of it will be looked at.
    std::optional<Chosen> try_choose(const SplicerService& service, const splice_flow_key& flow, Bytes stream,
                                     FirstPayloadScan& scan, std::optional<Fallback> no_more);
    Chosen choose_source(const SplicerService& service, std::string_view source, Fallback why);
    // By a key of the stream: with a subset the client's own bridge comes first.
    static Choices choose_key(const SplicerService& service, const Placement& placement, std::string_view key,
                              std::string_view source);
    // What the shadow would choose; nothing = its key is not whole yet.
    std::optional<Choices> shadow_choice(const SplicerService& service, std::string_view source,
                                         Bytes stream);
    // The row's share that is moved goes by the shadow. Nothing = wait for more.
    std::optional<Chosen> on_ramp(const SplicerService& service, std::string_view source, Bytes stream,
                                  Chosen chosen, bool final);
    // `key`: nothing where the source chose.
    void count_opening(const SplicerService& service, std::string_view source, Bytes stream,
                       std::optional<std::string_view> key);
    void renew_hot_keys(Duration now);
    // `cookie`: splice_choice_cookie()'s. Says what was chosen, and counts it.
    Taken take_choice(const SplicerService& service, const splice_flow_key& flow, const Chosen& chosen,
                      std::uint32_t cookie, Actions& out);
    bool release(Instant now, const splice_flow_key& key, const Chosen& chosen, std::size_t in_hand,
                 Actions& out);
    void send_held(Instant now, MutableBytes bytes, splice_flow_entry& entry, Actions& out);
    splice_opening_times& opening_times();
    void time_opening(Instant now, const splice_flow_key& key, const splice_flow_entry& entry,
                      Duration since);
    void time_answer(const Walk& walk);
    void lose_pending(const splice_flow_key& key, HeldLoss why, std::size_t in_hand = 0) noexcept;
    void drop_pending(const splice_flow_key& key) noexcept;
    void count_lost(HeldLoss why, std::size_t packets) noexcept { counters.held_lost.add(why, packets); }
    void postpone(const splice_flow_key& key, Duration deadline);

    [[nodiscard]] const SplicerService* find_service(const splice_flow_key& key) const noexcept;
    [[nodiscard]] const IpAddress* bridge_address(std::uint16_t bridge) const noexcept {
        if (bridge >= setup->bridges.size() || setup->bridges[bridge].address.is_unspecified())
            return nullptr;
        return &setup->bridges[bridge].address;
    }
    void publish() noexcept {
        counters.flows.store(flows.size(), std::memory_order_relaxed);
        counters.flows_pending.store(deadlines.size(), std::memory_order_relaxed);
        counters.held_bytes.store(held(), std::memory_order_relaxed);
    }
    [[nodiscard]] std::size_t held() const noexcept { return held_bytes + overtakers.memory(); }

    std::shared_ptr<const SplicerSetup> setup;
    SplicerCounters& counters;
    splice_opening_times* opened = nullptr;
    std::unique_ptr<splice_guesses> own_guesses = std::make_unique<splice_guesses>();  // nobody shares others
    splice_guesses* guesses = own_guesses.get();
    std::unique_ptr<splice_source_rates> own_rates = std::make_unique<splice_source_rates>();
    splice_source_rates* rates = own_rates.get();
    std::unique_ptr<splice_opening_times> own_opened;  // once it is needed and nobody shares another
    std::optional<MemoryFlowStore> memory;             // when nothing is shared
    FlowStore& flows;
    std::unordered_map<splice_flow_key, Pending, FlowKeyHash, FlowKeyEqual> pending;
    std::multimap<Duration, splice_flow_key> deadlines;  // of pending flows
    Overtakers overtakers;
    BridgeLoads loads;
    std::map<std::uint8_t, HotKeys> hot;  // by the services' marks
    HotTable hot_table;
    std::string shadow_scratch;
    std::size_t held_bytes = 0;  // of pending flows
    BridgeTotals seen;           // since it was taken last
    std::string scratch;
    std::vector<std::uint32_t> route_mtus;  // by bridge number
    Lanes lanes{};
    Budget too_big_answers, keep_alive_answers, late_answers, not_mine_answers;
};

Splicer::Splicer(std::shared_ptr<const SplicerSetup> setup)
    : impl_(std::make_unique<Impl>(std::move(setup), nullptr, counters_)) {}
Splicer::Splicer(std::shared_ptr<const SplicerSetup> setup, FlowStore& flows)
    : impl_(std::make_unique<Impl>(std::move(setup), &flows, counters_)) {}
Splicer::~Splicer() = default;

void Splicer::add_first_choices(std::uint8_t mark, std::uint64_t count) noexcept {
    ChoiceCounters& choices = counters_.choices[mark % SPLICE_CARRIAGE_MARKS];
    choices.ranks[0].fetch_add(count, std::memory_order_relaxed);
    choices.whys[SPLICE_CHOSE_FIRST].fetch_add(count, std::memory_order_relaxed);
}

const HotTable& Splicer::hot_table() const noexcept {
    return impl_->hot_table;
}

void Splicer::look_at(Bytes bytes) noexcept {
    splice_packet packet{};
    if (splice_parse_ip(bytes.data(), bytes.data() + bytes.size(), &packet) != SPLICE_CONTINUE) return;
    if (packet.protocol != SPLICE_PROTOCOL_TCP) return;
    const SplicerService* const service = impl_->find_service(*splice_flow_toward_server(&packet));
    if (!service || !service->watch) return;
    const Bytes stream = bytes.subspan(packet.payload_offset, packet.payload_length);
    FirstPayloadScan scan;
    const KeyAnswer answer = impl_->key_of(*service, stream, scan);
    const std::string_view source = source_key(*splice_flow_toward_server(&packet), scan);
    const auto* const key = std::get_if<Key>(&answer);
    impl_->count_opening(*service, source, behind_header(stream, scan),
                         key ? std::optional(key->bytes) : std::nullopt);
}

void Splicer::set_full(std::span<const FullBridge> full) noexcept {
    BridgeLoads& loads = impl_->loads;
    for (const LoadedService& service : loads.services()) {
        for (const LoadedBridge& each : service.bridges) {
            const std::uint32_t state = (service.states + each.bridge) & (SPLICE_STATES - 1);
            const bool takes = std::ranges::none_of(full, [&](const FullBridge& one) {
                return one.bridge == each.bridge && identity_of(one.vip) == service.identity;
            });
            // Who takes none has no loads: to say it again would forget nothing, and to say it of others
            // would.
            if (takes != (loads.states()[state].flags == 0)) loads.set_takes(state, takes);
        }
    }
}

BridgeLoads& Splicer::loads() noexcept {
    return impl_->loads;
}

std::size_t Splicer::flows() const noexcept {
    return impl_->flows.size();
}

void Splicer::share_opening_times(splice_opening_times& times) noexcept {
    impl_->opened = &times;
}

void Splicer::share_counts(splice_guesses& guesses, splice_source_rates& rates) noexcept {
    impl_->guesses = &guesses;
    impl_->own_guesses.reset();
    impl_->rates = &rates;
    impl_->own_rates.reset();
    impl_->set_client_limits();
}

GuessCounts Splicer::guess_counts() const noexcept {
    GuessCounts counts{.noted = __atomic_load_n(&impl_->guesses->noted, __ATOMIC_RELAXED)};
    for (std::size_t i = 0; i < SPLICE_GUESS_SCOPES; i++)
        counts.exhausted[i] = __atomic_load_n(&impl_->guesses->exhausted[i], __ATOMIC_RELAXED);
    return counts;
}

std::vector<SignedBridge> Splicer::take_signs() {
    return impl_->seen.take();
}

const FlowStore& Splicer::flow_store() const noexcept {
    return impl_->flows;
}

const FlowCounts& Splicer::flow_counts() const noexcept {
    return impl_->flows.counts();
}

Verdict Splicer::handle_packet(Instant now, MutableBytes packet, bool checksum_finished,
                               Actions& out) noexcept {
    const Verdict verdict = impl_->handle(now, packet, checksum_finished, Impl::Orphan::waits, out);
    counters_.verdicts.add(verdict);
    impl_->publish();
    return verdict;
}

void Splicer::replace_setup(std::shared_ptr<const SplicerSetup> setup) {
    swap_setup(std::move(setup));
    end_unserved_flows();
}

void Splicer::swap_setup(std::shared_ptr<const SplicerSetup> setup) {
    impl_->setup = std::move(setup);
    // A scan belongs to one rule.
    for (auto& [key, waiting] : impl_->pending) waiting.scan = {};
    impl_->flows.set_limits(impl_->setup->max_flows, impl_->setup->timeouts);
    impl_->loads.set_services(loaded_services(*impl_->setup));
    impl_->set_hot_services();
    impl_->lanes = lanes_of(*impl_->setup);
    impl_->set_client_limits();
}

std::size_t Splicer::end_unserved_flows() {
    impl_->flows.erase_if([this](const splice_flow_key& key) {
        const bool gone = !impl_->find_service(key);
        if (gone) impl_->lose_pending(key, HeldLoss::service_gone);
        return gone;
    });
    const std::size_t ended = impl_->end_flows_of_down_bridges();
    impl_->publish();
    return ended;
}

void Splicer::set_route_mtus(std::vector<std::uint32_t> mtus) noexcept {
    impl_->route_mtus = std::move(mtus);
}

void Splicer::expire(Instant now, Actions& out) noexcept {
    for (Overtakers::Segment& segment : impl_->overtakers.take_due(now)) {
        const Verdict verdict = impl_->handle(now, segment.bytes, true, Impl::Orphan::ends, out);
        counters_.verdicts.add(verdict);
        if (verdict_kind(verdict) == SPLICE_KIND_forward) out.send(segment.bytes);
        if (verdict == SPLICE_drop_orphan) impl_->overtakers.remember(segment);
    }
    auto& deadlines = impl_->deadlines;
    while (!deadlines.empty() && deadlines.begin()->first <= now.monotonic) {
        // A copy: the deadline goes with its pending flow.
        const splice_flow_key key = deadlines.begin()->second;
        const SplicerService* const service = impl_->find_service(key);
        if (!service) {  // between swap_rules() and end_unserved_flows(), which may never be called
            impl_->postpone(key, now.monotonic + kFirstPayloadWait);
            continue;
        }
        Impl::Pending& waiting = impl_->pending.at(key);
        const auto chosen =
            impl_->try_choose(*service, key, waiting.hold.stream(), waiting.scan, Fallback::wait_expired);
        (void)impl_->release(now, key, *chosen, 0, out);
    }
    (void)impl_->loads.advance(now.monotonic);
    impl_->renew_hot_keys(now.monotonic);
    const std::size_t expired = impl_->flows.expire(
        now, [this](const splice_flow_key& key) { impl_->lose_pending(key, HeldLoss::expired); });
    counters_.flows_expired.fetch_add(expired, std::memory_order_relaxed);
    impl_->publish();
}

std::optional<Duration> Splicer::next_deadline() const noexcept {
    std::optional<Duration> next = impl_->flows.next_expiry();
    if (!impl_->deadlines.empty() && (!next || impl_->deadlines.begin()->first < *next))
        next = impl_->deadlines.begin()->first;
    for (const auto due : {impl_->overtakers.next_due(), impl_->loads.next_tick()})
        if (due && (!next || *due < *next)) next = due;
    return next;
}

// --- The walk of a packet
// -------------------------------------------------------------------------------------

Verdict Splicer::Impl::handle(Instant now, MutableBytes bytes, bool checksum_finished, Orphan orphan,
                              Actions& out) {
    Walk walk{now, bytes, {}, {}, nullptr, {}, out};
    const std::byte* data = bytes.data();
    if (const Verdict verdict = splice_parse_ip(data, data + bytes.size(), &walk.packet);
        verdict != SPLICE_CONTINUE)
        return verdict;
    // A link's padding is no part of the packet: a raw socket would send it as if it were.
    walk.bytes = bytes = bytes.first(splice_ip_length(&walk.packet));
    if (walk.packet.protocol != SPLICE_PROTOCOL_TCP) return handle_icmp(walk);

    walk.key = *splice_flow_toward_server(&walk.packet);
    walk.service = find_service(walk.key);
    if (!walk.service) return SPLICE_pass_not_service;
    if (!checksum_finished) splice_finish_tcp_checksum(bytes.data(), &walk.packet);
    walk.entry = flows.find(walk.key);
    // Pending, and nothing of it is held here: the kernel saw the beginning first, or an earlier process did.
    // It begins here, with a segment that can begin it.
    if (walk.entry && walk.entry->state == SPLICE_FLOW_PENDING && !pending.contains(walk.key))
        walk.entry.reset();
    const Verdict verdict = take_step(walk);
    if (verdict != SPLICE_drop_orphan) return verdict;
    if (is_late(walk)) return answer_late(walk);
    return orphan == Orphan::waits ? hold_orphan(walk) : verdict;
}

// Its client connected ahead of time and has waited for longer than a cookie lives.
bool Splicer::Impl::is_late(const Walk& walk) const noexcept {
    return splice_balancer_cookie_expired(&walk.packet, &setup->secret,
                                          static_cast<std::uint64_t>(walk.now.unix_s)) &&
           splice_verify_tcp_checksum(walk.bytes.data(), &walk.packet);
}

// The client connects anew at once, where without a word it would ask into silence.
Verdict Splicer::Impl::answer_late(Walk& walk) {
    if (!late_answers.take(walk.now, kLateAnswersPerSecond)) return SPLICE_drop_orphan;
    send_reset(walk);
    return SPLICE_answer_expired_rst;
}

void Splicer::Impl::send_reset(const Walk& walk) {
    splice_segment reset;
    splice_write_rst(&reset, &walk.packet);
    if (reset.length) walk.out.send(bytes_of(reset));
}

Verdict Splicer::Impl::answer_keep_alive(Walk& walk) {
    splice_negotiated negotiated{};
    if (!splice_balancer_probe_valid(&walk.packet, &setup->secret,
                                     static_cast<std::uint64_t>(walk.now.unix_s), &negotiated))
        return SPLICE_drop_orphan;
    if (!keep_alive_answers.take(walk.now, kKeepAliveAnswersPerSecond)) return SPLICE_drop_keep_alive;
    splice_tcp_options options{};
    const std::byte* data = walk.bytes.data();
    splice_parse_tcp_options(data, data + walk.bytes.size(), &walk.packet, &options);
    if (options.malformed) return SPLICE_drop_bad_tcp_options;
    const splice_syn_ack_terms terms = terms_of(walk, negotiated.proof);
    splice_segment answer;
    splice_write_keep_alive(&answer, &walk.packet, splice_scaled_window(&terms, &negotiated),
                            options.timestamps_offset != 0, terms.tsval, options.tsval);
    walk.out.send(bytes_of(answer));
    return SPLICE_answer_keep_alive;
}

// A later segment of a first flight carries no cookie that could be checked; its first may be right behind
// it. What its client repeats and repeats is no such segment, but of a connection that nobody here can find:
// the client is told.
Verdict Splicer::Impl::hold_orphan(const Walk& walk) {
    if (!splice_balancer_may_overtake(&walk.packet) ||
        held() + walk.bytes.size() > setup->first_payload_memory)
        return SPLICE_drop_orphan;
    const auto before = overtakers.recall(walk.key, Seq(walk.packet.seq), Seq(walk.packet.ack));
    const int repeats = before ? *before + 1 : 0;
    if (repeats >= kUnknownRepeats && splice_verify_tcp_checksum(walk.bytes.data(), &walk.packet)) {
        if (!not_mine_answers.take(walk.now, kNotMineAnswersPerSecond)) return SPLICE_drop_orphan;
        send_reset(walk);
        return SPLICE_answer_orphan_rst;
    }
    auto* const kept = overtakers.add(walk.now, kOvertakerWait, walk.key, walk.packet, {}, walk.bytes);
    if (!kept) return SPLICE_drop_orphan;
    kept->repeats = repeats;
    return SPLICE_hold_orphan;
}

// `ordinary`: whatever its DSCP, no bridge has bounced the packet.
Verdict Splicer::Impl::take_step(Walk& walk, bool ordinary) {
    const splice_flow_entry* entry = walk.entry ? &*walk.entry : nullptr;
    const bool chooses_by_source = walk.service->chooses_without_payload();
    const std::uint32_t lane = entry ? SPLICE_NO_LANE : lane_of(walk);
    const splice_balancer_decision decision = splice_balancer_decide(
        &walk.packet, entry, &setup->secret, static_cast<std::uint64_t>(walk.now.unix_s), lane,
        chooses_by_source, ordinary ? SPLICE_REFUSER_NONE : refuser_of(walk));
    if (splice_balancer_is_guess(&walk.packet, entry, &decision)) note_guess(walk);

    // What is only sent on keeps its checksum, right or wrong, for its receiver to judge; what decides is
    // judged here.
    const bool decides = decision.step != SPLICE_STEP_FORWARD && decision.step != SPLICE_STEP_LANE &&
                         decision.step != SPLICE_STEP_SOURCE && decision.step != SPLICE_STEP_DROP;
    if (decides && !splice_verify_tcp_checksum(walk.bytes.data(), &walk.packet))
        return SPLICE_drop_bad_tcp_checksum;

    switch (decision.step) {
        case SPLICE_STEP_SYN_ACK:
            return answer_syn(walk);
        case SPLICE_STEP_CHOOSE:
        case SPLICE_STEP_CHOOSE_SOURCE:
            if (const Verdict refused = proves(walk, decision.proof); refused != SPLICE_CONTINUE)
                return refused;
            if (const Verdict refused = allows(walk); refused != SPLICE_CONTINUE) return refused;
            return begin(walk, chooses_by_source || decision.step == SPLICE_STEP_CHOOSE_SOURCE);
        case SPLICE_STEP_HOLD:
            return hold_more(walk);
        case SPLICE_STEP_KEEP_ALIVE:
            return answer_keep_alive(walk);
        case SPLICE_STEP_FORWARD:
            return forward(walk, SPLICE_forward_open);
        case SPLICE_STEP_LANE:
            return follow_lane(walk, lane);
        case SPLICE_STEP_SOURCE:
            return follow_source(walk);
        case SPLICE_STEP_NEXT_CHOICE:
            return next_choice(walk);
        case SPLICE_STEP_BOUNCED:
            return take_bounced(walk);
        case SPLICE_STEP_REFUSE:
            return end_refused(walk);
        case SPLICE_STEP_RESET:
            return reset_ended(walk);
        case SPLICE_STEP_END:
            splice_flow_end(&*walk.entry, walk.now.seconds());
            (void)flows.put(walk.key, *walk.entry);  // not new
            break;
        case SPLICE_STEP_DROP:
            break;
    }
    return decision.verdict;
}

// Where its service has lanes.
std::uint32_t Splicer::Impl::lane_of(const Walk& walk) const noexcept {
    if (!walk.service->lanes || !splice_balancer_may_have_lane(&walk.packet)) return SPLICE_NO_LANE;
    const splice_tcp_options options = options_of(walk);
    return splice_balancer_lane(&walk.packet, &options, &setup->secret, walk.now.unix_ms());
}

// Of a connection that begins: what it needs besides its cookie. Clients without timestamps are counted.
Verdict Splicer::Impl::proves(const Walk& walk, std::uint16_t proof) noexcept {
    const splice_tcp_options options = options_of(walk);
    if (walk.service->keyed_clock && !options.timestamps_offset)
        counters.begun_without_timestamps.fetch_add(1, std::memory_order_relaxed);
    const bool asks_clock = walk.service->lanes && walk.now.seconds() >= walk.service->proves_from_s;
    return splice_balancer_proves(&walk.packet, &options, asks_clock, &setup->secret, proof,
                                  walk.now.unix_ms(), guesses, walk.now.seconds());
}

// Its cookie is wrong. Who shares the counts has seen the packet first, and counted it.
void Splicer::Impl::note_guess(const Walk& walk) noexcept {
    if (guesses == own_guesses.get() && !options_of(walk).timestamps_offset)
        splice_guess_note(guesses, &walk.packet.ends.source, walk.now.seconds());
}

bool Splicer::Impl::is_denied(const Walk& walk) const noexcept {
    return setup->denied && setup->denied->contains(walk.packet.ends.source);
}

// Of a connection that begins and proves what it must: whether the operator lets it. Who shares the counts
// has kept to the rate already.
Verdict Splicer::Impl::allows(const Walk& walk) noexcept {
    if (is_denied(walk)) return SPLICE_drop_denied;
    if (own_rates && !splice_rate_take(rates, &walk.service->rate, walk.service->number,
                                       &walk.packet.ends.source, walk.now.seconds()))
        return SPLICE_drop_source_rate;
    return SPLICE_CONTINUE;
}

void Splicer::Impl::set_client_limits() noexcept {
    rates->key = guesses->key = setup->source_key;
    guesses->limits = setup->guess_limits;
    std::vector<FlowStore::ServiceShare> shares;
    for (const SplicerService& service : setup->services)
        if (service.max_flows) shares.push_back({service.number, service.max_flows});
    flows.set_service_shares(shares);
}

// Its timestamps name its bridge. Where nobody has the number, they may be old ones of the number above.
Verdict Splicer::Impl::follow_lane(Walk& walk, std::uint32_t lane) {
    const auto& of_family = lanes[walk.packet.family == 6];
    const std::uint16_t index = of_family[lane] == SPLICE_NO_BRIDGE ? of_family[lane + 1] : of_family[lane];
    if (index == SPLICE_NO_BRIDGE) return SPLICE_drop_lane_unknown;
    return carry_on(walk, index, SPLICE_forward_lane);
}

// Its client's address chooses its bridge, as it did.
Verdict Splicer::Impl::follow_source(Walk& walk) {
    const std::uint16_t index = walk.service->placement->choose(source_key(walk.key, {})).bridges.choices[0];
    return index == SPLICE_NO_BRIDGE ? SPLICE_drop_orphan : carry_on(walk, index, SPLICE_forward_source);
}

// Of no flow here. No entry is made: a flood of such packets fills nothing.
Verdict Splicer::Impl::carry_on(Walk& walk, std::uint16_t index, Verdict verdict) {
    const IpAddress* const bridge = bridge_address(index);
    if (!bridge) return SPLICE_drop_orphan;
    const auto serves_no_more = [&](const std::vector<std::uint16_t>& those) {
        return std::ranges::find(those, index) != those.end();
    };
    if (serves_no_more(walk.service->down) || serves_no_more(walk.service->gone)) {
        send_reset(walk);
        return SPLICE_answer_down_rst;
    }
    if (const std::uint32_t mtu = narrower_way(index, walk.bytes.size()))
        return answer_too_big(walk.now, walk.bytes, mtu, walk.out);
    const Verdict edited = carry(walk, *bridge, walk.service->carriage);
    if (edited != SPLICE_CONTINUE) return edited;
    count_traffic(walk.service->number, index, splice_ip_length(&walk.packet));
    return verdict;
}

splice_refuser Splicer::Impl::refuser_of(const Walk& walk) const noexcept {
    if (!splice_balancer_may_be_bounced(&walk.packet)) return SPLICE_REFUSER_NONE;
    if (!walk.entry || !splice_flow_is_open(&*walk.entry))
        return splice_refuser_without_bridge(walk.entry ? &*walk.entry : nullptr);
    const splice_refusal refusal = refusal_of(walk);
    const splice_placement_row row = walk.service->placement->row(walk.entry->row);
    splice_refuser refuser = SPLICE_REFUSER_NONE;
    for (std::uint32_t number = 0; number <= SPLICE_CHOICES; ++number) {
        const bool present = number == SPLICE_CHOICES;
        if (const IpAddress* bridge = bridge_address(present ? walk.entry->bridge : row.choices[number]))
            refuser = splice_refuser_is(refuser, &refusal, &bridge->raw(), present);
    }
    return refuser;
}

Splicer::Impl::Candidates Splicer::Impl::candidates_for(const Walk& walk) const {
    Candidates found;
    const auto add = [&](std::uint16_t index) {
        const auto end = found.bridges.begin() + static_cast<std::ptrdiff_t>(found.count);
        if (bridge_address(index) && std::find(found.bridges.begin(), end, index) == end)
            found.bridges[found.count++] = index;
    };
    if (const std::uint32_t lane = lane_of(walk); lane != SPLICE_NO_LANE) {
        const auto& of_family = lanes[walk.packet.family == 6];
        found.lane_unknown = of_family[lane] == SPLICE_NO_BRIDGE;
        add(of_family[lane]);
        add(of_family[lane + 1]);
    }
    if (walk.service->chooses_without_payload())
        for (const std::uint16_t index :
             walk.service->placement->choose(source_key(walk.key, {})).bridges.choices)
            add(index);
    return found;
}

// A bridge does not take the packet, and no flow here tells who else does: none is known, or the one that is
// known is another connection's. One that begins goes to the next choice; one that was answered goes to who
// else may have it, each once, and when nobody has it the client is told.
Verdict Splicer::Impl::take_bounced(Walk& walk) {
    if (walk.entry && !(walk.entry->flags & SPLICE_FLOW_ANSWERED))
        return is_late(walk) ? answer_late(walk) : forward(walk, SPLICE_forward_open);
    walk.refusal = refusal_of(walk);
    const bool known = walk.entry.has_value();
    splice_negotiated negotiated{};
    const bool begins =
        splice_balancer_cookie_valid(&walk.packet, &setup->secret,
                                     static_cast<std::uint64_t>(walk.now.unix_s), &negotiated) != 0;
    // Anyone can send a segment in a client's name that its bridge does not take. So only an entry goes that
    // its client does not need, or whose place a cookie takes.
    if (known && (begins || (walk.entry->flags & SPLICE_FLOW_LANED))) flows.erase(walk.key);
    walk.entry.reset();
    if (begins) return take_step(walk, true);

    const Candidates candidates = candidates_for(walk);
    const auto begin = candidates.bridges.begin();
    const auto end = begin + static_cast<std::ptrdiff_t>(candidates.count);
    const auto refuser = std::find_if(begin, end, [&](std::uint16_t index) {
        return splice_refusal_is_of(&*walk.refusal, &bridge_address(index)->raw());
    });
    if (refuser == end && !known) return take_step(walk, true);  // nobody's: a client's own DSCP
    // The entry's bridge was asked before any candidate.
    const bool in_turn = refuser != end && (refuser == begin || !known);
    const auto next = in_turn ? refuser + 1 : begin;
    if (next != end) return carry_on(walk, *next, SPLICE_forward_not_mine);
    if (candidates.lane_unknown) return SPLICE_drop_lane_unknown;
    if (!not_mine_answers.take(walk.now, kNotMineAnswersPerSecond)) return SPLICE_drop_not_mine;
    send_reset(walk);
    return SPLICE_answer_not_mine_rst;
}

Verdict Splicer::Impl::answer_syn(Walk& walk) {
    if (is_denied(walk)) return SPLICE_drop_denied;
    if (!splice_rate_has_room(rates, &walk.service->rate, walk.service->number, &walk.packet.ends.source,
                              walk.now.seconds()))
        return SPLICE_drop_source_rate;
    splice_tcp_options offered{};
    splice_parse_tcp_options(walk.bytes.data(), walk.bytes.data() + walk.bytes.size(), &walk.packet,
                             &offered);
    if (offered.malformed) return SPLICE_drop_bad_tcp_options;
    std::uint16_t proof = 0;
    const std::uint32_t cookie = splice_cookie_issue(&setup->secret, &walk.packet, &offered,
                                                     static_cast<std::uint64_t>(walk.now.unix_s), &proof);
    const splice_syn_ack_terms terms = terms_of(walk, proof);
    splice_segment answer;
    splice_write_syn_ack(&answer, &walk.packet, &offered, cookie, &terms);
    walk.out.send(bytes_of(answer));
    if (!walk.entry) return SPLICE_answer_syn_ack;
    splice_flow_reopen(&*walk.entry, cookie);
    (void)flows.put(walk.key, *walk.entry);  // not new
    return SPLICE_answer_syn_ack_reopened;
}

Verdict Splicer::Impl::handle_icmp(Walk& walk) {
    splice_packet quoted{};
    const std::byte* data = walk.bytes.data();
    if (const Verdict verdict =
            splice_parse_icmp_error(data, data + walk.bytes.size(), &walk.packet, &quoted);
        verdict != SPLICE_CONTINUE)
        return verdict;
    const splice_flow_key key = splice_flow_toward_client(&quoted);  // the VIP had sent it
    walk.service = find_service(key);
    if (!walk.service) return SPLICE_pass_icmp_not_ours;
    walk.key = key;
    const auto flow = flows.find(key);
    if (flow && !splice_flow_is_open(&*flow)) return SPLICE_drop_orphan_icmp;
    const auto index = flow ? std::optional(flow->bridge) : bridge_of_quoted(walk, quoted);
    const IpAddress* bridge = index ? bridge_address(*index) : nullptr;
    if (!bridge) return SPLICE_drop_orphan_icmp;
    const Verdict edited = carry(walk, *bridge, flow ? flow->carriage : walk.service->carriage);
    return edited == SPLICE_CONTINUE ? SPLICE_forward_icmp : edited;
}

// Of no flow here: the bridge that had sent the quoted packet, by its clock.
std::optional<std::uint16_t> Splicer::Impl::bridge_of_quoted(const Walk& walk, splice_packet& quoted) const {
    if (!walk.service->lanes) return std::nullopt;
    const std::byte* const data = walk.bytes.data();
    const std::uint32_t lane = splice_balancer_lane_of_quoted(
        data, data + walk.bytes.size(), &walk.packet, &quoted, &walk.key, &setup->secret, walk.now.unix_ms());
    if (lane == SPLICE_NO_LANE) return std::nullopt;
    return lanes[walk.packet.family == 6][lane];
}

// --- Choosing
// ---------------------------------------------------------------------------------------------------

Splicer::Impl::Chosen Splicer::Impl::choose_source(const SplicerService& service, std::string_view source,
                                                   Fallback why) {
    counters.fallbacks[static_cast<std::size_t>(why)].fetch_add(1, std::memory_order_relaxed);
    return {service.placement->choose(source), why, source};
}

KeyAnswer Splicer::Impl::key_of(const SplicerService& service, Bytes stream, FirstPayloadScan& scan) {
    return service.proxy_protocol == ProxyProtocol::accept
               ? key_behind_proxy_header(service.protocol, service.key, stream, scratch, scan)
               : first_payload_key(service.protocol, service.key, stream, scratch, scan);
}

std::optional<Splicer::Impl::Chosen> Splicer::Impl::try_choose(const SplicerService& service,
                                                               const splice_flow_key& flow, Bytes stream,
                                                               FirstPayloadScan& scan,
                                                               std::optional<Fallback> no_more) {
    const KeyAnswer answer = key_of(service, stream, scan);
    const std::string_view source = source_key(flow, scan);
    const Bytes request = behind_header(stream, scan);
    if (const auto* key = std::get_if<Key>(&answer))
        return on_ramp(service, source, request,
                       {choose_key(service, *service.placement, key->bytes, source), {}, key->bytes},
                       no_more.has_value());
    if (const auto* none = std::get_if<NoKey>(&answer))
        return on_ramp(service, source, request, choose_source(service, source, none->why), true);
    if (no_more) return choose_source(service, source, *no_more);
    return std::nullopt;
}

Choices Splicer::Impl::choose_key(const SplicerService& service, const Placement& placement,
                                  std::string_view key, std::string_view source) {
    return service.subset == 0 ? placement.choose(key)
                               : placement.choose_in_subset(key, source, service.subset);
}

std::optional<Choices> Splicer::Impl::shadow_choice(const SplicerService& service, std::string_view source,
                                                    Bytes stream) {
    const ShadowRule& shadow = *service.shadow;
    const KeyAnswer answer = first_payload_key(service.protocol, shadow.key, stream, shadow_scratch);
    if (std::holds_alternative<NeedMore>(answer)) return {};
    const auto* const key = std::get_if<Key>(&answer);
    return key ? choose_key(service, *shadow.placement, key->bytes, source)
               : shadow.placement->choose(source);
}

std::optional<Splicer::Impl::Chosen> Splicer::Impl::on_ramp(const SplicerService& service,
                                                            std::string_view source, Bytes stream,
                                                            Chosen chosen, bool final) {
    if (!service.shadow || service.shadow->in_table ||
        !splice_ramp_moves(chosen.choices.row, service.shadow->ramp))
        return chosen;
    const auto moved = shadow_choice(service, source, stream);
    if (!moved && !final) return {};
    // The row stays: a refusal leads to where the flow would have gone before.
    chosen.choices.bridges = moved ? moved->bridges : service.shadow->placement->choose(source).bridges;
    return chosen;
}

void Splicer::Impl::count_opening(const SplicerService& service, std::string_view source, Bytes stream,
                                  std::optional<std::string_view> key) {
    if (!service.watch) return;
    if (const auto counted = hot.find(service.carriage.mark); counted != hot.end())
        counted->second.count(hash_key_bytes(key.value_or(source)), key.value_or(source));
    if (!service.shadow) return;
    const Placement& before = *service.shadow->before;
    const Choices now = key ? choose_key(service, before, *key, source) : before.choose(source);
    const Choices then =
        shadow_choice(service, source, stream).value_or(service.shadow->placement->choose(source));
    service.watch->compare(now.bridges.choices[0], then.bridges.choices[0]);
}

void Splicer::Impl::set_hot_services() {
    std::map<std::uint8_t, HotKeys> wanted;
    for (const SplicerService& service : setup->services) {
        if (service.hot_keys == 0) continue;
        if (auto known = hot.extract(service.carriage.mark);
            !known.empty() && known.mapped().top() == service.hot_keys)
            wanted.insert(std::move(known));
        else
            wanted.try_emplace(service.carriage.mark, service.hot_keys);
    }
    for (const auto& [service, keys] : hot) hot_table.replace(service, {});
    hot = std::move(wanted);
}

void Splicer::Impl::renew_hot_keys(Duration now) {
    for (auto& [service, keys] : hot) {
        if (!keys.advance(now)) continue;
        hot_table.replace(service, keys.keys());
    }
    for (const SplicerService& service : setup->services) {
        const auto counted = hot.find(service.carriage.mark);
        if (counted != hot.end() && service.watch && counted->second.take_news())
            service.watch->show(counted->second.keys());
    }
}

Splicer::Impl::Taken Splicer::Impl::take_choice(const SplicerService& service, const splice_flow_key& flow,
                                                const Chosen& chosen, std::uint32_t cookie, Actions& out) {
    const splice_placement_row& row = chosen.choices.bridges;
    const splice_placement_row in_table = service.placement->row(chosen.choices.row);
    Taken taken{row.choices[0], 1};
    std::uint8_t rank = 0;
    if (service.choice.weighs != 0 && taken.bridge != SPLICE_NO_BRIDGE) {
        const int is_hot =
            service.choice.spread != 0 &&
            splice_is_hot(&hot_table.table(), hash_key_bytes(chosen.key), service.carriage.mark);
        const splice_choice choice =
            splice_choose(&row, &service.choice, loads.states(), splice_choice_draw(cookie), is_hot);
        loads.count(service.choice, row, choice);
        counters.choices[service.carriage.mark % SPLICE_CARRIAGE_MARKS].add(choice);
        taken.bridge = row.choices[choice.rank];
        rank = choice.rank;
    }
    // A subset's row is in another order than the table's.
    taken.tries = splice_tries_from(splice_rank_of(&in_table, taken.bridge) % SPLICE_CHOICES);
    out.chose(
        {.flow = flow,
         .key = chosen.key,
         .fallback = chosen.fallback,
         .bridge = taken.bridge,
         .service = service.number,
         .rank = rank,
         .sampled = setup->sample != 0 && splice_in_sample(&setup->secret, cookie, setup->sample) != 0});
    return taken;
}

// A valid cookie: a connection begins here, anew where the ports were used before.
Verdict Splicer::Impl::begin(Walk& walk, bool by_source) {
    FirstPayloadScan scan;
    if (by_source) {
        const bool rule = walk.service->chooses_without_payload();
        const std::string_view source = source_key(walk.key, scan);
        const Bytes none;
        const Chosen chosen = *on_ramp(
            *walk.service, source, none,
            choose_source(*walk.service, source, rule ? Fallback::key_is_source : Fallback::ended), true);
        count_opening(*walk.service, source, none, {});
        return open(walk, chosen);
    }
    const Bytes stream = Bytes(walk.bytes).subspan(walk.packet.payload_offset, walk.packet.payload_length);
    std::optional<Fallback> no_more;
    if (stream.size() >= walk.service->first_payload_max) no_more = Fallback::too_long;
    if (walk.packet.tcp_flags & SPLICE_FIN) no_more = Fallback::ended;
    if (const auto chosen = try_choose(*walk.service, walk.key, stream, scan, no_more)) {
        count_opening(*walk.service, source_key(walk.key, scan), behind_header(stream, scan),
                      chosen->own_key());
        return open(walk, *chosen);
    }
    return hold_first(walk, scan);
}

// A flow that begins with a packet which was bounced: to the first of its choices that did not do so. False:
// there is none.
bool Splicer::Impl::pass_over_refuser(Walk& walk) const {
    const splice_placement_row row = walk.service->placement->row(walk.entry->row);
    const IpAddress* const bridge = bridge_address(walk.entry->bridge);
    return !bridge || !splice_refusal_is_of(&*walk.refusal, &bridge->raw()) ||
           splice_flow_take_next_choice(&*walk.entry, &row) != SPLICE_NO_BRIDGE;
}

// The first payload is whole in this one packet: it is edited in place and goes.
Verdict Splicer::Impl::open(Walk& walk, const Chosen& chosen) {
    const Taken taken =
        take_choice(*walk.service, walk.key, chosen, splice_choice_cookie(walk.packet.ack), walk.out);
    if (taken.bridge == SPLICE_NO_BRIDGE) {
        splice_flow_begin(&walk.entry.emplace(), &walk.packet, SPLICE_FLOW_REFUSED, walk.service->number,
                          walk.service->carriage, 0, SPLICE_NO_BRIDGE, walk.now.seconds());
        return refuse_without_bridge(walk);
    }
    ++seen.at(walk.service->number, taken.bridge).signs.openings;
    splice_flow_entry& entry = walk.entry.emplace();
    splice_flow_begin(&entry, &walk.packet, SPLICE_FLOW_OPEN, walk.service->number, walk.service->carriage,
                      chosen.choices.row, taken.bridge, walk.now.seconds());
    entry.tries = taken.tries & 15;
    if (walk.refusal && !pass_over_refuser(walk)) return refuse(walk);
    if (const Verdict placed = flows.put(walk.key, entry); placed != SPLICE_CONTINUE) return placed;
    time_opening(walk.now, walk.key, entry, walk.now.monotonic);
    lose_pending(walk.key, HeldLoss::begun_anew);
    overtakers.hurry(walk.now, walk.key);
    if (!chosen.fallback) return forward(walk, SPLICE_forward_first_payload);
    const bool bare_ack = walk.packet.payload_length == 0 && !(walk.packet.tcp_flags & SPLICE_FIN);
    return forward(walk, bare_ack ? SPLICE_forward_first_ack : SPLICE_forward_first_payload_source);
}

Verdict Splicer::Impl::hold_first(Walk& walk, const FirstPayloadScan& scan) {
    if (held() + walk.bytes.size() > setup->first_payload_memory) return SPLICE_drop_first_payload_memory;
    splice_flow_entry entry;
    splice_flow_begin(&entry, &walk.packet, SPLICE_FLOW_PENDING, walk.service->number, walk.service->carriage,
                      0, SPLICE_NO_BRIDGE, walk.now.seconds());
    if (const Verdict placed = flows.put(walk.key, entry); placed != SPLICE_CONTINUE) return placed;
    lose_pending(walk.key, HeldLoss::begun_anew);
    const SegmentHoldLimits limits{walk.service->first_payload_max, kFirstPayloadPackets};
    const Duration deadline = walk.now.monotonic + walk.service->first_payload_wait;
    SegmentHold hold(Seq(walk.packet.seq), limits);
    hold.add(walk.packet, walk.bytes);
    held_bytes += hold.memory();
    pending.try_emplace(walk.key, std::move(hold), scan, deadlines.emplace(deadline, walk.key),
                        walk.now.monotonic);
    overtakers.hurry(walk.now, walk.key);
    return SPLICE_hold_first_payload;
}

Verdict Splicer::Impl::hold_more(Walk& walk) {
    // It exists: handle() ignores a pending entry whose segments are not held here.
    Pending& waiting = pending.at(walk.key);
    SegmentHold& hold = waiting.hold;
    // The client gave up and began anew from the same port before its first payload was complete.
    splice_negotiated negotiated{};
    if ((walk.entry->flags & SPLICE_FLOW_REOPENED) && Seq(walk.packet.seq) != hold.first() &&
        splice_balancer_cookie_valid(&walk.packet, &setup->secret,
                                     static_cast<std::uint64_t>(walk.now.unix_s), &negotiated)) {
        const Verdict proven = proves(walk, negotiated.proof);
        return proven == SPLICE_CONTINUE ? begin(walk, false) : proven;
    }

    if (held() + walk.bytes.size() > setup->first_payload_memory) return SPLICE_drop_first_payload_memory;
    const std::size_t before = hold.memory();
    const SegmentHold::Added added = hold.add(walk.packet, walk.bytes);
    held_bytes += hold.memory() - before;
    if (added == SegmentHold::Added::duplicate) return SPLICE_drop_duplicate_payload;
    if (added == SegmentHold::Added::outside) return SPLICE_drop_first_payload_window;
    std::optional<Fallback> no_more;
    if (hold.at_limit() || added == SegmentHold::Added::full) no_more = Fallback::too_long;
    if (hold.ended() || (walk.packet.tcp_flags & SPLICE_RST)) no_more = Fallback::ended;
    const auto chosen = try_choose(*walk.service, walk.key, hold.stream(), waiting.scan, no_more);
    if (!chosen) return SPLICE_hold_first_payload;
    count_opening(*walk.service, source_key(walk.key, waiting.scan),
                  behind_header(hold.stream(), waiting.scan), chosen->own_key());
    // This packet is counted by its verdict and not as one that was held and lost.
    const bool held_this = added == SegmentHold::Added::stored;
    if (!release(walk.now, walk.key, *chosen, held_this ? 1 : 0, walk.out))
        return refuse_without_bridge(walk);
    return held_this ? SPLICE_release_first_payload : SPLICE_drop_first_payload_window;
}

// The choice is made: what was held goes, in order. False: there is no bridge, and what was held is lost;
// `in_hand` of it is the packet that is being handled, whose verdict says so. What the client repeats is
// answered then.
bool Splicer::Impl::release(Instant now, const splice_flow_key& key, const Chosen& chosen,
                            std::size_t in_hand, Actions& out) {
    auto entry = flows.find(key);
    Taken taken;
    if (const SplicerService* const service = find_service(key); entry && service)
        taken = take_choice(*service, key, chosen, splice_choice_cookie_of(&*entry), out);
    if (!entry || taken.bridge == SPLICE_NO_BRIDGE) {
        if (entry && !setup->stopping) {
            entry->state = SPLICE_FLOW_REFUSED;
            entry->row = 0;
            (void)flows.put(key, *entry);  // not new
        } else {
            flows.erase(key);
        }
        lose_pending(key, entry ? HeldLoss::no_bridge : HeldLoss::expired, in_hand);
        return false;
    }
    ++seen.at(entry->service, taken.bridge).signs.openings;
    entry->bridge = taken.bridge;
    entry->tries = taken.tries & 15;
    entry->row = chosen.choices.row & SPLICE_ROW_MASK;
    entry->state = SPLICE_FLOW_OPEN;
    entry->last_seen_s = now.seconds();
    time_opening(now, key, *entry, pending.at(key).since);
    // They are sent before the entry is open: else the kernel would let later segments overtake them.
    pending.at(key).hold.for_each([&](MutableBytes bytes) { send_held(now, bytes, *entry, out); });
    (void)flows.put(key, *entry);  // not new
    drop_pending(key);
    return true;
}

// --- Sending on
// -------------------------------------------------------------------------------------------------

Verdict Splicer::Impl::forward(Walk& walk, Verdict verdict) {
    const IpAddress* bridge = bridge_address(walk.entry->bridge);
    if (!bridge) {
        flows.erase(walk.key);
        return SPLICE_drop_orphan;
    }
    if (const std::uint32_t mtu = narrower_way(walk.entry->bridge, walk.bytes.size()))
        return answer_too_big(walk.now, walk.bytes, mtu, walk.out);
    if (verdict == SPLICE_forward_open) {
        const splice_flow_sign sign = splice_flow_shows(&*walk.entry, &walk.packet);
        if (sign != SPLICE_SIGN_NONE) note_sign(walk, sign);
        if (sign == SPLICE_SIGN_ANSWER) note_lane(walk);
    }
    const Verdict edited = carry(walk, *bridge, walk.entry->carriage);
    if (edited != SPLICE_CONTINUE) return edited;
    splice_flow_touch(&*walk.entry, &walk.packet, walk.now.seconds());
    count_traffic(walk.entry->service, walk.entry->bridge, splice_ip_length(&walk.packet));
    (void)flows.put(walk.key, *walk.entry);  // not new
    return verdict;
}

void Splicer::Impl::count_traffic(std::uint16_t service, std::uint16_t bridge, std::size_t bytes) {
    SignedBridge& of = seen.at(service, bridge);
    ++of.packets;
    of.bytes += bytes;
}

void Splicer::Impl::note_sign(const Walk& walk, splice_flow_sign sign) {
    PassiveSigns& signs = seen.at(walk.entry->service, walk.entry->bridge).signs;
    splice_negotiated negotiated{};
    if (sign == SPLICE_SIGN_ANSWER) {
        ++signs.answers;
        time_answer(walk);
    } else if (splice_balancer_cookie_valid(&walk.packet, &setup->secret,
                                            static_cast<std::uint64_t>(walk.now.unix_s), &negotiated))
        ++signs.repeats;
}

splice_opening_times& Splicer::Impl::opening_times() {
    if (!opened) {
        own_opened = std::make_unique<splice_opening_times>();
        opened = own_opened.get();
    }
    return *opened;
}

// It goes to a bridge; its first segment came at `since`.
void Splicer::Impl::time_opening(Instant now, const splice_flow_key& key, const splice_flow_entry& entry,
                                 Duration since) {
    splice_opening_note(&opening_times(), &key, microseconds(now.monotonic));
    counters.latencies[entry.carriage.mark % SPLICE_CARRIAGE_MARKS].first_payload.add(
        microseconds(now.monotonic - since));
}

void Splicer::Impl::time_answer(const Walk& walk) {
    const std::uint32_t took =
        splice_opening_take(&opening_times(), &walk.key, microseconds(walk.now.monotonic));
    if (took != SPLICE_OPENING_UNKNOWN)
        counters.latencies[walk.entry->carriage.mark % SPLICE_CARRIAGE_MARKS].answer.add(took);
}

// The first packet that shows an answer echoes the clock of who answered.
void Splicer::Impl::note_lane(Walk& walk) {
    if (setup->secret.lane_is_derived) return;  // by the next key nobody finds it
    switch (splice_lane_compare(lane_of(walk), setup->bridges[walk.entry->bridge].number)) {
        case SPLICE_LANE_IS_ITS:
            walk.entry->flags |= SPLICE_FLOW_LANED;
            break;
        case SPLICE_LANE_DISAGREES:
            counters.lanes_disagree.fetch_add(1, std::memory_order_relaxed);
            break;
        case SPLICE_LANE_SAYS_NOTHING:
            break;
    }
}

// The MTU of the way to a bridge where a packet of `size` bytes is larger than that; 0: it fits, or the MTU
// is not known.
std::uint32_t Splicer::Impl::narrower_way(std::uint16_t bridge, std::size_t size) const noexcept {
    const std::uint32_t mtu = bridge < route_mtus.size() ? route_mtus[bridge] : 0;
    return size > mtu ? mtu : 0;
}

// The client learns it, as from any router that cannot send the packet on. We do not fragment, so an IPv4
// packet without DF is answered alike.
Verdict Splicer::Impl::answer_too_big(Instant now, Bytes packet, std::uint32_t mtu, Actions& out) {
    if (!too_big_answers.take(now, kTooBigAnswersPerSecond)) return SPLICE_drop_too_big;
    const PacketTooBig answer(packet, mtu);
    out.send(answer.packet());
    return SPLICE_answer_too_big;
}

// A held segment leaves its FIN or RST in the entry as every forwarded one does.
void Splicer::Impl::send_held(Instant now, MutableBytes bytes, splice_flow_entry& entry, Actions& out) {
    const IpAddress* bridge = bridge_address(entry.bridge);
    splice_packet packet{};
    std::byte* data = bytes.data();
    if (const std::uint32_t mtu = narrower_way(entry.bridge, bytes.size())) {
        (void)answer_too_big(now, bytes, mtu, out);
        return count_lost(HeldLoss::too_big, 1);
    }
    if (!bridge || splice_parse_ip(data, data + bytes.size(), &packet) != SPLICE_CONTINUE ||
        splice_carry(data, data + bytes.size(), &packet, &bridge->raw(), entry.carriage) != SPLICE_CONTINUE)
        return count_lost(HeldLoss::unsendable, 1);
    splice_flow_touch(&entry, &packet, now.seconds());
    count_traffic(entry.service, entry.bridge, splice_ip_length(&packet));
    out.send(bytes);
}

// The flow's bridge has refused.
Verdict Splicer::Impl::next_choice(Walk& walk) {
    const splice_placement_row row = walk.service->placement->row(walk.entry->row);
    ++seen.at(walk.service->number, walk.entry->bridge).signs.refusals;
    if (splice_flow_take_next_choice(&*walk.entry, &row) == SPLICE_NO_BRIDGE) return refuse(walk);
    return forward(walk, SPLICE_forward_next_choice);
}

// Every choice has refused. The entry stays for a while, to end what the client still sends.
Verdict Splicer::Impl::refuse(Walk& walk) {
    walk.entry->state = SPLICE_FLOW_REFUSED;
    walk.entry->row = 0;
    walk.entry->last_seen_s = walk.now.seconds();
    (void)flows.put(walk.key, *walk.entry);  // where there is no room, the client is told all the same
    if (walk.service->protocol == Protocol::http && walk.packet.payload_length) {
        walk.out.send(HttpRefusal(walk.now, walk.service->keyed_clock, walk.packet, walk.bytes).packet());
        return SPLICE_answer_refused_503;
    }
    send_reset(walk);
    return SPLICE_answer_refused_rst;
}

Verdict Splicer::Impl::refuse_without_bridge(Walk& walk) {
    lose_pending(walk.key, HeldLoss::begun_anew);
    if (setup->stopping) {
        flows.erase(walk.key);
        return SPLICE_drop_no_bridge;
    }
    return refuse(walk) == SPLICE_answer_refused_503 ? SPLICE_answer_no_bridge_503
                                                     : SPLICE_answer_no_bridge_rst;
}

// Our answer's acknowledgement needs none; a FIN or more payload gets the RST that lets the client forget.
Verdict Splicer::Impl::end_refused(Walk& walk) {
    if (!(walk.packet.tcp_flags & SPLICE_FIN) && walk.packet.payload_length == 0) return SPLICE_end_refused;
    send_reset(walk);
    return SPLICE_answer_refused_rst;
}

// Its bridge is down. The client forgets the connection at once and asks anew, at another bridge.
Verdict Splicer::Impl::reset_ended(Walk& walk) {
    send_reset(walk);
    walk.entry->flags |= SPLICE_FLOW_RESET;
    walk.entry->last_seen_s = walk.now.seconds();
    (void)flows.put(walk.key, *walk.entry);  // not new
    return SPLICE_answer_down_rst;
}

// --- Keeping
// ----------------------------------------------------------------------------------------------------

void Splicer::Impl::lose_pending(const splice_flow_key& key, HeldLoss why, std::size_t in_hand) noexcept {
    const auto found = pending.find(key);
    if (found == pending.end()) return;
    count_lost(why, found->second.hold.packets() - in_hand);
    drop_pending(key);
}

void Splicer::Impl::drop_pending(const splice_flow_key& key) noexcept {
    const auto found = pending.find(key);
    if (found == pending.end()) return;
    held_bytes -= found->second.hold.memory();
    deadlines.erase(found->second.deadline);
    pending.erase(found);
}

void Splicer::Impl::postpone(const splice_flow_key& key, Duration deadline) {
    Pending& held = pending.at(key);
    deadlines.erase(held.deadline);
    held.deadline = deadlines.emplace(deadline, key);
}

// What nobody has taken its client repeats: such flows are stranded, not ended, and chosen anew.
std::size_t Splicer::Impl::end_flows_of_down_bridges() {
    enum class End : std::uint8_t { all, answered, none };
    std::map<std::pair<std::uint16_t, std::uint16_t>, End> ends;  // by service and bridge
    for (const SplicerService& service : setup->services) {
        for (const std::uint16_t bridge : service.silent) ends[{service.number, bridge}] = End::none;
        for (const std::uint16_t bridge : service.gone) ends[{service.number, bridge}] = End::answered;
        for (const std::uint16_t bridge : service.down) ends[{service.number, bridge}] = End::all;
    }
    if (ends.empty()) return 0;
    std::size_t ended = 0;
    flows.change_if([&](splice_flow_entry& entry) {
        if (!splice_flow_is_open(&entry)) return false;
        const auto end = ends.find({entry.service, entry.bridge});
        if (end == ends.end()) return false;
        const bool answered = (entry.flags & SPLICE_FLOW_ANSWERED) != 0;
        if (end->second == End::all || (end->second == End::answered && answered)) {
            entry.state = SPLICE_FLOW_ENDED;
            entry.row = 0;
            ++ended;
            return true;
        }
        if (answered || entry.state == SPLICE_FLOW_STRANDED) return false;
        entry.state = SPLICE_FLOW_STRANDED;
        return true;
    });
    return ended;
}

const SplicerService* Splicer::Impl::find_service(const splice_flow_key& key) const noexcept {
    const std::uint16_t port = splice_ntohs(key.server_port);
    for (const SplicerService& service : setup->services) {
        if (service.vip.port == port && splice_address_equal(&service.vip.address.raw(), &key.server))
            return &service;
    }
    return nullptr;
}

Lanes lanes_of(const SplicerSetup& setup) noexcept {
    Lanes lanes;
    for (auto& family : lanes) family.fill(SPLICE_NO_BRIDGE);
    for (std::size_t index = 0; index < setup.bridges.size(); ++index) {
        const SplicerBridge& bridge = setup.bridges[index];
        if (bridge.number == 0 || bridge.number > SPLICE_LANE_MAX) continue;
        lanes[bridge.address.family() == 6][bridge.number] = static_cast<std::uint16_t>(index);
    }
    for (auto& family : lanes) family[0] = family[1];
    return lanes;
}

std::expected<void, std::string> place_states(SplicerSetup& setup) {
    std::uint32_t next = 0;
    for (SplicerService& service : setup.services) {
        if (service.choice.weighs == 0) continue;
        std::uint32_t count = 0;
        for (const LoadedBridge& each : service.members)
            count = std::max<std::uint32_t>(count, each.bridge + 1U);
        service.choice.states = next;
        next += count;
    }
    // Half of them: the kernel program keeps the states of the setup before beside those of the new one.
    if (next <= SPLICE_STATES / 2) return {};
    return std::unexpected("the services that weigh their choices (bounded_load, warmup, hot_keys) need " +
                           std::to_string(next) + " states of bridges: expected at most " +
                           std::to_string(SPLICE_STATES / 2));
}

}  // namespace splice
