#include "tools/hash/tally.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "libsplice/core/placement/builders.hpp"

namespace splice::hash {

double peak_to_mean(const FleetSpec& fleet, const Tally& tally, std::uint64_t Load::* amount) {
    const auto all = static_cast<double>(tally.all().*amount);
    if (all == 0) return 0;
    double peak = 0;
    for (std::size_t bridge = 0; bridge < tally.bridges(); ++bridge) {
        const double due = fleet.due(bridge);
        if (due > 0) peak = std::max(peak, static_cast<double>(tally[bridge].*amount) / all / due);
    }
    return peak;
}

void KeylessCounts::write(Json& report) const {
    report["unplaced_requests"] = unplaced_;
    Json reasons = Json::array();
    for (std::size_t i = 0; i < by_why_.size(); ++i) {
        const auto why = static_cast<Fallback>(i);
        if (by_why_[i] == 0 || why == Fallback::key_is_source) continue;
        reasons.push_back(
            {{"why", fallback_name(why)}, {"requests", by_why_[i]}, {"words", fallback_sentence(why)}});
    }
    if (!reasons.empty()) report["chosen_by_source"] = std::move(reasons);
}

std::string_view name_of(const FleetSpec& fleet, std::uint16_t bridge) noexcept {
    return bridge < fleet.bridges.size() ? std::string_view(fleet.bridges[bridge].name) : "-";
}

std::string hash_text(Algorithm algorithm, std::string_view key) {
    if (algorithm == Algorithm::ketama) return fmt::format("{:08x}", placement::ketama_hash(key));
    return fmt::format("{:016x}", hash_key_bytes(key));
}

}  // namespace splice::hash
