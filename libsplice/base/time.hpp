// Time is an argument: the engine asks the clock once a batch and hands the answer down.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>

namespace splice {

using Duration = std::chrono::nanoseconds;

// A moment on this host, told by both of its clocks.
struct Instant {
    Duration monotonic{};         // CLOCK_MONOTONIC: deadlines and idle times; never goes back
    std::int64_t unix_s{};        // CLOCK_REALTIME in whole seconds: the cookie's epoch
    std::int32_t unix_part_ms{};  // and what is beyond them, 0 to 999

    // CLOCK_REALTIME in milliseconds, for lanes (datapath/lane.h); wraps.
    [[nodiscard]] std::uint32_t unix_ms() const noexcept {
        return static_cast<std::uint32_t>(unix_s * 1000 + unix_part_ms);
    }

    // The balancer's millisecond clock, as a TCP timestamp (RFC 7323 section 5.4); wraps.
    [[nodiscard]] std::uint32_t tsval() const noexcept {
        return static_cast<std::uint32_t>(
            std::chrono::duration_cast<std::chrono::milliseconds>(monotonic).count());
    }
    [[nodiscard]] std::uint32_t seconds() const noexcept {
        return static_cast<std::uint32_t>(
            std::chrono::duration_cast<std::chrono::seconds>(monotonic).count());
    }
    [[nodiscard]] Instant after(Duration elapsed) const noexcept {
        Instant later = *this;
        later.monotonic += elapsed;
        return later;
    }
};

}  // namespace splice
