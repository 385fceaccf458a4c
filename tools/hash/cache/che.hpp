// Che's approximation: the hit ratio of LRU from how often each object is asked, without a simulation.
//
// H. Che, Y. Tung and Z. Wang, "Hierarchical Web Caching Systems: Modeling, Design and Experimental Results",
// IEEE JSAC 20(7), 2002; with sizes as in C. Fricker, P. Robert and J. Roberts, "A Versatile and Accurate
// Approximation for LRU Cache Performance", ITC 24, 2012.
#pragma once

#include <cstdint>
#include <vector>

#include "tools/hash/cache/contents.hpp"
#include "tools/hash/cache/request.hpp"

namespace splice::cache {

// How often each object was asked. Its memory grows with the objects that were seen: 70 bytes each at most.
class Popularity {
  public:
    struct Object {
        std::uint64_t object;
        std::uint64_t bytes;  // as first seen
        std::uint64_t requests;
    };
    void count(const Request& request);
    [[nodiscard]] const std::vector<Object>& objects() const noexcept { return objects_; }
    [[nodiscard]] std::uint64_t requests() const noexcept { return requests_; }

  private:
    ObjectTable table_;
    std::vector<Object> objects_;
    std::uint64_t requests_ = 0;
};

struct CheEstimate {
    double characteristic_requests =
        0;  // for so many requests an object stays after it was asked; infinite when all fit
    // In the steady state, of a cache that has been warm for ever.
    double hit_ratio = 0;
    double byte_hit_ratio = 0;
    // Of a log that begins with an empty cache: each object's first request misses. Compare these with
    // simulations.
    double cold_hit_ratio = 0;
    double cold_byte_hit_ratio = 0;
};

// Objects that are larger than the capacity are never stored. Whole objects only: no ranges, no time to live.
[[nodiscard]] CheEstimate che_lru(const Popularity& popularity, std::uint64_t capacity_bytes);

}  // namespace splice::cache
