// The builders behind Placement::build(), one file an algorithm. Each is given what build() has judged: at
// least one member, unique names, weights from 1 to kMaxWeight, rows from 1 to kMaxTableRows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "libsplice/core/placement/placement.hpp"

namespace splice::placement {

using Members = std::span<const PlacementMember>;
using Rows = std::vector<splice_placement_row>;

inline constexpr splice_placement_row kNoChoices{{SPLICE_NO_BRIDGE, SPLICE_NO_BRIDGE, SPLICE_NO_BRIDGE}};

// Weighted rendezvous: each member's score for a row depends on that member and that row alone.
[[nodiscard]] Rows rendezvous_rows(Members sorted_by_name, std::uint32_t rows);
// The same table, from the one of other members: only rows that the difference concerns are made anew.
[[nodiscard]] Rows rendezvous_rows_after(const Rows& before, Members members_before, Members sorted_by_name);

// Maglev (Eisenbud et al., NSDI 2016, section 3.4).
[[nodiscard]] Rows maglev_rows(Members sorted_by_name, std::uint32_t rows);

// Jump consistent hash (Lamping and Veach, 2014): buckets are the members in the caller's order; a member can
// leave without moving others only from the end.
[[nodiscard]] Rows jump_rows(Members members, std::uint32_t rows);
// The paper's function: 0 to buckets - 1, for 1 to 2^31 buckets.
[[nodiscard]] std::size_t jump_bucket(std::uint64_t key, std::size_t buckets) noexcept;

// nginx's `hash ... consistent`: the points of the ring, ascending, and a row for each.
struct Ring {
    std::vector<std::uint32_t> points;
    Rows rows;
};
inline constexpr std::uint32_t kKetamaPointsPerWeight = 160;
[[nodiscard]] Ring ketama_ring(Members in_configured_order);
[[nodiscard]] std::uint32_t ketama_hash(
    std::string_view key) noexcept;  // CRC-32, as nginx's ngx_crc32_long()

// Fills the second and third choice of every row with the next two other bridges down the table, round its
// end.
void fill_next_choices(Rows& rows) noexcept;

// A bijection of 64 bits that spreads neighbouring numbers (splitmix64's finaliser, Steele et al. 2014).
[[nodiscard]] constexpr std::uint64_t mix64(std::uint64_t value) noexcept {
    value += 0x9e3779b97f4a7c15U;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
    return value ^ (value >> 31);
}

}  // namespace splice::placement
