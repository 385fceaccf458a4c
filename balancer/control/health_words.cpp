#include "balancer/control/health_words.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "libsplice/config/values.hpp"

namespace splice {
namespace {

// A service's health, and its names.
struct View {
    const ServiceHealth& health;
    const ServiceConfig& config;
    const SplicerService& running;

    [[nodiscard]] std::string name(std::uint16_t bridge) const {
        const auto found = std::ranges::find(running.bridges, bridge);
        if (found == running.bridges.end()) return "?";  // never: both are of one setup
        const BridgeConfig& named = config.bridges[static_cast<std::size_t>(found - running.bridges.begin())];
        return fmt::format("{} ({})", named.name, named.address.to_string());
    }
    // What a line about a bridge names.
    [[nodiscard]] LogFields fields(std::uint16_t bridge) const {
        const auto found = std::ranges::find(running.bridges, bridge);
        if (found == running.bridges.end()) return {{"service", health.service}};  // never
        const BridgeConfig& named = config.bridges[static_cast<std::size_t>(found - running.bridges.begin())];
        return {{"service", health.service}, {"bridge", named.name}, {"address", named.address.to_string()}};
    }
    [[nodiscard]] bool starts_slowly(std::uint16_t bridge) const noexcept {
        const BridgeHealth* known = health_of(&health, bridge);
        return known && known->share < 1;
    }
    [[nodiscard]] std::string up() const {
        const auto count = std::ranges::count(health.bridges, HealthState::up, &BridgeHealth::state);
        return fmt::format("{} of {} bridges {} up", count, health.bridges.size(), count == 1 ? "is" : "are");
    }
};

std::string why_ill(const HealthChange& change, const HealthRule& rule) {
    const std::string last = change.failure ? describe_failure(*change.failure, change.words) : "no answer";
    if (change.why == HealthEvent::Why::quick_checks)
        return fmt::format("its clients repeat openings, and {} quick checks failed: {}", kQuickChecks, last);
    if (rule.pass)
        return fmt::format("fewer than {} of its last {} checks passed, the last one failed: {}",
                           rule.pass->passed, rule.pass->of, last);
    return fmt::format("{} check{} in a row failed, the last one: {}", rule.fall, rule.fall == 1 ? "" : "s",
                       last);
}

std::string why_up(const HealthRule& rule) {
    if (rule.pass) return fmt::format("{} of its last {} checks passed", rule.pass->passed, rule.pass->of);
    return fmt::format("{} check{} in a row passed", rule.rise, rule.rise == 1 ? "" : "s");
}

HealthLine line_of(const HealthChange& change, const View& view) {
    const std::string bridge = fmt::format("service {}: bridge {}", change.service, view.name(change.bridge));
    const HealthRule& rule = view.config.health->rule;
    switch (change.is) {
        case HealthState::up:
            return {
                .warns = false,
                .text = fmt::format("{} is up again: {}; {}{}", bridge, why_up(rule), view.up(),
                                    view.starts_slowly(change.bridge)
                                        ? "; its keys come back within " + format_duration(rule.slow_start)
                                        : "")};
        case HealthState::gone:
            if (change.why == HealthEvent::Why::in_vain)
                return {.warns = true,
                        .text = fmt::format("{} is silent to its clients, too: it gets no connections until "
                                            "it is heard of",
                                            bridge)};
            return {
                .warns = true,
                .text = fmt::format("{} is gone: nothing was heard of it for {} s", bridge,
                                    std::chrono::duration_cast<std::chrono::seconds>(kGoneAfter).count())};
        case HealthState::ill:
            break;
    }
    if (change.was == HealthState::gone)
        return {.warns = false, .text = fmt::format("{} is heard of again, but is ill", bridge)};
    return {.warns = true,
            .text = fmt::format("{} is ill: {}; {}", bridge, why_ill(change, rule), view.up())};
}

// Where that is not as the file says.
std::optional<std::string> number_line(const BridgeHealth& bridge, const View& view,
                                       const SplicerSetup& setup) {
    constexpr auto kMeans =
        "; connections of it that another balancer sees first are lost: correct number: on one side";
    const std::string named =
        fmt::format("service {}: bridge {}", view.health.service, view.name(bridge.bridge));
    const std::uint16_t number = setup.bridges[bridge.bridge].number;
    if (bridge.number_word == NumberWord::differs)
        return fmt::format("{} calls itself number {}, and this file calls it {}{}", named,
                           bridge.told_number, number, kMeans);
    if (bridge.number_word == NumberWord::missing)
        return fmt::format("{} has no number, or another lane key, and this file calls it {}{}", named,
                           number, kMeans);
    return std::nullopt;
}

void tell_number(const BridgeHealth& bridge, const View& view, const SplicerSetup& setup,
                 std::map<std::uint16_t, std::string>& told, std::vector<HealthLine>& lines) {
    if (auto line = number_line(bridge, view, setup)) {
        if (std::string& before = told[bridge.bridge]; before != *line)
            lines.push_back({.warns = true, .text = before = std::move(*line)});
    } else if (bridge.number_word == NumberWord::agrees && told.erase(bridge.bridge) != 0) {
        lines.push_back({.warns = false,
                         .text = fmt::format("service {}: bridge {} has the number that this file says",
                                             view.health.service, view.name(bridge.bridge))});
    }
}

bool has(const std::vector<std::uint16_t>& bridges, std::uint16_t bridge) {
    return std::ranges::find(bridges, bridge) != bridges.end();
}

HealthLine panic_line(const View& view) {
    const std::uint32_t threshold = view.config.health->rule.panic_threshold_percent;
    if (!view.health.panics)
        return {
            .warns = false,
            .text = fmt::format("service {}: {} % of its bridges are up again: ill ones get no connections",
                                view.health.service, threshold)};
    const bool none = std::ranges::all_of(
        view.health.bridges, [](const BridgeHealth& each) { return each.state == HealthState::gone; });
    return {
        .warns = true,
        .text = fmt::format(
            "service {}: less than {} % of its bridges are up, so {} (panic_threshold_percent)",
            view.health.service, threshold,
            none ? "all get connections until clients have tried in vain: nothing is heard of any, so the "
                   "fault may be on this host or its way back"
                 : "those that are ill get connections, too")};
}

// What is new of one bridge besides its state.
template <class Told>
void tell_bridge(const BridgeHealth& bridge, const View& view, const SplicerSetup& setup, const Told& was,
                 Told& now, std::vector<HealthLine>& lines) {
    if (bridge.share < 1)
        now.starting.push_back(bridge.bridge);
    else if (bridge.state == HealthState::up && has(was.starting, bridge.bridge))
        lines.push_back({.warns = false,
                         .text = fmt::format("service {}: bridge {} has all its keys again",
                                             view.health.service, view.name(bridge.bridge))});
    tell_number(bridge, view, setup, now.numbers, lines);
    const bool knew = has(was.narrow, bridge.bridge);
    if (bridge.narrow) now.narrow.push_back(bridge.bridge);
    if (bridge.narrow == knew) return;
    if (knew) {
        lines.push_back({.warns = false,
                         .text = fmt::format("service {}: full segments arrive at bridge {} again",
                                             view.health.service, view.name(bridge.bridge))});
        return;
    }
    lines.push_back(
        {.warns = true,
         .text = fmt::format("service {}: bridge {} answers, but not to full segments (mss {}): the way to "
                             "it is narrower than this host knows; lower mss, or mend its MTU",
                             view.health.service, view.name(bridge.bridge), view.running.mss)});
}

}  // namespace

std::string describe_failure(ProbeEnd end, const std::string& words) {
    switch (end) {
        case ProbeEnd::silent:
            return "no answer at all (do bridge and backend run? do secrets and clocks agree? does the "
                   "network keep "
                   "the mark, and let the answers in?)";
        case ProbeEnd::bounced:
            return "refused by the bridge: its backend does not listen";
        case ProbeEnd::reset:
            return "reset";
        case ProbeEnd::late:
            return "its connection was taken, but the answer did not come in time";
        case ProbeEnd::wrong:
        case ProbeEnd::unreachable:
        case ProbeEnd::too_big:
            return words;
        case ProbeEnd::secret:
            return "the bridge does not know its cookie: its secret differs";
        case ProbeEnd::clock:
            return "the bridge does not take its cookie, though their secrets agree: does its clock differ, "
                   "or the "
                   "dscp of its service?";
        case ProbeEnd::passed:
            break;
    }
    return "passed";
}

std::vector<HealthLine> HealthWords::tell(const HealthNews& news, const BalancerConfig& config,
                                          const SplicerSetup& setup) {
    std::vector<HealthLine> lines;
    std::vector<Told> told;
    for (const ServiceHealth& health : news.report) {
        const auto service = std::ranges::find(config.services, health.service, &ServiceConfig::name);
        if (service == config.services.end() || !service->health) continue;
        const View view{health, *service,
                        setup.services[static_cast<std::size_t>(service - config.services.begin())]};
        const auto before = std::ranges::find(told_, health.service, &Told::service);
        const Told was = before == told_.end() ? Told{.service = health.service,
                                                      .panics = false,
                                                      .narrow = {},
                                                      .starting = {},
                                                      .numbers = {}}
                                               : *before;
        Told now{.service = health.service,
                 .panics = health.panics,
                 .narrow = {},
                 .starting = {},
                 .numbers = was.numbers};
        for (const HealthChange& change : news.changes) {
            if (change.service != health.service) continue;
            lines.push_back(line_of(change, view));
            lines.back().fields = view.fields(change.bridge);
            lines.back().fields.push_back({"state", std::string(to_string(change.is))});
        }
        if (was.panics != now.panics) {
            lines.push_back(panic_line(view));
            lines.back().fields = {{"service", health.service}};
        }
        for (const BridgeHealth& bridge : health.bridges) {
            const std::size_t told_of_others = lines.size();
            tell_bridge(bridge, view, setup, was, now, lines);
            for (std::size_t i = told_of_others; i < lines.size(); ++i)
                lines[i].fields = view.fields(bridge.bridge);
        }
        told.push_back(std::move(now));
    }
    told_ = std::move(told);
    return lines;
}

}  // namespace splice
