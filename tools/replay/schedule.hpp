// When the replay looks at which machine's timers.
#pragma once

#include <cstdint>
#include <optional>
#include <queue>
#include <vector>

#include "tools/replay/fleet.hpp"

namespace splice::replay {

// Machine 0 is the fleet's balancer, i + 1 its bridge i.
struct Timer {
    Duration due;
    std::uint64_t order;  // of two that are due at once, who asked first
    Fleet* fleet;
    std::size_t machine;
    friend bool operator>(const Timer& a, const Timer& b) noexcept {
        return a.due != b.due ? a.due > b.due : a.order > b.order;
    }
};

class Schedule {
  public:
    // Asks the machine when it wants to be looked at: after whatever it did.
    void ask(Fleet& fleet, std::size_t machine, Duration now) {
        const auto wanted =
            machine == 0 ? fleet.balancer.next_deadline() : fleet.bridges[machine - 1]->next_deadline();
        if (!wanted) return;
        // Never now: a deadline in whole seconds may stand for one that is a little later.
        const Duration due = std::max(*wanted, now + std::chrono::milliseconds(1));
        if (due >= fleet.scheduled[machine]) return;
        fleet.scheduled[machine] = due;
        timers_.push({due, ++count_, &fleet, machine});
    }

    // The first that is due by then; it stands here no longer.
    std::optional<Timer> take(Duration until) {
        while (!timers_.empty() && timers_.top().due <= until) {
            const Timer timer = timers_.top();
            timers_.pop();
            // Otherwise an earlier look has taken its place.
            if (timer.fleet->scheduled[timer.machine] != timer.due) continue;
            timer.fleet->scheduled[timer.machine] = Duration::max();
            return timer;
        }
        return std::nullopt;
    }

  private:
    std::priority_queue<Timer, std::vector<Timer>, std::greater<>> timers_;
    std::uint64_t count_ = 0;
};

}  // namespace splice::replay
