#include "libsplice/ops/counter_warnings.hpp"

#include <fmt/format.h>

namespace splice {

std::uint64_t CounterWarnings::fresh(Told& told, std::uint64_t count, Duration now) noexcept {
    if (!told.count) {
        told.count = count;
        return 0;
    }
    const std::uint64_t more = count - *told.count;
    if (more == 0 || (told.at && now - *told.at < kCounterWarningPeriod)) return 0;
    told = {count, now};
    return more;
}

std::vector<LogMessage> CounterWarnings::look(Duration now, const DataPlaneStatistics& statistics) {
    std::vector<LogMessage> lines;
    const auto packets = [](std::uint64_t count) {
        return fmt::format("{} packet{}", count, count == 1 ? "" : "s");
    };
    for (std::size_t i = 0; i < table_.size(); ++i) {
        const CounterWarning& warning = table_[i];
        if (const std::uint64_t more = fresh(told_[i], statistics.verdicts[warning.verdict], now))
            lines.push_back(
                {fmt::format("{} ({}): {}", packets(more), verdict_name(warning.verdict), warning.advice),
                 {{"verdict", std::string(verdict_name(warning.verdict))},
                  {"packets", static_cast<std::int64_t>(more)}}});
    }
    if (const std::uint64_t more = fresh(told_too_big_, statistics.send_too_big, now))
        lines.push_back(
            {fmt::format("{} above the MTU of the route that they were to leave by (EMSGSIZE, send_too_big): "
                         "they are lost; the way "
                         "there is narrower than clients were told; set the service's mss, or look at: ip "
                         "route get ADDRESS",
                         packets(more)),
             {{"counter", "send_too_big"}, {"packets", static_cast<std::int64_t>(more)}}});
    return lines;
}

}  // namespace splice
