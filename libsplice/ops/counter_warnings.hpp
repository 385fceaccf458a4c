// Outcomes of packets that mean trouble on a healthy network, told in the log: what it is and what to do.
// Counters say how often; a line says that it happens at all.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libsplice/base/time.hpp"
#include "libsplice/base/verdict.hpp"
#include "libsplice/ops/data_plane_statistics.hpp"
#include "libsplice/ops/log.hpp"

namespace splice {

struct CounterWarning {
    Verdict verdict;
    std::string_view advice;  // what it means and what to do, without the verdict's own words
};

// Between two lines about the same verdict.
inline constexpr Duration kCounterWarningPeriod = std::chrono::minutes(1);

class CounterWarnings {
  public:
    // `table` must outlive this.
    explicit CounterWarnings(std::span<const CounterWarning> table) : table_(table), told_(table.size()) {}

    // The lines to log now. The first reading is what earlier processes have counted: it says nothing.
    std::vector<LogMessage> look(Duration now, const DataPlaneStatistics& statistics);
    // The same for a count that is no packet's outcome: how many there are more, when it is time for a line.
    // `name`: of the count, and a literal.
    std::uint64_t look(Duration now, std::string_view name, std::uint64_t count) {
        return fresh(told_others_[name], count, now);
    }

  private:
    struct Told {
        std::optional<std::uint64_t> count;  // nothing: not read yet
        std::optional<Duration> at;
    };

    // How many more there are than when a line said so last; 0: nothing to say now.
    [[nodiscard]] static std::uint64_t fresh(Told& told, std::uint64_t count, Duration now) noexcept;

    std::span<const CounterWarning> table_;
    std::vector<Told> told_;
    Told told_too_big_;
    std::map<std::string_view, Told> told_others_;
};

}  // namespace splice
