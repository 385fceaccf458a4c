#include "libsplice/ops/counter_warnings.hpp"

#include <fmt/format.h>

namespace splice {

std::vector<std::string> CounterWarnings::look(Duration now, const DataPlaneStatistics& statistics) {
    std::vector<std::string> lines;
    for (std::size_t i = 0; i < table_.size(); ++i) {
        const CounterWarning& warning = table_[i];
        Told& told = told_[i];
        const std::uint64_t count = statistics.verdicts[warning.verdict];
        const std::uint64_t fresh = count - told.count;
        if (!first_ && (fresh == 0 || (told.at && now - *told.at < kCounterWarningPeriod))) continue;
        told.count = count;
        if (first_) continue;
        told.at = now;
        lines.push_back(fmt::format("{} {} ({}): {}", fresh, fresh == 1 ? "packet" : "packets",
                                    verdict_name(warning.verdict), warning.advice));
    }
    first_ = false;
    return lines;
}

}  // namespace splice
