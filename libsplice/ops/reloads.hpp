// How reloads of the configuration have ended, for an executable's page of metrics.
#pragma once

#include <cstdint>
#include <mutex>
#include <string_view>

#include "libsplice/base/time.hpp"
#include "libsplice/ops/metrics.hpp"

namespace splice {

// One thread reloads, any thread reads.
class Reloads {
  public:
    // `began` and `ended` are readings of one clock. Refused: what runs is not what the file says.
    void applied(const Instant& began, const Instant& ended) { add(applied_, true, began, ended); }
    void refused(const Instant& began, const Instant& ended) { add(refused_, false, began, ended); }

    // Under splicelb_PROGRAM_. Before the first reload the start counts as a success, at second 0.
    void write(MetricsPage& page, std::string_view program) const;

  private:
    void add(std::uint64_t& count, bool success, const Instant& began, const Instant& ended);

    mutable std::mutex mutex_;
    // Under mutex_.
    std::uint64_t applied_ = 0, refused_ = 0;
    bool last_applied_ = true;
    double last_unix_s_ = 0;
    Duration last_took_{};
};

}  // namespace splice
