#include "balancer/control/channel_words.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace splice {
namespace {

constexpr std::array<std::string_view, kChannelTroubles> kNames = {
    "no_answer", "secret",       "lane_key", "clock",   "number",
    "service",   "window_scale", "backend",  "leaving", "version"};

// What is of the bridge's host whatever the service, and what is of the service there.
constexpr ChannelTroubleSet kOfHost = bit_of(ChannelTrouble::no_answer) | bit_of(ChannelTrouble::secret) |
                                      bit_of(ChannelTrouble::lane_key) | bit_of(ChannelTrouble::clock) |
                                      bit_of(ChannelTrouble::number) | bit_of(ChannelTrouble::version);
constexpr ChannelTroubleSet kOfService =
    bit_of(ChannelTrouble::service) | bit_of(ChannelTrouble::window_scale);

bool has_key(const ChannelFingerprints& of, std::uint32_t key) noexcept {
    return of.keys[0] == key || (of.count == 2 && of.keys[1] == key);
}

bool is_clock_off(const ChannelState& state) noexcept {
    const auto apart_ms = state.clock_ahead_ms < 0 ? -static_cast<double>(state.clock_ahead_ms)
                                                   : static_cast<double>(state.clock_ahead_ms);
    const auto doubt_ms = std::chrono::duration<double, std::milli>(state.round_trip / 2).count();
    return apart_ms - doubt_ms > std::chrono::duration<double, std::milli>(kClockTold).count();
}

// The same mark for another service, or the same service by another mark.
const ChannelService* conflicting(const ChannelSubject& subject) noexcept {
    const auto& services = subject.state->presence->services;
    const auto by_vip = std::ranges::find(services, subject.service.vip, &ChannelService::vip);
    if (by_vip != services.end()) return &*by_vip;
    const auto by_mark = std::ranges::find_if(services, [&](const ChannelService& each) {
        return each.dscp == subject.service.dscp &&
               each.vip.address.family() == subject.service.vip.address.family();
    });
    return by_mark == services.end() ? nullptr : &*by_mark;
}

std::string describe_service(const ChannelSubject& subject) {
    const std::string vip = subject.service.vip.to_string();
    if (const ChannelService* const other = conflicting(subject)) {
        if (other->vip == subject.service.vip)
            return fmt::format("it has {} by DSCP {}, and here it is {}: give both the same", vip,
                               other->dscp, subject.service.dscp);
        return fmt::format("DSCP {} is {} there, and here it is {}: give both the same", other->dscp,
                           other->vip.to_string(), vip);
    }
    return fmt::format("it has no service {} (dscp {}): add it to the bridge's `services`", vip,
                       subject.service.dscp);
}

std::string describe_secret(const ChannelSubject& subject) {
    const ChannelFingerprints& theirs = subject.state->presence->secret;
    if (!has_key(theirs, subject.own.keys[0]))
        return fmt::format(
            "it lacks the first key of this balancer's secret ({:08x}), which cookies are made by, so it "
            "refuses new connections: add that key to its secret file",
            subject.own.keys[0]);
    return fmt::format(
        "the first key of its secret ({:08x}) is not in this balancer's, which cannot read what it sends "
        "back: add that key to the balancer's secret file",
        theirs.keys[0]);
}

}  // namespace

std::string_view to_string(ChannelTrouble trouble) noexcept {
    return kNames[static_cast<std::size_t>(trouble)];
}

bool is_note(ChannelTrouble trouble) noexcept {
    return trouble == ChannelTrouble::version || trouble == ChannelTrouble::leaving;
}

const ChannelService* ChannelSubject::told() const noexcept {
    if (state == nullptr || !state->presence) return nullptr;
    const auto found = std::ranges::find_if(state->presence->services, [&](const ChannelService& each) {
        return each.vip == service.vip && each.dscp == service.dscp;
    });
    return found == state->presence->services.end() ? nullptr : &*found;
}

ChannelTroubleSet troubles_of(const ChannelSubject& subject) noexcept {
    if (subject.state == nullptr) return 0;
    const ChannelState& state = *subject.state;
    if (!state.answers()) return state.is_silent() ? bit_of(ChannelTrouble::no_answer) : 0;
    ChannelTroubleSet troubles = 0;
    const auto add = [&](ChannelTrouble trouble, bool there) { troubles |= there ? bit_of(trouble) : 0; };
    add(ChannelTrouble::clock, is_clock_off(state));
    if (!state.is_present()) return troubles;
    const ChannelPresence& presence = *state.presence;
    add(ChannelTrouble::secret,
        !has_key(presence.secret, subject.own.keys[0]) || !has_key(subject.own, presence.secret.keys[0]));
    add(ChannelTrouble::lane_key, has_lanes(subject.service) && presence.secret.lane != subject.own.lane);
    add(ChannelTrouble::number, subject.bridge.number != 0 && presence.number != subject.bridge.number);
    add(ChannelTrouble::version, presence.version != SPLICELB_VERSION);
    add(ChannelTrouble::leaving, presence.leaving);
    const ChannelService* const told = subject.told();
    const bool all_told = presence.services.size() == presence.services_in_all;
    add(ChannelTrouble::service, told == nullptr && (all_told || conflicting(subject) != nullptr));
    if (told == nullptr) return troubles;
    add(ChannelTrouble::window_scale, told->window_scale != subject.service.settings.window_scale);
    add(ChannelTrouble::backend, told->backend == ChannelBackend::takes_none);
    return troubles;
}

