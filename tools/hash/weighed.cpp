#include "tools/hash/weighed.hpp"

#include <algorithm>
#include <chrono>

namespace splice::hash {

cache::FleetRules fleet_rules(const FleetSpec& fleet) {
    cache::FleetRules rules;
    rules.bridges = static_cast<std::uint16_t>(fleet.bridges.size());
    for (std::uint16_t i = 0; i < rules.bridges; ++i) {
        if (fleet.bridges[i].weight == 0)
            rules.events.push_back({Duration{}, cache::FleetEvent::Kind::lost, i});
    }
    return rules;
}

void add_weighing(cache::FleetRules& rules, const FleetSpec& fleet, HotKeys& hot) {
    const Weighing& weighing = fleet.weighing;
    rules.bounded_load = weighing.bounded_load;
    rules.warmup = weighing.warmup;
    for (const PlacementMember& bridge : fleet.bridges) rules.weights.push_back(std::max(bridge.weight, 1U));
    if (weighing.spread == 0) return;
    rules.spread = [&hot, spread = weighing.spread](const cache::Request& request,
                                                    const cache::Choices& choices) {
        hot.count(choices.key, {});
        hot.advance(request.time);
        return hot.has(choices.key) ? spread : 1;
    };
}

cache::Choices as_simulated(const Choices& choices, const std::string_view& key) noexcept {
    cache::Choices simulated;
    for (const std::uint16_t bridge : choices.bridges.choices) {
        if (bridge != SPLICE_NO_BRIDGE) simulated.bridges[simulated.count++] = bridge;
    }
    simulated.row = choices.row;
    simulated.key = hash_key_bytes(key);
    return simulated;
}

Json ranks_as_json(const cache::FleetCounts& counts) {
    return {{"first_choice", counts.by_rank[0]}, {"second_choice", counts.by_rank[1]},
            {"third_choice", counts.by_rank[2]}, {"elsewhere", counts.elsewhere},
            {"unserved", counts.unserved},       {"over_bound", counts.over_bound},
            {"warmups", counts.warmups},         {"spread_requests", counts.spread}};
}

Duration LogClock::advance(const std::optional<double>& time_s) {
    Duration time = now_ + std::chrono::milliseconds(1);
    if (time_s) {
        if (!has_times_) start_s_ = *time_s;
        has_times_ = true;
        constexpr double kLongest = 9e9;  // seconds that a Duration can tell
        const double since = std::clamp(*time_s - start_s_, 0.0, kLongest);
        time = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(since));
    }
    now_ = std::max(now_, time);
    return now_;
}

void LogClock::write_note(Json& report) const {
    report["log_seconds"] = std::chrono::duration<double>(now_).count();
    if (!has_times_) report["time_note"] = "the log tells no times: 1000 requests a second are assumed";
}

}  // namespace splice::hash
