// Numbers from a seed, the same on every machine: the standard library's distributions are not.
#pragma once

#include <cstdint>

namespace splice::simulation {

class Random {
  public:
    explicit Random(std::uint64_t seed) noexcept : state_(seed) {}

    // SplitMix64 (Steele, Lea and Flood, 2014).
    std::uint64_t next() noexcept {
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        return z ^ (z >> 31);
    }
    // Both ends included; low is not above high.
    std::uint64_t between(std::uint64_t low, std::uint64_t high) noexcept {
        return low + next() % (high - low + 1);
    }
    std::uint32_t number() noexcept { return static_cast<std::uint32_t>(next()); }
    bool chance(double probability) noexcept {
        return static_cast<double>(next() >> 11) * 0x1p-53 < probability;
    }

  private:
    std::uint64_t state_;
};

}  // namespace splice::simulation
