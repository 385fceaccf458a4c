// Numbers from a seed, the same on every machine: the standard library's distributions are not.
#pragma once

#include <cstdint>

#include "tools/hash/cache/contents.hpp"

namespace splice::cache {

// SplitMix64 (Steele, Lea and Flood, 2014).
class Random {
  public:
    explicit Random(std::uint64_t seed) noexcept : state_(seed) {}

    std::uint64_t next() noexcept {
        const std::uint64_t number = hash_of(state_);
        state_ += 0x9e3779b97f4a7c15ULL;
        return number;
    }
    // Below `bound`, which is not 0 and at most 2^32 (Lemire's multiplication).
    std::uint64_t below(std::uint64_t bound) noexcept { return ((next() >> 32) * bound) >> 32; }
    // 0 or more and less than 1.
    double fraction() noexcept { return static_cast<double>(next() >> 11) * 0x1p-53; }

  private:
    std::uint64_t state_;
};

}  // namespace splice::cache
