#include "tools/splicectl/watch_view.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "tools/splicectl/limits.hpp"
#include "tools/splicectl/table.hpp"
#include "tools/splicectl/views.hpp"

namespace splice::control {
namespace {

std::optional<double> openings_before(const Look* before, const BridgeLook& now) {
    if (!before) return std::nullopt;
    const auto found = std::ranges::find_if(before->bridges, [&](const BridgeLook& one) {
        return one.service == now.service && one.bridge == now.bridge;
    });
    return found == before->bridges.end() ? std::nullopt : found->openings;
}

double seconds_between(const Look* before, const Look& now) noexcept {
    return before ? now.at - before->at : 0;
}

struct Rise {
    std::string verdict;
    double per_second = 0;
};

std::vector<Rise> rising(const Look* before, const Look& now) {
    std::vector<Rise> all;
    if (!before) return all;
    for (const auto& [verdict, count] : now.verdicts) {
        const auto old = before->verdicts.find(verdict);
        const auto gained =
            rate(old == before->verdicts.end() ? 0 : old->second, count, seconds_between(before, now));
        if (gained && *gained > 0) all.push_back({verdict, *gained});
    }
    std::ranges::sort(all, [](const Rise& a, const Rise& b) {
        return a.per_second != b.per_second ? a.per_second > b.per_second : a.verdict < b.verdict;
    });
    if (all.size() > kVerdictsShown) all.resize(kVerdictsShown);
    return all;
}

std::string shown(std::optional<double> per_second) {
    return per_second ? fmt::format("{:.1f}", *per_second) : std::string();
}

}  // namespace

std::map<std::string, double> verdicts_in(std::string_view metrics) {
    constexpr std::string_view kBegin = "splicelb_balancer_packets_total{verdict=\"";
    constexpr std::string_view kEnd = "\"} ";
    std::map<std::string, double> verdicts;
    while (!metrics.empty()) {
        std::string_view line = metrics.substr(0, metrics.find('\n'));
        metrics.remove_prefix(std::min(line.size() + 1, metrics.size()));
        if (!line.starts_with(kBegin)) continue;
        line.remove_prefix(kBegin.size());
        const std::size_t end = line.find(kEnd);
        if (end == std::string_view::npos) continue;
        const std::string_view number = line.substr(end + kEnd.size());
        double count = 0;
        if (std::from_chars(number.data(), number.data() + number.size(), count).ec == std::errc())
            verdicts[std::string(line.substr(0, end))] = count;
    }
    return verdicts;
}

Look look_at(double seconds, const Json& status, std::string_view metrics, const std::string& service) {
    Look look{.at = seconds, .bridges = {}, .verdicts = verdicts_in(metrics)};
    for (const Json& each : list_at(status, "services")) {
        const std::string name = text_at(each, "name");
        if (!service.empty() && name != service) continue;
        for (const Json& bridge : list_at(each, "bridges"))
            look.bridges.push_back({.service = name,
                                    .bridge = text_at(bridge, "name"),
                                    .state = text_at(bridge, "state"),
                                    .health = text_at(at(bridge, "health"), "state"),
                                    .attention = attention(bridge),
                                    .share = number_at(bridge, "table_share").value_or(0),
                                    .connections = number_at(bridge, "flows").value_or(0),
                                    .openings = number_at(at(bridge, "totals"), "openings")});
    }
    return look;
}

std::optional<double> rate(std::optional<double> before, std::optional<double> now, double seconds) {
    if (!before || !now || *now < *before || seconds <= 0) return std::nullopt;
    return (*now - *before) / seconds;
}

std::string watch_view(const Look* before, const Look& now) {
    constexpr auto kRight = Table::Align::right;
    Table bridges({{"SERVICE"},
                   {"BRIDGE"},
                   {"STATE"},
                   {"HEALTH"},
                   {"SHARE", kRight},
                   {"CONNECTIONS", kRight},
                   {"NEW/S", kRight},
                   {"ATTENTION"}});
    for (const BridgeLook& each : now.bridges)
        bridges.add({each.service, each.bridge, each.state, each.health, percent(each.share),
                     fmt::format("{:.0f}", each.connections),
                     shown(rate(openings_before(before, each), each.openings, seconds_between(before, now))),
                     each.attention});
    const auto verdicts = rising(before, now);
    if (verdicts.empty()) return bridges.text();
    Table rises({{"VERDICT"}, {"PACKETS/S", kRight}});
    for (const Rise& each : verdicts) rises.add({each.verdict, shown(each.per_second)});
    return bridges.text() + "\n" + rises.text();
}

Json watch_json(const Look* before, const Look& now) {
    const auto number_or_null = [](std::optional<double> number) {
        return number ? Json(*number) : Json(nullptr);
    };
    const auto count_or_null = [](std::optional<double> count) {
        return count ? Json(static_cast<std::uint64_t>(*count)) : Json(nullptr);
    };
    Json bridges = Json::array();
    for (const BridgeLook& each : now.bridges)
        bridges.push_back(
            {{"service", each.service},
             {"bridge", each.bridge},
             {"state", each.state},
             {"health", each.health.empty() ? Json(nullptr) : Json(each.health)},
             {"table_share", each.share},
             {"connections", count_or_null(each.connections)},
             {"openings", count_or_null(each.openings)},
             {"openings_per_second", number_or_null(rate(openings_before(before, each), each.openings,
                                                         seconds_between(before, now)))}});
    Json verdicts = Json::object();
    for (const Rise& each : rising(before, now)) verdicts[each.verdict] = each.per_second;
    return {{"seconds", before ? Json(seconds_between(before, now)) : Json(nullptr)},
            {"bridges", std::move(bridges)},
            {"verdicts_per_second", std::move(verdicts)}};
}

std::string over_the_last(std::string_view text) {
    constexpr std::string_view kHome = "\x1b[H", kToLineEnd = "\x1b[K", kBelow = "\x1b[J";
    std::string out(kHome);
    for (const char c : text) {
        if (c == '\n') out += kToLineEnd;
        out += c;
    }
    out += kBelow;
    return out;
}

}  // namespace splice::control
