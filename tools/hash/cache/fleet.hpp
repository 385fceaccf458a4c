// A fleet of bridges with a cache each: which bridge a request goes to, what happens to bridges meanwhile,
// and what the caches then hit and miss.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "libsplice/core/bridge_loads.hpp"
#include "tools/hash/cache/counted_cache.hpp"
#include "tools/hash/cache/random.hpp"

namespace splice::cache {

// Bridges in the order of preference; numbered from 0.
struct Choices {
    static constexpr std::size_t kMost = 3;
    std::array<std::uint16_t, kMost> bridges{};
    std::uint8_t count = 0;
    std::uint64_t row =
        0;  // what the choices belong to (a table's row, or the key's hash): slow start goes by it
    std::uint64_t key = 0;  // the key's hash
};

// Which bridges take requests now.
class Serving {
  public:
    explicit Serving(std::size_t bridges);
    [[nodiscard]] std::size_t bridges() const noexcept { return up_.size(); }
    [[nodiscard]] bool up(std::uint16_t bridge) const noexcept { return up_[bridge] != 0; }
    // Those that are up, lowest first.
    [[nodiscard]] std::span<const std::uint16_t> all_up() const noexcept { return all_up_; }
    void set(std::uint16_t bridge, bool up);

  private:
    std::vector<std::uint8_t> up_;
    std::vector<std::uint16_t> all_up_;
};

// The choices of a request. Those that are down may be named: the fleet passes over them, as the balancer
// does.
using Chooser = std::function<Choices(const Request& request, const Serving& serving)>;

// A request goes to any bridge that is up: what hashing is compared with.
[[nodiscard]] Chooser choose_randomly(std::uint64_t seed);
[[nodiscard]] Chooser choose_in_turn();

// What happens to a bridge during the run, before the first request at that time or later.
struct FleetEvent {
    enum class Kind : std::uint8_t {
        lost,           // takes no requests; its cache is kept
        returned_cold,  // takes requests again, with an empty cache (slow start holds)
        returned_warm,  // the same with what it held when it was lost
    };
    Duration time{};
    Kind kind = Kind::lost;
    std::uint16_t bridge = 0;
};

struct FleetRules {
    std::uint16_t bridges = 1;
    std::vector<CacheRules> caches;      // every bridge has one of each; a bridge's capacity, not the fleet's
    std::vector<FleetEvent> events;      // in the order of time
    Duration interval{};                 // of the time series; 0: none
    Duration slow_start{};               // over so long a returned bridge's rows come back to it, evenly
    double warmup = 0;                   // share of openings that goes to the key's second choice
    double bounded_load = 0;             // above that times the mean a bridge passes requests on; 0: no bound
    std::vector<std::uint32_t> weights;  // of the bridges, for the bound; empty: all are equal
    Duration load_window = kLoadWindow;  // above 0; what counts as load: openings, decaying over this time
    // Over how many of its first choices a request's key is spread, by power of two choices on the load: 2 or
    // more for a hot key. Nothing: no key is spread.
    std::function<unsigned(const Request&, const Choices&)> spread;
    std::uint64_t seed = 1;  // of warmup's and spreading's draws
};

// Which choice took a request: how the load was passed on.
struct FleetCounts {
    std::array<std::uint64_t, Choices::kMost> by_rank{};
    std::uint64_t elsewhere = 0;  // every choice was down: the next bridge that is up took it
    std::uint64_t unserved = 0;   // no bridge is up; in no tally
    std::uint64_t warmups = 0;
    std::uint64_t over_bound = 0;  // the bridge that was chosen first had too much load
    std::uint64_t spread = 0;
};

struct Interval {
    Duration start{};           // of time, a multiple of FleetRules::interval
    std::vector<Tally> caches;  // of the fleet, one for each FleetRules::caches
};

class Fleet {
  public:
    Fleet(FleetRules rules, Chooser chooser);

    // Chooses the bridge and asks its caches.
    void request(const Request& request);
    // The same, request by request, faster: cheapest in batches of about a thousand.
    void run(std::span<const Request> requests);
    // Ends the last interval. Call once after the last request.
    void finish();

    // The two halves of request(), for who follows connections: an opening is chosen for, later requests of
    // the same connection are only served. Times never go back over both.
    [[nodiscard]] std::optional<std::uint16_t> open(const Request& request);
    void serve(std::uint16_t bridge, const Request& request);

    [[nodiscard]] const FleetRules& rules() const noexcept { return rules_; }
    [[nodiscard]] const FleetCounts& counts() const noexcept { return counts_; }
    [[nodiscard]] const Serving& serving() const noexcept { return serving_; }
    // `cache`: the index in FleetRules::caches.
    [[nodiscard]] const Tally& tally(std::size_t cache, std::uint16_t bridge) const noexcept;
    [[nodiscard]] Tally tally(std::size_t cache) const noexcept;
    [[nodiscard]] const std::vector<Interval>& series() const noexcept { return series_; }
    [[nodiscard]] std::size_t memory_bytes() const noexcept;

  private:
    // Whether something happens to caches or the series before a request of that time.
    [[nodiscard]] bool due(Duration now) const noexcept;
    void advance(Duration now);
    void serve_batch(std::span<const Request> requests);
    void close_interval();
    [[nodiscard]] std::uint8_t pick(const Choices& able, const Request& request, const Choices& named);
    [[nodiscard]] splice_choice_rule choice_rule() const noexcept;
    [[nodiscard]] std::vector<LoadedService> loaded_services() const;
    [[nodiscard]] bool takes(std::uint16_t bridge, std::uint64_t row, Duration now) const noexcept;

    FleetRules rules_;
    Chooser chooser_;
    Serving serving_;
    std::vector<std::vector<CountedCache>> caches_;  // [cache][bridge]
    std::vector<Duration> returned_;   // when each bridge came back; before all time: never left
    const splice_choice_rule choice_;  // as the balancer's
    BridgeLoads loads_;
    Random random_;
    std::size_t next_event_ = 0;
    std::vector<std::optional<std::uint16_t>> chosen_;  // run()'s, kept from call to call
    FleetCounts counts_;
    std::vector<Interval> series_;
    std::vector<Tally> interval_began_;
    Duration interval_start_{};
    bool in_interval_ = false;
};

// What events cost a fleet, against the same requests to a fleet without them.
struct Disturbance {
    std::uint64_t extra_misses = 0;  // 0 when there were fewer
    std::uint64_t extra_origin_bytes = 0;
    double worst_hit_ratio = 1;  // of an interval, and the undisturbed fleet's then
    double undisturbed_hit_ratio = 1;
    // From `since` until the last interval whose hit ratio is more than `tolerance` below the undisturbed one
    // has ended; nothing when the series ends first.
    std::optional<Duration> warm_after;
};
// Both with the same interval and finished.
[[nodiscard]] Disturbance disturbance(const Fleet& undisturbed, const Fleet& disturbed, std::size_t cache,
                                      Duration since, double tolerance = 0.01);

}  // namespace splice::cache
