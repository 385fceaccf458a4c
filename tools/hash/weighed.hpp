// A service's choices in a simulated fleet: the balancer's weighing, in the log's time.
#pragma once

#include "libsplice/core/hot_keys.hpp"
#include "tools/hash/cache/fleet.hpp"
#include "tools/hash/fleet_spec.hpp"
#include "tools/hash/report.hpp"

namespace splice::hash {

// The fleet's bridges, of which those without weight take nothing.
[[nodiscard]] cache::FleetRules fleet_rules(const FleetSpec& fleet);
// Adds bounded load, warm-up and hot keys; `hot` is asked as long as the rules are used.
void add_weighing(cache::FleetRules& rules, const FleetSpec& fleet, HotKeys& hot);

[[nodiscard]] cache::Choices as_simulated(const Choices& choices, const std::string_view& key) noexcept;

// How many requests each rank took, and why.
[[nodiscard]] Json ranks_as_json(const cache::FleetCounts& counts);

// A moment of the log for each record. A log is written when answers end, so its times may go back a little;
// the simulation's do not. A log without times has 1000 requests a second.
class LogClock {
  public:
    [[nodiscard]] Duration advance(const std::optional<double>& time_s);
    [[nodiscard]] Duration now() const noexcept { return now_; }
    [[nodiscard]] bool has_times() const noexcept { return has_times_; }
    // For a report, where times matter.
    void write_note(Json& report) const;

  private:
    Duration now_{};
    double start_s_ = 0;
    bool has_times_ = false;
};

}  // namespace splice::hash
