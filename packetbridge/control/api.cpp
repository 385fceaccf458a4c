#include "packetbridge/control/api.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "libsplice/base/verdict.hpp"
#include "libsplice/ops/metrics.hpp"

namespace splice {
namespace {

constexpr const char* kIndex = "SpliceLB packetbridge " SPLICELB_VERSION
                               "\n"
                               "GET /healthz  ok while the bridge runs\n"
                               "GET /readyz   ready while it serves, else 503 with the reasons\n"
                               "GET /metrics  counters for Prometheus\n"
                               "GET /status   services and flows as JSON\n";

void write_counters(MetricsPage& page, const BridgeStatistics& now) {
    write_statistics(page, Program::bridge, now);
    page.gauge("splicelb_bridge_flows", "Translated flows", static_cast<double>(now.flows));
    page.gauge("splicelb_bridge_flows_opening", "Flows whose handshake is being replayed",
               static_cast<double>(now.flows_opening));
    page.gauge("splicelb_bridge_held_bytes", "Bytes held while handshakes are replayed",
               static_cast<double>(now.held_bytes));
}

void write_backends(MetricsPage& page, const std::vector<BackendState>& backends) {
    for (const BackendState& each : backends)
        page.gauge("splicelb_bridge_backend_up", "1 while somebody takes connections at the backend",
                   each.look == BackendLook::listens ? 1 : 0, {{"backend", each.backend.to_string()}});
}

void write_connections(MetricsPage& page, const std::vector<ServiceConnections>& counts) {
    for (const ServiceConnections& each : counts)
        page.gauge("splicelb_bridge_connections", "Connections that are open, adopted and translated ones",
                   static_cast<double>(each.open), {{"service", each.vip.to_string()}});
}

void write_channel(MetricsPage& page, const BridgeChannel& channel) {
    for (const ChannelEnd end :
         {ChannelEnd::taken, ChannelEnd::other_clock, ChannelEnd::malformed, ChannelEnd::no_secret,
          ChannelEnd::unexpected, ChannelEnd::over_budget, ChannelEnd::not_sent})
        page.counter("splicelb_bridge_channel_packets_total",
                     "Packets that came by the channel, by what became of them; taken: answered",
                     channel.count(end), {{"result", std::string(to_string(end))}});
}

// Null: not known yet, or not looked at.
nlohmann::ordered_json backend_state_json(const std::vector<BackendState>& states, const Endpoint& backend) {
    const auto known = std::ranges::find(states, backend, &BackendState::backend);
    if (known == states.end()) return nullptr;
    return to_string(known->look);
}

// `translated`: backends whose services translate beside the mode of the others.
nlohmann::ordered_json services_json(const PacketbridgeState& state, const std::vector<Endpoint>& translated,
                                     const std::vector<BackendState>& backends) {
    const PacketbridgeConfig& config = state.config;
    auto services = nlohmann::ordered_json::array();
    for (const BridgeServiceConfig& service : config.services) {
        const bool beside = std::ranges::find(translated, service.backend) != translated.end();
        services.push_back({{"dscp", service.dscp},
                            {"vip", service.vip.to_string()},
                            {"backend", service.backend.to_string()},
                            {"backend_state", backend_state_json(backends, service.backend)},
                            {"mode", to_string(beside ? Mode::translate : state.mode)},
                            {"window_scale", service.window_scale}});
    }
    return services;
}

}  // namespace

PacketbridgeApi::PacketbridgeApi(PacketbridgeState state, const BridgeDataPlane& dataplane,
                                 const HostFacts& host, const Reloads& reloads, const BackendWatch& backends,
                                 ConnectionCount& connections, const BridgeChannel* channel)
    : dataplane_(dataplane),
      host_(host),
      reloads_(reloads),
      backends_(backends),
      connections_(connections),
      channel_(channel),
      state_(std::move(state)) {}

void PacketbridgeApi::replace(PacketbridgeState state) {
    const std::lock_guard lock(mutex_);
    state_ = std::move(state);
}

ApiRoutes PacketbridgeApi::routes() {
    ApiRoutes routes = operator_routes({.not_ready = [this] { return not_ready(); },
                                        .metrics = [this] { return metrics(); },
                                        .status = [this] { return status(); }});
    routes.page("/", [](const ApiRequest&) { return ApiReply{.body = kIndex}; }, ApiRight::open);
    return routes;
}

std::vector<std::string> PacketbridgeApi::not_ready() const {
    std::vector<std::string> reasons = host_.reasons();
    for (const BackendState& each : backends_.states()) {
        if (each.look != BackendLook::listens) reasons.push_back(describe(each));
    }
    return reasons;
}

std::string PacketbridgeApi::metrics() const {
    MetricsPage page;
    write_counters(page, dataplane_.statistics());
    write_backends(page, backends_.states());
    write_connections(page, connections_.now().services);
    if (channel_ != nullptr) write_channel(page, *channel_);
    write_host_facts(page, "bridge", host_);
    reloads_.write(page, "bridge");
    const std::lock_guard lock(mutex_);
    page.gauge("splicelb_bridge_max_flows", "Translated flows that there is room for",
               static_cast<double>(state_.config.common.max_flows));
    if (state_.config.number != 0)
        page.gauge("splicelb_bridge_number", "The number of this bridge in the fleet", state_.config.number);
    page.gauge("splicelb_bridge_info", "Version, engine and mode", 1,
               {{"version", SPLICELB_VERSION},
                {"engine", state_.engine},
                {"mode", std::string(to_string(state_.mode))}});
    return page.text();
}

std::string PacketbridgeApi::status() const {
    const BridgeStatistics now = dataplane_.statistics();
    const ConnectionCount::Counts counts = connections_.now();
    const std::lock_guard lock(mutex_);
    auto addresses = nlohmann::ordered_json::array();
    for (const IpAddress& address : state_.config.addresses) addresses.push_back(address.to_string());
    nlohmann::ordered_json all = {
        {"version", SPLICELB_VERSION},
        {"engine", {{"name", state_.engine}, {"reason", state_.engine_reason}}},
        {"mode", to_string(state_.mode)},
        {"interface", state_.config.common.interface},
        {"uplinks", uplinks_of(state_.config.common)},
        {"addresses", addresses},
        {"connections", counts.all},
        {"channel", state_.config.common.channel ? nlohmann::ordered_json(*state_.config.common.channel)
                                                 : nlohmann::ordered_json("off")},
        {"flows", now.flows},
        {"flows_opening", now.flows_opening},
        {"max_flows", state_.config.common.max_flows},
        {"services", services_json(state_, dataplane_.translated_beside(), backends_.states())}};
    if (state_.config.number != 0) all["number"] = state_.config.number;
    return all.dump(2) + "\n";
}

}  // namespace splice