std::string describe(ChannelTrouble trouble, const ChannelSubject& subject) {
    switch (trouble) {
        case ChannelTrouble::no_answer:
            return fmt::format(
                "no answer on UDP port {}: no packet bridge runs there, it has another secret, its channel "
                "is off, or a firewall on the way drops that port",
                subject.port);
        case ChannelTrouble::secret:
            return describe_secret(subject);
        case ChannelTrouble::lane_key:
            return "its lane key is another: timestamps of its connections name no bridge here; give both "
                   "secret files the same `lane` line (without one, the first key serves)";
        case ChannelTrouble::clock: {
            const double seconds = static_cast<double>(subject.state->clock_ahead_ms) / 1000;
            return fmt::format(
                "its clock is {:.1f} s {} this host's (32 s apart, and cookies fail): keep both by NTP",
                seconds < 0 ? -seconds : seconds, seconds < 0 ? "behind" : "ahead of");
        }
        case ChannelTrouble::number:
            return fmt::format("{}, and here its number is {}: give both the same `number`",
                               subject.state->presence->number == 0
                                   ? std::string("it has no number")
                                   : fmt::format("its number is {}", subject.state->presence->number),
                               subject.bridge.number);
        case ChannelTrouble::service:
            return describe_service(subject);
        case ChannelTrouble::window_scale:
            return fmt::format(
                "it takes the service's window_scale for {}, and here it is {}: give both the same",
                subject.told()->window_scale, subject.service.settings.window_scale);
        case ChannelTrouble::backend:
            return fmt::format("its backend for {} takes no connections: see the bridge's log and /readyz",
                               subject.service.vip.to_string());
        case ChannelTrouble::leaving:
            return "it is stopping, and opens no connections any more";
        case ChannelTrouble::version:
            return fmt::format("its version is {}, this balancer's {}", subject.state->presence->version,
                               SPLICELB_VERSION);
    }
    return {};
}

std::vector<ChannelWords::Line> ChannelWords::tell(const BalancerConfig& config, const ChannelReport& report,
                                                   const ChannelFingerprints& own) {
    std::map<std::string, ChannelTroubleSet> now;
    std::vector<Line> lines;
    const auto tell = [&](const std::string& whom, const ChannelSubject& subject,
                          ChannelTroubleSet troubles) {
        if (!now.emplace(whom, troubles).second) return;
        const auto known = told_.find(whom);
        const ChannelTroubleSet before = known == told_.end() ? 0 : known->second;
        for (unsigned t = 0; t < kChannelTroubles; ++t) {
            const auto trouble = static_cast<ChannelTrouble>(t);
            if ((troubles & ~before & bit_of(trouble)) == 0) continue;
            lines.push_back(
                {!is_note(trouble), fmt::format("channel: {}: {}", whom, describe(trouble, subject))});
        }
        if (before != 0 && troubles == 0)
            lines.push_back({false, fmt::format("channel: {}: is well again", whom)});
    };
    for (const ServiceConfig& service : config.services) {
        for (const BridgeConfig& bridge : service.bridges) {
            const auto state = report.find(bridge.address);
            const ChannelSubject subject{service, bridge, state == report.end() ? nullptr : &state->second,
                                         own, config.common.channel.value_or(kChannelPort)};
            const ChannelTroubleSet troubles = takes_connections(bridge) ? troubles_of(subject) : 0;
            const std::string address = bridge.address.to_string();
            tell(fmt::format("bridge {} ({})", bridge.name, address), subject, troubles & kOfHost);
            tell(fmt::format("bridge {} ({}), service {}", bridge.name, address, service.name), subject,
                 troubles & kOfService);
        }
    }
    told_ = std::move(now);
    if (lines.size() <= kLines) return lines;
    const std::size_t more = lines.size() - kLines;
    lines.resize(kLines);
    lines.push_back({true, fmt::format("channel: {} more such lines: splicectl check lists all", more)});
    return lines;
}

}  // namespace splice
