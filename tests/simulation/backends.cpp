// The servers.
#include "tests/simulation/scene.hpp"

namespace splice::simulation {

void World::from_backend(std::size_t index, const Segment& segment) {
    PacketBytes packet = encode(segment);
    if (local_.delay > 10us)
        return travel(local_, std::move(packet),
                      [this, index](PacketBytes p) { backend_hook(index, std::move(p), true); });
    if (unfinished_checksums_) {
        const std::size_t checksum = (family_ == 4 ? 20 : 40) + 16;
        packet[checksum] = std::byte{0x12};
        packet[checksum + 1] = std::byte{0x34};
    }
    ++result_.packets;
    backend_hook(index, std::move(packet), !unfinished_checksums_);
}

void World::backend_sends(std::size_t index, Served& served) {
    const std::uint16_t port = served.session->port;
    if (!served.tcp->violation().empty())
        fail(fmt::format("backend {} of client port {}: {}", index + 1, port, served.tcp->violation()));
    for (const Segment& segment : served.tcp->take_output()) from_backend(index, segment);
    if (const auto deadline = served.tcp->next_deadline())
        at(*deadline, [this, index, port] { timer_of(index, port); });
}

void World::timer_of(std::size_t index, std::uint16_t port) {
    const auto found = bridges_[index].sockets.find(port);
    if (found == bridges_[index].sockets.end()) return;
    const auto deadline = found->second.tcp->next_deadline();
    if (!deadline || *deadline > now_) return;
    found->second.tcp->tick(now_);
    backend_sends(index, found->second);
}

void World::to_backend(std::size_t index, const PacketBytes& packet) {
    const auto segment = decode(packet);
    log(fmt::format("to backend {}", index + 1), packet, segment ? "" : "unread");
    if (!segment || segment->destination != bridges_[index].backend.address) return;
    auto& sockets = bridges_[index].sockets;
    const std::uint16_t port = segment->source_port;
    const auto found = sockets.find(port);
    const bool alive = found != sockets.end() && found->second.tcp->state() != Tcp::State::closed;
    if (segment->has(kSyn) && !segment->has(kAck)) {
        if (!alive || found->second.tcp->yields_to(*segment)) return refuse_or_accept(index, *segment);
    } else if (!alive) {
        if (segment->has(kRst)) return;
        Segment reset;
        reset.source = segment->destination;
        reset.source_port = segment->destination_port;
        reset.destination = segment->source;
        reset.destination_port = segment->source_port;
        reset.flags = kRst;
        reset.seq = segment->ack;
        return from_backend(index, reset);
    }
    found->second.tcp->receive(now_, *segment);
    serve(index, port);
}

void World::refuse_or_accept(std::size_t index, const Segment& syn) {
    BridgeHost& host = bridges_[index];
    Session* session = session_of(syn);
    if (!session) return fail("a replayed SYN has not its client's number");
    const bool refuses = std::ranges::any_of(
        host.refuses, [&](const auto& window) { return window.first <= now_ && now_ < window.second; });
    if (refuses) {
        Segment reset;
        reset.source = syn.destination;
        reset.source_port = syn.destination_port;
        reset.destination = syn.source;
        reset.destination_port = syn.source_port;
        reset.flags = kRst | kAck;
        reset.ack = syn.seq + 1;
        return from_backend(index, reset);
    }
    TcpSettings settings;
    settings.local = host.backend;
    settings.remote = {syn.source, syn.source_port};
    settings.isn =
        random_.chance(0.3) ? 0U - static_cast<std::uint32_t>(random_.between(0, 2000)) : random_.number();
    settings.mss = 1460;
    settings.sack = settings.timestamps = true;
    settings.nagle = random_.chance(0.5);
    settings.receive_buffer = static_cast<std::uint32_t>(random_.between(8192, 200'000));
    if (random_.chance(0.9)) settings.window_scale = draw_window_scale(settings.receive_buffer);
    settings.clock = random_.number();
    settings.leading_nops = static_cast<std::uint8_t>(random_.chance(0.8) ? 2 : random_.between(0, 3));
    Served& served = host.sockets[syn.source_port];
    served = {std::make_unique<Tcp>(settings), session};
    if (!session->reached_backend) session->reached = now_;
    session->reached_backend = true;
    served.tcp->accept(now_, syn);
    backend_sends(index, served);
}

void World::serve(std::size_t index, std::uint16_t port) {
    const auto found = bridges_[index].sockets.find(port);
    if (found == bridges_[index].sockets.end()) return;
    if (const Outage* const now = outage(index); now && now->hangs)
        return at(now->to, [this, index, port] { serve(index, port); });
    Served& served = found->second;
    Tcp& tcp = *served.tcp;
    const Conversation& conversation = served.session->conversation;
    const std::string bytes = tcp.read(now_, served.session->slow_reader ? 1500 : SIZE_MAX);
    if (served.session->client_stream.compare(served.received, bytes.size(), bytes) != 0)
        fail(fmt::format("backend {}: bytes from {} on are not what client port {} sent", index + 1,
                         served.received, port));
    served.received += bytes.size();
    if (tcp.unread()) at(now_ + 10ms, [this, index, port] { serve(index, port); });

    std::size_t asked = 0;
    for (std::size_t i = 0; i < conversation.exchanges.size(); ++i) {
        asked += conversation.exchanges[i].request.size();
        if (i < served.exchange || served.received < asked || !tcp.established()) continue;
        std::string response(conversation.exchanges[i].response, '\0');
        for (char& c : response) c = Conversation::response_byte(conversation.id, index, served.written++);
        tcp.write(now_, response);
        served.exchange = i + 1;
    }
    const bool finished = served.exchange == conversation.exchanges.size();
    if (tcp.peer_closed() || (finished && conversation.closer == Closer::server)) tcp.close(now_);
    if (tcp.end() == Tcp::End::finished &&
        served.received + tcp.unread() != served.session->client_stream.size())
        fail(fmt::format("backend {}: client port {} closed after {} of {} bytes", index + 1, port,
                         served.received, served.session->client_stream.size()));
    backend_sends(index, served);
}

}  // namespace splice::simulation
