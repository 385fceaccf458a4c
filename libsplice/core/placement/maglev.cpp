// Maglev (Eisenbud et al., NSDI 2016, section 3.4): the members take turns, each claiming the next free row
// of a permutation of its own. Spreads more evenly than rendezvous; a member that leaves moves a few rows of
// others.
#include <xxhash.h>

#include <algorithm>
#include <numeric>

#include "libsplice/core/placement/builders.hpp"

namespace splice::placement {
namespace {

// The rows in the order in which one member wants them: offset, offset + skip, ... modulo the table's size.
class Permutation {
  public:
    Permutation(const PlacementMember& member, std::uint32_t rows)
        : rows_(rows), next_(static_cast<std::uint32_t>(hash(member, 0) % rows)) {
        if (rows < 2) return;
        // The paper takes a prime for the size, so that any skip visits every row. Ours is mostly a power of
        // two: the skip goes up to the next one without a common divisor (rows - 1 is one).
        skip_ = 1 + static_cast<std::uint32_t>(hash(member, 1) % (rows - 1));
        while (std::gcd(skip_, rows) != 1) ++skip_;
    }

    std::uint32_t next() noexcept {
        const std::uint32_t row = next_;
        next_ = (next_ + skip_) % rows_;  // both are below 2^24
        return row;
    }

  private:
    static std::uint64_t hash(const PlacementMember& member, std::uint64_t seed) noexcept {
        return XXH64(member.name.data(), member.name.size(), seed);
    }

    std::uint32_t rows_;
    std::uint32_t next_;
    std::uint32_t skip_ = 1;
};

struct Claimant {
    Permutation permutation;
    std::uint32_t weight;
    std::uint32_t credit = 0;
    std::uint16_t bridge;
};

}  // namespace

Rows maglev_rows(Members sorted_by_name, std::uint32_t rows) {
    std::vector<Claimant> claimants;
    std::uint32_t max_weight = 1;
    for (const PlacementMember& member : sorted_by_name) {
        claimants.push_back({Permutation(member, rows), member.weight, 0, member.bridge});
        max_weight = std::max(max_weight, member.weight);
    }

    Rows built(rows, kNoChoices);
    std::vector<bool> taken(rows);
    for (std::uint32_t left = rows; left > 0;) {
        for (Claimant& claimant : claimants) {
            if (left == 0) break;
            // The heaviest claims a row each round, one of half its weight every second.
            claimant.credit += claimant.weight;
            if (claimant.credit < max_weight) continue;
            claimant.credit -= max_weight;
            std::uint32_t row = claimant.permutation.next();
            while (taken[row]) row = claimant.permutation.next();
            taken[row] = true;
            built[row].choices[0] = claimant.bridge;
            --left;
        }
    }
    fill_next_choices(built);
    return built;
}

}  // namespace splice::placement
