// Where a key goes: a table whose rows hold the first three choices, built off line and swapped whole.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/datapath/flow.h"

namespace splice {

enum class Algorithm : std::uint8_t { rendezvous, maglev, ketama, jump };
// The error says what was expected; whoever asked says where, and of what text.
std::expected<Algorithm, std::string> parse_algorithm(std::string_view text);
[[nodiscard]] std::string_view to_string(Algorithm algorithm) noexcept;

// A bridge that may be chosen.
struct PlacementMember {
    std::string name;    // rendezvous and maglev place by it: unique, and stable when addresses change
    std::string server;  // ketama places by it, as nginx by the text of its `server` line: "10.0.0.1:443"
    std::uint32_t weight = 1;  // 1 to kMaxWeight
    std::uint16_t bridge = 0;  // what a choice says: an index into the caller's bridge table
    friend bool operator==(const PlacementMember&, const PlacementMember&) = default;
};

// A bridge that was away, and so much of its keys that are its own again: of 65536.
struct ReturningBridge {
    std::uint16_t bridge = 0;
    std::uint16_t share = 0;
    friend bool operator==(const ReturningBridge&, const ReturningBridge&) = default;
};

struct Choices {
    std::uint32_t row = 0;
    splice_placement_row bridges{{SPLICE_NO_BRIDGE, SPLICE_NO_BRIDGE, SPLICE_NO_BRIDGE}};
};

// XXH64 with seed 0 (xxHash): the hash of every key, but for ketama's CRC-32.
[[nodiscard]] std::uint64_t hash_key_bytes(std::string_view key) noexcept;

// Immutable once built; any number of threads may read it.
class Placement {
  public:
    // `rows`: 1 to kMaxTableRows; ketama's table has its ring's points instead. An empty list of members is
    // no error: every choice is SPLICE_NO_BRIDGE. Errors (a weight with jump, two members of one name) are
    // sentences.
    // `before`: one of the same service that this is to follow, or null. The result does not depend on it;
    // where few members differ, it is there sooner.
    static std::expected<Placement, std::string> build(Algorithm algorithm,
                                                       std::span<const PlacementMember> members,
                                                       std::uint32_t rows, const Placement* before = nullptr);
    // Whether build() of these would give the same.
    [[nodiscard]] bool is_of(Algorithm algorithm, std::span<const PlacementMember> members,
                             std::uint32_t rows) const;

    [[nodiscard]] Choices choose(std::string_view key) const noexcept;
    // The key has the first `subset` (2 to SPLICE_CHOICES) bridges of its row, and the source one of them:
    // that comes first, the others after it in the row's order. Which one is told by rendezvous of the source
    // and the bridges' names, so when a bridge leaves the subset only its own sources move.
    [[nodiscard]] Choices choose_in_subset(std::string_view key, std::string_view source,
                                           std::uint32_t subset) const noexcept;
    // This table with the rows that splice_ramp_moves() names out of another of as many rows; nothing where
    // one of them is a ring, or has other rows.
    [[nodiscard]] std::optional<Placement> with_rows_of(const Placement& other, std::uint16_t ramp) const;
    // This table, in which some bridges are returning: keys that go to one of them here and are not yet its
    // own again go where `without` sends them, the same service's table without any of these bridges. With a
    // greater share the same keys are back and more. Where two tables differ in keys of other bridges, too
    // (maglev, jump), these move with the greatest share.
    [[nodiscard]] Placement with_returning(const Placement& without,
                                           std::span<const ReturningBridge> returning) const;
    // The choices of a row, for a flow that was refused by an earlier one; none when the row is not there.
    [[nodiscard]] splice_placement_row row(std::uint32_t index) const noexcept;
    // The whole table: what the kernel's map holds. Rows are found by splice_placement_row_of() but for
    // ketama.
    [[nodiscard]] std::span<const splice_placement_row> rows() const noexcept { return rows_; }
    [[nodiscard]] Algorithm algorithm() const noexcept { return algorithm_; }

  private:
    Placement() = default;
    void index_points();
    // ketama: the row of the first point at or after the hash; after the last one the ring begins again.
    [[nodiscard]] std::uint32_t row_of_point(std::uint32_t hash) const noexcept;
    Algorithm algorithm_ = Algorithm::rendezvous;
    std::vector<splice_placement_row> rows_;
    std::vector<std::uint32_t> points_;  // ketama: ascending, one a row
    // ketama: by the hash's upper bits the first point at or after the least hash that has them, so that a
    // look-up passes over one point or two.
    std::vector<std::uint32_t> first_points_;
    unsigned upper_bits_shift_ = 0;
    std::vector<std::uint64_t> seeds_;      // by bridge: the hash of its name
    std::vector<PlacementMember> members_;  // as build() was given them
    std::uint32_t asked_rows_ = 0;          // 0: not made by build() alone
};

}  // namespace splice
