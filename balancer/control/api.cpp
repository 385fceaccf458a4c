#include "balancer/control/api.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "libsplice/base/verdict.hpp"
#include "libsplice/ops/metrics.hpp"

namespace splice {
namespace {

constexpr const char* kIndex = "SpliceLB balancer " SPLICELB_VERSION
                               "\n"
                               "GET /healthz  ok while the balancer runs\n"
                               "GET /readyz   ready while it serves, else 503 with the reasons\n"
                               "GET /metrics  counters for Prometheus\n"
                               "GET /status   services, bridges and flows as JSON\n";

// Keys whose first choice stands for all: a ketama ring's points own arcs of different lengths.
constexpr std::size_t kSampledKeys = 1U << 16;

std::unordered_map<std::uint16_t, std::size_t> count_first_choices(const Placement& placement) {
    std::unordered_map<std::uint16_t, std::size_t> counts;
    if (placement.algorithm() == Algorithm::ketama) {
        for (std::size_t i = 0; i < kSampledKeys; i++)
            counts[placement.choose("/" + std::to_string(i)).bridges.choices[0]]++;
    } else {
        for (const splice_placement_row& row : placement.rows()) counts[row.choices[0]]++;
    }
    counts.erase(SPLICE_NO_BRIDGE);
    return counts;
}

std::vector<std::vector<double>> all_shares(const BalancerState& state) {
    std::vector<std::vector<double>> shares;
    shares.reserve(state.config.services.size());
    for (std::size_t i = 0; i < state.config.services.size(); i++)
        shares.push_back(first_choice_shares(state.config.services[i], *state.rules, i));
    return shares;
}

void write_counters(MetricsPage& page, const BalancerStatistics& now) {
    write_statistics(page, "balancer", now);
    page.gauge("splicelb_balancer_bridges_unreachable", "Bridges whose next hop is not known",
               static_cast<double>(now.bridges_unreachable));
    for (std::size_t i = 0; i < kFallbackCount; i++) {
        page.counter("splicelb_balancer_fallbacks_total",
                     "First payloads without a key, placed by the client's address, by why", now.fallbacks[i],
                     {{"reason", std::string(fallback_name(static_cast<Fallback>(i)))}});
    }
    page.gauge("splicelb_balancer_flows", "Flow entries", static_cast<double>(now.flows));
    page.gauge("splicelb_balancer_flows_pending", "Flow entries that wait for their first payload",
               static_cast<double>(now.flows_pending));
    page.gauge("splicelb_balancer_first_payload_bytes", "Bytes of first payloads held",
               static_cast<double>(now.first_payload_bytes));
}

nlohmann::ordered_json bridges_json(const ServiceConfig& service, const std::vector<double>& shares) {
    auto bridges = nlohmann::ordered_json::array();
    for (std::size_t i = 0; i < service.bridges.size(); i++) {
        const BridgeConfig& bridge = service.bridges[i];
        nlohmann::ordered_json one = {{"name", bridge.name}, {"address", bridge.address.to_string()}};
        if (bridge.number != 0) one["number"] = bridge.number;
        one["weight"] = bridge.weight;
        one["table_share"] = shares[i];
        bridges.push_back(std::move(one));
    }
    return bridges;
}

nlohmann::ordered_json service_json(const ServiceConfig& service, const SplicerService& running,
                                    const std::vector<double>& shares) {
    return {{"name", service.name},
            {"number", running.number},
            {"vip", service.vip.to_string()},
            {"dscp", service.dscp},
            {"protocol", to_string(service.protocol)},
            {"hash_key", service.key.to_string()},
            {"algorithm", to_string(service.algorithm)},
            {"mss", running.mss},
            {"window_scale", running.window_scale},
            {"health_checks", false},
            {"bridges", bridges_json(service, shares)}};
}

}  // namespace

std::vector<double> first_choice_shares(const ServiceConfig& config, const SplicerRules& rules,
                                        std::size_t service) {
    const auto counts = count_first_choices(*rules.services[service].placement);
    std::size_t total = 0;
    for (const auto& [bridge, count] : counts) total += count;
    std::vector<double> shares;
    for (const BridgeConfig& bridge : config.bridges) {
        std::size_t count = 0;
        for (const auto& [number, choices] : counts) {
            if (rules.bridges[number].address == bridge.address) count = choices;
        }
        shares.push_back(total == 0 ? 0.0 : static_cast<double>(count) / static_cast<double>(total));
    }
    return shares;
}

BalancerApi::BalancerApi(BalancerState state, const DataPlane& dataplane, const HostFacts& host)
    : dataplane_(dataplane), host_(host), state_(std::move(state)), shares_(all_shares(state_)) {}

void BalancerApi::replace(BalancerState state) {
    auto shares = all_shares(state);
    const std::lock_guard lock(mutex_);
    state_ = std::move(state);
    shares_ = std::move(shares);
}

ApiRoutes BalancerApi::routes() {
    return operator_routes({.index = kIndex,
                            .not_ready = [this] { return host_.reasons(); },
                            .metrics = [this] { return metrics(); },
                            .status = [this] { return status(); }});
}

std::string BalancerApi::metrics() const {
    MetricsPage page;
    write_counters(page, dataplane_.statistics());
    write_host_facts(page, "balancer", host_);
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < shares_.size(); i++) {
        const ServiceConfig& service = state_.config.services[i];
        page.gauge("splicelb_balancer_service_info", "The number and the mark of a service", 1,
                   {{"service", service.name},
                    {"number", std::to_string(state_.rules->services[i].number)},
                    {"vip", service.vip.to_string()},
                    {"dscp", std::to_string(service.dscp)}});
        for (const BridgeConfig& bridge : service.bridges) {
            if (bridge.number == 0) continue;
            page.gauge("splicelb_balancer_bridge_number", "The number of a bridge in the fleet",
                       bridge.number, {{"service", service.name}, {"bridge", bridge.name}});
        }
        for (std::size_t j = 0; j < shares_[i].size(); j++) {
            page.gauge("splicelb_balancer_table_share", "Share of the keys whose first choice is the bridge",
                       shares_[i][j], {{"service", service.name}, {"bridge", service.bridges[j].name}});
        }
    }
    page.gauge("splicelb_balancer_info", "Version and engine", 1,
               {{"version", SPLICELB_VERSION}, {"engine", state_.engine}});
    return page.text();
}

std::string BalancerApi::status() const {
    const BalancerStatistics now = dataplane_.statistics();
    const std::lock_guard lock(mutex_);
    auto services = nlohmann::ordered_json::array();
    for (std::size_t i = 0; i < state_.config.services.size(); i++)
        services.push_back(service_json(state_.config.services[i], state_.rules->services[i], shares_[i]));
    const nlohmann::ordered_json all = {
        {"version", SPLICELB_VERSION},
        {"engine", {{"name", state_.engine}, {"reason", state_.engine_reason}}},
        {"interface", state_.config.common.interface},
        {"flows", now.flows},
        {"flows_pending", now.flows_pending},
        {"max_flows", state_.rules->max_flows},
        {"services", services}};
    return all.dump(2) + "\n";
}

}  // namespace splice
