#include "packetbridge/connection_count.hpp"

#include <algorithm>

#include "libsplice/engine/clock.hpp"

namespace splice {

ConnectionCount::Counts ConnectionCount::now() {
    const std::lock_guard lock(mutex_);
    const Duration begun = read_clock().monotonic;
    if (begun < next_) return counts_;
    counts_.services = dataplane_.connections();
    counts_.all = 0;
    for (const ServiceConnections& each : counts_.services) counts_.all += each.shared ? 0 : each.open;
    const Duration ended = read_clock().monotonic;
    next_ = ended + std::max(kFresh, kShare * (ended - begun));
    return counts_;
}

}  // namespace splice
