// A simulated cache with what a CDN adds to a policy: freshness, answers that may not be stored, ranges.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "tools/hash/cache/cache.hpp"
#include "tools/hash/cache/request.hpp"

namespace splice::cache {

// What a request for a part of an object does.
enum class Ranges : std::uint8_t {
    whole,   // fetches and stores the whole object, as nginx and Varnish do by themselves
    slices,  // fetches and stores the slices that the range touches, as nginx's slice module does
    pass,    // is sent on to the origin as it is; nothing is looked up or stored
};

struct CacheRules {
    Policy policy = Policy::lru;
    std::uint64_t capacity = 0;  // bytes
    Ranges ranges = Ranges::whole;
    std::uint64_t slice_bytes = 1 << 20;  // Ranges::slices: not 0; requests without a range are cut, too
};

class CountedCache {
  public:
    // How many requests early a table and a node are brought near: enough for a load from memory each.
    static constexpr std::size_t kPlaceAhead = 16;
    static constexpr std::size_t kNodeAhead = 8;

    explicit CountedCache(const CacheRules& rules);

    void request(const Request& request);
    // The same, request by request, faster: what comes later is brought near early.
    void run(std::span<const Request> requests);
    // Forgets what is stored, as a restart does; the tally stays.
    void clear();

    [[nodiscard]] const CacheRules& rules() const noexcept { return rules_; }
    [[nodiscard]] const Tally& tally() const noexcept { return tally_; }
    [[nodiscard]] const Cache& cache() const noexcept { return *cache_; }

  private:
    void request_slices(const Request& request);

    CacheRules rules_;
    std::unique_ptr<Cache> cache_;
    Tally tally_;
};

// Several policies and capacities in one pass: each cache sees every request.
class CacheGrid {
  public:
    explicit CacheGrid(std::span<const CacheRules> rules);
    // Cheapest in batches of about a thousand: one cache runs the whole batch while its table is near.
    void run(std::span<const Request> requests);
    // In the order of the rules.
    [[nodiscard]] const std::vector<CountedCache>& caches() const noexcept { return caches_; }

  private:
    std::vector<CountedCache> caches_;
};

}  // namespace splice::cache
