// How much more than the mean the fullest bridge gets, beside what Maglev's authors have published for 1,000
// backends (Eisenbud et al., NSDI 2016, section 5.3): rendezvous hashing needs 49.5 % more than the mean with
// a table of 65,537 rows and 12.3 % with 655,373; Maglev hashing stays near 0 with both.
#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "libsplice/core/placement/placement.hpp"

namespace splice {
namespace {

constexpr std::size_t kBackends = 1000;
constexpr std::uint32_t kSmall = 65'537;
constexpr std::uint32_t kLarge = 655'373;

double overprovisioning(Algorithm algorithm, std::uint32_t rows) {
    std::vector<PlacementMember> members;
    for (std::size_t i = 0; i < kBackends; ++i) {
        members.push_back({.name = "backend-" + std::to_string(i),
                           .server = "10.0.0.1",
                           .weight = 1,
                           .bridge = static_cast<std::uint16_t>(i)});
    }
    const auto placement = Placement::build(algorithm, members, rows);
    REQUIRE(placement);
    std::vector<std::uint32_t> counts(kBackends);
    for (const splice_placement_row& row : placement->rows()) ++counts[row.choices[0]];
    return *std::ranges::max_element(counts) * static_cast<double>(kBackends) / rows - 1;
}

TEST_CASE("rendezvous needs as much room above the mean as Maglev's authors found, and less with more rows") {
    const double small = overprovisioning(Algorithm::rendezvous, kSmall);
    const double large = overprovisioning(Algorithm::rendezvous, kLarge);
    MESSAGE("rendezvous: ", small, " with 65,537 rows (published: 0.495), ", large, " with 655,373 (0.123)");
    // The fullest of 1,000 is one draw: its place depends on the names. Theirs is the paper's.
    CHECK(small > 0.495 - 0.15);
    CHECK(small < 0.495 + 0.15);
    CHECK(large > 0.123 - 0.04);
    CHECK(large < 0.123 + 0.04);
}

TEST_CASE("Maglev's table is as even as whole rows allow") {
    // Every backend takes one row a round, so the counts differ by one at most.
    CHECK(overprovisioning(Algorithm::maglev, kSmall) <= (66.0 / 65.537 - 1) + 1e-9);
    CHECK(overprovisioning(Algorithm::maglev, kLarge) <= (656.0 / 655.373 - 1) + 1e-9);
}

}  // namespace
}  // namespace splice
