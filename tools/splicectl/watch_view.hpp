// What `splicectl watch` shows: two looks at a balancer, and what happened between them. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/splicectl/json_values.hpp"

namespace splice::control {

struct BridgeLook {
    std::string service, bridge, state, health, attention;
    double share = 0;
    double connections = 0;
    std::optional<double> openings;  // since the balancer started; nothing: it does not tell them
};

struct Look {
    double at = 0;  // seconds on any clock that does not jump
    std::vector<BridgeLook> bridges;
    std::map<std::string, double> verdicts;  // packets by verdict since the balancer started
};

// Out of GET /status and GET /metrics. An empty `service`: all.
[[nodiscard]] Look look_at(double at, const Json& status, std::string_view metrics,
                           const std::string& service);

// splicelb_balancer_packets_total by its label `verdict`.
[[nodiscard]] std::map<std::string, double> verdicts_in(std::string_view metrics);

// What a counter has gained a second; nothing where it is not known: no look before, or the balancer started
// anew.
[[nodiscard]] std::optional<double> rate(std::optional<double> before, std::optional<double> now,
                                         double seconds);

// A table of the bridges and the verdicts that rise the most.
[[nodiscard]] std::string watch_view(const Look* before, const Look& now);
// The same as one object.
[[nodiscard]] Json watch_json(const Look* before, const Look& now);

// `text` in the place of what a terminal shows: from its first line on, each line to its end, and nothing
// below.
[[nodiscard]] std::string over_the_last(std::string_view text);

}  // namespace splice::control
