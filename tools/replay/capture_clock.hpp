// The replay's two clocks, both told by the capture.
#pragma once

#include <algorithm>
#include <chrono>

#include "libsplice/base/time.hpp"

namespace splice::replay {

class CaptureClock {
  public:
    [[nodiscard]] bool started() const noexcept { return started_; }
    [[nodiscard]] const Instant& now() const noexcept { return now_; }
    // Now, since 1970, as the capture counts.
    [[nodiscard]] Duration captured() const noexcept { return first_ + (now_.monotonic - kStart); }

    // The monotonic time of a packet; never before now. The first one starts the clock.
    [[nodiscard]] Duration monotonic_of(Duration captured) noexcept {
        if (!started_) {
            started_ = true;
            first_ = captured;
            advance_to(kStart);
        }
        return std::max(now_.monotonic, kStart + (captured - first_));
    }
    // Time that goes back stands still.
    void advance_to(Duration monotonic) noexcept {
        now_.monotonic = std::max(now_.monotonic, monotonic);
        now_.unix_s = std::chrono::floor<std::chrono::seconds>(captured()).count();
    }

  private:
    // The monotonic clock begins well above zero, as a host's does.
    static constexpr Duration kStart = std::chrono::seconds(1000);
    bool started_ = false;
    Duration first_{};
    Instant now_;
};

}  // namespace splice::replay
