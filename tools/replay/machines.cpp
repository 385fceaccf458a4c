#include "tools/replay/machines.hpp"

#include <algorithm>
#include <utility>

#include "libsplice/datapath/carriage.h"
#include "tools/replay/choice.hpp"

namespace splice::replay {
namespace {

// What a machine of ours sent or lets pass; false only for what none of them makes.
bool parse(Bytes bytes, splice_packet& packet) noexcept {
    return splice_parse_ip(bytes.data(), bytes.data() + bytes.size(), &packet) == SPLICE_CONTINUE;
}

}  // namespace

// --- The two ends

void Machines::from_client(MutableBytes bytes) {
    fleet_ = conversation()->fleet;
    narrator_.came(kClient, kBalancer, bytes);
    const Verdict verdict = ask_balancer(bytes);
    schedule_.ask(*fleet_, 0, clock_.now().monotonic);
    if (verdict_kind(verdict) == SPLICE_KIND_forward) balancer_sent(bytes);
    drain();
}

void Machines::from_server(Arrival& segment) {
    fleet_ = conversation()->fleet;
    const std::uint16_t bridge = conversation()->bridge.value_or(0);
    if (bridge >= fleet_->bridges.size()) {
        narrator_.note(Place::bridge, "the service has no bridge");
        return;
    }
    send_from(segment, fleet_->backend(bridge, conversation()->service->vip));
    narrator_.came(kBackend, station(bridge), segment.bytes);
    from_backend(bridge, segment.bytes);
    drain();
}

void Machines::end_step() {
    narrator_.end();
    Conversation* const ended = conversation();
    if (ended && ended->opened && !ended->waiting.empty()) play_waiting(*ended);
}

void Machines::play_waiting(Conversation& conversation) {
    for (WaitingPacket& packet : std::exchange(conversation.waiting, {})) {
        narrator_.begin(packet.number, clock_.captured(), packet.captured, packet.length);
        narrator_.enter(conversation);
        Arrival segment{.bytes = packet.bytes};
        parse(packet.bytes, segment.packet);
        from_server(segment);
        narrator_.end();
    }
}

// --- From machine to machine

Verdict Machines::ask_balancer(MutableBytes bytes) {
    outbox_.speak_for_balancer();
    const Verdict verdict = fleet_->balancer.handle_packet(clock_.now(), bytes, true, outbox_);
    narrator_.judge(kBalancer, verdict);
    for (const ToldChoice& told : outbox_.take_choices()) tell_choice(told);
    return verdict;
}

void Machines::balancer_sent(MutableBytes bytes) {
    splice_packet packet{};
    if (!parse(bytes, packet)) return;
    if (const auto bridge = fleet_->bridge_at(packet.ends.destination)) {
        if (conversation()) conversation()->bridge = bridge;
        to_bridge(*bridge, bytes);
        return;
    }
    learn_syn_ack(bytes, packet);
    narrator_.left(kBalancer, kClient, bytes);
}

void Machines::learn_syn_ack(Bytes bytes, const splice_packet& packet) {
    // A SYN that comes late, of a connection that lives on by its first cookie, changes nothing.
    if (!(packet.tcp_flags & SPLICE_SYN) || !conversation() || conversation()->opened) return;
    splice_tcp_options options{};
    splice_parse_tcp_options(bytes.data(), bytes.data() + bytes.size(), &packet, &options);
    conversation()->cookie_isn = Seq(packet.seq);
    if (options.timestamps_offset != 0) conversation()->our_tsval = TsVal(options.tsval);
}

void Machines::to_bridge(std::uint16_t bridge, MutableBytes bytes) {
    narrator_.left(kBalancer, station(bridge), bytes);
    outbox_.speak_for_bridge(bridge);
    const Verdict verdict =
        fleet_->bridges[bridge]->handle_from_balancer(clock_.now(), bytes, true, Hop{}, outbox_);
    narrator_.judge(station(bridge), verdict);
    schedule_.ask(*fleet_, bridge + std::size_t{1}, clock_.now().monotonic);
    if (verdict_kind(verdict) == SPLICE_KIND_forward) bridge_sent(bridge, bytes);
}

void Machines::bridge_sent(std::uint16_t bridge, MutableBytes bytes) {
    splice_packet packet{};
    if (!parse(bytes, packet)) return;
    const splice_flow_key& ends = narrator_.step().key;
    const bool toward_client =
        conversation() && splice_address_equal(&packet.ends.destination, &ends.client) &&
        (packet.protocol != SPLICE_PROTOCOL_TCP || packet.ends.destination_port == ends.client_port);
    narrator_.left(station(bridge), toward_client ? kClient : kBackend, bytes);
    if (!toward_client) to_backend(bridge, bytes, packet);
}

// The backend answers a SYN at once; whatever else it has to say, the capture says when.
void Machines::to_backend(std::uint16_t bridge, Bytes bytes, const splice_packet& packet) {
    if (!(packet.tcp_flags & SPLICE_SYN) || !conversation()) return;
    const Endpoint backend{IpAddress(packet.ends.destination), splice_ntohs(packet.ends.destination_port)};
    std::vector<std::byte> answer = conversation()->answer_replayed_syn(bytes, backend);
    if (answer.empty()) return;
    narrator_.came(kBackend, station(bridge), answer);
    from_backend(bridge, answer);
}

void Machines::from_backend(std::uint16_t bridge, MutableBytes bytes) {
    outbox_.speak_for_bridge(bridge);
    const Verdict verdict = fleet_->bridges[bridge]->handle_from_backend(clock_.now(), bytes, true, outbox_);
    narrator_.judge(station(bridge), verdict);
    schedule_.ask(*fleet_, bridge + std::size_t{1}, clock_.now().monotonic);
    if (verdict == SPLICE_learn_backend_isn && conversation()) conversation()->opened = true;
    if (verdict_kind(verdict) == SPLICE_KIND_forward) bridge_sent(bridge, bytes);
}

void Machines::drain() {
    while (!outbox_.empty()) {
        Sent sent = outbox_.pop();
        if (sent.to_hop) {
            narrator_.left(station(sent.bridge), kBalancer, sent.bytes);
            const Verdict verdict = ask_balancer(sent.bytes);
            if (verdict_kind(verdict) == SPLICE_KIND_forward) balancer_sent(sent.bytes);
        } else if (sent.by_balancer) {
            balancer_sent(sent.bytes);
        } else {
            bridge_sent(sent.bridge, sent.bytes);
        }
    }
}

// --- Choices

void Machines::tell_choice(const ToldChoice& told) {
    if (conversation()) narrator_.chose(choice_in_words(told, *conversation()->service, *fleet_));
}

// --- Timers

void Machines::run(const Timer& timer) {
    fleet_ = timer.fleet;
    if (timer.machine == 0) {
        run_balancer();
    } else {
        // A bridge's timers forget; they send nothing.
        outbox_.speak_for_bridge(static_cast<std::uint16_t>(timer.machine - 1));
        fleet_->bridges[timer.machine - 1]->expire(clock_.now(), outbox_);
    }
    schedule_.ask(*timer.fleet, timer.machine, clock_.now().monotonic);
}

// The balancer's timer ends a wait, or takes up what had overtaken a first payload that has come by now. A
// step for each conversation: what one of them released stands together.
void Machines::run_balancer() {
    Fleet& fleet = *fleet_;
    outbox_.speak_for_balancer();
    fleet.balancer.expire(clock_.now(), outbox_);
    std::deque<Sent> sent = outbox_.take();
    std::vector<ToldChoice> choices = outbox_.take_choices();
    while (!sent.empty() || !choices.empty()) {
        narrator_.begin(0, clock_.captured(), 0, 0);
        // Without a bridge a choice sends nothing.
        Conversation* const mine =
            sent.empty() ? conversations_.find(choices.front().flow) : conversation_of(fleet, sent.front());
        if (mine) narrator_.enter(*mine);
        std::vector<ToldChoice> own_choices;
        std::erase_if(choices, [&](const ToldChoice& told) {
            if (!mine || !FlowKeyEqual{}(told.flow, mine->key)) return !mine && sent.empty();
            own_choices.push_back(told);
            return true;
        });
        std::deque<Sent> own;
        while (!sent.empty() && (own.empty() || (mine && conversation_of(fleet, sent.front()) == mine))) {
            own.push_back(std::move(sent.front()));
            sent.pop_front();
        }
        fleet_ = &fleet;
        tell_time_out(mine, own_choices, own);
        end_step();
    }
}

void Machines::tell_time_out(Conversation* mine, const std::vector<ToldChoice>& choices,
                             std::deque<Sent>& own) {
    const bool expired = std::ranges::any_of(
        choices, [](const ToldChoice& told) { return told.fallback == Fallback::wait_expired; });
    if (mine)
        narrator_.note(Place::balancer, expired ? "balancer first_payload_wait is over"
                                                : "balancer takes up what had overtaken the first segment");
    for (const ToldChoice& told : choices) tell_choice(told);
    for (Sent& each : own) {
        balancer_sent(each.bytes);
        drain();
    }
}

// For what a timer sent: an answer to the client names the service; what goes to a bridge has the client's
// end and the service's mark.
Conversation* Machines::conversation_of(const Fleet& fleet, const Sent& sent) {
    splice_packet packet{};
    if (!parse(sent.bytes, packet)) return nullptr;
    if (Conversation* const answered = conversations_.find(splice_flow_toward_client(&packet)))
        return answered;
    splice_flow_key key = *splice_flow_toward_server(&packet);
    for (const SplicerService& service : fleet.setup->services) {
        if (!splice_carriage_equal(service.carriage, splice_uncarry(&packet))) continue;
        key.server = service.vip.address.raw();
        key.server_port = splice_htons(service.vip.port);
        if (Conversation* const found = conversations_.find(key)) return found;
    }
    return nullptr;
}

}  // namespace splice::replay
