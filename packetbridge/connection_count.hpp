// How many connections this bridge has, counted when somebody asks and not too often: balancers over the
// channel, the API.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "libsplice/base/time.hpp"
#include "packetbridge/dataplane.hpp"

namespace splice {

class ConnectionCount {
  public:
    // `dataplane` outlives this.
    explicit ConnectionCount(BridgeDataPlane& dataplane) noexcept : dataplane_(dataplane) {}

    struct Counts {
        std::vector<ServiceConnections> services;
        std::uint64_t all = 0;  // each connection once
    };
    // At most kFresh old, or older where counting takes long: it costs at most a twentieth of the time. Any
    // thread but the packets'.
    [[nodiscard]] Counts now();

  private:
    static constexpr Duration kFresh = std::chrono::milliseconds(200);
    static constexpr int kShare = 20;

    BridgeDataPlane& dataplane_;
    std::mutex mutex_;
    Counts counts_;    // under mutex_
    Duration next_{};  // under mutex_: no count before
};

}  // namespace splice
