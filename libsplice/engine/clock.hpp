// The only place that asks the time.
#pragma once

#include "libsplice/base/time.hpp"

namespace splice {

[[nodiscard]] Instant read_clock() noexcept;
// What the calling thread has used of a processor so far.
[[nodiscard]] Duration thread_cpu_time() noexcept;
// False when the kernel knows that nothing disciplines the wall clock (adjtimex: STA_UNSYNC): cookies of
// other hosts may then look too old.
[[nodiscard]] bool clock_is_synchronized() noexcept;

}  // namespace splice
