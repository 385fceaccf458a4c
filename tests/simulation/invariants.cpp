// What must hold, whatever happens.
#include <ranges>
#include "tests/simulation/scene.hpp"

#include "libsplice/wire/print_packet.hpp"

namespace splice::simulation {

// The session on this port whose stream a segment of the client's stands in, its bytes included: two
// sessions' numbers may overlap.
Session* World::session_of(const Segment& segment) {
    const auto history = by_port_.find(segment.source_port);
    if (history == by_port_.end() || segment.source != client_address(segment.source_port)) return nullptr;
    for (Session* session : history->second | std::views::reverse) {
        if (segment.has(kSyn) && session->isn == segment.seq) return session;
        const std::uint32_t offset = segment.seq - session->isn - 1;
        const std::string& stream = session->client_stream;
        if (segment.has(kSyn) || offset > stream.size() + 1) continue;
        // Behind the FIN stands nothing.
        if (segment.payload == std::string_view(stream).substr(std::min<std::size_t>(offset, stream.size()),
                                                               segment.payload.size()))
            return session;
    }
    return nullptr;
}

// A machine never makes a bad checksum good, nor a good one bad, in what it edits and passes on.
void World::check_forwarded(std::string_view where, bool was_valid, Bytes packet) {
    const auto segment = decode(packet);
    if (was_valid && !segment)
        return fail(
            fmt::format("{}: a packet leaves with a wrong checksum: {}", where, print_packet(packet)));
    if (!was_valid && segment)
        return fail(fmt::format("{}: a wrong checksum was made right: {}", where, print_packet(packet)));
    if (segment) check_payload(where, *segment);
}

// What it writes or held: right, unless it is what came wrong.
void World::check_sent(std::string_view where, Bytes packet, const std::set<std::uint64_t>& bad_seen) {
    const auto segment = decode(packet);
    if (!segment && !bad_seen.contains(fingerprint(packet)))
        return fail(
            fmt::format("{}: a packet leaves with a wrong checksum: {}", where, print_packet(packet)));
    if (segment) check_payload(where, *segment);
}

// The client's bytes stand at their place in each good packet on its way to a backend.
void World::check_payload(std::string_view where, const Segment& segment) {
    if (segment.payload.empty() || segment.source != client_address(segment.source_port)) return;
    if (!session_of(segment))
        fail(fmt::format("{}: payload that no client sent: {}", where, print_packet(encode(segment))));
}

// A first payload does not go back to the bridge that has just refused it. What comes after it may: it
// follows the flow, which moves with its first payload.
void World::check_moved_on(std::size_t refuser, Bytes packet) {
    const auto segment = decode(packet);
    if (!segment || segment->payload.empty() || destination_of(packet) != bridges_[refuser].address) return;
    const Session* session = session_of(*segment);
    if (session && segment->seq == session->isn + 1)
        fail(fmt::format("bridge {} gets back what it refused", refuser + 1));
}

// The first payload goes where its key says, and all that follows goes there too.
void World::check_bridge(std::size_t bridge, Bytes packet) {
    const auto segment = decode(packet);
    if (!segment) return;
    Session* session = session_of(*segment);
    if (!session) return;
    // Later segments may be here before it and follow the port's last connection; its bridge keeps them back.
    if (segment->seq != session->isn + 1) return check_stays(bridge, *session, *segment);
    if (!session->first_ack) session->first_ack = segment->ack;
    if (session->bridge && *session->bridge == bridge) return;
    session->bridges.insert(bridge);
    const bool stranded = session->bridge && was_stranded(*session->bridge, session->started);
    if (stranded) {
        session->moved = true;
        ++reopened_;
    }
    if (session->refused_by.empty()) check_well(bridge, *session);
    // What a restarted balancer does not know goes where its source does now, without an entry.
    const bool follows_source = session->disturbed && server_first_;
    if (session->bridge && session->refused_by.empty() && !stranded && !follows_source)
        return fail(fmt::format("client port {} moved from bridge {} to {}", session->port,
                                *session->bridge + 1, bridge + 1));
    if (!session->bridge && session->refused_by.empty()) {
        const Placement& placement = *splicer_rules_->services[0].placement;
        const splice_address& raw = segment->source.raw();
        const std::string_view source(reinterpret_cast<const char*>(raw.bytes), sizeof(raw.bytes));
        const std::string& key = session->conversation.key;
        const bool by_key = !key.empty() && placement.choose(key).bridges.choices[0] == bridge;
        const bool by_source = placement.choose(source).bridges.choices[0] == bridge;
        const bool key_decides = !key.empty() && session->conversation.whole;
        if (!by_key && (key_decides || !by_source))
            return fail(fmt::format("client port {} went to bridge {}, which is not that of \"{}\"",
                                    session->port, bridge + 1, key));
    }
    session->bridge = bridge;
}

// What acknowledges the server's bytes goes where they came from: whoever is ill keeps its connections.
void World::check_stays(std::size_t bridge, const Session& session, const Segment& segment) {
    if (!session.received || !session.first_ack || !segment.has(kAck) || segment.ack == *session.first_ack)
        return;
    if (session.disturbed || session.moved || session.done || session.beginning.starts_with('H')) return;
    if (bridge != session.backend)
        fail(fmt::format("client port {} was answered by bridge {} and now speaks to {}", session.port,
                         session.backend + 1, bridge + 1));
}

// Nothing outlives its limit: the queue is empty, so the machines have no deadline left.
void World::check_end() {
    for (const Session& session : sessions_)
        if (!session.done)
            return fail(fmt::format("client port {} isn {}: never ended", session.port, session.isn));
    const SplicerCounters& balancer = splicer_->counters();
    if (splicer_->flows() || balancer.held_bytes || balancer.flows_pending)
        return fail(fmt::format("the balancer remembers {} flows, {} pending, {} bytes", splicer_->flows(),
                                balancer.flows_pending.load(), balancer.held_bytes.load()));
    check_signs();
    for (const BridgeHost& host : bridges_) {
        const JoinerCounters& counters = host.machine->counters();
        if (host.machine->flows() || counters.held_bytes || counters.flows_opening)
            return fail(fmt::format("a bridge remembers {} flows, {} opening, {} bytes",
                                    host.machine->flows(), counters.flows_opening.load(),
                                    counters.held_bytes.load()));
    }
}

}  // namespace splice::simulation
