// What each bridge was asked.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "libsplice/core/told_request_key.hpp"
#include "tools/hash/fleet_spec.hpp"
#include "tools/hash/record.hpp"
#include "tools/hash/report.hpp"

namespace splice::hash {

struct Load {
    std::uint64_t requests = 0;
    std::uint64_t bytes = 0;
};

class Tally {
  public:
    explicit Tally(std::size_t bridges) : loads_(bridges) {}
    void add(std::size_t bridge, std::uint64_t bytes) noexcept {
        ++loads_[bridge].requests;
        loads_[bridge].bytes += bytes;
    }
    [[nodiscard]] const Load& operator[](std::size_t bridge) const noexcept { return loads_[bridge]; }
    [[nodiscard]] std::size_t bridges() const noexcept { return loads_.size(); }
    [[nodiscard]] Load all() const noexcept {
        Load sum;
        for (const Load& load : loads_) sum = {sum.requests + load.requests, sum.bytes + load.bytes};
        return sum;
    }

  private:
    std::vector<Load> loads_;
};

// The most loaded bridge, beside what it is due: 1 is perfect. By requests, or by bytes.
[[nodiscard]] double peak_to_mean(const FleetSpec& fleet, const Tally& tally, std::uint64_t Load::* amount);

// Requests that have no key of their own, and those that could not be placed.
class KeylessCounts {
  public:
    void add(const RecordKey& key) noexcept {
        if (key.fallback) ++by_why_[static_cast<std::size_t>(*key.fallback)];
        if (!key.placed) ++unplaced_;
    }
    void write(Json& report) const;
    [[nodiscard]] std::uint64_t by_source() const noexcept {
        std::uint64_t sum = 0;
        for (const std::uint64_t count : by_why_) sum += count;
        return sum - unplaced_;
    }
    [[nodiscard]] std::uint64_t unplaced() const noexcept { return unplaced_; }

  private:
    std::array<std::uint64_t, kFallbackCount> by_why_{};
    std::uint64_t unplaced_ = 0;
};

// The name of a choice; "-" where there is none.
[[nodiscard]] std::string_view name_of(const FleetSpec& fleet, std::uint16_t bridge) noexcept;
// As the table finds it: XXH64, or CRC-32 for ketama.
[[nodiscard]] std::string hash_text(Algorithm algorithm, std::string_view key);

}  // namespace splice::hash
