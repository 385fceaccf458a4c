// What clients say, hear and conclude.
#include "tests/simulation/scene.hpp"

namespace splice::simulation {

void World::begin(Session& session) {
    auto& history = by_port_[session.port];
    // The port is taken, or packets of its last connection may still be on their way.
    const Duration pause = orderly_ ? Duration{} : kPacketLifetime;
    if (!history.empty() && (!history.back()->done || now_ < history.back()->ended + pause)) {
        at(now_ + (orderly_ ? kSoon : Duration(3s)), [this, &session] { begin(session); });
        return;
    }
    TcpSettings settings;
    settings.local = {client_address(session.port), session.port};
    settings.remote = vip_;
    // Some begin shortly before the wrap, some in the middle of nowhere.
    // Never the port's last one again, whose cookie it would get, too.
    do {
        settings.isn = random_.chance(0.3) ? 0U - static_cast<std::uint32_t>(random_.between(0, 2000))
                                           : random_.number();
    } while (std::ranges::any_of(history, [&](const Session* last) { return last->isn == settings.isn; }));
    history.push_back(&session);
    if (!random_.chance(0.1)) settings.mss = static_cast<std::uint16_t>(random_.between(536, 1460));
    settings.sack = random_.chance(0.7);
    settings.timestamps = random_.chance(0.7);
    settings.nagle = random_.chance(0.5);
    settings.receive_buffer = static_cast<std::uint32_t>(random_.between(4096, 200'000));
    if (random_.chance(0.7)) settings.window_scale = draw_window_scale(settings.receive_buffer);
    settings.clock =
        random_.chance(0.2) ? 0U - static_cast<std::uint32_t>(random_.between(0, 60'000)) : 1'000'000;
    settings.leading_nops = static_cast<std::uint8_t>(random_.chance(0.8) ? 2 : random_.between(0, 3));
    session.isn = settings.isn;
    session.started = session.heard = now_;
    session.tcp = std::make_unique<Tcp>(settings);
    session.tcp->connect(now_);
    client_sends(session);
    lose_patience_later(session);
}

void World::lose_patience_later(Session& session) {
    at(session.heard + kPatience, [this, &session] {
        if (session.done) return;
        if (now_ - session.heard < kPatience) return lose_patience_later(session);
        session.tcp->abort();
        client_sends(session);
    });
}

// Any scale in which the buffer can still be said with some precision.
std::uint8_t World::draw_window_scale(std::uint32_t receive_buffer) {
    std::uint64_t scale = random_.between(0, 14);
    while (receive_buffer >> scale < 16) --scale;
    return static_cast<std::uint8_t>(scale);
}

void World::client_sends(Session& session) {
    for (const Segment& segment : session.tcp->take_output()) {
        const PacketBytes packet = encode(segment);
        log("client", packet);
        travel(up_, packet, [this](PacketBytes p) { to_balancer(std::move(p)); });
    }
    if (!session.tcp->violation().empty())
        fail(fmt::format("client port {}: {}", session.port, session.tcp->violation()));
    if (const auto deadline = session.tcp->next_deadline())
        at(*deadline, [this, &session] { timer_of(session); });
    if (!session.done && session.tcp->end() != Tcp::End::none) {
        // A socket that is closed gives what it has.
        if (session.tcp->unread()) hear(session, session.tcp->read(now_, SIZE_MAX));
        end_session(session);
    }
}

void World::timer_of(Session& session) {
    const auto deadline = session.tcp->next_deadline();
    if (!deadline || *deadline > now_) return;
    session.tcp->tick(now_);
    client_sends(session);
}

void World::to_client(const PacketBytes& packet) {
    const auto segment = decode(packet);
    if (!segment) return;
    log("to client", packet);
    const auto history = by_port_.find(segment->destination_port);
    if (history == by_port_.end() || segment->source != vip_.address) return;
    Session& session = *history->second.back();
    if (segment->destination != client_address(session.port)) return;
    if (session.tcp->state() == Tcp::State::closed) {
        // A host answers what belongs to no socket of its own with RST.
        if (segment->has(kRst)) return;
        Segment reset;
        reset.source = segment->destination;
        reset.source_port = segment->destination_port;
        reset.destination = segment->source;
        reset.destination_port = segment->source_port;
        reset.flags = segment->has(kAck) ? kRst : kRst | kAck;
        reset.seq = segment->has(kAck) ? segment->ack : 0;
        reset.ack = segment->has(kAck) ? 0 : segment->seq + segment->length();
        travel(up_, encode(reset), [this](PacketBytes p) { to_balancer(std::move(p)); });
        return;
    }
    const bool was_open = session.tcp->established();
    session.tcp->receive(now_, *segment);
    if (!was_open && session.tcp->established()) {
        session.opened = now_;
        session.not_before = now_ + session.conversation.exchanges[0].think;
    }
    speak(session);
    client_sends(session);
}

void World::speak_later(Session& session, Duration when) {
    at(when, [this, &session] {
        if (session.done) return;
        speak(session);
        client_sends(session);
    });
}

// Reads what has come and says what is next.
void World::speak(Session& session) {
    Tcp& tcp = *session.tcp;
    if (session.done || (!tcp.established() && tcp.unread() == 0)) return;
    if (const std::string bytes = tcp.read(now_, session.slow_reader ? 2000 : SIZE_MAX); !bytes.empty()) {
        hear(session, bytes);
        if (tcp.unread()) speak_later(session, now_ + 10ms);
    }
    const auto& exchanges = session.conversation.exchanges;
    while (session.exchange < exchanges.size() && tcp.established()) {
        const Exchange& exchange = exchanges[session.exchange];
        if (!session.asked) {
            if (now_ < session.not_before) return speak_later(session, session.not_before);
            const std::size_t each = exchange.request.size() / exchange.pieces + 1;
            const std::size_t from = std::min(session.piece * each, exchange.request.size());
            const std::string piece = exchange.request.substr(from, each);
            if (!piece.empty()) tcp.write(now_, piece);
            if (++session.piece < exchange.pieces) {
                session.not_before = now_ + exchange.between_pieces;
                continue;
            }
            session.asked = true;
            session.expected += exchange.response;
            const bool last = session.exchange + 1 == exchanges.size();
            if (last && session.conversation.closer == Closer::client_early) tcp.close(now_);
        }
        if (session.received < session.expected) {
            if (session.received && session.conversation.closer == Closer::client_aborts) tcp.abort();
            break;
        }
        ++session.exchange;
        session.asked = false;
        session.piece = 0;
        if (session.exchange < exchanges.size())
            session.not_before = now_ + exchanges[session.exchange].think;
    }
    if (session.exchange == exchanges.size() && session.conversation.closer != Closer::server)
        tcp.close(now_);
    if (tcp.peer_closed()) tcp.close(now_);
}

void World::hear(Session& session, std::string_view bytes) {
    session.heard = now_;
    if (!session.first_heard) session.first_heard = now_;
    if (session.beginning.empty()) session.backend = static_cast<std::size_t>(bytes[0] - '1');
    if (session.beginning.size() < 12) session.beginning += bytes.substr(0, 12 - session.beginning.size());
    const bool refused = session.beginning.starts_with('H');
    if (!refused) {
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            if (bytes[i] ==
                Conversation::response_byte(session.conversation.id, session.backend, session.received + i))
                continue;
            // After a restart a second backend may have answered the same request.
            if (!session.disturbed && !session.moved)
                fail(fmt::format("client port {}: byte {} of the response is not its backend's", session.port,
                                 session.received + i));
            break;
        }
    }
    session.received += bytes.size();
    if (!refused && session.received > session.conversation.response_bytes())
        fail(fmt::format("client port {}: more than the response", session.port));
}

void World::end_session(Session& session) {
    session.done = true;
    session.ended = now_;
    const Tcp::End end = session.tcp->end();
    const bool refused = session.beginning.starts_with('H');
    const auto name = fmt::format("client port {} isn {}", session.port, session.isn);
    if (session.conversation.closer == Closer::client_aborts && end == Tcp::End::aborted &&
        session.received) {
        ++result_.aborted;
        return;
    }
    const auto reason = excuse(session);
    if (end == Tcp::End::finished && !refused) {
        if (session.received == session.conversation.response_bytes()) {
            ++result_.finished;
            return;
        }
        if (!reason)
            return fail(fmt::format("{}: ended after {} of {} bytes", name, session.received,
                                    session.conversation.response_bytes()));
    }
    if (!reason) {
        static constexpr std::array kEnds{"none", "finished", "reset", "timed out", "aborted"};
        return fail(fmt::format("{}: {} without a reason, {} bytes received", name,
                                refused ? "refused" : kEnds[static_cast<std::size_t>(end)],
                                session.received));
    }
    if (verbose_) fmt::print("{:11.6f} {}: {}\n", seconds(), name, *reason);
    ++(*reason == "refused by all" ? result_.refused : result_.excused);
}

// Why a conversation may have failed; nothing: it must not.
std::optional<std::string> World::excuse(const Session& session) const {
    if (session.disturbed) return "a machine was restarted";
    if (session.moved) return "its bridge was dead before it answered";
    if (std::ranges::any_of(session.bridges,
                            [&](std::size_t bridge) { return may_have_lost(bridge, session); }))
        return "its bridge was dead";
    // Where it is checked, it is taken back only after that.
    const Duration known = checks_ ? kKnown : Duration{};
    const bool all_refuse = std::ranges::all_of(bridges_, [&](const BridgeHost& host) {
        const auto index = static_cast<std::size_t>(&host - bridges_.data());
        if (was_out(index, session)) return true;
        if (session.reloaded && (drained_ ? index == *drained_ : index > 0)) return true;
        return std::ranges::any_of(host.refuses, [&](const auto& window) {
            return window.first <= now_ && window.second + known >= session.started;
        });
    });
    if (all_refuse) return "refused by all";
    // The handshake's last ACK is the only sign of a client that waits for the server: nobody repeats it.
    if (server_first_ && !session.reached_backend) return "the server was never told";
    // A cookie lives 32 s at least, less what the clocks differ by.
    std::int64_t skew = 0;
    for (const BridgeHost& host : bridges_) skew = std::max(skew, std::abs(host.clock.skew_s));
    const Duration reached = session.reached_backend ? session.reached : now_;
    if (reached - session.opened > 32s - std::chrono::seconds(skew)) return "the cookie was too old";
    return {};
}

}  // namespace splice::simulation
