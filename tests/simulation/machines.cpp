// The balancer and the bridges: packets and time in, packets out.
#include "libsplice/wire/print_packet.hpp"
#include "tests/simulation/scene.hpp"

namespace splice::simulation {

void World::to_balancer(PacketBytes packet, std::optional<std::size_t> refuser) {
    const bool valid = decode(packet).has_value();
    if (!valid) balancer_bad_seen_.insert(fingerprint(packet));
    const std::string before = verbose_ ? print_packet(packet) : std::string();
    Outbox out;
    const Verdict verdict = splicer_->handle_packet(balancer_clock_.at(now_), packet, true, out);
    if (verbose_) fmt::print("{:11.6f} {:14} {} {}\n", seconds(), "balancer", before, verdict_name(verdict));
    if (verdict >= SPLICE_VERDICT_COUNT) return fail("the balancer has no verdict");
    if (verdict_kind(verdict) == SPLICE_KIND_forward) {
        check_forwarded("balancer", valid, packet);
        if (refuser) check_moved_on(*refuser, packet);
        from_balancer(std::move(packet));
    }
    for (PacketBytes& sent : out.sent) {
        check_sent("balancer", sent, balancer_bad_seen_);
        from_balancer(std::move(sent));
    }
    wake_balancer();
}

// The bridge that refused is drained, perhaps, at the same moment. What it refused goes elsewhere or is
// answered, and does not come back to it at once: such a packet would go to and fro until its TTL ends, which
// a patient client would hide.
void World::bounce(std::size_t refuser, PacketBytes packet) {
    if (is_dead(refuser)) return;
    ++bounces_;
    const auto segment = decode(packet);
    const auto before = splicer_->counters().verdicts.of(SPLICE_forward_next_choice);
    to_balancer(std::move(packet), refuser);
    if (!segment || !drain_on_refusal_ ||
        splicer_->counters().verdicts.of(SPLICE_forward_next_choice) == before)
        return;
    drain_on_refusal_ = false;
    std::vector<std::uint16_t> left;
    for (std::uint16_t i = 0; i < kBridges; ++i)
        if (i != refuser) left.push_back(i);
    if (verbose_) fmt::print("{:.6f} reload: bridge {} is drained\n", seconds(), refuser + 1);
    drained_ = refuser;
    reload(std::move(left));
}

void World::reload(std::vector<std::uint16_t> bridges) {
    configured_ = std::move(bridges);
    place();
    for (Session& session : sessions_) session.reloaded = session.reloaded || !session.done;
}

void World::wake_balancer() {
    std::optional<Duration> next = splicer_->next_deadline();
    if (next) *next -= balancer_clock_.boot;
    wake_at(balancer_wake_, next, [this] {
        Outbox out;
        splicer_->expire(balancer_clock_.at(now_), out);
        for (PacketBytes& sent : out.sent) {
            log("balancer later", sent);
            check_sent("balancer", sent, balancer_bad_seen_);
            from_balancer(std::move(sent));
        }
        wake_balancer();
    });
}

void World::to_bridge(std::size_t index, PacketBytes packet) {
    if (is_dead(index)) return lose_check(index, packet);
    BridgeHost& host = bridges_[index];
    const auto segment = decode(packet);
    if (checks_ && segment && segment->source == own_) return answer_check(index, std::move(packet));
    const bool valid = segment.has_value();
    if (!valid) host.bad_seen.insert(fingerprint(packet));
    const std::string before = verbose_ ? print_packet(packet) : std::string();
    Outbox out;
    const Verdict verdict = host.machine->handle_from_balancer(host.clock.at(now_), packet, true, Hop{}, out);
    if (verbose_)
        fmt::print("{:11.6f} bridge {:7} {} {}\n", seconds(), index + 1, before, verdict_name(verdict));
    if (verdict >= SPLICE_VERDICT_COUNT) return fail("a bridge has no verdict");
    if (verdict_kind(verdict) == SPLICE_KIND_forward) {
        check_forwarded("bridge", valid, packet);
        from_bridge(index, std::move(packet));
    }
    send_out(index, out);
}

void World::send_out(std::size_t index, Outbox& out) {
    BridgeHost& host = bridges_[index];
    for (PacketBytes& sent : out.sent) {
        check_sent("bridge", sent, host.bad_seen);
        from_bridge(index, std::move(sent));
    }
    for (PacketBytes& bounced : out.bounced) {
        log(fmt::format("bounce {}", index + 1), bounced);
        check_sent("bridge", bounced, host.bad_seen);
        if (const auto segment = decode(bounced))
            if (Session* session = session_of(*segment)) session->refused_by.insert(index);
        travel(inside_, std::move(bounced), [this, index](PacketBytes p) { bounce(index, std::move(p)); });
    }
    wake_bridge(index);
}

// A packet that the backend sent, where the bridge catches it.
void World::backend_hook(std::size_t index, PacketBytes packet, bool finished) {
    if (is_dead(index)) return;
    BridgeHost& host = bridges_[index];
    const bool valid = !finished || decode(packet).has_value();
    if (!valid) host.bad_seen.insert(fingerprint(packet));
    const std::string before = verbose_ ? print_packet(packet) : std::string();
    Outbox out;
    const Verdict verdict = host.machine->handle_from_backend(host.clock.at(now_), packet, finished, out);
    if (verbose_)
        fmt::print("{:11.6f} from backend {} {} {}\n", seconds(), index + 1, before, verdict_name(verdict));
    if (verdict >= SPLICE_VERDICT_COUNT) return fail("a bridge has no verdict");
    if (verdict_kind(verdict) == SPLICE_KIND_forward) {
        check_forwarded("bridge", valid, packet);
        from_bridge(index, std::move(packet));
    }
    send_out(index, out);
}

void World::wake_bridge(std::size_t index) {
    BridgeHost& host = bridges_[index];
    std::optional<Duration> next = host.machine->next_deadline();
    if (next) *next -= host.clock.boot;
    wake_at(host.wake, next, [this, index, &host] {
        Outbox out;
        host.machine->expire(host.clock.at(now_), out);
        for (PacketBytes& sent : out.sent) {
            log("bridge later", sent);
            check_sent("bridge", sent, host.bad_seen);
            from_bridge(index, std::move(sent));
        }
        wake_bridge(index);
    });
}

}  // namespace splice::simulation
