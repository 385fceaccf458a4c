#include "libsplice/core/placement/placement.hpp"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <optional>

#include "libsplice/base/limits.hpp"
#include "libsplice/core/placement/builders.hpp"
#include "libsplice/datapath/choice.h"

namespace splice {
namespace {

constexpr std::array<std::string_view, 4> kAlgorithmNames = {"rendezvous", "maglev", "ketama", "jump"};

std::vector<PlacementMember> sorted_by_name(std::span<const PlacementMember> members) {
    std::vector<PlacementMember> sorted(members.begin(), members.end());
    std::ranges::sort(sorted, {}, &PlacementMember::name);
    return sorted;
}

std::optional<std::string> find_defect(Algorithm algorithm, std::span<const PlacementMember> sorted) {
    const auto twin = std::ranges::adjacent_find(sorted, {}, &PlacementMember::name);
    if (twin != sorted.end()) return "two bridges are named \"" + twin->name + '"';
    std::uint64_t weights = 0;
    for (const PlacementMember& member : sorted) {
        const std::string whose = "bridge \"" + member.name + "\": weight " + std::to_string(member.weight);
        if (member.weight < 1 || member.weight > kMaxWeight) {
            return whose + " is not from 1 to " + std::to_string(kMaxWeight);
        }
        if (algorithm == Algorithm::jump && member.weight != 1) {
            return whose + ": the algorithm jump knows no weights; leave it out or use rendezvous";
        }
        weights += member.weight;
    }
    if (algorithm == Algorithm::ketama && weights > kMaxTableRows / placement::kKetamaPointsPerWeight) {
        return "the weights of all bridges add up to " + std::to_string(weights) + "; with ketama at most " +
               std::to_string(kMaxTableRows / placement::kKetamaPointsPerWeight);
    }
    return std::nullopt;
}

}  // namespace

std::expected<Algorithm, std::string> parse_algorithm(std::string_view text) {
    const auto found = std::ranges::find(kAlgorithmNames, text);
    if (found == kAlgorithmNames.end()) return std::unexpected("expected rendezvous, maglev, ketama or jump");
    return static_cast<Algorithm>(found - kAlgorithmNames.begin());
}

std::string_view to_string(Algorithm algorithm) noexcept {
    return kAlgorithmNames[static_cast<std::size_t>(algorithm)];
}

std::uint64_t hash_key_bytes(std::string_view key) noexcept {
    return XXH64(key.data(), key.size(), 0);
}

std::expected<Placement, std::string> Placement::build(Algorithm algorithm,
                                                       std::span<const PlacementMember> members,
                                                       std::uint32_t rows, const Placement* before) {
    if (rows < 1 || rows > kMaxTableRows) {
        return std::unexpected("a table of " + std::to_string(rows) + " rows: it takes 1 to " +
                               std::to_string(kMaxTableRows));
    }
    const std::vector<PlacementMember> sorted = sorted_by_name(members);
    if (auto defect = find_defect(algorithm, sorted)) return std::unexpected(std::move(*defect));

    Placement built;
    built.algorithm_ = algorithm;
    built.members_.assign(members.begin(), members.end());
    built.asked_rows_ = rows;
    for (const PlacementMember& member : sorted) {
        if (member.bridge >= built.seeds_.size()) built.seeds_.resize(member.bridge + 1UZ);
        built.seeds_[member.bridge] = hash_key_bytes(member.name);
    }
    if (sorted.empty()) {
        if (algorithm != Algorithm::ketama) built.rows_.assign(rows, placement::kNoChoices);
        return built;
    }
    switch (algorithm) {
        case Algorithm::rendezvous:
            if (before && before->algorithm_ == algorithm && before->asked_rows_ == rows)
                built.rows_ =
                    placement::rendezvous_rows_after(before->rows_, sorted_by_name(before->members_), sorted);
            else
                built.rows_ = placement::rendezvous_rows(sorted, rows);
            break;
        case Algorithm::maglev:
            built.rows_ = placement::maglev_rows(sorted, rows);
            break;
        case Algorithm::jump:
            built.rows_ = placement::jump_rows(members, rows);
            break;
        case Algorithm::ketama: {
            placement::Ring ring = placement::ketama_ring(members);
            built.points_ = std::move(ring.points);
            built.rows_ = std::move(ring.rows);
            built.index_points();
            break;
        }
    }
    return built;
}

bool Placement::is_of(Algorithm algorithm, std::span<const PlacementMember> members,
                      std::uint32_t rows) const {
    return algorithm_ == algorithm && asked_rows_ == rows && std::ranges::equal(members_, members);
}

void Placement::index_points() {
    const auto bits = static_cast<unsigned>(std::bit_width(points_.size()));
    upper_bits_shift_ = 32 - bits;
    first_points_.reserve(1UZ << bits);
    std::uint32_t point = 0;
    for (std::uint64_t upper = 0; upper < 1UZ << bits; ++upper) {
        while (point < points_.size() && points_[point] < upper << upper_bits_shift_) ++point;
        first_points_.push_back(point);
    }
}

std::uint32_t Placement::row_of_point(std::uint32_t hash) const noexcept {
    std::uint32_t index = first_points_[hash >> upper_bits_shift_];
    while (index < points_.size() && points_[index] < hash) ++index;
    return index == points_.size() ? 0 : index;
}

Choices Placement::choose(std::string_view key) const noexcept {
    if (rows_.empty()) return {};
    std::uint32_t index = 0;
    if (algorithm_ == Algorithm::ketama) {
        index = row_of_point(placement::ketama_hash(key));
    } else {
        index = splice_placement_row_of(hash_key_bytes(key), static_cast<std::uint32_t>(rows_.size()));
    }
    return {index, rows_[index]};
}

Choices Placement::choose_in_subset(std::string_view key, std::string_view source,
                                    std::uint32_t subset) const noexcept {
    Choices choices = choose(key);
    auto& bridges = choices.bridges.choices;
    const std::uint64_t from = hash_key_bytes(source);
    std::size_t best = 0;
    std::uint64_t highest = 0;
    for (std::size_t rank = 0; rank < std::min<std::size_t>(subset, SPLICE_CHOICES); ++rank) {
        if (bridges[rank] == SPLICE_NO_BRIDGE) break;
        const std::uint64_t draw = placement::mix64(from ^ seeds_[bridges[rank]]);
        if (draw <= highest) continue;
        highest = draw;
        best = rank;
    }
    std::rotate(bridges, bridges + best, bridges + best + 1);
    return choices;
}

std::optional<Placement> Placement::with_rows_of(const Placement& other, std::uint16_t ramp) const {
    const bool is_ring = algorithm_ == Algorithm::ketama || other.algorithm_ == Algorithm::ketama;
    if (is_ring || rows_.size() != other.rows_.size()) return {};
    Placement mixed = *this;
    mixed.asked_rows_ = 0;
    for (std::uint32_t i = 0; i < rows_.size(); ++i) {
        if (splice_ramp_moves(i, ramp)) mixed.rows_[i] = other.rows_[i];
    }
    return mixed;
}

Placement Placement::with_returning(const Placement& without,
                                    std::span<const ReturningBridge> returning) const {
    if (without.rows_.empty() || without.rows_[0].choices[0] == SPLICE_NO_BRIDGE) return *this;
    std::uint16_t greatest = 0;
    for (const ReturningBridge& each : returning) greatest = std::max(greatest, each.share);
    Placement mixed = *this;
    mixed.asked_rows_ = 0;
    const bool is_ring = algorithm_ == Algorithm::ketama;
    for (std::uint32_t i = 0; i < rows_.size(); ++i) {
        // A point keeps its place in the order when others come and go before it.
        const std::uint32_t ordered_by = is_ring ? points_[i] : i;
        const auto own = std::ranges::find(returning, rows_[i].choices[0], &ReturningBridge::bridge);
        if (is_ring && own == returning.end()) continue;
        if (splice_ramp_moves(ordered_by, own == returning.end() ? greatest : own->share)) continue;
        mixed.rows_[i] = without.rows_[is_ring ? without.row_of_point(points_[i]) : i];
    }
    return mixed;
}

splice_placement_row Placement::row(std::uint32_t index) const noexcept {
    return index < rows_.size() ? rows_[index] : placement::kNoChoices;
}

namespace placement {

void fill_next_choices(Rows& rows) noexcept {
    // From the end: a row's choices are its own bridge and then those of the row after it. Twice, because the
    // last rows look round the end, where the first pass has just filled row 0.
    splice_placement_row below = kNoChoices;
    for (int pass = 0; pass < 2; ++pass) {
        for (auto row = rows.rbegin(); row != rows.rend(); ++row) {
            const std::uint16_t own = row->choices[0];
            std::size_t filled = 1;
            for (const std::uint16_t other : below.choices) {
                if (filled < SPLICE_CHOICES && other != own) row->choices[filled++] = other;
            }
            below = *row;
        }
    }
}

}  // namespace placement
}  // namespace splice
