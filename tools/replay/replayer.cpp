#include "tools/replay/replayer.hpp"

#include <algorithm>
#include <deque>
#include <utility>

#include "libsplice/core/segment_hold.hpp"
#include "libsplice/datapath/forward.h"
#include "tools/replay/survey.hpp"

namespace splice::replay {
namespace {

// The replay's monotonic clock begins well above zero, as a host's does.
constexpr Duration kClockStart = 1000s;

constexpr Station kClient{Place::client, "client"};
constexpr Station kBalancer{Place::balancer, "balancer"};
constexpr Station kBackend{Place::backend, "backend"};

splice_flow_key reversed(const splice_flow_key& key) noexcept {
    return {key.vip, key.client, key.vip_port, key.client_port, 0};
}

// What a machine sent besides the packet that it was handed.
struct Sent {
    bool by_balancer = false;
    bool to_hop = false;
    std::uint16_t bridge = 0;  // the sender, or for a balancer's 0
    std::vector<std::byte> bytes;
};

class Outbox final : public Actions {
  public:
    void send(Bytes packet) noexcept override { add(packet, false); }
    void send_to_hop(const Hop&, Bytes packet) noexcept override { add(packet, true); }

    void speak_for_balancer() noexcept { speaker_ = {true, false, 0, {}}; }
    void speak_for_bridge(std::uint16_t bridge) noexcept { speaker_ = {false, false, bridge, {}}; }
    [[nodiscard]] bool empty() const noexcept { return sent_.empty(); }
    [[nodiscard]] const std::deque<Sent>& all() const noexcept { return sent_; }
    std::deque<Sent> take() { return std::exchange(sent_, {}); }
    Sent pop() {
        Sent first = std::move(sent_.front());
        sent_.pop_front();
        return first;
    }

  private:
    void add(Bytes packet, bool to_hop) {
        sent_.push_back({speaker_.by_balancer, to_hop, speaker_.bridge, {packet.begin(), packet.end()}});
    }
    Sent speaker_;
    std::deque<Sent> sent_;
};

// A machine whose timer is to be looked at. Machine 0 is the fleet's balancer, i + 1 its bridge i.
struct Timer {
    Duration due;
    std::uint64_t order;  // of two that are due at once, who asked first
    Fleet* fleet;
    std::size_t machine;
    friend bool operator>(const Timer& a, const Timer& b) noexcept {
        return a.due != b.due ? a.due > b.due : a.order > b.order;
    }
};

bool chooses(Verdict verdict) noexcept {
    return verdict == SPLICE_forward_first_payload || verdict == SPLICE_forward_first_payload_source ||
           verdict == SPLICE_forward_first_ack || verdict == SPLICE_release_first_payload ||
           verdict == SPLICE_drop_first_payload_window || verdict == SPLICE_drop_no_bridge;
}

std::string rule_kind(HashKeyRule rule) {
    rule.depth = rule.length = 0;
    return rule.to_string();
}

// The stream that packets of one flow carry from its first byte on.
std::vector<std::byte> stream_of(const std::deque<Sent>& packets) {
    std::optional<SegmentHold> hold;
    for (const Sent& sent : packets) {
        const Bytes bytes = sent.bytes;
        splice_packet packet{};
        if (splice_parse_ip(bytes.data(), bytes.data() + bytes.size(), &packet) != SPLICE_CONTINUE) continue;
        if (!hold)
            hold.emplace(Seq(packet.seq), SegmentHoldLimits{kFirstPayloadMaxLimit, kFirstPayloadPackets});
        hold->add(packet, bytes);
    }
    if (!hold) return {};
    return {hold->stream().begin(), hold->stream().end()};
}

}  // namespace

struct Replayer::Impl {
    using Conversations = std::unordered_map<splice_flow_key, Conversation, FlowKeyHash, FlowKeyEqual>;

    Impl(Fleets& known, std::vector<Observer*> told) : fleets(known), observers(std::move(told)) {}

