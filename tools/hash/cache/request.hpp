// What a simulated cache is asked, and what is counted of its answers.
#pragma once

#include <cstdint>
#include <limits>

#include "libsplice/base/time.hpp"

namespace splice::cache {

// One request of a log, a trace or a generator.
struct Request {
    static constexpr std::uint64_t kWhole = std::numeric_limits<std::uint64_t>::max();
    static constexpr std::uint32_t kForever = std::numeric_limits<std::uint32_t>::max();

    std::uint64_t object = 0;      // any number that stands for the object: a trace's own, or a URL's hash
    std::uint64_t bytes = 0;       // the whole object's size
    Duration time{};               // since any start that is not negative; never before the last request's
    std::uint64_t first_byte = 0;  // where the asked range begins
    std::uint64_t range_bytes = kWhole;  // its length; kWhole: the request names no range
    std::uint32_t ttl_s = kForever;      // how long a copy that is fetched now stays fresh
    bool cacheable = true;               // false: the answer may not be stored

    [[nodiscard]] bool has_range() const noexcept { return range_bytes != kWhole; }
    // What the client is sent: the range, cut at the object's end.
    [[nodiscard]] std::uint64_t answer_bytes() const noexcept {
        if (!has_range()) return bytes;
        if (first_byte >= bytes) return 0;
        return range_bytes < bytes - first_byte ? range_bytes : bytes - first_byte;
    }
};

// Whole numbers, so that others can check them. A request is a hit or a miss, never both.
struct Tally {
    std::uint64_t requests = 0;
    std::uint64_t bytes = 0;         // sent to clients
    std::uint64_t misses = 0;        // requests that needed the origin for at least one byte
    std::uint64_t missed_bytes = 0;  // sent to clients, but not from the cache
    std::uint64_t expired = 0;       // of the misses: the copy was there, but no longer fresh
    std::uint64_t uncacheable = 0;   // of the misses: the answer may not be stored
    std::uint64_t origin_requests = 0;
    std::uint64_t origin_bytes =
        0;  // fetched from the origin; more than missed_bytes when a range fetches more

    Tally& operator+=(const Tally& other) noexcept;
    Tally& operator-=(const Tally& other) noexcept;
    bool operator==(const Tally&) const = default;

    // Both are 0 before the first request.
    [[nodiscard]] double hit_ratio() const noexcept;
    [[nodiscard]] double byte_hit_ratio() const noexcept;
};

}  // namespace splice::cache
