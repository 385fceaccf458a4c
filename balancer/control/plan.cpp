#include "balancer/control/plan.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <utility>

#include "libsplice/base/quoted.hpp"
#include "libsplice/config/values.hpp"

namespace splice {
namespace {

// Keys that stand for all where there are no rows to compare.
constexpr std::uint32_t kSampledKeys = 1U << 16;
// So many bridges are named in a line; of others the number is told.
constexpr std::size_t kNamed = 8;

using Settings = std::vector<std::pair<std::string, std::string>>;

std::string text_of(const std::optional<HotKeysConfig>& hot_keys) {
    return hot_keys ? fmt::format("top {} spread {}", hot_keys->top, hot_keys->spread) : "off";
}

std::string text_of(const std::optional<ShadowConfig>& shadow) {
    if (!shadow) return "off";
    std::string text;
    if (shadow->key) text += "key " + shadow->key->to_string();
    if (shadow->algorithm)
        text += fmt::format("{}algorithm {}", text.empty() ? "" : " ", to_string(*shadow->algorithm));
    return text;
}

std::string text_of(const std::optional<HealthConfig>& health) {
    if (!health) return "off";
    const auto& [probe, rule] = *health;
    std::string text(to_string(probe.kind));
    if (probe.kind == ProbeKind::http) {
        text += fmt::format(" {} {}", probe.method, probe.path);
        text += fmt::format(" expect {}", to_string(probe.expect));
    }
    for (const auto& [name, value] : {std::pair("host", &probe.host),
                                      {"body", &probe.body},
                                      {"sni", &probe.sni},
                                      {"send", &probe.send}}) {
        if (!value->empty()) text += fmt::format(" {} {}", name, quoted(*value));
    }
    text +=
        fmt::format(" every {} timeout {}", format_duration(rule.interval), format_duration(rule.timeout));
    if (rule.pass)
        text += fmt::format(" pass {}/{}", rule.pass->passed, rule.pass->of);
    else
        text += fmt::format(" rise {} fall {}", rule.rise, rule.fall);
    if (rule.slow_start != Duration{}) text += " slow_start " + format_duration(rule.slow_start);
    return text + fmt::format(" max_ejection {} % panic_threshold {} %", rule.max_ejection_percent,
                              rule.panic_threshold_percent);
}

std::string factor(double value) {
    return value == 0 ? "off" : fmt::format("{}", value);
}

// All but the bridges, under their names in the file.
std::string text_of(const splice_rate_limit& limit) {
    if (limit.a_second == 0) return "off";
    return fmt::format("{} a second of a /{} or /{}", limit.a_second, limit.source.ipv4, limit.source.ipv6);
}

Settings settings_of(const ServiceConfig& service) {
    const ServiceDefaults& common = service.settings;
    return {{"vip", service.vip.to_string()},
            {"dscp", std::to_string(service.dscp)},
            {"protocol", std::string(to_string(service.protocol))},
            {"proxy_protocol", std::string(to_string(service.proxy_protocol))},
            {"key", service.key.to_string()},
            {"algorithm", std::string(to_string(service.algorithm))},
            {"table_rows", std::to_string(common.table_rows)},
            {"subset", service.subset == 0 ? "off" : std::to_string(service.subset)},
            {"need", service.need == 0 ? "off" : std::to_string(service.need)},
            {"bounded_load", factor(service.bounded_load)},
            {"warmup", factor(service.warmup)},
            {"hot_keys", text_of(service.hot_keys)},
            {"shadow", text_of(service.shadow)},
            {"ramp", factor(service.ramp)},
            {"health", text_of(service.health)},
            {"timestamps", std::string(to_string(service.timestamps))},
            {"presence", std::string(to_string(common.presence))},
            {"first_payload_wait", format_duration(common.first_payload_wait)},
            {"first_payload_max", std::to_string(common.first_payload_max)},
            {"idle_timeout", format_duration(common.idle_timeout)},
            {"mss", common.mss ? std::to_string(*common.mss) : "auto"},
            {"window_scale", std::to_string(common.window_scale)},
            {"new_connections", text_of(common.new_connections)},
            {"table_share", fmt::format("{:g} %", common.table_share * 100)}};
}

std::string list(const std::vector<std::string>& items) {
    if (items.size() <= kNamed) return fmt::format("{}", fmt::join(items, ", "));
    return fmt::format("{} and {} more", fmt::join(items.begin(), items.begin() + kNamed, ", "),
                       items.size() - kNamed);
}

void add_list(std::vector<std::string>& what, const std::vector<std::string>& bridges,
              std::string_view done) {
    if (!bridges.empty())
        what.push_back(fmt::format("bridge{} {} {}", bridges.size() == 1 ? "" : "s", list(bridges), done));
}

// Bridges go by their names.
void compare_bridges(const ServiceConfig& was, const ServiceConfig& is, std::vector<std::string>& what) {
    std::map<std::string_view, const BridgeConfig*> before;
    for (const BridgeConfig& bridge : was.bridges) before.emplace(bridge.name, &bridge);
    std::vector<std::string> added, removed, weights, addresses, numbers, servers, bounds;
    for (const BridgeConfig& bridge : is.bridges) {
        const auto found = before.find(bridge.name);
        if (found == before.end()) {
            added.push_back(bridge.name);
            continue;
        }
        const BridgeConfig& earlier = *found->second;
        if (earlier.weight != bridge.weight)
            weights.push_back(fmt::format("{} {} -> {}", bridge.name, earlier.weight, bridge.weight));
        if (earlier.address != bridge.address)
            addresses.push_back(fmt::format("{} {} -> {}", bridge.name, earlier.address.to_string(),
                                            bridge.address.to_string()));
        if (earlier.number != bridge.number)
            numbers.push_back(fmt::format("{} {} -> {}", bridge.name, earlier.number, bridge.number));
        if (earlier.server != bridge.server) servers.push_back(bridge.name);
        if (earlier.max_connections != bridge.max_connections)
            bounds.push_back(
                fmt::format("{} {} -> {}", bridge.name, earlier.max_connections, bridge.max_connections));
        before.erase(found);
    }
    for (const BridgeConfig& bridge : was.bridges) {
        if (before.contains(bridge.name)) removed.push_back(bridge.name);
    }
    add_list(what, added, "added");
    add_list(what, removed, "removed");
    if (!weights.empty()) what.push_back("weight of " + list(weights));
    if (!bounds.empty()) what.push_back("max_connections of " + list(bounds));
    if (!addresses.empty()) what.push_back("address of " + list(addresses));
    if (!numbers.empty()) what.push_back("number of " + list(numbers));
    if (!servers.empty()) what.push_back("server of " + list(servers));
}

// Of a service that leaves it to us: what it offers follows the narrowest way.
void compare_mss(const SplicerService& was, const SplicerService& is, std::vector<std::string>& what) {
    if (was.mss == is.mss) return;
    what.push_back(
        fmt::format("MSS {} -> {}, what fits into the narrowest way to its bridges", was.mss, is.mss));
}

// A slow start is told when it begins: what goes where in the end.
const Placement& placement_in_the_end(const SplicerService& service) noexcept {
    if (service.slow_start) return *service.slow_start->whole;
    return service.shadow ? *service.shadow->before : *service.placement;
}

double moved_between(const SplicerService& was, const SplicerService& is) {
    if (was.slow_start || is.slow_start)
        return moved_share(placement_in_the_end(was), placement_in_the_end(is));
    return moved_share(*was.placement, *is.placement);
}

ServiceChange change_of(const ServiceConfig& service, const SplicerService& planned, const Running& running) {
    const auto was = std::ranges::find(running.config->services, service.name, &ServiceConfig::name);
    if (was == running.config->services.end()) return {.service = service.name, .what = {"added"}};
    const auto place = static_cast<std::size_t>(was - running.config->services.begin());
    const SplicerService& earlier = running.setup->services[place];
    ServiceChange change{.service = service.name,
                         .what = differences(*was, service),
                         .moved = moved_between(earlier, planned)};
    if (!service.settings.mss) compare_mss(earlier, planned, change.what);
    return change;
}

std::vector<ServiceChange> changes_of(const BalancerConfig& wanted, const SplicerSetup& setup,
                                      const Running& running) {
    std::vector<ServiceChange> changes;
    if (!running.setup) return changes;
    for (std::size_t i = 0; i < wanted.services.size(); i++) {
        ServiceChange change = change_of(wanted.services[i], setup.services[i], running);
        if (!change.what.empty() || change.moved != 0) changes.push_back(std::move(change));
    }
    for (const ServiceConfig& service : running.config->services) {
        if (std::ranges::find(wanted.services, service.name, &ServiceConfig::name) == wanted.services.end())
            changes.push_back(
                {.service = service.name, .removed = true, .what = {"removed: its connections end"}});
    }
    return changes;
}

}  // namespace

std::string ServiceChange::to_string() const {
    std::string text = "service " + service + ": " + fmt::format("{}", fmt::join(what, "; "));
    if (moved != 0) text += fmt::format("{}{:.1f} % of its keys move", what.empty() ? "" : "; ", moved * 100);
    return text;
}

std::vector<std::string> differences(const ServiceConfig& was, const ServiceConfig& is) {
    std::vector<std::string> what;
    compare_bridges(was, is, what);
    const Settings before = settings_of(was), after = settings_of(is);
    for (std::size_t i = 0; i < before.size(); i++) {
        if (before[i].second != after[i].second)
            what.push_back(fmt::format("{} {} -> {}", before[i].first, before[i].second, after[i].second));
    }
    return what;
}

double moved_share(const Placement& was, const Placement& is) {
    if (&was == &is) return 0;
    std::size_t moved = 0;
    const auto have_rows = [](const Placement& one) { return one.algorithm() != Algorithm::ketama; };
    if (have_rows(was) && have_rows(is) && was.rows().size() == is.rows().size() && !is.rows().empty()) {
        for (std::size_t row = 0; row < is.rows().size(); row++)
            moved += was.rows()[row].choices[0] != is.rows()[row].choices[0] ? 1 : 0;
        return static_cast<double>(moved) / static_cast<double>(is.rows().size());
    }
    for (std::uint32_t i = 0; i < kSampledKeys; i++) {
        const std::string key = "/" + std::to_string(i);
        moved += was.choose(key).bridges.choices[0] != is.choose(key).bridges.choices[0] ? 1 : 0;
    }
    return static_cast<double>(moved) / kSampledKeys;
}

std::expected<Plan, std::string> make_plan(const BalancerConfig& wanted, const splice_secret& secret,
                                           const Running& running, const PlanHost& host) {
    Plan plan{.config = wanted,
              .setup = nullptr,
              .bridges = running.bridges,
              .services = running.services,
              .changes = {}};
    auto setup = build_setup(wanted, secret,
                             {.mtu = host.mtu,
                              .route_mtus = host.route_mtus,
                              .own = host.own,
                              .now = host.now,
                              .health = host.health,
                              .denied = host.denied,
                              .running = running.setup.get()},
                             plan.bridges, plan.services);
    if (!setup) return std::unexpected(setup.error());
    plan.setup = std::move(*setup);
    plan.changes = changes_of(wanted, *plan.setup, running);
    return plan;
}

}  // namespace splice
