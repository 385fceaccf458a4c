#include "tools/replay/replayer.hpp"

#include <utility>

#include "tools/replay/machines.hpp"
#include "tools/replay/survey.hpp"

namespace splice::replay {

struct Replayer::Impl {
    Impl(Fleets& fleets, std::vector<Observer*> observers, Checksums checksums)
        : mender(checksums), narrator(std::move(observers)), conversations(fleets) {}

    void advance_to(Duration monotonic);
    void take_segment(Arrival& arrival);
    void take_icmp(Arrival& arrival);
    void from_client(Conversation& conversation, Arrival& segment);
    void from_server(Conversation& conversation, Arrival& segment);
    void keep_syn_ack(Conversation& conversation, const Arrival& segment);
    void complete_beginning(Conversation& conversation, const Arrival& segment,
                            const splice_tcp_options& options);
    // Of no conversation: judged, and that is all.
    void turn_away(const Arrival& arrival, Verdict verdict);

    Mender mender;
    CaptureClock clock;
    Narrator narrator;
    Conversations conversations;
    Machines machines{clock, conversations, narrator};
};

Replayer::Replayer(Fleets& fleets, std::vector<Observer*> observers, Checksums checksums)
    : impl_(std::make_unique<Impl>(fleets, std::move(observers), checksums)) {}
Replayer::~Replayer() = default;

void Replayer::take(const CapturedPacket& captured) {
    Impl& impl = *impl_;
    impl.advance_to(impl.clock.monotonic_of(captured.time));
    Arrival arrival = impl.mender.mend(captured);
    impl.narrator.begin(captured.number, impl.clock.captured(), captured.ip.size(), captured.ip_length,
                        arrival.checksum_ignored);
    if (captured.ip.empty())
        impl.narrator.judge(kBalancer, SPLICE_pass_not_ip);
    else if (arrival.verdict != SPLICE_CONTINUE)
        impl.turn_away(arrival, arrival.verdict);
    else if (arrival.packet.protocol == SPLICE_PROTOCOL_TCP)
        impl.take_segment(arrival);
    else
        impl.take_icmp(arrival);
    impl.machines.end_step();
}

void Replayer::finish() {
    if (impl_->clock.started()) impl_->advance_to(impl_->clock.now().monotonic + kAfterLast);
}

// What is due until then, each in its own time.
void Replayer::Impl::advance_to(Duration monotonic) {
    while (const auto timer = machines.due_timer(monotonic)) {
        clock.advance_to(timer->due);
        machines.run(*timer);
    }
    clock.advance_to(monotonic);
}

void Replayer::Impl::turn_away(const Arrival& arrival, Verdict verdict) {
    narrator.came(kClient, kBalancer, arrival.bytes);
    narrator.judge(kBalancer, verdict);
}

void Replayer::Impl::take_segment(Arrival& arrival) {
    const auto [conversation, from_its_server] = conversations.of(arrival.packet);
    if (!conversation) {
        narrator.came(kClient, kBalancer, arrival.bytes);
        if (conversations.full()) narrator.note(Place::client, "more connections than are followed");
        narrator.judge(kBalancer, SPLICE_pass_not_service);
        return;
    }
    narrator.enter(*conversation);
    from_its_server ? from_server(*conversation, arrival) : from_client(*conversation, arrival);
}

void Replayer::Impl::take_icmp(Arrival& arrival) {
    splice_packet quoted{};
    const std::byte* const data = arrival.bytes.data();
    const Verdict verdict =
        splice_parse_icmp_error(data, data + arrival.bytes.size(), &arrival.packet, &quoted);
    if (verdict != SPLICE_CONTINUE) return turn_away(arrival, verdict);
    Conversation* const conversation = conversations.find(splice_flow_toward_client(&quoted));
    if (!conversation) return turn_away(arrival, SPLICE_pass_icmp_not_ours);
    narrator.enter(*conversation);
    conversation->map_icmp_toward_balancer(arrival);
    machines.from_client(arrival.bytes);
}

void Replayer::Impl::from_client(Conversation& conversation, Arrival& segment) {
    const splice_packet& packet = segment.packet;
    if (packet.tcp_flags & SPLICE_SYN) {
        const bool again = conversation.client_isn == Seq(packet.seq);
        if (conversation.client_isn && !again) {
            conversations.restart(conversation);
            narrator.enter(conversation);
        }
        conversation.client_isn = Seq(packet.seq);
        conversation.from_its_middle = false;
        machines.from_client(segment.bytes);
        return;
    }
    splice_tcp_options options{};
    splice_parse_tcp_options(segment.bytes.data(), segment.bytes.data() + segment.bytes.size(), &packet,
                             &options);
    if (!conversation.cookie_isn) complete_beginning(conversation, segment, options);
    if (conversation.cookie_isn && !(conversation.acknowledged && conversation.server_tsval))
        conversation.learn_from(packet, options);
    conversation.map_toward_balancer(segment);
    machines.from_client(segment.bytes);
}

// Where the capture lacks the SYN, a client's segment that begins a first payload tells what it was.
void Replayer::Impl::complete_beginning(Conversation& conversation, const Arrival& segment,
                                        const splice_tcp_options& options) {
    const splice_packet& packet = segment.packet;
    const Bytes payload = Bytes(segment.bytes).subspan(packet.payload_offset, packet.payload_length);
    if (conversation.from_its_middle || !(packet.tcp_flags & SPLICE_ACK) || payload.empty() ||
        guess(payload) != Speech{conversation.service->protocol, conversation.service->proxy_protocol}) {
        conversation.from_its_middle = true;
        return;
    }
    constexpr std::uint16_t kUsualMss = 1460;
    MissingSyn missing{.client_isn = packet.seq - 1,
                       .negotiated = {kUsualMss, kWindowScale, 1, 0, 0},
                       .tsval = std::nullopt};
    if (options.timestamps_offset != 0) missing.tsval = options.tsval;
    conversation.client_isn = Seq(missing.client_isn);
    narrator.note(Place::client, "the capture lacks the handshake: made up");
    auto syn = make_up_syn(conversation.key, missing);
    machines.from_client(syn);
}

void Replayer::Impl::from_server(Conversation& conversation, Arrival& segment) {
    const splice_packet& packet = segment.packet;
    const bool syn_ack = (packet.tcp_flags & SPLICE_SYN) && (packet.tcp_flags & SPLICE_ACK);
    if (syn_ack && conversation.acknowledged && conversation.server_isn != Seq(packet.seq)) {
        narrator.note(Place::backend, "left out: the client has acknowledged another SYN-ACK");
        return;
    }
    if (syn_ack && !conversation.opened) {
        keep_syn_ack(conversation, segment);
        return;
    }
    if (!conversation.cookie_isn) conversation.from_its_middle = true;
    if (conversation.opened || conversation.from_its_middle || conversation.waiting.size() >= kMaxWaiting) {
        machines.from_server(segment);
        return;
    }
    narrator.note(Place::backend, "waits until the backend has its connection");
    const Step& step = narrator.step();
    conversation.waiting.push_back(
        {step.number, step.captured, step.length, {segment.bytes.begin(), segment.bytes.end()}});
}

void Replayer::Impl::keep_syn_ack(Conversation& conversation, const Arrival& segment) {
    const splice_packet& packet = segment.packet;
    conversation.keep_syn_ack(segment);
    narrator.note(Place::backend, "kept: the backend's answer to the replayed handshake");
    if (conversation.cookie_isn || conversation.from_its_middle) return;
    splice_tcp_options options{};
    splice_parse_tcp_options(segment.bytes.data(), segment.bytes.data() + segment.bytes.size(), &packet,
                             &options);
    MissingSyn missing{
        .client_isn = packet.ack - 1,
        .negotiated = {options.mss,
                       options.window_scale == SPLICE_NO_WINDOW_SCALE ? std::uint8_t{SPLICE_NO_WINDOW_SCALE}
                                                                      : kWindowScale,
                       options.sack_permitted, 0, 0},
        .tsval = std::nullopt};
    if (options.timestamps_offset != 0) missing.tsval = options.tsecr;
    conversation.client_isn = Seq(missing.client_isn);
    narrator.note(Place::client, "the capture lacks the SYN: made up");
    auto syn = make_up_syn(conversation.key, missing);
    machines.from_client(syn);
}

}  // namespace splice::replay
