// Weighted rendezvous hashing (Thaler and Ravishankar 1998; with weights as by Schindelhauer and Schomaker
// 2005): for each row, every member draws a number u in (0, 1] from its name and the row, and the members
// with the least -log(u) / weight are the row's choices. A member that comes or goes moves its own rows and
// no other.
//
// Every host must build the same table, and libm's logarithm may differ in its last bit between processors,
// so all of it is integers. A logarithm is taken only of the few draws that a cheap bound does not already
// turn away.
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <bit>

#include "libsplice/core/placement/builders.hpp"

namespace splice::placement {
namespace {

// Logarithms are fixed-point numbers with 40 bits behind the point.
constexpr int kPointBits = 40;
constexpr int kSegmentBits = 10;

__extension__ using Wide = unsigned __int128;

// log2 of `mantissa` / 2^62, which is from 1 to below 2, bit by bit: squaring doubles the logarithm.
std::uint64_t log2_of_mantissa(std::uint64_t mantissa) noexcept {
    std::uint64_t log = 0;
    for (int bit = 0; bit < kPointBits; ++bit) {
        mantissa = static_cast<std::uint64_t>(Wide{mantissa} * mantissa >> 62);
        log <<= 1;
        if (mantissa >> 63) {
            log |= 1;
            mantissa >>= 1;
        }
    }
    return log;
}

using LogTable = std::array<std::uint64_t, (1U << kSegmentBits) + 1>;

LogTable make_log_table() noexcept {
    LogTable table;
    for (std::uint64_t i = 0; i + 1 < table.size(); ++i) {
        table[i] = log2_of_mantissa((1ULL << 62) + (i << (62 - kSegmentBits)));
    }
    table.back() = 1ULL << kPointBits;
    return table;
}

// -log2 of the draw as a fraction of 2^64: 0 to 63 << kPointBits. Never rises with the draw. Straight lines
// between the table's points: a weight is honoured to 0.03 %.
std::uint64_t negative_log2(const LogTable& table, std::uint64_t draw) noexcept {
    const std::uint64_t number = (draw >> 1) + 1;  // 1 to 2^63
    const int exponent = 63 - std::countl_zero(number);
    const std::uint64_t fraction = number << (63 - exponent) << 1;  // behind the leading 1
    const std::uint64_t segment = fraction >> (64 - kSegmentBits);
    const std::uint64_t within = fraction << kSegmentBits >> 32;
    const std::uint64_t log = (static_cast<std::uint64_t>(exponent) << kPointBits) + table[segment] +
                              ((table[segment + 1] - table[segment]) * within >> 32);
    return (63ULL << kPointBits) - log;
}

// Never above negative_log2() of the same draw: -log(u) is at least 1 - u.
constexpr std::uint64_t negative_log2_bound(std::uint64_t draw) noexcept {
    return ~draw >> (64 - kPointBits);
}

// The draw of a member in a row; both are hashes already, so two multiplications spread their difference.
constexpr std::uint64_t draw_of(std::uint64_t seed, std::uint64_t row_hash) noexcept {
    const std::uint64_t mixed = (seed ^ row_hash) * 0xff51afd7ed558ccdU;
    return (mixed ^ (mixed >> 32)) * 0xc4ceb9fe1a85ec53U;
}

struct Contestant {
    std::uint64_t seed;
    std::uint32_t weight;
    std::uint16_t bridge;
};

struct Score {
    std::uint64_t distance = 0;  // -log2 of the draw; at most 46 bits, so that a weight times it fits 64
    std::uint64_t draw = 0;
    std::uint32_t weight = 1;
    std::uint16_t bridge = SPLICE_NO_BRIDGE;

    // A tie goes to the greater draw, and then to whoever is there: the contestants come sorted by name.
    [[nodiscard]] bool beats(const Score& other) const noexcept {
        const std::uint64_t mine = distance * other.weight;
        const std::uint64_t theirs = other.distance * weight;
        return mine != theirs ? mine < theirs : draw > other.draw;
    }
};

// The best scores of a row, best first.
class Podium {
  public:
    // True when a draw cannot come among the best, told without its logarithm.
    [[nodiscard]] bool out_of_reach(std::uint64_t draw, std::uint32_t weight) const noexcept {
        return negative_log2_bound(draw) * scores_.back().weight > scores_.back().distance * weight;
    }
    void enter(const Score& score) noexcept {
        std::size_t place = SPLICE_CHOICES;
        while (place > 0 && score.beats(scores_[place - 1])) --place;
        if (place == SPLICE_CHOICES) return;
        std::copy_backward(scores_.begin() + place, scores_.end() - 1, scores_.end());
        scores_[place] = score;
    }
    [[nodiscard]] splice_placement_row row() const noexcept {
        return {{scores_[0].bridge, scores_[1].bridge, scores_[2].bridge}};
    }

