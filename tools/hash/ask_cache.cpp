#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <optional>
#include <unordered_set>

#include "libsplice/core/hot_keys.hpp"
#include "tools/hash/ask.hpp"
#include "tools/hash/cache/che.hpp"
#include "tools/hash/cache/fleet.hpp"
#include "tools/hash/chooser.hpp"
#include "tools/hash/tally.hpp"
#include "tools/hash/weighed.hpp"

namespace splice::hash {
namespace {

constexpr std::size_t kBatch = 1024;  // what the simulation likes best

// Whether an answer may be stored, by its status alone (RFC 9110 section 15.1: heuristically cacheable),
// where 206 and 304 speak of an object that is. 0: the log does not tell.
bool storable(const Record& record) noexcept {
    constexpr std::array kStorable = {0U,   200U, 203U, 204U, 206U, 300U, 301U,
                                      304U, 308U, 404U, 405U, 410U, 414U, 501U};
    if (record.ttl_s == 0U) return false;
    const bool reads = record.method.empty() || record.method == "GET" || record.method == "HEAD";
    return reads && std::ranges::find(kStorable, record.status) != kStorable.end();
}

// The sizes of objects, from the answers that show them whole. In constant memory: two objects may have one
// place, and then the later one has it.
class KnownSizes {
  public:
    KnownSizes() : places_(kPlaces) {}
    void learn(std::uint64_t object, std::uint64_t bytes) noexcept {
        places_[object % kPlaces] = {object, bytes};
    }
    [[nodiscard]] std::optional<std::uint64_t> find(std::uint64_t object) const noexcept {
        const Place& place = places_[object % kPlaces];
        if (place.object != object || place.bytes == 0) return {};
        return place.bytes;
    }

  private:
    static constexpr std::size_t kPlaces = 1UZ << 18;
    struct Place {
        std::uint64_t object = 0;
        std::uint64_t bytes = 0;
    };
    std::vector<Place> places_;
};

// Records as requests of the simulation.
class Requests {
  public:
    explicit Requests(const CacheOptions& options) : options_(options) {}

    cache::Request make(const Record& record) {
        cache::Request request;
        request.object = object_of(record);
        request.bytes = record.bytes.value_or(0);
        request.time = clock_.advance(record.time_s);
        if (const auto ttl = record.ttl_s ? record.ttl_s : options_.ttl_s) request.ttl_s = *ttl;
        request.cacheable = storable(record);
        // These send less than the object: its size is what an earlier answer has shown.
        const bool is_part = record.status == 206 || record.status == 304 || record.method == "HEAD";
        if (is_part) {
            const std::uint64_t sent = request.bytes;
            if (record.status == 206) request.first_byte = record.first_byte.value_or(0);
            if (record.object_bytes) sizes_.learn(request.object, *record.object_bytes);
            const std::uint64_t least = request.first_byte + sent;
            request.bytes = std::max(sizes_.find(request.object).value_or(least), least);
            request.range_bytes = sent;
        } else if (record.status == 200) {
            sizes_.learn(request.object, request.bytes);
        }
        return request;
    }
    [[nodiscard]] const LogClock& clock() const noexcept { return clock_; }

  private:
    const CacheOptions& options_;
    KnownSizes sizes_;
    LogClock clock_;
};

// Which bridge has a connection. In constant memory: two connections may have one place, and then the earlier
// one is taken to have ended.
class Connections {
  public:
    explicit Connections(Duration idle) : idle_(idle), places_(kMaxConnections) {}
    struct Place {
        std::uint64_t connection = 0;
        Duration last{};
        std::uint16_t bridge = 0;
        bool used = false;
    };
    // The connection's place, and whether it has a bridge already.
    std::pair<Place*, bool> find(std::uint64_t connection, Duration now) noexcept {
        Place& place = places_[connection % places_.size()];
        const bool goes_on = place.used && place.connection == connection && now - place.last <= idle_;
        place.connection = connection;
        place.last = now;
        place.used = true;
        return {&place, goes_on};
    }

