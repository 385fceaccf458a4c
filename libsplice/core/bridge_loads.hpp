// How loaded each bridge is by each service, and what follows from it: the states that datapath/choice.h
// chooses by.
//
// Load is openings, counted in a window that decays by e in kLoadWindow. It is what a balancer can count by
// itself: it does not see answers, so neither bytes nor the end of a flow's work are known to it, and its
// table of flows holds idle keep-alive connections as well as busy ones. Openings are also what a bound can
// act on, for only a new flow can be passed on. The window is long beside a page's burst of connections and
// short beside the time in which popularity changes.
//
// Every kLoadTick the counts become states: a bridge's bound is bounded_load times the mean of its service's
// bridges, by weight, rounded up, so that a service with few flows moves none. A bridge that was offered more
// than its bound passes the rest on: the share 1 - bound / offered. It is the offers that are compared and
// not what the bridge took, so a share does not depend on itself, and nothing swings.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "libsplice/base/limits.hpp"
#include "libsplice/base/time.hpp"
#include "libsplice/datapath/choice.h"

namespace splice {

// A bridge of a service.
struct LoadedBridge {
    std::uint16_t bridge = 0;  // its number
    std::uint32_t weight = 1;
    bool operator==(const LoadedBridge&) const = default;
};

// A service of which openings are counted.
struct LoadedService {
    std::uint64_t identity = 0;  // whose loads go on over a change of services
    std::uint8_t mark = 0;       // of its packets, by which choices are counted
    std::uint32_t states = 0;    // its splice_choice_rule.states
    double bounded_load = 0;     // 0: no bound
    std::vector<LoadedBridge> bridges;
};

class BridgeLoads {
  public:
    explicit BridgeLoads(Duration window = kLoadWindow) : window_(window) {}

    // Bridges that a service keeps keep their loads. Empty: nothing is counted.
    void set_services(std::vector<LoadedService> services);
    [[nodiscard]] const std::vector<LoadedService>& services() const noexcept { return services_; }

    // SPLICE_STATES of them, for splice_choose(); null when nothing is counted.
    [[nodiscard]] splice_bridge_state* states() noexcept {
        return states_.empty() ? nullptr : states_.data();
    }
    [[nodiscard]] const splice_bridge_state* states() const noexcept {
        return states_.empty() ? nullptr : states_.data();
    }

    // An opening was chosen for: its row, and which of it took it.
    void count(const splice_choice_rule& rule, const splice_placement_row& row,
               splice_choice choice) noexcept;
    // Openings that somebody else has counted, by the state's number.
    void add(std::uint32_t state, splice_openings openings) noexcept;
    // A bridge takes new flows, or takes none while another choice does. Its loads are forgotten when it
    // takes none.
    void set_takes(std::uint32_t state, bool takes) noexcept;

    // Makes states of what was counted when a tick is due. Times never go back. True: they are new.
    bool advance(Duration now);
    // Nothing: nothing is counted.
    [[nodiscard]] std::optional<Duration> next_tick() const noexcept;

    struct Load {
        double offered = 0;  // openings of now
        double taken = 0;
    };
    [[nodiscard]] Load load(std::uint32_t state) const noexcept;

  private:
    void renew(const LoadedService& service) noexcept;

    Duration window_;
    std::vector<LoadedService> services_;
    std::vector<splice_bridge_state> states_;
    std::vector<Load> loads_;               // at the last tick
    std::vector<splice_openings> counted_;  // since then
    std::optional<Duration> ticked_;
};

}  // namespace splice
