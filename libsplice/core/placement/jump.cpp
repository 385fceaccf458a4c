// Jump consistent hash (Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014).
#include <algorithm>

#include "libsplice/core/placement/builders.hpp"

namespace splice::placement {
namespace {

// Rehashes after which a row takes the next bucket that it has not: with two buckets of two, one in 2^64
// rows.
constexpr int kMaxRehashes = 64;

}  // namespace

std::size_t jump_bucket(std::uint64_t key, std::size_t buckets) noexcept {
    std::size_t bucket = 0;
    for (std::size_t next = 0; next < buckets;) {
        bucket = next;
        key = key * 2862933555777941757U + 1;
        // (bucket + 1) * 2^31 / ((key >> 33) + 1), in integers: bucket is below 2^31.
        next = ((bucket + 1) << 31) / ((key >> 33) + 1);
    }
    return bucket;
}

Rows jump_rows(Members members, std::uint32_t rows) {
    Rows built(rows, kNoChoices);
    const std::size_t choices = std::min<std::size_t>(SPLICE_CHOICES, members.size());
    for (std::uint32_t row = 0; row < rows; ++row) {
        std::uint64_t key = mix64(row);
        std::array<std::size_t, SPLICE_CHOICES> buckets{};
        for (std::size_t choice = 0; choice < choices; ++choice) {
            const auto taken = std::span(buckets).first(choice);
            const auto is_taken = [&](std::size_t bucket) {
                return std::ranges::find(taken, bucket) != taken.end();
            };
            std::size_t bucket = jump_bucket(key, members.size());
            for (int rehash = 0; rehash < kMaxRehashes && is_taken(bucket); ++rehash) {
                key = mix64(key);
                bucket = jump_bucket(key, members.size());
            }
            while (is_taken(bucket)) bucket = (bucket + 1) % members.size();
            buckets[choice] = bucket;
            built[row].choices[choice] = members[bucket].bridge;
        }
    }
    return built;
}

}  // namespace splice::placement