  private:
    Duration idle_;
    std::vector<Place> places_;
};

// A batch of requests with what is known of each.
struct Batch {
    std::vector<cache::Request> requests;
    std::vector<cache::Choices> choices;
    std::vector<std::uint64_t> connections;
    void clear() {
        requests.clear();
        choices.clear();
        connections.clear();
    }
};

// One fleet, and how requests find its bridges.
class Simulation {
  public:
    Simulation(std::string name, Routing routing, cache::FleetRules rules, const CacheOptions& options,
               const Batch& batch)
        : name_(std::move(name)), routing_(routing), batch_(batch) {
        if (routing == Routing::keep_alive) connections_.emplace(options.keep_alive);
        fleet_.emplace(std::move(rules), chooser());
    }
    Simulation(const Simulation&) = delete;
    Simulation& operator=(const Simulation&) = delete;

    void run() {
        next_ = 0;
        if (connections_)
            run_connections();
        else
            fleet_->run(batch_.requests);
    }

    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] Routing routing() const noexcept { return routing_; }
    [[nodiscard]] cache::Fleet& fleet() noexcept { return *fleet_; }
    [[nodiscard]] const cache::Fleet& fleet() const noexcept { return *fleet_; }
    [[nodiscard]] std::uint64_t connections() const noexcept { return opened_; }
    [[nodiscard]] std::uint64_t at_own_bridge() const noexcept { return at_own_bridge_; }

  private:
    cache::Chooser chooser() {
        constexpr std::uint64_t kSeed = 1;
        if (routing_ == Routing::random) return cache::choose_randomly(kSeed);
        if (routing_ == Routing::round_robin) return cache::choose_in_turn();
        // The fleet asks once a request, in their order.
        return [this](const cache::Request&, const cache::Serving&) { return batch_.choices[next_++]; };
    }

    void run_connections() {
        for (std::size_t i = 0; i < batch_.requests.size(); ++i) {
            const cache::Request& request = batch_.requests[i];
            auto [place, goes_on] = connections_->find(batch_.connections[i], request.time);
            if (!goes_on || !fleet_->serving().up(place->bridge)) {
                next_ = i;
                const auto bridge = fleet_->open(request);
                ++opened_;
                place->used = bridge.has_value();
                if (!bridge) continue;
                place->bridge = *bridge;
            }
            const cache::Choices& own = batch_.choices[i];
            if (own.count > 0 && own.bridges[0] == place->bridge) ++at_own_bridge_;
            fleet_->serve(place->bridge, request);
        }
    }

    std::string name_;
    Routing routing_;
    const Batch& batch_;
    std::size_t next_ = 0;
    std::optional<Connections> connections_;
    std::uint64_t opened_ = 0;
    std::uint64_t at_own_bridge_ = 0;
    std::optional<cache::Fleet> fleet_;
};

void add_tally(Json& json, const cache::Tally& tally) {
    json["requests"] = tally.requests;
    json["bytes"] = tally.bytes;
    json["misses"] = tally.misses;
    json["missed_bytes"] = tally.missed_bytes;
    json["hit_ratio"] = tally.hit_ratio();
    json["byte_hit_ratio"] = tally.byte_hit_ratio();
    json["origin_requests"] = tally.origin_requests;
    json["origin_bytes"] = tally.origin_bytes;
    json["expired"] = tally.expired;
    json["uncacheable"] = tally.uncacheable;
}

double seconds(Duration time) {
    return std::chrono::duration<double>(time).count();
}

class CacheQuestion {
  public:
    explicit CacheQuestion(const Options& options)
        : wanted_(options.cache),
          spec_(options.fleet),
          headers_(options.rules.line.headers),
          chooser_(spec_),
          requests_(options.cache),
          hot_(spec_.weighing.hot_keys),
          popularity_(options.cache.che ? spec_.bridges.size() : 0) {
        for (const cache::Policy policy : wanted_.policies) {
            for (const std::uint64_t size : wanted_.sizes)
                caches_.push_back({.policy = policy,
                                   .capacity = size,
                                   .ranges = wanted_.ranges,
                                   .slice_bytes = wanted_.slice_bytes});
        }
        for (const Routing routing : wanted_.routings)
            add(std::string(to_string(routing)), routing, quiet_rules());
        if (!wanted_.events.empty() || spec_.weighing.any()) add("changed", Routing::hash, changed_rules());
    }

