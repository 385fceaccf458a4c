#include <fmt/format.h>

#include <algorithm>

#include "tools/hash/ask.hpp"
#include "tools/hash/chooser.hpp"
#include "tools/hash/key_sample.hpp"
#include "tools/hash/tally.hpp"

namespace splice::hash {
namespace {

// More than so much above the least possible, an algorithm is unfit for the change.
constexpr double kTolerated = 0.05;

// What moves at least, when bridges had `before` and are to have `after`.
std::uint64_t least_between(const std::vector<std::uint64_t>& before,
                            const std::vector<std::uint64_t>& after) {
    std::uint64_t least = 0;
    for (std::size_t i = 0; i < before.size(); ++i) least += before[i] - std::min(before[i], after[i]);
    return least;
}

struct Moves {
    std::vector<std::uint64_t> before, after;
    std::uint64_t moved = 0, all = 0;
    explicit Moves(std::size_t bridges) : before(bridges), after(bridges) {}
    void add(std::uint16_t from, std::uint16_t to, std::uint64_t amount) {
        before[from] += amount;
        after[to] += amount;
        all += amount;
        if (from != to) moved += amount;
    }
    void write(Json& report, std::string_view what) const {
        const std::uint64_t least = least_between(before, after);
        report[fmt::format("moved_{}", what)] = moved;
        report[fmt::format("moved_{}_share", what)] = ratio(moved, all);
        report[fmt::format("least_{}", what)] = least;
        report[fmt::format("least_{}_share", what)] = ratio(least, all);
    }
};

}  // namespace

Answered ask_disrupt(const Options& options, LogReader& log, const Write& write) {
    const FleetSpec after = fleet_after(options.fleet, options.disrupt);
    FleetSpec before = options.fleet;
    // So that both have the same bridges.
    for (PlacementMember member : options.disrupt.joining) {
        member.weight = 0;
        before.bridges.push_back(member);
    }
    const bool by_shadow = options.disrupt.shadow.has_value();
    if (by_shadow) before.shadow.reset();
    FleetChooser chooser(before), chooser_then(after);
    RequestText request;
    KeylessCounts keyless;
    KeySample keys;
    Moves requests(after.bridges.size()), bytes(after.bridges.size()), distinct(after.bridges.size());
    for (Record record;;) {
        const auto more = log.next(record);
        if (!more) return std::unexpected(more.error());
        if (!*more) break;
        request.write(record, options.rules.line.headers);
        const RecordKey key = chooser.key_of(record, request);
        if (key.fallback) keyless.add(key);
        if (!key.placed) continue;
        const std::uint16_t from = chooser.choose(record, request, key).bridges.choices[0];
        // With a shadow's key several keys may have been one, or become one.
        const RecordKey then = by_shadow ? chooser_then.key_of(record, request) : key;
        if (!then.placed) continue;
        const std::uint16_t to = chooser_then.choose(record, request, then).bridges.choices[0];
        const std::uint64_t amount = record.bytes.value_or(0);
        requests.add(from, to, 1);
        bytes.add(from, to, amount);
        // With a subset each client of a name is a key of its own.
        const std::uint64_t client = key.source.empty() ? 0 : hash_key_bytes(key.source) * 31;
        std::uint64_t pair = hash_key_bytes(key.bytes) ^ client;
        if (by_shadow) pair = pair * 0x9e3779b97f4a7c15U ^ object_of(record);
        keys.count(pair, amount, from, to);
    }
    for (const KeySample::Entry& entry : keys.slots()) {
        if (entry.requests > 0) distinct.add(entry.bridge, entry.bridge_then, keys.scale());
    }

    Json report{{"question", "disrupt"},
                {"key", before.key.to_string()},
                {"algorithm", to_string(before.algorithm)},
                {"requests", requests.all},
                {"bytes", bytes.all}};
    if (by_shadow) {
        const ShadowSpec& shadow = *options.disrupt.shadow;
        report["key_then"] = shadow.key.to_string();
        report["algorithm_then"] = to_string(shadow.algorithm);
        report["ramp_share"] = shadow.ramp == 0 ? 1 : shadow.ramp;
    }
    keyless.write(report);
    report["distinct_keys"] = keys.distinct();
    report["distinct_is_exact"] = keys.is_exact();
    distinct.write(report, "keys");
    requests.write(report, "requests");
    bytes.write(report, "bytes");
    double due = 0;
    for (std::size_t i = 0; i < after.bridges.size(); ++i) due += std::max(0.0, before.due(i) - after.due(i));
    report["least_by_weights_share"] = due;
    const double moved = ratio(distinct.moved, distinct.all);
    const double least = ratio(least_between(distinct.before, distinct.after), distinct.all);
    if (!by_shadow && moved > least + kTolerated) {
        report["warning"] =
            fmt::format("{} is unfit for this change: {:.0f} % of the keys move, {:.0f} % would have to{}",
                        to_string(before.algorithm), moved * 100, least * 100,
                        before.algorithm == Algorithm::jump
                            ? " (jump moves little only when the last bridge leaves or one "
                              "is added at the end; rendezvous moves the least for any)"
                            : "; rendezvous moves the least");
    }
    Json bridges = Json::array();
    for (std::size_t i = 0; i < after.bridges.size(); ++i) {
        bridges.push_back({{"name", after.bridges[i].name},
                           {"weight", before.bridges[i].weight},
                           {"weight_then", after.bridges[i].weight},
                           {"requests", requests.before[i]},
                           {"requests_then", requests.after[i]},
                           {"request_share", ratio(requests.before[i], requests.all)},
                           {"request_then_share", ratio(requests.after[i], requests.all)},
                           {"bytes", bytes.before[i]},
                           {"bytes_then", bytes.after[i]},
                           {"keys", distinct.before[i]},
                           {"keys_then", distinct.after[i]}});
    }
    report["bridges"] = std::move(bridges);
    add_malformed(report, log);
    write(write_report(report, options.format));
    return {};
}

}  // namespace splice::hash
