#include "libsplice/engine/clock.hpp"

#include <sys/timex.h>

#include <ctime>

namespace splice {

Instant read_clock() noexcept {
    timespec monotonic{};
    timespec wall{};
    clock_gettime(CLOCK_MONOTONIC, &monotonic);
    clock_gettime(CLOCK_REALTIME, &wall);
    Instant now;
    now.monotonic = std::chrono::seconds(monotonic.tv_sec) + std::chrono::nanoseconds(monotonic.tv_nsec);
    now.unix_s = wall.tv_sec;
    now.unix_part_ms = static_cast<std::int32_t>(wall.tv_nsec / 1'000'000);
    return now;
}

Duration thread_cpu_time() noexcept {
    timespec used{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

bool clock_is_synchronized() noexcept {
    timex state{};                          // modes = 0: only asks, so it needs no privilege
    if (adjtimex(&state) < 0) return true;  // the kernel does not say
    return (state.status & STA_UNSYNC) == 0;
}

}  // namespace splice