    void take(const Record& record) {
        request_.write(record, headers_);
        const RecordKey key = chooser_.key_of(record, request_);
        if (key.fallback) keyless_.add(key);
        if (!key.placed) return;
        const cache::Choices choices = as_simulated(chooser_.choose(record, request_, key), key.bytes);
        batch_.choices.push_back(choices);
        batch_.requests.push_back(requests_.make(record));
        const std::string_view connection = record.connection.empty() ? record.source : record.connection;
        batch_.connections.push_back(hash_key_bytes(connection));
        tells_connections_ = tells_connections_ || !connection.empty();
        if (!popularity_.empty()) popularity_[choices.bridges[0]].count(batch_.requests.back());
        if (batch_.requests.size() == kBatch) run_batch();
    }

    void finish() {
        run_batch();
        for (const auto& simulation : simulations_) simulation->fleet().finish();
    }

    [[nodiscard]] Json report(const LogReader& log) const {
        Json report{
            {"question", "cache"}, {"key", spec_.key.to_string()}, {"algorithm", to_string(spec_.algorithm)}};
        const cache::Tally all = simulations_.front()->fleet().tally(0);
        report["requests"] = all.requests;
        report["bytes"] = all.bytes;
        keyless_.write(report);
        requests_.clock().write_note(report);
        if (std::ranges::find(wanted_.routings, Routing::keep_alive) != wanted_.routings.end()) {
            report["connection_note"] =
                tells_connections_
                    ? "a connection is what the log's connection field says, else one client's address and "
                      "port, "
                      "else one client's address"
                    : "the log tells neither connections nor clients: all requests are one connection";
        }
        Json runs = Json::array();
        for (const auto& simulation : simulations_) {
            for (std::size_t i = 0; i < caches_.size(); ++i) runs.push_back(run_as_json(*simulation, i));
        }
        report["runs"] = std::move(runs);
        add_routing(report);
        add_series(report);
        add_malformed(report, log);
        return report;
    }

  private:
    void add(std::string name, Routing routing, cache::FleetRules rules) {
        simulations_.push_back(
            std::make_unique<Simulation>(std::move(name), routing, std::move(rules), wanted_, batch_));
    }

    [[nodiscard]] cache::FleetRules quiet_rules() const {
        cache::FleetRules rules = fleet_rules(spec_);
        rules.caches = caches_;
        rules.interval = wanted_.interval.value_or(Duration{});
        return rules;
    }

    [[nodiscard]] cache::FleetRules changed_rules() {
        cache::FleetRules rules = quiet_rules();
        rules.events.insert(rules.events.end(), wanted_.events.begin(), wanted_.events.end());
        rules.slow_start = wanted_.slow_start;
        add_weighing(rules, spec_, hot_);
        return rules;
    }

    void run_batch() {
        for (const auto& simulation : simulations_) simulation->run();
        batch_.clear();
    }

    [[nodiscard]] Json run_as_json(const Simulation& simulation, std::size_t cache) const {
        const cache::Fleet& fleet = simulation.fleet();
        Json run{{"routing", simulation.name()},
                 {"policy", cache::name(caches_[cache].policy)},
                 {"size", caches_[cache].capacity}};
        add_tally(run, fleet.tally(cache));
        if (const auto estimate = che(simulation, cache)) run["che_hit_ratio"] = *estimate;
        if (simulation.name() == "changed" && !wanted_.events.empty()) add_cost(run, fleet, cache);
        Json bridges = Json::array();
        for (std::size_t i = 0; i < spec_.bridges.size(); ++i) {
            Json bridge{{"name", spec_.bridges[i].name}};
            add_tally(bridge, fleet.tally(cache, static_cast<std::uint16_t>(i)));
            bridges.push_back(std::move(bridge));
        }
        run["bridges"] = std::move(bridges);
        return run;
    }

