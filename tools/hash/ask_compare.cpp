#include <algorithm>
#include <memory>

#include "tools/hash/ask.hpp"
#include "tools/hash/key_sample.hpp"
#include "tools/hash/tally.hpp"

namespace splice::hash {
namespace {

// The fleets after a loss that a variant is tried with, at most.
constexpr std::size_t kMaxLosses = 32;

struct Variant {
    FleetSpec fleet;
    Placement placement;
    std::vector<Placement> after_loss;
    Tally tally;
    std::vector<std::uint64_t> lost, moved;  // requests, a loss each

    [[nodiscard]] static std::expected<Variant, std::string> make(
        FleetSpec fleet, const std::vector<std::vector<std::size_t>>& losses) {
        auto placement = fleet.place();
        if (!placement) return std::unexpected(placement.error());
        std::vector<Placement> after;
        for (const auto& loss : losses) {
            FleetSpec left = fleet;
            for (const std::size_t bridge : loss) left.bridges[bridge].weight = 0;
            auto placed = left.place();
            if (!placed) return std::unexpected(placed.error());
            after.push_back(*std::move(placed));
        }
        const std::size_t bridges = fleet.bridges.size();
        return Variant{std::move(fleet),
                       *std::move(placement),
                       std::move(after),
                       Tally(bridges),
                       std::vector<std::uint64_t>(losses.size()),
                       std::vector<std::uint64_t>(losses.size())};
    }

    void take(const KeyReader& reader, const RecordKey& key, std::uint64_t bytes,
              const std::vector<std::vector<std::size_t>>& losses) {
        const std::uint16_t bridge = reader.choose(placement, key).bridges.choices[0];
        tally.add(bridge, bytes);
        for (std::size_t i = 0; i < losses.size(); ++i) {
            const bool is_lost = std::ranges::find(losses[i], bridge) != losses[i].end();
            const bool moves = reader.choose(after_loss[i], key).bridges.choices[0] != bridge;
            lost[i] += is_lost ? 1 : 0;
            moved[i] += moves ? 1 : 0;
        }
    }
};

// The variants of one key rule: the key is taken out of a request once for them.
struct SameKey {
    KeyReader reader;
    KeySample keys;
    KeylessCounts keyless;
    std::vector<Variant> variants;
};

double mean_share(const std::vector<std::uint64_t>& counts, std::uint64_t all) {
    double sum = 0;
    for (const std::uint64_t count : counts) sum += ratio(count, all);
    return counts.empty() ? 0 : sum / static_cast<double>(counts.size());
}

std::vector<std::vector<std::size_t>> losses_of(const Options& options) {
    if (!options.compare.without.empty()) return {options.compare.without};
    std::vector<std::vector<std::size_t>> losses;
    const std::size_t bridges = options.fleet.bridges.size();
    if (bridges < 2) return losses;
    for (std::size_t i = 0; i < bridges && losses.size() < kMaxLosses; ++i) {
        if (options.fleet.bridges[i].weight > 0) losses.push_back({i});
    }
    return losses;
}

Json as_json(const SameKey& same, const Variant& variant) {
    const Load all = variant.tally.all();
    Json json{{"algorithm", to_string(variant.fleet.algorithm)},
              {"key", variant.fleet.key.to_string()},
              {"rows", variant.placement.rows().size()},
              {"requests", all.requests},
              {"bytes", all.bytes},
              {"distinct_keys", same.keys.distinct()},
              {"by_source_requests", same.keyless.by_source()},
              {"peak_to_mean_requests", peak_to_mean(variant.fleet, variant.tally, &Load::requests)},
              {"peak_to_mean_bytes", peak_to_mean(variant.fleet, variant.tally, &Load::bytes)},
              {"moved_at_loss_share", mean_share(variant.moved, all.requests)},
              {"least_at_loss_share", mean_share(variant.lost, all.requests)}};
    Json bridges = Json::array();
    for (std::size_t i = 0; i < variant.fleet.bridges.size(); ++i) {
        bridges.push_back({{"name", variant.fleet.bridges[i].name},
                           {"requests", variant.tally[i].requests},
                           {"bytes", variant.tally[i].bytes}});
    }
    json["bridges"] = std::move(bridges);
    return json;
}

}  // namespace

Answered ask_compare(const Options& options, LogReader& log, const Write& write) {
    const auto losses = losses_of(options);
    std::vector<SameKey> by_key;
    for (const HashKeyRule& rule : options.compare.keys) {
        const Protocol protocol =
            rule == options.fleet.key ? options.fleet.protocol : natural_protocol(rule.kind);
        SameKey same{KeyReader(protocol, rule, rule.kind == KeyKind::sni ? options.fleet.subset : 0),
                     KeySample(),
                     KeylessCounts(),
                     {}};
        for (const Algorithm algorithm : options.compare.algorithms) {
            for (const std::uint32_t rows : options.compare.rows) {
                FleetSpec fleet = options.fleet;
                fleet.key = rule;
                fleet.protocol = protocol;
                fleet.algorithm = algorithm;
                fleet.shadow.reset();
                fleet.rows = rows;
                auto variant = Variant::make(std::move(fleet), losses);
                if (!variant) return std::unexpected("compare: " + variant.error());
                same.variants.push_back(*std::move(variant));
                if (algorithm == Algorithm::ketama) break;  // its ring has no rows to choose
            }
        }
        by_key.push_back(std::move(same));
    }
    std::uint64_t bytes_of_all = 0;
    RequestText request;
    for (Record record;;) {
        const auto more = log.next(record);
        if (!more) return std::unexpected(more.error());
        if (!*more) break;
        request.write(record, options.rules.line.headers);
        const std::uint64_t bytes = record.bytes.value_or(0);
        bytes_of_all += bytes;
        for (SameKey& same : by_key) {
            const RecordKey key = same.reader.key_of(record, request);
            if (key.fallback) same.keyless.add(key);
            if (!key.placed) continue;
            same.keys.count(hash_key_bytes(key.bytes), bytes, 0);
            for (Variant& variant : same.variants) variant.take(same.reader, key, bytes, losses);
        }
    }
    Json report{{"question", "compare"}, {"requests", log.records()}, {"bytes", bytes_of_all}};
    Json variants = Json::array();
    for (const SameKey& same : by_key) {
        for (const Variant& variant : same.variants) variants.push_back(as_json(same, variant));
    }
    report["variants"] = std::move(variants);
    add_malformed(report, log);
    if (options.format == OutputFormat::table) {
        for (Json& variant : report["variants"]) variant.erase("bridges");
    }
    write(write_report(report, options.format));
    return {};
}

}  // namespace splice::hash
