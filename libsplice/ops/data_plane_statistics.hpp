// What the data planes of both executables count alike.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "libsplice/base/verdict.hpp"
#include "libsplice/base/verdict_givers.hpp"
#include "libsplice/core/held_loss.hpp"
#include "libsplice/datapath/defs.h"
#include "libsplice/engine/raw_socket.hpp"
#include "libsplice/ops/connection_log.hpp"
#include "libsplice/ops/metrics.hpp"

namespace splice {

// One reading; each number by itself is consistent.
struct DataPlaneStatistics {
    std::array<std::uint64_t, kVerdictCount> verdicts{};
    std::array<std::uint64_t, kHeldLossCount> held_lost{};  // packets, by HeldLoss
    std::uint64_t flows = 0;
    std::uint64_t flows_expired = 0;
    std::uint64_t sent_packets = 0;
    std::uint64_t sent_bytes = 0;
    std::uint64_t send_failures = 0;
    std::uint64_t send_too_big = 0;
    std::uint64_t queue_overruns = 0;
    std::uint64_t untold = 0;  // lines of the connection log that a kernel program's ring had no room for
    const ConnectionLogCounters* connection_log = nullptr;  // of the process; it outlives this

    // Another data path's, beside this one.
    void add(const DataPlaneStatistics& other) noexcept;
    void add(const VerdictCounters& counters) noexcept;
    // A kernel program's, by verdict.
    void add(std::span<const __u64, kVerdictCount> counts) noexcept;
    void read(const RawSenderCounters& sender) noexcept;
    void read(const HeldLossCounters& lost) noexcept;
};

// Under splicelb_balancer_ or splicelb_bridge_, with the verdicts that the program can give. What a flow is
// the program's own page says.
void write_statistics(MetricsPage& page, Program program, const DataPlaneStatistics& now);

}  // namespace splice