    // Of the whole fleet, for a log that begins with empty caches.
    [[nodiscard]] std::optional<double> che(const Simulation& simulation, std::size_t cache) const {
        if (popularity_.empty() || simulation.name() != "hash" || caches_[cache].policy != cache::Policy::lru)
            return {};
        double hits = 0;
        double requests = 0;
        for (const cache::Popularity& bridge : popularity_) {
            const auto count = static_cast<double>(bridge.requests());
            if (count == 0) continue;
            hits += cache::che_lru(bridge, caches_[cache].capacity).cold_hit_ratio * count;
            requests += count;
        }
        return requests > 0 ? hits / requests : 0;
    }

    // What failures cost, against the same fleet without them.
    void add_cost(Json& run, const cache::Fleet& fleet, std::size_t cache) const {
        const auto quiet =
            std::ranges::find(simulations_, Routing::hash, [](const auto& each) { return each->routing(); });
        if ((*quiet)->name() == "changed") return;
        const auto cost = cache::disturbance((*quiet)->fleet(), fleet, cache, wanted_.events.front().time);
        run["extra_misses"] = cost.extra_misses;
        run["extra_origin_bytes"] = cost.extra_origin_bytes;
        run["worst_hit_ratio"] = cost.worst_hit_ratio;
        run["undisturbed_hit_ratio"] = cost.undisturbed_hit_ratio;
        run["warm_after_s"] = cost.warm_after ? Json(seconds(*cost.warm_after)) : Json(nullptr);
    }

    void add_routing(Json& report) const {
        Json routings = Json::array();
        for (const auto& simulation : simulations_) {
            const cache::FleetCounts& counts = simulation->fleet().counts();
            Json one{{"routing", simulation->name()}};
            one.update(ranks_as_json(counts));
            if (simulation->routing() == Routing::keep_alive) {
                const std::uint64_t requests = simulation->fleet().tally(0).requests;
                one["connections"] = simulation->connections();
                one["own_bridge_share"] = ratio(simulation->at_own_bridge(), requests);
            }
            routings.push_back(std::move(one));
        }
        report["routing"] = std::move(routings);
    }

    void add_series(Json& report) const {
        if (!wanted_.interval) return;
        Json series = Json::array();
        for (const auto& simulation : simulations_) {
            for (const cache::Interval& interval : simulation->fleet().series()) {
                for (std::size_t i = 0; i < caches_.size(); ++i) {
                    const cache::Tally& tally = interval.caches[i];
                    series.push_back({{"routing", simulation->name()},
                                      {"policy", cache::name(caches_[i].policy)},
                                      {"size", caches_[i].capacity},
                                      {"time_s", seconds(interval.start)},
                                      {"requests", tally.requests},
                                      {"misses", tally.misses},
                                      {"hit_ratio", tally.hit_ratio()},
                                      {"origin_bytes", tally.origin_bytes}});
                }
            }
        }
        report["series"] = std::move(series);
    }

    const CacheOptions& wanted_;
    const FleetSpec& spec_;
    const std::vector<std::string>& headers_;
    FleetChooser chooser_;
    RequestText request_;
    Requests requests_;
    KeylessCounts keyless_;
    HotKeys hot_;
    std::vector<cache::Popularity> popularity_;
    std::vector<cache::CacheRules> caches_;
    Batch batch_;
    bool tells_connections_ = false;
    std::vector<std::unique_ptr<Simulation>> simulations_;
};

}  // namespace

Answered ask_cache(const Options& options, LogReader& log, const Write& write) {
    CacheQuestion question(options);
    for (Record record;;) {
        const auto more = log.next(record);
        if (!more) return std::unexpected(more.error());
        if (!*more) break;
        question.take(record);
    }
    question.finish();
    write(write_report(question.report(log), options.format));
    return {};
}

}  // namespace splice::hash