  private:
    // Nobody: farther than any draw of any weight.
    static constexpr Score kNobody{.distance = 64ULL << kPointBits};
    std::array<Score, SPLICE_CHOICES> scores_{kNobody, kNobody, kNobody};
};

Contestant contestant(const PlacementMember& member) noexcept {
    return {XXH64(member.name.data(), member.name.size(), 0), member.weight, member.bridge};
}

// One row's contest.
class Contest {
  public:
    Contest(const LogTable& table, std::uint32_t row) noexcept : table_(table), row_hash_(mix64(row)) {}
    void enter(const Contestant& each) noexcept {
        const std::uint64_t draw = draw_of(each.seed, row_hash_);
        if (podium_.out_of_reach(draw, each.weight)) [[likely]]
            return;
        podium_.enter({negative_log2(table_, draw), draw, each.weight, each.bridge});
    }
    [[nodiscard]] splice_placement_row result() const noexcept { return podium_.row(); }

  private:
    const LogTable& table_;
    std::uint64_t row_hash_;
    Podium podium_;
};

std::vector<Contestant> contestants_of(Members members) {
    std::vector<Contestant> contestants;
    contestants.reserve(members.size());
    for (const PlacementMember& member : members) contestants.push_back(contestant(member));
    return contestants;
}

// What is different between two lists of members.
struct Change {
    std::vector<Contestant> fresh;    // new, or other than before
    std::vector<bool> gone;           // by bridge: was a member, and is none as it was
    std::vector<Contestant> staying;  // by bridge
    std::size_t size = 0;
};

bool is_same(const PlacementMember& one, const PlacementMember& other) noexcept {
    return one.name == other.name && one.weight == other.weight && one.bridge == other.bridge;
}

Change compare(Members before, Members now) {
    Change change;
    std::size_t bridges = 0;
    for (const Members members : {before, now})
        for (const PlacementMember& member : members) bridges = std::max(bridges, member.bridge + 1UZ);
    change.gone.resize(bridges);
    change.staying.resize(bridges);
    auto old = before.begin();
    for (const PlacementMember& member : now) {
        for (; old != before.end() && old->name < member.name; ++old, ++change.size)
            change.gone[old->bridge] = true;
        const bool was_there = old != before.end() && old->name == member.name;
        if (was_there && is_same(*old, member)) {
            change.staying[member.bridge] = contestant(member);
        } else {
            change.fresh.push_back(contestant(member));
            ++change.size;
            if (was_there) change.gone[old->bridge] = true;
        }
        if (was_there) ++old;
    }
    for (; old != before.end(); ++old, ++change.size) change.gone[old->bridge] = true;
    return change;
}

}  // namespace

Rows rendezvous_rows(Members sorted_by_name, std::uint32_t rows) {
    const LogTable table = make_log_table();
    const std::vector<Contestant> contestants = contestants_of(sorted_by_name);
    Rows built;
    built.reserve(rows);
    for (std::uint32_t row = 0; row < rows; ++row) {
        Contest contest(table, row);
        for (const Contestant& each : contestants) contest.enter(each);
        built.push_back(contest.result());
    }
    return built;
}

Rows rendezvous_rows_after(const Rows& before, Members members_before, Members sorted_by_name) {
    const Change change = compare(members_before, sorted_by_name);
    const auto rows = static_cast<std::uint32_t>(before.size());
    // Most rows would be made anew.
    if (change.size * SPLICE_CHOICES >= sorted_by_name.size()) return rendezvous_rows(sorted_by_name, rows);
    const LogTable table = make_log_table();
    const std::vector<Contestant> contestants = contestants_of(sorted_by_name);
    const auto is_gone = [&](std::uint16_t bridge) {
        return bridge != SPLICE_NO_BRIDGE && change.gone[bridge];
    };
    Rows built;
    built.reserve(rows);
    for (std::uint32_t row = 0; row < rows; ++row) {
        Contest contest(table, row);
        if (std::ranges::any_of(before[row].choices, is_gone)) {
            for (const Contestant& each : contestants) contest.enter(each);
        } else {
            // Who was not among the best without the newcomers is not among them with these.
            for (const std::uint16_t bridge : before[row].choices)
                if (bridge != SPLICE_NO_BRIDGE) contest.enter(change.staying[bridge]);
            for (const Contestant& each : change.fresh) contest.enter(each);
        }
        built.push_back(contest.result());
    }
    return built;
}

}  // namespace splice::placement