    // --- Time
    void advance_to(Duration captured);
    void run_timers(Duration until);
    void run_timer(const Timer& timer);
    void schedule(Fleet& fleet, std::size_t machine);
    [[nodiscard]] Duration capture_time(Duration monotonic) const noexcept {
        return first_time + (monotonic - kClockStart);
    }
    void set_clock(Duration monotonic) noexcept {
        now.monotonic = monotonic;
        now.unix_s = std::chrono::floor<std::chrono::seconds>(capture_time(monotonic)).count();
    }

    // --- Arrivals
    void take_segment(Arrival& arrival);
    void take_icmp(Arrival& arrival);
    void from_client(Conversation& conversation, Arrival& segment);
    void from_server(Conversation& conversation, Arrival& segment);
    void keep_syn_ack(Conversation& conversation, const Arrival& segment);
    void complete_beginning(Conversation& conversation, const Arrival& segment,
                            const splice_tcp_options& options);
    void play_server(Conversation& conversation, Arrival& segment);
    void play_waiting(Conversation& conversation);
    Conversation* conversation_of(const splice_packet& packet, bool& is_from_server);
    Conversation* start_conversation(const splice_flow_key& key, Fleet* fleet);

    // --- Machines
    void to_balancer(MutableBytes bytes, Station from);
    void to_bridge(std::uint16_t bridge, MutableBytes bytes);
    void to_backend(std::uint16_t bridge, Bytes bytes);
    void bridge_hears_backend(std::uint16_t bridge, MutableBytes bytes);
    void balancer_sent(MutableBytes bytes);
    void bridge_sent(std::uint16_t bridge, MutableBytes bytes);
    void drain();
    void tell_choice(Verdict verdict, MutableBytes handed);
    void tell_chosen(const std::deque<Sent>& released, std::optional<Fallback> fallback);
    void tell_time_out(std::size_t machine, std::deque<Sent>& own);
    bool find_conversation_of_sent(const Sent& sent);

    [[nodiscard]] Station station(std::uint16_t bridge) const noexcept {
        return {Place::bridge, fleet->rules->bridges[bridge].name};
    }
    void enter(Conversation& conversation, const splice_flow_key& key) noexcept {
        current = &conversation;
        fleet = conversation.fleet;
        step.conversation = conversation.id;
        step.key = key;
    }
    void begin(std::uint64_t number, Duration time, std::size_t captured, std::size_t length);
    template <class Tell>
    void tell(Tell&& tell_one) {
        for (Observer* observer : observers) tell_one(*observer);
    }
    void note(Place at, std::string_view text) {
        tell([&](Observer& each) { each.noted(step, at, text); });
    }
    void judge(Station where, Verdict verdict) {
        tell([&](Observer& each) { each.judged(step, where, verdict); });
    }
    void say_came(Station from, Station to, Bytes bytes) {
        tell([&](Observer& each) { each.came(step, from, to, bytes); });
    }
    void say_left(Station from, Station to, Bytes bytes) {
        tell([&](Observer& each) { each.left(step, from, to, bytes); });
    }
    void end() {
        tell([&](Observer& each) { each.ends(step); });
    }

    Fleets& fleets;
    std::vector<Observer*> observers;
    Conversations conversations;
    std::uint32_t conversation_count = 0;
    Mender mender;
    Outbox outbox;
    std::priority_queue<Timer, std::vector<Timer>, std::greater<>> timers;
    std::uint64_t timer_count = 0;

    bool started = false;
    Duration first_time{};
    Instant now;

