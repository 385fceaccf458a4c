#include "balancer/control/api.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "balancer/control/flow_list.hpp"
#include "balancer/control/health_words.hpp"
#include "balancer/trouble.hpp"
#include "libsplice/base/embedded.hpp"
#include "libsplice/base/verdict.hpp"
#include "libsplice/ops/metrics.hpp"

SPLICE_EMBEDDED_DECLARE(openapi);
SPLICE_EMBEDDED_DECLARE(page);

namespace splice {
namespace {

using Json = nlohmann::ordered_json;

void write_counters(MetricsPage& page, const BalancerStatistics& now) {
    write_statistics(page, Program::balancer, now);
    page.gauge("splicelb_balancer_bridges_unreachable", "Bridges whose next hop is not known",
               static_cast<double>(now.bridges_unreachable));
    for (std::size_t i = 0; i < kFallbackCount; i++) {
        page.counter("splicelb_balancer_fallbacks_total",
                     "First payloads without a key, placed by the client's address, by why", now.fallbacks[i],
                     {{"reason", std::string(fallback_name(static_cast<Fallback>(i)))}});
    }
    page.counter("splicelb_balancer_connections_without_timestamps_total",
                 "Connections whose client has no TCP timestamps: no lane finds their bridge",
                 now.begun_without_timestamps);
    page.counter("splicelb_balancer_lanes_disagree_total",
                 "Connections whose client echoes the clock of another bridge than theirs: one number on two "
                 "hosts, or numbers that differ between balancer and bridge",
                 now.lanes_disagree);
    page.counter("splicelb_balancer_cookie_guesses_total",
                 "First payloads without timestamps whose cookie was wrong", now.guesses.noted);
    for (std::size_t i = 0; i < SPLICE_GUESS_SCOPES; i++)
        page.counter("splicelb_balancer_cookie_guess_budgets_exhausted_total",
                     "Budgets of wrong cookies that were used up, once a second, by what they are of",
                     now.guesses.exhausted[i], {{"scope", std::string(kGuessScopes[i].name)}});
    page.gauge("splicelb_balancer_flows", "Flow entries", static_cast<double>(now.flows));
    page.gauge("splicelb_balancer_flows_pending", "Flow entries that wait for their first payload",
               static_cast<double>(now.flows_pending));
    page.gauge("splicelb_balancer_first_payload_bytes", "Bytes of first payloads held",
               static_cast<double>(now.first_payload_bytes));
}

void write_choices(MetricsPage& page, const ServiceConfig& service, const splice_choice_counts& counts) {
    constexpr std::array kRanks = {"first", "second", "third"};
    constexpr std::array kWhys = {"first", "warmup", "spread", "over_bound", "all_over_bound"};
    static_assert(kRanks.size() == SPLICE_CHOICES && kWhys.size() == SPLICE_CHOICE_WHYS);
    for (std::size_t i = 0; i < SPLICE_CHOICES; i++)
        page.counter("splicelb_balancer_choices_total",
                     "Flows opened, by the rank of the choice that took them; of services that weigh choices",
                     counts.ranks[i], {{"service", service.name}, {"rank", kRanks[i]}});
    for (std::size_t i = 1; i < SPLICE_CHOICE_WHYS; i++)
        page.counter("splicelb_balancer_choices_weighed_total",
                     "Flows opened that did not simply go to their first choice, by why", counts.whys[i],
                     {{"service", service.name}, {"why", kWhys[i]}});
}

void write_latency(MetricsPage& page, const char* name, const char* help, const splice_latency& latency,
                   const MetricLabels& labels) {
    std::array<double, SPLICE_LATENCY_BUCKETS - 1> bounds{};
    for (std::size_t i = 0; i < bounds.size(); i++) bounds[i] = static_cast<double>(1U << i) / 1e6;
    const std::vector<std::uint64_t> counts(std::begin(latency.buckets), std::end(latency.buckets));
    page.histogram(name, help, bounds, counts, static_cast<double>(latency.sum_us) / 1e6, labels);
}

void write_latencies(MetricsPage& page, const ServiceConfig& service, const splice_latencies& latencies) {
    write_latency(page, "splicelb_balancer_first_payload_seconds",
                  "From the first segment of a first payload until it goes to a bridge",
                  latencies.first_payload, {{"service", service.name}});
    write_latency(
        page, "splicelb_balancer_answer_seconds",
        "From when a first payload goes to a bridge until its client has acknowledged a byte of the answer",
        latencies.answer, {{"service", service.name}});
}

const std::string& name_of(const ServiceConfig& service, const SplicerSetup& setup,
                           const SplicerService& running, std::size_t bridge) {
    const auto place = place_of(running, static_cast<std::uint16_t>(bridge));
    return place ? service.bridges[*place].name : setup.bridges[bridge].name;
}

void write_watch(MetricsPage& page, const ServiceConfig& service, const SplicerSetup& setup,
                 const SplicerService& running) {
    if (!running.watch) return;
    if (running.hot_keys != 0)
        page.gauge("splicelb_balancer_hot_keys", "Keys that are hot now",
                   static_cast<double>(running.watch->hot_keys().size()), {{"service", service.name}});
    if (!running.shadow) return;
    const auto shadow = running.watch->shadow();
    page.counter("splicelb_balancer_shadow_openings_total",
                 "Flows opened that were looked at with the shadow's key and algorithm, too", shadow.openings,
                 {{"service", service.name}});
    page.counter("splicelb_balancer_shadow_moved_total",
                 "Of them, those that it would send to another bridge", shadow.moved,
                 {{"service", service.name}});
    for (std::size_t i = 0; i < shadow.now.size(); i++) {
        if (shadow.now[i] == 0 && shadow.then[i] == 0) continue;
        const std::string& bridge = name_of(service, setup, running, i);
        constexpr const char* kHelp =
            "Of them, those whose first choice is the bridge, now and by the shadow";
        page.counter("splicelb_balancer_shadow_first_choices_total", kHelp, shadow.now[i],
                     {{"service", service.name}, {"bridge", bridge}, {"by", "service"}});
        page.counter("splicelb_balancer_shadow_first_choices_total", kHelp, shadow.then[i],
                     {{"service", service.name}, {"bridge", bridge}, {"by", "shadow"}});
    }
}

// The fullest bridge's openings by the mean.
Json peak_to_mean(const std::vector<std::uint64_t>& counts, std::uint64_t all, std::size_t bridges) {
    if (all == 0 || counts.empty()) return nullptr;
    return static_cast<double>(std::ranges::max(counts)) * static_cast<double>(bridges) /
           static_cast<double>(all);
}

Json shadow_json(const SplicerService& running, std::size_t bridges) {
    if (!running.shadow) return nullptr;
    const auto shadow = running.watch->shadow();
    return {{"hash_key", running.shadow->key.to_string()},
            {"algorithm", to_string(running.shadow->placement->algorithm())},
            {"ramp", running.shadow->ramp / 65536.0},
            {"openings", shadow.openings},
            {"moved", shadow.moved},
            {"peak_to_mean", peak_to_mean(shadow.now, shadow.openings, bridges)},
            {"shadow_peak_to_mean", peak_to_mean(shadow.then, shadow.openings, bridges)}};
}

// A key may hold any byte.
std::string printable(std::string_view key) {
    std::string text;
    for (const char c : key) text += c >= ' ' && c < '\x7f' ? c : '?';
    return text;
}

Json hot_keys_json(const SplicerService& running) {
    if (running.hot_keys == 0) return nullptr;
    Json keys = Json::array();
    for (const HotKeys::Key& key : running.watch->hot_keys())
        keys.push_back({{"key", printable(key.key)}, {"share", key.share}});
    return {{"top", running.hot_keys}, {"spread", running.choice.spread}, {"hot", std::move(keys)}};
}

constexpr std::array kHealthStates = {HealthState::up, HealthState::ill, HealthState::gone};

void write_health(MetricsPage& page, const MetricLabels& bridge, const BridgeHealth& health) {
    const auto with = [&](const char* label, std::string_view value) {
        MetricLabels labels = bridge;
        labels.emplace(label, value);
        return labels;
    };
    for (const HealthState state : kHealthStates)
        page.gauge("splicelb_balancer_bridge_health",
                   "The state that health checks give a bridge: 1 for its own", state == health.state ? 1 : 0,
                   with("state", to_string(state)));
    for (std::size_t i = 0; i < kProbeEnds; i++)
        page.counter("splicelb_balancer_checks_total",
                     "Health checks that have ended, by what became of them", health.checks[i],
                     with("result", to_string(static_cast<ProbeEnd>(i))));
    page.gauge("splicelb_balancer_bridge_slow_start",
               "Share of its keys that a bridge has again after it was out; 1 when it has all", health.share,
               bridge);
    page.gauge("splicelb_balancer_bridge_narrow", "1: checks arrive, but not as full segments",
               health.narrow ? 1 : 0, bridge);
}

Json health_json(const BridgeHealth* health) {
    if (!health) return nullptr;
    Json checks;
    for (std::size_t i = 0; i < kProbeEnds; i++)
        checks[to_string(static_cast<ProbeEnd>(i))] = health->checks[i];
    return {{"state", to_string(health->state)},
            {"suspect", health->suspect},
            {"failure",
             health->failure ? Json(describe_failure(*health->failure, health->words)) : Json(nullptr)},
            {"slow_start", health->share},
            {"narrow", health->narrow},
            {"signs",
             {{"openings", health->signs.openings},
              {"answers", health->signs.answers},
              {"refusals", health->signs.refusals},
              {"repeats", health->signs.repeats}}},
            {"checks", std::move(checks)}};
}

void write_totals(MetricsPage& page, const MetricLabels& bridge, const SignedBridge& total) {
    for (const auto& [sign, count] : {std::pair("opening", total.signs.openings),
                                      {"answer", total.signs.answers},
                                      {"refusal", total.signs.refusals},
                                      {"repeat", total.signs.repeats}}) {
        MetricLabels labels = bridge;
        labels.emplace("sign", sign);
        page.counter(
            "splicelb_balancer_bridge_signs_total",
            "What connections show of a bridge: openings, those that were answered, refusals, and first "
            "payloads that clients repeated without an answer",
            count, labels);
    }
    page.counter("splicelb_balancer_bridge_packets_total", "Clients' packets that were sent to a bridge",
                 total.packets, bridge);
    page.counter("splicelb_balancer_bridge_bytes_total",
                 "Bytes of clients' packets that were sent to a bridge, with their IP headers", total.bytes,
                 bridge);
}

void write_channel(MetricsPage& page, const BalancerChannel& channel) {
    page.counter("splicelb_balancer_channel_questions_total", "Questions to bridges over the channel",
                 channel.questions());
    for (const ChannelEnd end : {ChannelEnd::taken, ChannelEnd::other_clock, ChannelEnd::malformed,
                                 ChannelEnd::no_secret, ChannelEnd::unexpected, ChannelEnd::not_sent})
        page.counter(
            "splicelb_balancer_channel_packets_total",
            "Packets that came by the channel, and questions that were not sent, by what became of them",
            channel.count(end), {{"result", std::string(to_string(end))}});
}

// What a bridge says over the channel.
void write_told(MetricsPage& page, const MetricLabels& bridge, const ChannelSubject& subject) {
    const bool answers = subject.state != nullptr && subject.state->answers();
    page.gauge("splicelb_balancer_bridge_answers", "1 while a bridge answers over the channel",
               answers ? 1 : 0, bridge);
    const ChannelTroubleSet troubles = troubles_of(subject);
    for (unsigned t = 0; t < kChannelTroubles; ++t) {
        const auto trouble = static_cast<ChannelTrouble>(t);
        MetricLabels labels = bridge;
        labels.emplace("trouble", to_string(trouble));
        page.gauge("splicelb_balancer_bridge_trouble",
                   "1 while the channel shows that of a bridge (docs/channel.md)",
                   (troubles & bit_of(trouble)) != 0 ? 1 : 0, labels);
    }
    if (!answers) return;
    page.gauge("splicelb_balancer_bridge_clock_ahead_seconds", "A bridge's clock less this host's",
               static_cast<double>(subject.state->clock_ahead_ms) / 1000, bridge);
    const ChannelService* const told = subject.state->is_present() ? subject.told() : nullptr;
    if (told != nullptr && told->connections != kConnectionsUnknown)
        page.gauge("splicelb_balancer_bridge_reported_connections",
                   "Connections of the service that a bridge says it has, from all balancers",
                   told->connections, bridge);
}

Json or_null(std::uint32_t connections) {
    return connections == kConnectionsUnknown ? Json(nullptr) : Json(connections);
}

Json troubles_json(const ChannelSubject& subject) {
    Json troubles = Json::array();
    const ChannelTroubleSet set = troubles_of(subject);
    for (unsigned t = 0; t < kChannelTroubles; ++t) {
        const auto trouble = static_cast<ChannelTrouble>(t);
        if ((set & bit_of(trouble)) != 0)
            troubles.push_back({{"what", to_string(trouble)},
                                {"note", is_note(trouble)},
                                {"text", describe(trouble, subject)}});
    }
    return troubles;
}

// The fingerprints of its keys, in the file's order.
Json secret_json(const ChannelFingerprints& secret) {
    Json keys = Json::array();
    for (std::uint32_t i = 0; i < secret.count; ++i) keys.push_back(fmt::format("{:08x}", secret.keys[i]));
    return keys;
}

// Null: the channel is off. What it says of itself is null where it does not answer now.
Json channel_json(const ServiceView& view, std::size_t place) {
    if (!view.channel.is_on) return nullptr;
    const ChannelSubject subject = view.channel_subject(place);
    const ChannelState* const state = subject.state;
    const bool answers = state != nullptr && state->answers();
    const ChannelPresence* const presence = answers && state->is_present() ? &*state->presence : nullptr;
    const ChannelService* const told = presence != nullptr ? subject.told() : nullptr;
    const auto milliseconds = [](Duration time) {
        return std::chrono::duration<double, std::milli>(time).count();
    };
    Json json;
    json["answers"] = answers;
    json["round_trip_ms"] = answers ? Json(milliseconds(state->round_trip)) : Json(nullptr);
    json["clock_ahead_ms"] = answers ? Json(state->clock_ahead_ms) : Json(nullptr);
    json["version"] = presence != nullptr ? Json(presence->version) : Json(nullptr);
    json["number"] = presence != nullptr && presence->number != 0 ? Json(presence->number) : Json(nullptr);
    json["secret"] = presence != nullptr ? secret_json(presence->secret) : Json(nullptr);
    json["services"] = presence != nullptr ? Json(presence->services_in_all) : Json(nullptr);
    json["mode"] = told == nullptr ? Json(nullptr) : Json(told->adopts ? "adopt" : "translate");
    json["connections"] = told != nullptr ? or_null(told->connections) : Json(nullptr);
    json["connections_of_all"] = presence != nullptr ? or_null(presence->connections) : Json(nullptr);
    json["troubles"] = troubles_json(subject);
    return json;
}

void write_bridges(MetricsPage& page, const ServiceView& view) {
    for (std::size_t i = 0; i < view.service.bridges.size(); i++) {
        const BridgeConfig& bridge = view.service.bridges[i];
        const auto gauge = [&](const char* name, const char* help, double value,
                               const char* state = nullptr) {
            MetricLabels labels{{"service", view.service.name}, {"bridge", bridge.name}};
            if (state) labels.emplace("state", state);
            page.gauge(name, help, value, labels);
        };
        if (bridge.number != 0)
            gauge("splicelb_balancer_bridge_number", "The number of a bridge in the fleet", bridge.number);
        gauge("splicelb_balancer_table_share", "Share of the keys whose first choice is the bridge",
              view.shares[i]);
        gauge("splicelb_balancer_bridge_state", "The state that a bridge is given, as a label", 1,
              to_string(bridge.state).data());
        const FlowCount flows = view.flows(i);
        constexpr const char* kHelp = "Connections of a bridge, by what the client has said last";
        gauge("splicelb_balancer_bridge_flows", kHelp, static_cast<double>(flows.open), "open");
        gauge("splicelb_balancer_bridge_flows", kHelp, static_cast<double>(flows.half_closed), "half_closed");
        write_totals(page, {{"service", view.service.name}, {"bridge", bridge.name}}, view.total(i));
        if (bridge.max_connections != 0) {
            gauge("splicelb_balancer_bridge_max_connections",
                  "Connections of the service that a bridge may have before new keys pass it over",
                  bridge.max_connections);
            gauge("splicelb_balancer_bridge_full", "1 while a bridge has as many, and new keys pass it over",
                  view.is_full(i) ? 1 : 0);
        }
        if (view.channel.is_on)
            write_told(page, {{"service", view.service.name}, {"bridge", bridge.name}},
                       view.channel_subject(i));
        if (const BridgeHealth* const health = view.health_of(i))
            write_health(page, {{"service", view.service.name}, {"bridge", bridge.name}}, *health);
    }
}

Json totals_json(const SignedBridge& total) {
    return {{"openings", total.signs.openings}, {"answers", total.signs.answers},
            {"refusals", total.signs.refusals}, {"repeats", total.signs.repeats},
            {"packets", total.packets},         {"bytes", total.bytes}};
}

nlohmann::ordered_json bridges_json(const ServiceView& view) {
    auto bridges = nlohmann::ordered_json::array();
    for (std::size_t i = 0; i < view.service.bridges.size(); i++) {
        const BridgeConfig& bridge = view.service.bridges[i];
        const FlowCount flows = view.flows(i);
        nlohmann::ordered_json one = {{"name", bridge.name}, {"address", bridge.address.to_string()}};
        if (bridge.number != 0) one["number"] = bridge.number;
        one["weight"] = bridge.weight;
        one["state"] = to_string(bridge.state);
        one["health"] = health_json(view.health_of(i));
        one["table_share"] = view.shares[i];
        one["flows"] = flows.open;
        one["flows_half_closed"] = flows.half_closed;
        one["totals"] = totals_json(view.total(i));
        one["channel"] = channel_json(view, i);
        one["max_connections"] = bridge.max_connections != 0 ? Json(bridge.max_connections) : Json(nullptr);
        one["full"] = view.is_full(i);
        bridges.push_back(std::move(one));
    }
    return bridges;
}

nlohmann::ordered_json service_json(const ServiceView& view) {
    const auto& [service, running, counts, shares, health, totals, channel, channel_port, full] = view;
    return {{"name", service.name},
            {"number", running.number},
            {"vip", service.vip.to_string()},
            {"dscp", service.dscp},
            {"protocol", to_string(service.protocol)},
            {"proxy_protocol", to_string(service.proxy_protocol)},
            {"hash_key", service.key.to_string()},
            {"algorithm", to_string(service.algorithm)},
            {"bounded_load", service.bounded_load > 0 ? Json(service.bounded_load) : Json(nullptr)},
            {"warmup", service.warmup},
            {"hot_keys", hot_keys_json(running)},
            {"shadow", shadow_json(running, service.bridges.size())},
            {"subset", service.subset != 0 ? Json(service.subset) : Json(nullptr)},
            {"mss", running.mss},
            {"window_scale", running.window_scale},
            {"health_checks", health != nullptr},
            {"bridges", bridges_json(view)}};
}

// What is answered to a reader without a browser.
constexpr const char* kIndex = "SpliceLB balancer " SPLICELB_VERSION
                               "\n"
                               "GET /healthz        ok while the balancer runs\n"
                               "GET /readyz         ready while it serves, else 503 with the reasons\n"
                               "GET /metrics        counters for Prometheus\n"
                               "GET /status         services, bridges and flows as JSON\n"
                               "GET /loadbalancers  services and bridges, which may be changed\n"
                               "GET /check          asks every bridge now whether it fits this balancer\n"
                               "GET /explain        ?service=NAME&url=URL: which bridge gets it, and why\n"
                               "GET /flows          connections, filtered, a page at a time\n"
                               "GET /stats          counters under Convey's names\n"
                               "GET /openapi.json   all calls, those that change something too\n";

// What a browser may do with the page: nothing but its own script, its own style and this API. In nobody's
// frame, for a click there may be meant for something else.
constexpr const char* kPagePolicy =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src "
    "data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

ApiReply front_page(const ApiRequest& request) {
    ApiReply reply{.body = kIndex};
    if (request.accept.find("text/html") != std::string::npos) {
        reply = {.content_type = "text/html; charset=utf-8", .body = std::string(SPLICE_EMBEDDED(page))};
        reply.headers.emplace_back("Content-Security-Policy", kPagePolicy);
        reply.headers.emplace_back("Referrer-Policy", "no-referrer");
    }
    reply.headers.emplace_back("Vary", "Accept");
    return reply;
}

ApiReply json_page(std::string text) {
    return {.status = 200, .content_type = "application/json", .body = std::move(text)};
}

// What operators allow, and what was dropped for it: packets, of which a client sends each several times.
Json limits_json(const BalancerConfig& config, const SplicerSetup& setup, const BalancerStatistics& now) {
    const auto services_with = [&](auto limited) {
        auto names = Json::array();
        for (const ServiceConfig& service : config.services)
            if (limited(service.settings)) names.push_back(service.name);
        return names;
    };
    return {{"deny",
             {{"prefixes", setup.denied ? setup.denied->size() : 0},
              {"dropped", now.verdicts[SPLICE_drop_denied]}}},
            {"new_connections",
             {{"services", services_with([](const ServiceDefaults& settings) {
                   return settings.new_connections.a_second != 0;
               })},
              {"dropped", now.verdicts[SPLICE_drop_source_rate]}}},
            {"table_share",
             {{"services",
               services_with([](const ServiceDefaults& settings) { return settings.table_share < 1; })},
              {"dropped", now.verdicts[SPLICE_drop_service_share]}}},
            {"cookie_guesses",
             {{"noted", now.guesses.noted}, {"dropped", now.verdicts[SPLICE_drop_guess_budget]}}}};
}

}  // namespace

BalancerApi::BalancerApi(BalancerState state, DataPlane& dataplane, const HostFacts& host,
                         const Reloads& reloads, const PortGuard* guard, BalancerChannel* channel,
                         const FullBridges& full)
    : dataplane_(dataplane),
      host_(host),
      reloads_(reloads),
      guard_(guard),
      channel_(channel),
      full_(full),
      shown_(std::make_shared<const Shown>(std::move(state))) {}

void BalancerApi::replace(BalancerState state) {
    auto shown = std::make_shared<const Shown>(std::move(state));
    const std::lock_guard lock(mutex_);
    shown_ = std::move(shown);
}

std::shared_ptr<const Shown> BalancerApi::shown() const {
    const std::lock_guard lock(mutex_);
    return shown_;
}

ChannelNews BalancerApi::channel_news(const Shown& shown) const {
    if (channel_ == nullptr) return {};
    return {.is_on = true,
            .own = channel_secret(shown.setup->secret).fingerprints,
            .bridges = channel_->report()};
}

Snapshot BalancerApi::snapshot() const {
    Snapshot now{.shown = nullptr, .counts = dataplane_.flow_counts(), .health = dataplane_.health()};
    now.shown = shown();
    now.channel = channel_news(*now.shown);
    now.full = full_.names();
    return now;
}

Snapshot BalancerApi::counted_snapshot() const {
    Snapshot now = snapshot();
    now.totals = dataplane_.bridge_totals();
    return now;
}

ApiRoutes BalancerApi::routes(MakeChange change) {
    ApiRoutes routes = operator_routes({.not_ready = [this] { return host_.reasons(); },
                                        .metrics = [this] { return metrics(); },
                                        .status = [this] { return status(); }});
    routes.page("/", front_page, ApiRight::open);
    routes.page("/openapi.json",
                [](const ApiRequest&) { return json_page(std::string(SPLICE_EMBEDDED(openapi))); });
    routes.page("/flows", [this](const ApiRequest& request) {
        return list_flows(snapshot(), request,
                          [this](const FlowFilter& wanted, std::size_t limit, const std::string& after) {
                              return dataplane_.flow_page(wanted, limit, after);
                          });
    });
    routes.page("/stats", [this](const ApiRequest&) { return json_page(stats()); });
    routes.add({.method = "GET",
                .path = "/check",
                .right = ApiRight::read,
                .handle = [this](const ApiRequest&, const ApiAnswer& answer) { answer_check(answer); }});
    routes.page("/explain",
                [this](const ApiRequest& request) { return explainer_.explain(snapshot(), request); });
    add_loadbalancer_routes(routes, [this] { return snapshot(); }, change);
    return routes;
}

void BalancerApi::answer_check(const ApiAnswer& answer) {
    if (channel_ == nullptr) return answer(json_page(check()));
    if (!channel_->check([this, answer] { answer(json_page(check())); }))
        answer(api_error(503, "too many checks wait; ask again"));
}

std::string BalancerApi::check() const {
    Snapshot now{.shown = shown(), .counts = {}, .health = {}};
    now.channel = channel_news(*now.shown);
    const BalancerConfig& config = now.shown->config;
    bool ok = now.channel.is_on;
    Json bridges = Json::array();
    for (std::size_t i = 0; i < config.services.size(); ++i) {
        const ServiceView view = view_of(now, i);
        for (std::size_t place = 0; place < view.service.bridges.size() && now.channel.is_on; ++place) {
            const BridgeConfig& bridge = view.service.bridges[place];
            Json one{{"service", view.service.name},
                     {"bridge", bridge.name},
                     {"ip", bridge.address.to_string()},
                     {"state", to_string(bridge.state)}};
            one.update(channel_json(view, place));
            ok = ok &&
                 std::ranges::all_of(one["troubles"], [](const Json& each) { return each["note"] == true; });
            bridges.push_back(std::move(one));
        }
    }
    const auto missing = remarks_about_channel(config.common);
    const Json json{{"ok", ok},
                    {"channel", config.common.channel ? Json(*config.common.channel) : Json(nullptr)},
                    {"missing", missing.empty() ? Json(nullptr) : Json(missing.front())},
                    {"version", SPLICELB_VERSION},
                    {"secret", now.channel.is_on ? secret_json(now.channel.own) : Json(nullptr)},
                    {"bridges", std::move(bridges)}};
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string BalancerApi::metrics() const {
    MetricsPage page;
    const BalancerStatistics now = dataplane_.statistics();
    write_counters(page, now);
    write_host_facts(page, "balancer", host_);
    reloads_.write(page, "balancer");
    if (guard_ != nullptr)
        page.counter(
            "splicelb_balancer_slipped_packets_total",
            "Packets for a service that missed the data path, and were dropped at this host's own TCP",
            guard_->dropped());
    const Snapshot all = counted_snapshot();
    const Shown& shown = *all.shown;
    if (channel_ != nullptr) write_channel(page, *channel_);
    page.gauge("splicelb_balancer_max_flows", "Flow entries that the table has room for",
               static_cast<double>(shown.setup->max_flows));
    for (std::size_t i = 0; i < shown.config.services.size(); i++) {
        const ServiceView view = view_of(all, i);
        page.gauge("splicelb_balancer_service_info", "The number and the mark of a service", 1,
                   {{"service", view.service.name},
                    {"number", std::to_string(view.running.number)},
                    {"vip", view.service.vip.to_string()},
                    {"dscp", std::to_string(view.service.dscp)}});
        write_latencies(page, view.service,
                        now.latencies[view.running.carriage.mark % SPLICE_CARRIAGE_MARKS]);
        if (view.running.choice.weighs != 0)
            write_choices(page, view.service, now.choices[view.running.carriage.mark]);
        write_watch(page, view.service, *shown.setup, view.running);
        write_bridges(page, view);
    }
    page.gauge("splicelb_balancer_info", "Version and engine", 1,
               {{"version", SPLICELB_VERSION}, {"engine", shown.engine}});
    return page.text();
}

// Convey's names; what a proxy would have sent to clients never passes here.
std::string BalancerApi::stats() const {
    struct Count {
        std::uint64_t openings = 0, open = 0, bytes = 0;
        [[nodiscard]] Json json() const {
            return {{"total_connections", openings},
                    {"current_connections", open},
                    {"bytes_tx", 0},
                    {"bytes_rx", bytes}};
        }
    };
    const Snapshot all = counted_snapshot();
    Count sum;
    Json frontends = Json::object();
    Json backends = Json::object();
    for (std::size_t i = 0; i < all.shown->config.services.size(); ++i) {
        const ServiceView view = view_of(all, i);
        Count count;
        Json servers = Json::object();
        for (std::size_t place = 0; place < view.service.bridges.size(); ++place) {
            const BridgeConfig& bridge = view.service.bridges[place];
            const BridgeHealth* const health = view.health_of(place);
            count.openings += view.total(place).signs.openings;
            count.bytes += view.total(place).bytes;
            count.open += view.flows(place).open;
            servers[bridge.name] = takes_connections(bridge) && (!health || health->state == HealthState::up);
        }
        Json backend = count.json();
        backend["servers"] = std::move(servers);
        frontends[view.service.name] = count.json();
        backends[view.service.name] = std::move(backend);
        sum.openings += count.openings;
        sum.open += count.open;
        sum.bytes += count.bytes;
    }
    const Json json{{"total_connections", sum.openings},
                    {"current_connections", sum.open},
                    {"total_bytes_tx", 0},
                    {"total_bytes_rx", sum.bytes},
                    {"backends", std::move(backends)},
                    {"frontends", std::move(frontends)}};
    return json.dump(2) + "\n";
}

std::string BalancerApi::status() const {
    const BalancerStatistics now = dataplane_.statistics();
    const Snapshot all = counted_snapshot();
    const Shown& shown = *all.shown;
    auto services = nlohmann::ordered_json::array();
    for (std::size_t i = 0; i < shown.config.services.size(); i++)
        services.push_back(service_json(view_of(all, i)));
    const nlohmann::ordered_json json = {
        {"version", SPLICELB_VERSION},
        {"engine", {{"name", shown.engine}, {"reason", shown.engine_reason}}},
        {"interface", shown.config.common.interface},
        {"uplinks", uplinks_of(shown.config.common)},
        {"flows", now.flows},
        {"flows_pending", now.flows_pending},
        {"max_flows", shown.setup->max_flows},
        {"limits", limits_json(shown.config, *shown.setup, now)},
        {"services", services}};
    return json.dump(2) + "\n";
}

}  // namespace splice
