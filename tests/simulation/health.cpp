// The balancer's health checks: bridges that die, hang and come back, and what the balancer makes of it.
#include <cstring>

#include "libsplice/datapath/carriage.h"
#include "tests/simulation/scene.hpp"
#include "tests/unit/datapath/raw_packet.hpp"

namespace splice::simulation {
namespace {

constexpr std::string_view kAnswer = "HTTP/1.1 200 OK\r\n\r\n";

}  // namespace

void World::draw_health() {
    if (!random_.chance(0.4)) return;
    own_ = *IpAddress::parse(family_ == 4 ? "192.0.2.99" : "2001:db8::99");
    SplicerService& service = splicer_rules_->services[0];
    (family_ == 4 ? splicer_rules_->own.ipv4 : splicer_rules_->own.ipv6) = own_.raw();
    // Whoever is ill is out, so that every rule below holds without exception.
    service.check = ServiceCheck{.probe = std::make_shared<const ProbeRule>(),
                                 .health = {.panic_threshold_percent = 0},
                                 .bridges = {{0, true}, {1, true}, {2, true}}};
    service.bridges = {0, 1, 2};
    for (BridgeHost& host : bridges_) {
        if (!random_.chance(0.5)) continue;
        Duration from = std::chrono::milliseconds(random_.between(0, 30'000));
        for (std::uint64_t i = random_.between(1, 3); i != 0; --i) {
            const Duration to = from + std::chrono::milliseconds(random_.between(100, 40'000));
            const bool hangs = random_.chance(0.4);
            // Every other one; nothing is drawn for it, so that other seeds stay as they were.
            host.outages.push_back({from, to, hangs, !hangs && from.count() / 1'000'000 % 2 != 0});
            from = to + std::chrono::milliseconds(random_.between(100, 20'000));
        }
    }
    checks_ = std::make_unique<HealthChecks>(random_.next());
    splicer_->replace_setup(splicer_rules_);
    checks_->replace_setup(balancer_clock_.at(now_).monotonic, splicer_rules_);
    at(now_, [this] { run_checks(); });
}

const Outage* World::outage(std::size_t bridge) const {
    for (const Outage& each : bridges_[bridge].outages)
        if (each.from <= now_ && now_ < each.to) return &each;
    return nullptr;
}

bool World::is_dead(std::size_t bridge) const {
    const Outage* const now = outage(bridge);
    return now && !now->hangs;
}

// Until the last client is served: after that nothing is to be checked any more.
void World::run_checks() {
    if (std::ranges::all_of(sessions_, &Session::done)) return;
    const Instant now = balancer_clock_.at(now_);
    if (checks_->wants_signs(now.monotonic)) {
        const std::vector<SignedBridge> seen = splicer_->take_signs();
        for (const SignedBridge& each : seen) signs_.add(each.signs);
        checks_->see(now.monotonic, seen);
    }
    Outbox out;
    checks_->expire(now, out);
    send_checks(out);
    std::optional<Duration> next = checks_->next_deadline();
    if (next) *next -= balancer_clock_.boot;
    wake_at(checks_wake_, next, [this] { run_checks(); });
}

void World::send_checks(Outbox& out) {
    for (PacketBytes& sent : out.sent) {
        log("check", sent);
        from_balancer(std::move(sent));
    }
    if (checks_->take_news()) follow_health();
}

// As the balancer's main thread does it, without its delay.
void World::follow_health() {
    const HealthReport report = checks_->report();
    const ServiceHealth& health = report.at(0);
    splicer_rules_ = std::make_shared<SplicerSetup>(*splicer_rules_);
    SplicerService& service = splicer_rules_->services[0];
    service.gone.clear();
    service.silent.clear();
    for (const BridgeHealth& bridge : health.bridges) {
        if (bridge.ends_flows) service.gone.push_back(bridge.bridge);
        if (!bridge.ends_flows && bridge.strands) service.silent.push_back(bridge.bridge);
        if (bridge.ends_flows || bridge.strands) bridges_[bridge.bridge].stranded = now_;
        if (bridge.ends_flows) {
            check_gone(bridge.bridge);
            bridges_[bridge.bridge].gone = now_;
        }
        if (verbose_)
            fmt::print("{:11.6f} bridge {} is {}{}\n", seconds(), bridge.bridge + 1, to_string(bridge.state),
                       bridge.strands ? ", its openings go elsewhere" : "");
    }
    place();
}

// Of the bridges in the configuration those that health leaves.
void World::place() {
    std::vector<std::uint16_t> placed = configured_;
    if (checks_) {
        const HealthReport report = checks_->report();
        std::erase_if(placed, [&](std::uint16_t bridge) { return !report.at(0).bridges.at(bridge).placed; });
    }
    splicer_rules_ = std::make_shared<SplicerSetup>(*splicer_rules_);
    splicer_rules_->services[0].placement = testing::placement_of(placed);
    splicer_->replace_setup(splicer_rules_);
    if (checks_) checks_->replace_setup(balancer_clock_.at(now_).monotonic, splicer_rules_);
}

// A check of a bridge that is dead ends here, or at a router that says so. What it says is no sign of life.
void World::lose_check(std::size_t bridge, const PacketBytes& packet) {
    const auto opening = decode(packet);
    if (!checks_ || !outage(bridge)->told || !opening || opening->source != own_) return;
    testing::Octets quoted(packet.size());
    std::memcpy(quoted.data(), packet.data(), packet.size());
    const testing::RawPacket error{.family = family_, .destination = own_.to_string()};
    const testing::Octets written =
        family_ == 4 ? error.build_icmp(3, 1, quoted) : error.build_icmp(1, 3, quoted);
    PacketBytes bytes(written.size());
    std::memcpy(bytes.data(), written.data(), written.size());
    at(now_ + std::chrono::milliseconds(1), [this, bytes] {
        const bool heard = checks_->hear_error(balancer_clock_.at(now_).monotonic, bytes);
        log("about a check", bytes, heard ? "heard" : "");
        if (checks_->take_news()) follow_health();
    });
}

// What a bridge and its server make of a check: they answer, hang or send it back, as they do with clients.
void World::answer_check(std::size_t bridge, PacketBytes packet) {
    const auto opening = decode(packet);
    if (!opening || opening->has(kRst)) return;
    const BridgeHost& host = bridges_[bridge];
    const bool refuses = std::ranges::any_of(
        host.refuses, [&](const auto& window) { return window.first <= now_ && now_ < window.second; });
    if (refuses && !opening->payload.empty()) {
        splice_packet head{};
        std::byte* const data = packet.data();
        std::byte* const end = data + packet.size();
        if (splice_parse_ip(data, end, &head) != SPLICE_CONTINUE) return;
        (void)splice_carry_back(data, end, &head, &vip_.address.raw());
        return travel(inside_, std::move(packet), [this](PacketBytes p) { hear_check(p); });
    }
    Segment answer;
    answer.source = vip_.address;
    answer.source_port = vip_.port;
    answer.destination = opening->source;
    answer.destination_port = opening->source_port;
    answer.flags = kAck;
    answer.seq = opening->ack;
    answer.ack = opening->seq + opening->length();
    if (!outage(bridge) && !opening->payload.empty()) answer.payload = kAnswer;
    travel(inside_, encode(answer), [this](PacketBytes p) { hear_check(p); });
}

void World::hear_check(const PacketBytes& packet) {
    Outbox out;
    const auto verdict = checks_->handle(balancer_clock_.at(now_), packet, true, out);
    log("answer to a check", packet, verdict ? verdict_name(*verdict) : "");
    send_checks(out);
}

// A connection begins at this bridge.
void World::check_well(std::size_t bridge, const Session& session) {
    if (!checks_) return;
    const Outage* const now = outage(bridge);
    if (now && now_ - now->from >= kKnown)
        fail(fmt::format("client port {} goes to bridge {}, which {} for {:.1f} s", session.port, bridge + 1,
                         now->hangs ? "hangs" : "is dead",
                         std::chrono::duration<double>(now_ - now->from).count()));
}

// Whether a flow of this bridge may have been chosen anew since then.
bool World::was_stranded(std::size_t bridge, Duration since) const {
    return bridges_[bridge].stranded && *bridges_[bridge].stranded >= since;
}

// Only who was dead a moment ago is gone: a bridge that hangs, or that is only ill, keeps its connections.
void World::check_gone(std::size_t bridge) {
    const bool was_dead = std::ranges::any_of(bridges_[bridge].outages, [&](const Outage& each) {
        return !each.hangs && each.from <= now_ && now_ < each.to + kKnown;
    });
    if (!was_dead) fail(fmt::format("bridge {} is gone and was not dead", bridge + 1));
}

// What a dead bridge takes along: connections that it had not answered, and the others once it is known to be
// gone. All the others have to end well, however long it hangs.
bool World::may_have_lost(std::size_t bridge, const Session& session) const {
    const BridgeHost& host = bridges_[bridge];
    if (host.gone && *host.gone >= session.started) return true;
    return std::ranges::any_of(host.outages, [&](const Outage& each) {
        const bool met = each.from <= now_ && each.to >= session.started;
        return !each.hangs && met && (!session.first_heard || each.from <= *session.first_heard);
    });
}

// Whether health may have had it out, or ought to have, while the session lasted.
bool World::was_out(std::size_t bridge, const Session& session) const {
    return std::ranges::any_of(bridges_[bridge].outages, [&](const Outage& each) {
        return each.from <= now_ && each.to + kKnown >= session.started;
    });
}

void World::check_signs() {
    for (const SignedBridge& each : splicer_->take_signs()) signs_.add(each.signs);
    const auto answered = static_cast<std::uint64_t>(
        std::ranges::count_if(sessions_, [](const Session& session) { return session.reached_backend; }));
    if (signs_.answers > signs_.openings || signs_.answers > answered + reopened_)
        fail(fmt::format("{} answers are counted of {} openings and {} conversations", signs_.answers,
                         signs_.openings, answered));
    if (signs_.refusals > bounces_)
        fail(fmt::format("{} refusals are counted of {} bounces", signs_.refusals, bounces_));
    for (std::uint16_t bridge = 0; bridge < kBridges; ++bridge) {
        const FlowCount left = splicer_->flow_counts().of(splicer_rules_->services[0].number, bridge);
        if (left != FlowCount{})
            fail(fmt::format("bridge {} has {} open connections when none is left", bridge + 1,
                             left.open + left.half_closed));
    }
}

}  // namespace splice::simulation
