#include "tools/replay/machines.hpp"

#include <array>
#include <utility>

#include "libsplice/datapath/forward.h"
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
    if (chooses(verdict)) tell_choice(verdict, bytes);
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
    return verdict;
}

void Machines::balancer_sent(MutableBytes bytes) {
    splice_packet packet{};
    if (!parse(bytes, packet)) return;
    if (const auto bridge = fleet_->bridge_at(packet.key.vip)) {
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
        conversation() && splice_address_equal(&packet.key.vip, &ends.client) &&
        (packet.protocol != SPLICE_PROTOCOL_TCP || packet.key.vip_port == ends.client_port);
    narrator_.left(station(bridge), toward_client ? kClient : kBackend, bytes);
    if (!toward_client) to_backend(bridge, bytes, packet);
}

// The backend answers a SYN at once; whatever else it has to say, the capture says when.
void Machines::to_backend(std::uint16_t bridge, Bytes bytes, const splice_packet& packet) {
    if (!(packet.tcp_flags & SPLICE_SYN) || !conversation()) return;
    const Endpoint backend{IpAddress(packet.key.vip), splice_ntohs(packet.key.vip_port)};
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

// A choice sends on what was held, or the one packet that was handed in.
void Machines::tell_choice(Verdict verdict, Bytes handed) {
    const auto fallback = fleet_->new_fallback();
    if (verdict_kind(verdict) == SPLICE_KIND_forward)
        tell_chosen(std::array{handed}, fallback);
    else
        tell_chosen(outbox_.packets(), fallback);
}

void Machines::tell_chosen(std::span<const Bytes> released, std::optional<Fallback> fallback) {
    if (!conversation()) return;
    if (const auto choice = choice_of(*conversation(), released, fallback, scratch_))
        narrator_.chose(*choice);
}

// --- Timers

void Machines::run(const Timer& timer) {
    fleet_ = timer.fleet;
    if (timer.machine == 0) {
        outbox_.speak_for_balancer();
        fleet_->balancer.expire(clock_.now(), outbox_);
    } else {
        outbox_.speak_for_bridge(static_cast<std::uint16_t>(timer.machine - 1));
        fleet_->bridges[timer.machine - 1]->expire(clock_.now(), outbox_);
    }
    // A step for each conversation: what one released stands together.
    std::deque<Sent> sent = outbox_.take();
    while (!sent.empty()) {
        narrator_.begin(0, clock_.captured(), 0, 0);
        Conversation* const mine = conversation_of(*timer.fleet, sent.front());
        if (mine) narrator_.enter(*mine);
        std::deque<Sent> own;
        do {
            own.push_back(std::move(sent.front()));
            sent.pop_front();
        } while (mine && !sent.empty() && conversation_of(*timer.fleet, sent.front()) == mine);
        fleet_ = timer.fleet;
        tell_time_out(timer.machine, own);
        end_step();
    }
    schedule_.ask(*timer.fleet, timer.machine, clock_.now().monotonic);
}

// What a time-out of one conversation sent, and why.
void Machines::tell_time_out(std::size_t machine, std::deque<Sent>& own) {
    if (machine == 0) {
        fleet_->new_fallback();
        tell_chosen(packets_of(own), Fallback::wait_expired);
    } else {
        narrator_.judge(station(static_cast<std::uint16_t>(machine - 1)), SPLICE_answer_unknown_rst);
    }
    for (Sent& each : own) {
        each.by_balancer ? balancer_sent(each.bytes) : bridge_sent(each.bridge, each.bytes);
        drain();
    }
}

// For what a timer sent: the conversation is known by the client's end and the service's mark.
Conversation* Machines::conversation_of(const Fleet& fleet, const Sent& sent) {
    splice_packet packet{};
    if (!parse(sent.bytes, packet)) return nullptr;
    if (!sent.by_balancer) return conversations_.find(reversed(packet.key));
    splice_flow_key key = packet.key;
    for (const SplicerService& service : fleet.rules->services) {
        if (service.dscp != splice_dscp(&packet)) continue;
        key.vip = service.vip.address.raw();
        key.vip_port = splice_htons(service.vip.port);
        if (Conversation* const found = conversations_.find(key)) return found;
    }
    return nullptr;
}

}  // namespace splice::replay
