#include "libsplice/core/health_checks.hpp"

#include <algorithm>
#include <utility>

#include "libsplice/core/placement/placement.hpp"
#include "libsplice/datapath/packet.h"
#include "libsplice/datapath/probe.h"

namespace splice {
namespace {

// What a router or this host itself says of the way to a bridge is no word of the bridge's.
CheckResult result_of(const ProbeResult& result) noexcept {
    if (result.end == ProbeEnd::passed) return CheckResult::passed;
    return result.end == ProbeEnd::silent || result.from_elsewhere ? CheckResult::silent
                                                                   : CheckResult::failed;
}

NumberWord word_of(const ToldNumber& told, std::uint16_t expected) noexcept {
    if (!told.timestamps || expected == 0) return NumberWord::unknown;
    if (told.lane == SPLICE_NO_LANE) return NumberWord::missing;
    switch (splice_lane_compare(told.lane, expected)) {
        case SPLICE_LANE_IS_ITS:
            return NumberWord::agrees;
        case SPLICE_LANE_DISAGREES:
            return NumberWord::differs;
        case SPLICE_LANE_SAYS_NOTHING:
            break;
    }
    return NumberWord::unknown;
}

// Whether a TCP segment without IPv6 extension headers has a port of checks at either end: nearly all packets
// are told by this alone.
bool may_be_a_checks(Bytes packet) noexcept {
    constexpr std::size_t kIpv6Header = 40;
    if (packet.empty()) return false;
    const auto first = std::to_integer<unsigned>(packet[0]);
    const std::size_t tcp = first >> 4 == 4 ? (first & 15U) * 4 : kIpv6Header;
    if (packet.size() < tcp + 4) return false;
    return splice_is_probe_port(splice_load16(packet.data() + tcp)) ||
           splice_is_probe_port(splice_load16(packet.data() + tcp + 2));
}

}  // namespace

const ServiceHealth* health_of(const HealthReport& report, const std::string& service) noexcept {
    const auto found = std::ranges::find(report, service, &ServiceHealth::service);
    return found == report.end() ? nullptr : &*found;
}

const BridgeHealth* health_of(const ServiceHealth* service, std::uint16_t bridge) noexcept {
    if (!service) return nullptr;
    const auto found = std::ranges::find(service->bridges, bridge, &BridgeHealth::bridge);
    return found == service->bridges.end() ? nullptr : &*found;
}

bool places_alike(const HealthReport& one, const HealthReport& other) {
    const auto bridge_alike = [](const BridgeHealth& a, const BridgeHealth& b) {
        return a.bridge == b.bridge && a.placed == b.placed && a.share == b.share &&
               a.ends_flows == b.ends_flows && a.strands == b.strands;
    };
    return std::ranges::equal(one, other, [&](const ServiceHealth& a, const ServiceHealth& b) {
        return a.service == b.service && std::ranges::equal(a.bridges, b.bridges, bridge_alike);
    });
}

void HealthChecks::replace_setup(Duration now, std::shared_ptr<const SplicerSetup> setup) {
    setup_ = std::move(setup);
    std::vector<Service> services;
    for (const SplicerService& service : setup_->services) {
        if (setup_->checked_from(service)) services.push_back(service_of(now, service));
    }
    services_ = std::move(services);
}

// The service as the setup has it, with what is known of it.
HealthChecks::Service HealthChecks::service_of(Duration now, const SplicerService& service) {
    std::vector<Bridge> bridges;
    std::vector<bool> candidates;
    for (const CheckedBridge& checked : service.check->bridges) {
        bridges.emplace_back().number = checked.bridge;
        candidates.push_back(checked.candidate);
    }
    std::vector<std::optional<std::size_t>> places(bridges.size());
    Service next{
        .name = service.name,
        .number = service.number,
        .rule = service.check->health,
        .health = Health(service.check->health, bridges.size(), seed_ ^ hash_key_bytes(service.name), now),
        .bridges = std::move(bridges)};
    if (const auto was = std::ranges::find(services_, service.name, &Service::name); was != services_.end()) {
        for (std::size_t i = 0; i < next.bridges.size(); ++i) {
            const auto known = std::ranges::find(was->bridges, next.bridges[i].number, &Bridge::number);
            if (known == was->bridges.end()) continue;
            places[i] = static_cast<std::size_t>(known - was->bridges.begin());
            next.bridges[i] = *known;
        }
        const bool same =
            was->rule == next.rule && was->bridges.size() == next.bridges.size() &&
            std::ranges::equal(was->bridges, next.bridges, {}, &Bridge::number, &Bridge::number);
        if (same)
            next.health = std::move(was->health);
        else
            next.health.follow(was->health, places);
    }
    next.health.set_candidates(candidates);
    news_ |= next.health.take_growth();
    return next;
}

std::optional<Verdict> HealthChecks::handle(Instant now, Bytes packet, bool checksum_finished, Actions& out) {
    if (services_.empty() || !may_be_a_checks(packet)) return std::nullopt;
    splice_packet judged{};
    if (splice_parse_ip(packet.data(), packet.data() + packet.size(), &judged) != SPLICE_CONTINUE ||
        judged.protocol != SPLICE_PROTOCOL_TCP)
        return std::nullopt;
    const bool answers = splice_may_answer_probe(&setup_->own, &judged.ends);
    const bool bounced =
        !answers && splice_may_be_probe(&setup_->own, &judged.ends) && splice_is_bounced(&judged);
    if (!answers && !bounced) return std::nullopt;
    Verdict verdict = SPLICE_drop_check;
    if (checksum_finished && !splice_verify_tcp_checksum(packet.data(), &judged)) {
        verdict = SPLICE_drop_bad_tcp_checksum;
    } else if (answers ? prober_.handle(now, judged, packet, out)
                       : prober_.handle_bounced(judged, packet, setup_->secret)) {
        verdict = SPLICE_hear_check;
        take_results(now.monotonic);
    }
    verdicts_.add(verdict);
    return verdict;
}

bool HealthChecks::hear_error(Duration now, Bytes packet) {
    splice_packet judged{};
    if (services_.empty() ||
        splice_parse_ip(packet.data(), packet.data() + packet.size(), &judged) != SPLICE_CONTINUE ||
        !splice_is_icmp_error(&judged) || !prober_.handle_icmp(judged, packet))
        return false;
    verdicts_.add(SPLICE_hear_check);
    take_results(now);
    return true;
}

void HealthChecks::see(Duration now, std::span<const SignedBridge> seen) {
    next_signs_ = now + kSignsEach;
    for (const SignedBridge& each : seen) {
        const auto service = std::ranges::find(services_, each.service, &Service::number);
        if (service == services_.end()) continue;
        const auto bridge = std::ranges::find(service->bridges, each.bridge, &Bridge::number);
        if (bridge == service->bridges.end()) continue;
        bridge->signs.add(each.signs);
        service->health.see(now, static_cast<std::size_t>(bridge - service->bridges.begin()), each.signs);
        take_events(*service);
    }
}

void HealthChecks::expire(Instant now, Actions& out) {
    prober_.expire(now, out);
    take_results(now.monotonic);
    begin_due(now, out);
}

void HealthChecks::begin_due(Instant now, Actions& out) {
    for (Service& service : services_) {
        if (service.health.next_deadline() > now.monotonic) continue;
        const std::vector<Check> checks = service.health.due(now.monotonic);
        take_events(service);
        news_ |= service.health.take_growth();
        const SplicerService* const running = running_service(service.name);
        if (!running) continue;  // never: both are of one setup
        for (const Check& check : checks) {
            begin(now, *running, service, check, false, out);
            if (++service.bridges[check.bridge].begun % kFullSegmentEach == 0)
                begin(now, *running, service, check, true, out);
        }
    }
}

void HealthChecks::begin(Instant now, const SplicerService& running, Service& service, const Check& check,
                         bool full_segment, Actions& out) {
    if (full_segment && running.check->probe->kind == ProbeKind::tcp) return;  // cannot be padded
    const std::uint16_t number = service.bridges[check.bridge].number;
    const auto own = setup_->checked_from(running);
    if (!own) return;  // never: such a service is not here
    const std::uint64_t id = next_probe_++;
    const bool begun = prober_.begin(now, setup_->secret,
                                     {.id = id,
                                      .rule = running.check->probe,
                                      .vip = running.vip,
                                      .own = *own,
                                      .bridge = setup_->bridges[number].address,
                                      .carriage = running.carriage,
                                      .proxy_header = running.proxy_protocol == ProxyProtocol::accept,
                                      .mss = running.mss,
                                      .full_segment = full_segment,
                                      .keyed_clock = running.lanes,
                                      .timeout = check.timeout},
                                     out);
    if (begun)
        asked_.emplace(id, Asked{service.name, number, check, full_segment});
    else if (!full_segment)
        service.health.forget(check);
}

void HealthChecks::take_results(Duration now) {
    for (const ProbeResult& result : prober_.take_results()) {
        const auto found = asked_.extract(result.id);
        if (found.empty()) continue;
        const Asked& asked = found.mapped();
        const auto service = std::ranges::find(services_, asked.service, &Service::name);
        if (service == services_.end()) continue;
        const auto bridge = std::ranges::find(service->bridges, asked.bridge, &Bridge::number);
        if (bridge == service->bridges.end()) continue;
        if (asked.full_segment) {
            const bool lost = result.end == ProbeEnd::silent || result.end == ProbeEnd::too_big;
            const bool narrow = lost && !bridge->failure;
            news_ |= std::exchange(bridge->narrow, narrow) != narrow;
            continue;
        }
        ++bridge->checks[static_cast<std::size_t>(result.end)];
        if (result.number) take_number(*bridge, *result.number);
        if (result.end == ProbeEnd::passed) {
            bridge->failure.reset();
            bridge->words.clear();
        } else {
            bridge->failure = result.end;
            bridge->words = result.words;
        }
        Check check = asked.check;
        check.bridge = static_cast<std::size_t>(bridge - service->bridges.begin());
        service->health.end(now, check, result_of(result));
        take_events(*service);
    }
}

// A lane key that is derived changes with the cookies', and two hosts do not change theirs at once.
void HealthChecks::take_number(Bridge& bridge, const ToldNumber& told) {
    const splice_secret& secret = setup_->secret;
    const NumberWord word = secret.lane_is_derived && secret.count > 1
                                ? NumberWord::unknown
                                : word_of(told, setup_->bridges[bridge.number].number);
    const bool differs = word == NumberWord::differs || word == NumberWord::missing;
    if (differs) ++bridge.numbers_differ;
    const std::uint32_t number = word == NumberWord::differs ? told.lane : 0;
    news_ |= std::exchange(bridge.number_word, word) != word;
    news_ |= std::exchange(bridge.told_number, number) != number;
}

void HealthChecks::take_events(Service& service) {
    for (const HealthEvent& event : service.health.take_events()) {
        const Bridge& bridge = service.bridges[event.bridge];
        changes_.push_back({.service = service.name,
                            .bridge = bridge.number,
                            .was = event.was,
                            .is = event.is,
                            .why = event.why,
                            .failure = bridge.failure,
                            .words = bridge.words});
        news_ = true;
    }
}

std::optional<Duration> HealthChecks::next_deadline() const noexcept {
    std::optional<Duration> next = prober_.next_deadline();
    if (!services_.empty() && (!next || next_signs_ < *next)) next = next_signs_;
    for (const Service& service : services_) {
        const Duration due = service.health.next_deadline();
        if (!next || due < *next) next = due;
    }
    return next;
}

HealthReport HealthChecks::report() const {
    HealthReport report;
    for (const Service& service : services_) {
        const Health& health = service.health;
        const std::vector<bool> placed = health.placed();
        ServiceHealth told{.service = service.name, .panics = health.panics(), .bridges = {}};
        for (std::size_t i = 0; i < service.bridges.size(); ++i) {
            const Bridge& bridge = service.bridges[i];
            told.bridges.push_back({.bridge = bridge.number,
                                    .state = health.state(i),
                                    .suspect = health.is_suspect(i),
                                    .placed = placed[i],
                                    .ends_flows = health.ends_flows(i),
                                    .strands = health.strands_openings(i),
                                    .share = health.share(i),
                                    .narrow = bridge.narrow,
                                    .checks = bridge.checks,
                                    .signs = bridge.signs,
                                    .failure = bridge.failure,
                                    .words = bridge.words,
                                    .number_word = bridge.number_word,
                                    .told_number = bridge.told_number,
                                    .numbers_differ = bridge.numbers_differ});
        }
        report.push_back(std::move(told));
    }
    return report;
}

const SplicerService* HealthChecks::running_service(const std::string& name) const noexcept {
    const auto found = std::ranges::find(setup_->services, name, &SplicerService::name);
    return found == setup_->services.end() ? nullptr : &*found;
}

}  // namespace splice