    // Of the step that runs.
    Step step;
    Fleet* fleet = nullptr;
    Conversation* current = nullptr;
    std::string scratch;
};

Replayer::Replayer(Fleets& fleets, std::vector<Observer*> observers)
    : impl_(std::make_unique<Impl>(fleets, std::move(observers))) {}
Replayer::~Replayer() = default;

void Replayer::take(const CapturedPacket& captured) {
    Impl& impl = *impl_;
    impl.advance_to(captured.time);
    impl.begin(captured.number, impl.capture_time(impl.now.monotonic), captured.ip.size(),
               captured.ip_length);
    Arrival arrival = impl.mender.mend(captured);
    if (captured.ip.empty()) {
        impl.judge(kBalancer, SPLICE_pass_not_ip);
    } else if (arrival.verdict != SPLICE_CONTINUE) {
        impl.say_came(kClient, kBalancer, arrival.bytes);
        impl.judge(kBalancer, arrival.verdict);
    } else if (arrival.packet.protocol == SPLICE_PROTOCOL_TCP) {
        impl.take_segment(arrival);
    } else {
        impl.take_icmp(arrival);
    }
    impl.end();
    if (impl.current && impl.current->opened && !impl.current->waiting.empty())
        impl.play_waiting(*impl.current);
}

void Replayer::finish() {
    if (impl_->started) impl_->run_timers(impl_->now.monotonic + kAfterLast);
}

void Replayer::Impl::begin(std::uint64_t number, Duration time, std::size_t captured, std::size_t length) {
    step = {.number = number,
            .time = time,
            .captured = static_cast<std::uint32_t>(captured),
            .length = static_cast<std::uint32_t>(std::max(captured, length))};
    current = nullptr;
    fleet = nullptr;
    tell([&](Observer& each) { each.begins(step); });
}

// --- Time

void Replayer::Impl::advance_to(Duration captured) {
    if (!started) {
        started = true;
        first_time = captured;
        set_clock(kClockStart);
    }
    const Duration monotonic = std::max(now.monotonic, kClockStart + (captured - first_time));
    run_timers(monotonic);
    set_clock(monotonic);
}

void Replayer::Impl::run_timers(Duration until) {
    while (!timers.empty() && timers.top().due <= until) {
        const Timer timer = timers.top();
        timers.pop();
        // An earlier look has taken its place.
        if (timer.fleet->scheduled[timer.machine] != timer.due) continue;
        timer.fleet->scheduled[timer.machine] = Duration::max();
        set_clock(std::max(now.monotonic, timer.due));
        run_timer(timer);
        schedule(*timer.fleet, timer.machine);
    }
}

void Replayer::Impl::run_timer(const Timer& timer) {
    if (timer.machine == 0) {
        outbox.speak_for_balancer();
        timer.fleet->balancer.expire(now, outbox);
    } else {
        outbox.speak_for_bridge(static_cast<std::uint16_t>(timer.machine - 1));
        timer.fleet->bridges[timer.machine - 1]->expire(now, outbox);
    }
    // A step for each conversation: what one released stands together.
    std::deque<Sent> sent = outbox.take();
    while (!sent.empty()) {
        begin(0, capture_time(now.monotonic), 0, 0);
        fleet = timer.fleet;
        const bool known = find_conversation_of_sent(sent.front());
        const Conversation* const mine = current;
        std::deque<Sent> own;
        do {
            own.push_back(std::move(sent.front()));
            sent.pop_front();
        } while (known && !sent.empty() && find_conversation_of_sent(sent.front()) && current == mine);
        if (known) find_conversation_of_sent(own.front());
        tell_time_out(timer.machine, own);
        end();
        if (current && current->opened && !current->waiting.empty()) play_waiting(*current);
    }
}

// What a time-out of one conversation sent, and why.
void Replayer::Impl::tell_time_out(std::size_t machine, std::deque<Sent>& own) {
    if (machine == 0) {
        fleet->new_fallback();
        tell_chosen(own, Fallback::wait_expired);
    } else {
        judge(station(static_cast<std::uint16_t>(machine - 1)), SPLICE_answer_unknown_rst);
    }
    for (Sent& each : own) {
        each.by_balancer ? balancer_sent(each.bytes) : bridge_sent(each.bridge, each.bytes);
        drain();
    }
}

void Replayer::Impl::schedule(Fleet& of, std::size_t machine) {
    const auto wanted = machine == 0 ? of.balancer.next_deadline() : of.bridges[machine - 1]->next_deadline();
    if (!wanted) return;
    // Never now: a deadline in whole seconds may stand for one that is a little later.
    const Duration due = std::max(*wanted, now.monotonic + 1ms);
    if (due >= of.scheduled[machine]) return;
    of.scheduled[machine] = due;
    timers.push({due, ++timer_count, &of, machine});
}

// --- Arrivals

Conversation* Replayer::Impl::start_conversation(const splice_flow_key& key, Fleet* of) {
    if (conversations.size() >= kMaxConversations) return nullptr;
    Conversation& conversation = conversations[key];
    conversation.id = ++conversation_count;
    conversation.fleet = of;
    conversation.service = of->service(key.vip, key.vip_port);
    return &conversation;
}

// The segment's conversation, new where none is known; null when neither end is a service.
Conversation* Replayer::Impl::conversation_of(const splice_packet& packet, bool& is_from_server) {
    const splice_flow_key back = reversed(packet.key);
    is_from_server = false;
    if (const auto found = conversations.find(packet.key); found != conversations.end())
        return &found->second;
    is_from_server = true;
    if (const auto found = conversations.find(back); found != conversations.end()) return &found->second;

    const bool syn_ack = (packet.tcp_flags & (SPLICE_SYN | SPLICE_ACK)) == (SPLICE_SYN | SPLICE_ACK);
    Fleet* const server = fleets.of(packet.key.client, packet.key.client_port);
    Fleet* const served = fleets.of(packet.key.vip, packet.key.vip_port);
    is_from_server = server && (syn_ack || !served);
    if (is_from_server) return start_conversation(back, server);
    return served ? start_conversation(packet.key, served) : nullptr;
}

void Replayer::Impl::take_segment(Arrival& arrival) {
    bool is_from_server = false;
    Conversation* const conversation = conversation_of(arrival.packet, is_from_server);
    if (!conversation) {
        say_came(kClient, kBalancer, arrival.bytes);
        if (conversations.size() >= kMaxConversations)
            note(Place::client, "more connections than are followed");
        judge(kBalancer, SPLICE_pass_not_service);
        return;
    }
    enter(*conversation, is_from_server ? reversed(arrival.packet.key) : arrival.packet.key);
    if (is_from_server)
        from_server(*conversation, arrival);
    else
        from_client(*conversation, arrival);
}

void Replayer::Impl::take_icmp(Arrival& arrival) {
    splice_packet quoted{};
    const std::byte* const data = arrival.bytes.data();
    const Verdict verdict =
        splice_parse_icmp_error(data, data + arrival.bytes.size(), &arrival.packet, &quoted);
    const auto found =
        verdict == SPLICE_CONTINUE ? conversations.find(reversed(quoted.key)) : conversations.end();
    if (found == conversations.end()) {
        say_came(kClient, kBalancer, arrival.bytes);
        judge(kBalancer, verdict == SPLICE_CONTINUE ? SPLICE_pass_icmp_not_ours : verdict);
        return;
    }
    enter(found->second, found->first);
    current->map_icmp_toward_balancer(arrival);
    to_balancer(arrival.bytes, kClient);
}

void Replayer::Impl::from_client(Conversation& conversation, Arrival& segment) {
    const splice_packet& packet = segment.packet;
    if (packet.tcp_flags & SPLICE_SYN) {
        const bool again = conversation.client_isn == Seq(packet.seq);
        if (conversation.client_isn && !again) {
            conversation.restart(++conversation_count);
            step.conversation = conversation.id;
        }
        conversation.client_isn = Seq(packet.seq);
        conversation.from_its_middle = false;
        to_balancer(segment.bytes, kClient);
        return;
    }
    splice_tcp_options options{};
    splice_parse_tcp_options(segment.bytes.data(), segment.bytes.data() + segment.bytes.size(), &packet,
                             &options);
    if (!conversation.cookie_isn) complete_beginning(conversation, segment, options);
    if (conversation.cookie_isn && !(conversation.server_isn && conversation.server_tsval))
        conversation.learn_from(packet, options);
    conversation.map_toward_balancer(segment);
    to_balancer(segment.bytes, kClient);
}

// Where the capture lacks the SYN, a client's segment that begins a first payload tells what it was.
void Replayer::Impl::complete_beginning(Conversation& conversation, const Arrival& segment,
                                        const splice_tcp_options& options) {
    const splice_packet& packet = segment.packet;
    const Bytes payload = Bytes(segment.bytes).subspan(packet.payload_offset, packet.payload_length);
    if (conversation.from_its_middle || !(packet.tcp_flags & SPLICE_ACK) || payload.empty() ||
        recognise(payload) != conversation.service->protocol) {
        conversation.from_its_middle = true;
        return;
    }
    constexpr std::uint16_t kUsualMss = 1460;
    MissingSyn missing{
        .client_isn = packet.seq - 1, .negotiated = {kUsualMss, kWindowScale, 1}, .tsval = std::nullopt};
    if (options.timestamps_offset != 0) missing.tsval = options.tsval;
    conversation.client_isn = Seq(missing.client_isn);
    note(Place::client, "the capture lacks the handshake: made up");
    auto syn = make_up_syn(step.key, missing);
    to_balancer(syn, kClient);
}

void Replayer::Impl::from_server(Conversation& conversation, Arrival& segment) {
    const splice_packet& packet = segment.packet;
    const bool syn_ack = (packet.tcp_flags & SPLICE_SYN) && (packet.tcp_flags & SPLICE_ACK);
    if (syn_ack && !conversation.opened) {
        keep_syn_ack(conversation, segment);
        return;
    }
    if (!conversation.cookie_isn) conversation.from_its_middle = true;
    if (conversation.opened || conversation.from_its_middle || conversation.waiting.size() >= kMaxWaiting) {
        play_server(conversation, segment);
        return;
    }
    note(Place::backend, "waits until the backend has its connection");
    conversation.waiting.push_back(
        {step.number, step.captured, step.length, {segment.bytes.begin(), segment.bytes.end()}});
}

void Replayer::Impl::keep_syn_ack(Conversation& conversation, const Arrival& segment) {
    const splice_packet& packet = segment.packet;
    conversation.syn_ack.assign(segment.bytes.begin(), segment.bytes.end());
    conversation.server_isn = Seq(packet.seq);
    note(Place::backend, "kept: the backend's answer to the replayed handshake");
    if (conversation.cookie_isn || conversation.from_its_middle) return;
    splice_tcp_options options{};
    splice_parse_tcp_options(segment.bytes.data(), segment.bytes.data() + segment.bytes.size(), &packet,
                             &options);
    MissingSyn missing{
        .client_isn = packet.ack - 1,
        .negotiated = {options.mss,
                       options.window_scale == SPLICE_NO_WINDOW_SCALE ? std::uint8_t{SPLICE_NO_WINDOW_SCALE}
                                                                      : kWindowScale,
                       options.sack_permitted},
        .tsval = std::nullopt};
    if (options.timestamps_offset != 0) missing.tsval = options.tsecr;
    conversation.client_isn = Seq(missing.client_isn);
    note(Place::client, "the capture lacks the SYN: made up");
    auto syn = make_up_syn(step.key, missing);
    to_balancer(syn, kClient);
}

void Replayer::Impl::play_server(Conversation& conversation, Arrival& segment) {
    const std::uint16_t bridge = conversation.bridge.value_or(0);
    if (bridge >= fleet->bridges.size()) {
        note(Place::bridge, "the service has no bridge");
        return;
    }
    send_from(segment, fleet->backend(bridge, conversation.service->vip));
    say_came(kBackend, station(bridge), segment.bytes);
    bridge_hears_backend(bridge, segment.bytes);
    drain();
}

void Replayer::Impl::play_waiting(Conversation& conversation) {
    const splice_flow_key key = step.key;
    for (auto waiting = std::exchange(conversation.waiting, {}); !waiting.empty(); waiting.pop_front()) {
        WaitingPacket& packet = waiting.front();
        begin(packet.number, capture_time(now.monotonic), packet.captured, packet.length);
        enter(conversation, key);
        Arrival segment{.bytes = packet.bytes};
        splice_parse_ip(packet.bytes.data(), packet.bytes.data() + packet.bytes.size(), &segment.packet);
        play_server(conversation, segment);
        end();
    }
}

// --- Machines

void Replayer::Impl::to_balancer(MutableBytes bytes, Station from) {
    say_came(from, kBalancer, bytes);
    outbox.speak_for_balancer();
    const Verdict verdict = fleet->balancer.handle_packet(now, bytes, true, outbox);
    judge(kBalancer, verdict);
    schedule(*fleet, 0);
    if (chooses(verdict)) tell_choice(verdict, bytes);
    if (verdict_kind(verdict) == SPLICE_KIND_forward) balancer_sent(bytes);
    drain();
}

void Replayer::Impl::balancer_sent(MutableBytes bytes) {
    splice_packet packet{};
    if (splice_parse_ip(bytes.data(), bytes.data() + bytes.size(), &packet) != SPLICE_CONTINUE) return;
    if (const auto bridge = fleet->bridge_at(packet.key.vip)) {
        if (current) current->bridge = *bridge;
        to_bridge(*bridge, bytes);
        return;
    }
    const bool syn_ack = (packet.tcp_flags & SPLICE_SYN) != 0;
    // A SYN that comes late, of a connection that lives on by its first cookie, changes nothing.
    if (syn_ack && current && !current->opened) {
        splice_tcp_options options{};
        splice_parse_tcp_options(bytes.data(), bytes.data() + bytes.size(), &packet, &options);
        current->cookie_isn = Seq(packet.seq);
        if (options.timestamps_offset != 0) current->our_tsval = TsVal(options.tsval);
    }
    say_left(kBalancer, kClient, bytes);
}

void Replayer::Impl::to_bridge(std::uint16_t bridge, MutableBytes bytes) {
    say_left(kBalancer, station(bridge), bytes);
    outbox.speak_for_bridge(bridge);
    const Verdict verdict = fleet->bridges[bridge]->handle_from_balancer(now, bytes, true, Hop{}, outbox);
    judge(station(bridge), verdict);
    schedule(*fleet, bridge + std::size_t{1});
    if (verdict_kind(verdict) == SPLICE_KIND_forward) bridge_sent(bridge, bytes);
}

void Replayer::Impl::bridge_sent(std::uint16_t bridge, MutableBytes bytes) {
    splice_packet packet{};
    if (splice_parse_ip(bytes.data(), bytes.data() + bytes.size(), &packet) != SPLICE_CONTINUE) return;
    const bool toward_client =
        current && splice_address_equal(&packet.key.vip, &step.key.client) &&
        (packet.protocol != SPLICE_PROTOCOL_TCP || packet.key.vip_port == step.key.client_port);
    if (toward_client) {
        say_left(station(bridge), kClient, bytes);
        return;
    }
    say_left(station(bridge), kBackend, bytes);
    to_backend(bridge, bytes);
}

// The backend answers a SYN at once; whatever else it has to say, the capture says when.
void Replayer::Impl::to_backend(std::uint16_t bridge, Bytes bytes) {
    splice_packet packet{};
    if (splice_parse_ip(bytes.data(), bytes.data() + bytes.size(), &packet) != SPLICE_CONTINUE) return;
    if (!(packet.tcp_flags & SPLICE_SYN) || !current) return;
    const Endpoint backend{IpAddress(packet.key.vip), splice_ntohs(packet.key.vip_port)};
    std::vector<std::byte> answer = current->answer_replayed_syn(bytes, backend);
    if (answer.empty()) return;
    say_came(kBackend, station(bridge), answer);
    bridge_hears_backend(bridge, answer);
}

void Replayer::Impl::bridge_hears_backend(std::uint16_t bridge, MutableBytes bytes) {
    outbox.speak_for_bridge(bridge);
    const Verdict verdict = fleet->bridges[bridge]->handle_from_backend(now, bytes, true, outbox);
    judge(station(bridge), verdict);
    schedule(*fleet, bridge + std::size_t{1});
    if (verdict == SPLICE_learn_backend_isn && current) current->opened = true;
    if (verdict_kind(verdict) == SPLICE_KIND_forward) bridge_sent(bridge, bytes);
}

void Replayer::Impl::drain() {
    while (!outbox.empty()) {
        Sent sent = outbox.pop();
        if (sent.to_hop) {
            say_left(station(sent.bridge), kBalancer, sent.bytes);
            outbox.speak_for_balancer();
            const Verdict verdict = fleet->balancer.handle_packet(now, sent.bytes, true, outbox);
            judge(kBalancer, verdict);
            if (verdict_kind(verdict) == SPLICE_KIND_forward) balancer_sent(sent.bytes);
        } else if (sent.by_balancer) {
            balancer_sent(sent.bytes);
        } else {
            bridge_sent(sent.bridge, sent.bytes);
        }
    }
}

// --- Choices

// A choice sends on what was held, or the one packet that was handed in.
void Replayer::Impl::tell_choice(Verdict verdict, MutableBytes handed) {
    const auto fallback = fleet->new_fallback();
    if (verdict_kind(verdict) != SPLICE_KIND_forward) {
        tell_chosen(outbox.all(), fallback);
        return;
    }
    std::deque<Sent> released;
    released.push_back({true, false, 0, {handed.begin(), handed.end()}});
    tell_chosen(released, fallback);
}

void Replayer::Impl::tell_chosen(const std::deque<Sent>& released, std::optional<Fallback> fallback) {
    splice_packet packet{};
    if (!current || released.empty()) return;  // the service has no bridge
    const auto& first = released.front().bytes;
    if (splice_parse_ip(first.data(), first.data() + first.size(), &packet) != SPLICE_CONTINUE) return;
    Choice choice{
        .kind = "source", .key = IpAddress(step.key.client).to_string(), .fallback = fallback, .bridge = "-"};
    if (const auto bridge = fleet->bridge_at(packet.key.vip))
        choice.bridge = fleet->rules->bridges[*bridge].name;
    if (!fallback) {
        const auto stream = stream_of(released);
        const KeyAnswer answer =
            first_payload_key(current->service->protocol, current->service->key, stream, scratch);
        if (const Key* key = std::get_if<Key>(&answer)) {
            choice.kind = rule_kind(current->service->key);
            choice.key = key->bytes;
        }
    }
    tell([&](Observer& each) { each.chose(step, choice); });
}

// For what a timer sent: the conversation is known by the client's end and the service's mark.
bool Replayer::Impl::find_conversation_of_sent(const Sent& sent) {
    splice_packet packet{};
    const std::byte* const data = sent.bytes.data();
    if (splice_parse_ip(data, data + sent.bytes.size(), &packet) != SPLICE_CONTINUE) return false;
    splice_flow_key key = sent.by_balancer ? packet.key : reversed(packet.key);
    for (const SplicerService& service : fleet->rules->services) {
        if (sent.by_balancer) {
            if (service.dscp != splice_dscp(&packet)) continue;
            key.vip = service.vip.address.raw();
            key.vip_port = splice_htons(service.vip.port);
        }
        const auto found = conversations.find(key);
        if (found == conversations.end()) continue;
        enter(found->second, found->first);
        return true;
    }
    return false;
}

}  // namespace splice::replay
