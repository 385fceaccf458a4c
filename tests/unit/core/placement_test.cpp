#include "libsplice/core/placement/placement.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <random>
#include <ranges>
#include <set>

#include "libsplice/base/limits.hpp"
#include "libsplice/core/placement/builders.hpp"
#include "libsplice/datapath/choice.h"

namespace splice {
namespace {

constexpr std::array kAlgorithms = {Algorithm::rendezvous, Algorithm::maglev, Algorithm::ketama,
                                    Algorithm::jump};
constexpr std::uint32_t kRows = 1U << 16;

PlacementMember member(unsigned number, std::uint32_t weight = 1) {
    return {.name = "b" + std::to_string(number),
            .server = "10.0.0." + std::to_string(number) + ":443",
            .weight = weight,
            .bridge = static_cast<std::uint16_t>(number)};
}

std::vector<PlacementMember> fleet(unsigned count, std::uint32_t weight = 1) {
    std::vector<PlacementMember> members;
    for (unsigned number = 1; number <= count; ++number) members.push_back(member(number, weight));
    return members;
}

Placement place(Algorithm algorithm, const std::vector<PlacementMember>& members,
                std::uint32_t rows = kRows) {
    auto placement = Placement::build(algorithm, members, rows);
    REQUIRE_MESSAGE(placement.has_value(), placement.error());
    return *std::move(placement);
}

std::map<std::uint16_t, double> shares(const Placement& placement, std::size_t choice = 0) {
    std::map<std::uint16_t, double> shares;
    const double row_share = 1.0 / static_cast<double>(placement.rows().size());
    for (const auto& row : placement.rows()) shares[row.choices[choice]] += row_share;
    return shares;
}

std::vector<std::uint16_t> choices_of(const splice_placement_row& row) {
    std::vector<std::uint16_t> choices(std::begin(row.choices), std::end(row.choices));
    while (!choices.empty() && choices.back() == SPLICE_NO_BRIDGE) choices.pop_back();
    return choices;
}

bool same_rows(const Placement& a, const Placement& b) {
    return std::ranges::equal(a.rows(), b.rows(),
                              [](const auto& x, const auto& y) { return choices_of(x) == choices_of(y); });
}

// XXH64 over the choices of every row, as little-endian 16-bit words: a table in eight bytes.
std::uint64_t fingerprint(const Placement& placement) {
    const auto rows = placement.rows();
    return hash_key_bytes({reinterpret_cast<const char*>(rows.data()), rows.size_bytes()});
}

TEST_CASE("an algorithm is read and printed by its name") {
    for (const Algorithm algorithm : kAlgorithms) {
        CHECK(parse_algorithm(to_string(algorithm)) == algorithm);
    }
    CHECK(parse_algorithm("Ketama").error() == "expected rendezvous, maglev, ketama or jump");
}

TEST_CASE("a key's hash is XXH64 with seed 0") {
    CHECK(hash_key_bytes("") == 0xef46db3751d8e999);
    CHECK(hash_key_bytes("abc") == 0x44bc2cf5ad770999);
}

TEST_CASE("a key's row is its hash's top bits, and row() gives the same choices again") {
    const Placement placement = place(Algorithm::rendezvous, fleet(5));
    for (const char* key : {"/", "/a", "/index.html?q=1"}) {
        const Choices choices = placement.choose(key);
        CHECK(choices.row == hash_key_bytes(key) >> 48);
        CHECK(choices_of(choices.bridges) == choices_of(placement.row(choices.row)));
        CHECK(choices_of(choices.bridges).size() == 3);
    }
    CHECK(choices_of(placement.row(kRows)).empty());
}

TEST_CASE("no bridge at all is no error: every choice is none") {
    for (const Algorithm algorithm : kAlgorithms) {
        const Placement placement = place(algorithm, {});
        CHECK(choices_of(placement.choose("/a").bridges).empty());
        CHECK(choices_of(placement.row(0)).empty());
        CHECK(placement.rows().size() == (algorithm == Algorithm::ketama ? 0 : kRows));
    }
}

TEST_CASE("every row has as many choices as there are bridges, at most three, all different") {
    for (const Algorithm algorithm : kAlgorithms) {
        for (const unsigned count : {1U, 2U, 3U, 4U, 20U}) {
            CAPTURE(to_string(algorithm));
            CAPTURE(count);
            const Placement placement = place(algorithm, fleet(count), 1021);
            for (const auto& row : placement.rows()) {
                const auto choices = choices_of(row);
                REQUIRE(choices.size() == std::min(count, 3U));
                REQUIRE(std::set(choices.begin(), choices.end()).size() == choices.size());
                REQUIRE(std::ranges::all_of(choices,
                                            [&](auto bridge) { return bridge >= 1 && bridge <= count; }));
            }
        }
    }
}

TEST_CASE("a table may have any number of rows from one on") {
    for (const Algorithm algorithm : {Algorithm::rendezvous, Algorithm::maglev, Algorithm::jump}) {
        for (const std::uint32_t rows : {1U, 2U, 3U, 4U, 7U, 1000U}) {
            const Placement placement = place(algorithm, fleet(9), rows);
            CHECK(placement.rows().size() == rows);
            CHECK(placement.choose("/a").row < rows);
        }
    }
}

TEST_CASE("with rendezvous only the rows of a bridge that left move, each to its second choice") {
    const std::vector<std::vector<PlacementMember>> fleets = {
        fleet(10), {member(1, 1), member(2, 2), member(3, 100), member(4, 2), member(5, 7)}};
    for (const auto& members : fleets) {
        const Placement before = place(Algorithm::rendezvous, members);
        for (const PlacementMember& gone : members) {
            std::vector<PlacementMember> rest = members;
            std::erase_if(rest, [&](const auto& other) { return other.name == gone.name; });
            const Placement after = place(Algorithm::rendezvous, rest);
            for (std::uint32_t row = 0; row < kRows; ++row) {
                auto expected = choices_of(before.row(row));
                std::erase(expected, gone.bridge);
                auto actual = choices_of(after.row(row));
                actual.resize(expected.size());
                REQUIRE(actual == expected);
            }
        }
    }
}

TEST_CASE("with rendezvous a bridge whose weight rises takes rows and loses none") {
    const Placement before = place(Algorithm::rendezvous, {member(1), member(2), member(3)});
    const Placement after = place(Algorithm::rendezvous, {member(1), member(2, 3), member(3)});
    std::uint32_t taken = 0;
    for (std::uint32_t row = 0; row < kRows; ++row) {
        const auto was = before.row(row).choices[0];
        const auto is = after.row(row).choices[0];
        if (was != is) {
            REQUIRE(is == 2);
            ++taken;
        }
    }
    CHECK(taken > kRows / 5);  // from 1/3 to 3/5 of the table
}

TEST_CASE(
    "the order of the bridges and their places in the caller's table do not matter to rendezvous or maglev") {
    const std::vector<PlacementMember> members = {member(1), member(2, 3), member(3), member(4, 3),
                                                  member(5, 2)};
    std::vector<PlacementMember> reversed(members.rbegin(), members.rend());
    for (const Algorithm algorithm : {Algorithm::rendezvous, Algorithm::maglev}) {
        const Placement placement = place(algorithm, members);
        CHECK(same_rows(placement, place(algorithm, reversed)));
        auto renumbered = members;
        for (auto& other : renumbered) other.bridge += 100;
        const Placement elsewhere = place(algorithm, renumbered);
        for (std::uint32_t row = 0; row < kRows; ++row) {
            REQUIRE(elsewhere.row(row).choices[0] == placement.row(row).choices[0] + 100);
        }
    }
}

TEST_CASE("bridges of one weight get equal shares of every choice, within five standard deviations") {
    const Placement placement = place(Algorithm::rendezvous, fleet(10));
    const double deviation = std::sqrt(0.1 * 0.9 / kRows);
    for (const std::size_t choice : {0, 1, 2}) {
        for (const auto& [bridge, share] : shares(placement, choice)) {
            CAPTURE(bridge);
            CHECK(std::abs(share - 0.1) < 5 * deviation);
        }
    }
}

TEST_CASE("a bridge's rows go to all others alike when it leaves") {
    const Placement placement = place(Algorithm::rendezvous, fleet(11));
    std::map<std::uint16_t, double> heirs;
    double rows = 0;
    for (const auto& row : placement.rows()) {
        if (row.choices[0] != 4) continue;
        ++rows;
        ++heirs[row.choices[1]];
    }
    CHECK(heirs.size() == 10);
    for (const auto& [heir, count] : heirs) CHECK(std::abs(count / rows - 0.1) < 5 * std::sqrt(0.09 / rows));
}

TEST_CASE("weights are honoured from 1 to 256") {
    const std::vector<PlacementMember> members = {member(1, 1), member(2, 2), member(3, 5), member(4, 40),
                                                  member(5, 256)};
    for (const Algorithm algorithm : {Algorithm::rendezvous, Algorithm::maglev}) {
        CAPTURE(to_string(algorithm));
        auto share = shares(place(algorithm, members, 1U << 20));
        for (const PlacementMember& each : members) {
            const double fair = each.weight / 304.0;
            CAPTURE(each.name);
            CHECK(std::abs(share[each.bridge] - fair) < 5 * std::sqrt(fair * (1 - fair) / (1U << 20)));
        }
    }
}

TEST_CASE("among a thousand bridges of two weights the heavy ones get twice the rows") {
    std::vector<PlacementMember> members = fleet(1000);
    for (auto& each : members) each.weight = each.bridge <= 500 ? 2 : 1;
    const Placement placement = place(Algorithm::rendezvous, members);
    double heavy = 0;
    for (const auto& row : placement.rows()) heavy += row.choices[0] <= 500;
    const double fair = 2.0 / 3;
    CHECK(std::abs(heavy / kRows - fair) < 5 * std::sqrt(fair * (1 - fair) / kRows));
}

TEST_CASE("maglev gives bridges of one weight the same number of rows, give or take one") {
    auto even = shares(place(Algorithm::maglev, fleet(10)));
    const auto [least, most] = std::ranges::minmax(std::views::values(even));
    CHECK((most - least) * kRows < 1.5);
}

TEST_CASE("maglev moves few rows of the bridges that stay when one leaves") {
    auto members = fleet(10);
    const Placement before = place(Algorithm::maglev, members);
    members.erase(members.begin() + 3);
    const Placement after = place(Algorithm::maglev, members);
    std::uint32_t disturbed = 0;
    for (std::uint32_t row = 0; row < kRows; ++row) {
        const auto was = before.row(row).choices[0];
        disturbed += was != 4 && was != after.row(row).choices[0];
    }
    CHECK(disturbed > 0);
    CHECK(disturbed < kRows / 10);
}

TEST_CASE("maglev's second choice is the next other bridge down the table, round its end") {
    const Placement placement = place(Algorithm::maglev, fleet(4), 64);
    for (std::uint32_t row = 0; row < 64; ++row) {
        std::vector<std::uint16_t> expected;
        for (std::uint32_t next = row; expected.size() < 3; ++next) {
            const auto bridge = placement.row(next % 64).choices[0];
            if (std::ranges::find(expected, bridge) == expected.end()) expected.push_back(bridge);
        }
        REQUIRE(choices_of(placement.row(row)) == expected);
    }
}

TEST_CASE("jump's buckets are those of the paper's function") {
    CHECK(placement::jump_bucket(1, 1) == 0);
    CHECK(placement::jump_bucket(42, 57) == 43);
    CHECK(placement::jump_bucket(0xdead10cc, 1) == 0);
    CHECK(placement::jump_bucket(0xdead10cc, 666) == 361);
    CHECK(placement::jump_bucket(256, 1024) == 520);
}

TEST_CASE("with jump, a bridge added at the end takes its share and moves nothing else") {
    const Placement before = place(Algorithm::jump, fleet(9));
    const Placement after = place(Algorithm::jump, fleet(10));
    double moved = 0;
    for (std::uint32_t row = 0; row < kRows; ++row) {
        const auto is = after.row(row).choices[0];
        if (before.row(row).choices[0] == is) continue;
        REQUIRE(is == 10);
        ++moved;
    }
    CHECK(std::abs(moved / kRows - 0.1) < 5 * std::sqrt(0.09 / kRows));
    for (const auto& [bridge, share] : shares(after))
        CHECK(std::abs(share - 0.1) < 5 * std::sqrt(0.09 / kRows));
}

TEST_CASE("what cannot be placed is refused in a sentence") {
    const auto error = [](Algorithm algorithm, const std::vector<PlacementMember>& members,
                          std::uint32_t rows = 16) {
        const auto placement = Placement::build(algorithm, members, rows);
        return placement ? "" : placement.error();
    };
    CHECK(error(Algorithm::rendezvous, {member(1), member(2), member(1)}) == "two bridges are named \"b1\"");
    CHECK(error(Algorithm::rendezvous, {member(1, 0)}) == "bridge \"b1\": weight 0 is not from 1 to 256");
    CHECK(error(Algorithm::rendezvous, {member(1, 257)}) == "bridge \"b1\": weight 257 is not from 1 to 256");
    CHECK(error(Algorithm::jump, {member(1), member(2, 2)}) ==
          "bridge \"b2\": weight 2: the algorithm jump knows no weights; leave it out or use rendezvous");
    CHECK(error(Algorithm::rendezvous, fleet(1), 0) == "a table of 0 rows: it takes 1 to 16777216");
    CHECK(error(Algorithm::maglev, fleet(1), kMaxTableRows + 1) ==
          "a table of 16777217 rows: it takes 1 to 16777216");
    CHECK(error(Algorithm::ketama, fleet(410, 256)) ==
          "the weights of all bridges add up to 104960; with ketama at most 104857");
}

TEST_CASE("tables are the same on every host and with every version: these are theirs") {
    const std::vector<PlacementMember> weighted = {member(1), member(2, 2), member(3, 3), member(4)};
    CHECK(fingerprint(place(Algorithm::rendezvous, fleet(5))) == 0x382c7bcbbb37844a);
    CHECK(fingerprint(place(Algorithm::rendezvous, weighted)) == 0x688429989b26a9f9);
    CHECK(fingerprint(place(Algorithm::maglev, weighted)) == 0x7420a0ea6e96e20e);
    CHECK(fingerprint(place(Algorithm::jump, fleet(5))) == 0x71add84de499ac1d);
    CHECK(fingerprint(place(Algorithm::ketama, weighted)) == 0x2b1cce1553d24caf);
}

TEST_CASE("ketama's ring has 160 points for each unit of weight") {
    CHECK(place(Algorithm::ketama, fleet(1)).rows().size() == 160);
    CHECK(place(Algorithm::ketama, {member(1, 2), member(2, 3)}).rows().size() == 800);
}

TEST_CASE("where ketama's points fall together the bridge that is listed first keeps the place") {
    std::vector<PlacementMember> members = fleet(2);
    members[1].server = members[0].server;
    members[1].weight = 2;
    const Placement placement = place(Algorithm::ketama, members);
    CHECK(placement.rows().size() == 320);
    auto share = shares(placement);
    CHECK(share[1] == doctest::Approx(0.5));
    CHECK(share[2] == doctest::Approx(0.5));
}

TEST_CASE("ketama's table does not depend on the number of rows that is asked for") {
    CHECK(same_rows(place(Algorithm::ketama, fleet(3), 16), place(Algorithm::ketama, fleet(3), 1024)));
}

// The corpus was generated by nginx: nine servers of weight 100, a thousand URIs and the server of each.
TEST_CASE("ketama chooses nginx's server for a thousand URIs") {
    const char* const corpora = std::getenv("SPLICELB_CORPORA");
    std::ifstream file;
    if (corpora) file.open(std::string(corpora) + "/hash/nginx-ketama-uri-to-server.csv");
    if (!file.is_open()) {
        std::cout << "SKIP 1000 ketama choices of nginx: SPLICELB_CORPORA does not name the corpora\n";
        return;
    }
    const std::vector<PlacementMember> servers = fleet(9, 100);
    const Placement placement = place(Algorithm::ketama, servers);
    int checked = 0;
    for (std::string line; std::getline(file, line); ++checked) {
        const auto comma = line.rfind(',');
        const std::string uri = line.substr(0, comma);
        CAPTURE(uri);
        const auto bridge = placement.choose(uri).bridges.choices[0];
        CHECK(servers.at(bridge - 1U).server == line.substr(comma + 1));
    }
    CHECK(checked >= 1000);
}

}  // namespace

TEST_CASE("a table that follows another is the one that is built from nothing") {
    std::mt19937 random(7);
    const auto draw = [&](unsigned below) {
        return std::uniform_int_distribution<unsigned>(0, below - 1)(random);
    };
    std::vector<PlacementMember> members;
    for (unsigned i = 0; i < 40; ++i)
        members.push_back({.name = "b" + std::to_string(i),
                           .server = {},
                           .weight = 1 + i % 3,
                           .bridge = static_cast<std::uint16_t>(i)});
    auto before = Placement::build(Algorithm::rendezvous, members, 4096).value();
    std::uint16_t next_bridge = 40;
    for (int round = 0; round < 60; ++round) {
        // Few changes mostly, and sometimes so many that nearly nobody is left.
        for (unsigned changes = draw(20) == 0 ? 38 : draw(4); changes-- > 0;) {
            const unsigned kind = draw(4);
            if (kind == 0 || members.size() < 2)
                members.push_back({.name = "n" + std::to_string(next_bridge),
                                   .server = {},
                                   .weight = 1 + draw(5),
                                   .bridge = next_bridge}),
                    ++next_bridge;
            else if (kind == 1)
                members.erase(members.begin() + draw(static_cast<unsigned>(members.size())));
            else if (kind == 2)
                members[draw(static_cast<unsigned>(members.size()))].weight = 1 + draw(5);
            else
                members[draw(static_cast<unsigned>(members.size()))].bridge =
                    next_bridge++;  // another address
        }
        const auto after = Placement::build(Algorithm::rendezvous, members, 4096, &before).value();
        const auto fresh = Placement::build(Algorithm::rendezvous, members, 4096).value();
        CAPTURE(round);
        REQUIRE(std::ranges::equal(after.rows(), fresh.rows(), [](const auto& one, const auto& other) {
            return std::ranges::equal(one.choices, other.choices);
        }));
        CHECK(after.is_of(Algorithm::rendezvous, members, 4096));
        CHECK_FALSE(after.is_of(Algorithm::rendezvous, members, 4097));
        before = after;
    }
}

TEST_CASE("a placement of no members is followed by one of some, and the other way round") {
    const std::vector<PlacementMember> two = {{.name = "a", .server = {}, .weight = 1, .bridge = 0},
                                              {.name = "b", .server = {}, .weight = 1, .bridge = 1}};
    const auto none = Placement::build(Algorithm::rendezvous, {}, 64).value();
    const auto some = Placement::build(Algorithm::rendezvous, two, 64, &none).value();
    CHECK(some.row(5).choices[0] != SPLICE_NO_BRIDGE);
    CHECK(Placement::build(Algorithm::rendezvous, {}, 64, &some).value().row(5).choices[0] ==
          SPLICE_NO_BRIDGE);
}

TEST_CASE("a subset: the name has so many bridges, each source one of them, evenly") {
    std::vector<PlacementMember> members;
    for (std::uint16_t i = 0; i < 6; ++i)
        members.push_back({.name = "b" + std::to_string(i), .server = {}, .weight = 1, .bridge = i});
    const auto placement = Placement::build(Algorithm::rendezvous, members, 4096).value();
    const Choices whole = placement.choose("www.example.com");
    std::map<std::uint16_t, int> counts;
    for (int i = 0; i < 3000; ++i) {
        const Choices one = placement.choose_in_subset("www.example.com", "client" + std::to_string(i), 3);
        CHECK(one.row == whole.row);
        ++counts[one.bridges.choices[0]];
        auto mine = std::to_array(one.bridges.choices);
        auto all = std::to_array(whole.bridges.choices);
        std::ranges::sort(mine);
        std::ranges::sort(all);
        CHECK(mine == all);
    }
    REQUIRE(counts.size() == 3);
    for (const auto& [bridge, count] : counts) CHECK(std::abs(count - 1000) < 150);
    // Of two only the first two.
    for (int i = 0; i < 100; ++i) {
        const auto one = placement.choose_in_subset("www.example.com", "client" + std::to_string(i), 2);
        CHECK(one.bridges.choices[2] == whole.bridges.choices[2]);
    }
}

TEST_CASE("a subset: when one of its bridges leaves, only that bridge's sources move") {
    std::vector<PlacementMember> members;
    for (std::uint16_t i = 0; i < 6; ++i)
        members.push_back({.name = "b" + std::to_string(i), .server = {}, .weight = 1, .bridge = i});
    const auto before = Placement::build(Algorithm::rendezvous, members, 4096).value();
    const std::uint16_t lost = before.choose("name").bridges.choices[1];
    std::erase_if(members, [&](const PlacementMember& member) { return member.bridge == lost; });
    const auto after = Placement::build(Algorithm::rendezvous, members, 4096).value();
    int moved = 0;
    int newcomer = 0;
    for (int i = 0; i < 3000; ++i) {
        const std::string source = "client" + std::to_string(i);
        const auto from = before.choose_in_subset("name", source, 3).bridges.choices[0];
        const auto to = after.choose_in_subset("name", source, 3).bridges.choices[0];
        if (from == to) continue;
        ++moved;
        // The subset's new bridge takes its share of every source.
        if (from != lost) ++newcomer;
    }
    CHECK(moved - newcomer > 850);
    CHECK(newcomer > 400);
    CHECK(newcomer < 850);
}

TEST_CASE("rows of another table are taken by their share, and with a greater share all of them again") {
    std::vector<PlacementMember> members;
    for (std::uint16_t i = 0; i < 6; ++i)
        members.push_back({.name = "b" + std::to_string(i), .server = {}, .weight = 1, .bridge = i});
    const auto now = Placement::build(Algorithm::rendezvous, members, 4096).value();
    const auto then = Placement::build(Algorithm::maglev, members, 4096).value();
    std::set<std::uint32_t> before;
    for (const std::uint16_t ramp : std::to_array<std::uint16_t>({0, 655, 6554, 32768})) {
        const auto mixed = now.with_rows_of(then, ramp);
        REQUIRE(mixed);
        std::set<std::uint32_t> moved;
        for (std::uint32_t row = 0; row < 4096; ++row) {
            const bool moves = splice_ramp_moves(row, ramp) != 0;
            if (moves) moved.insert(row);
            const auto& wanted = moves ? then.rows()[row] : now.rows()[row];
            CHECK(std::ranges::equal(mixed->rows()[row].choices, wanted.choices));
        }
        CHECK(std::abs(static_cast<double>(moved.size()) - ramp / 16.0) < 64);
        CHECK(std::ranges::includes(moved, before));
        before = moved;
    }
    CHECK_FALSE(now.with_rows_of(Placement::build(Algorithm::ketama, members, 4096).value(), 100));
    CHECK_FALSE(now.with_rows_of(Placement::build(Algorithm::maglev, members, 4095).value(), 100));
}

TEST_CASE("a bridge that returns has its keys back one share after the other, and each of them moves once") {
    for (const Algorithm algorithm :
         {Algorithm::rendezvous, Algorithm::maglev, Algorithm::ketama, Algorithm::jump}) {
        CAPTURE(to_string(algorithm));
        std::vector<PlacementMember> members;
        for (std::uint16_t i = 0; i < 6; ++i)
            members.push_back({.name = "b" + std::to_string(i),
                               .server = "10.0.0." + std::to_string(i),
                               .weight = 1,
                               .bridge = i});
        const auto whole = Placement::build(algorithm, members, 4096).value();
        constexpr std::uint16_t kBack = 2;
        std::erase_if(members, [](const PlacementMember& member) { return member.bridge == kBack; });
        const auto without = Placement::build(algorithm, members, 4096).value();
        constexpr int kKeys = 3000;
        const auto owners = [](const Placement& placement) {
            std::vector<std::uint16_t> first;
            for (int i = 0; i < kKeys; ++i)
                first.push_back(placement.choose("/" + std::to_string(i)).bridges.choices[0]);
            return first;
        };
        const auto in_the_end = owners(whole);
        const auto at_first = owners(without);
        auto before = at_first;
        std::size_t moves = 0;
        for (const int percent : {1, 10, 25, 50, 75, 99}) {
            const ReturningBridge back{.bridge = kBack, .share = static_cast<std::uint16_t>(655 * percent)};
            const auto now = owners(whole.with_returning(without, {&back, 1}));
            int moved = 0;
            int wanted = 0;
            for (std::size_t i = 0; i < now.size(); ++i) {
                CHECK((now[i] == at_first[i] || now[i] == in_the_end[i]));
                if (now[i] != before[i]) CHECK(now[i] == in_the_end[i]);
                moves += now[i] != before[i] ? 1 : 0;
                moved += now[i] != at_first[i] ? 1 : 0;
                wanted += in_the_end[i] != at_first[i] ? 1 : 0;
            }
            CHECK(std::abs(moved - wanted * percent / 100) < 60);
            before = now;
        }
        CHECK(moves > 300);
    }
}

TEST_CASE("bridges that return each have their own share; with nobody else they have all") {
    std::vector<PlacementMember> members;
    for (std::uint16_t i = 0; i < 3; ++i)
        members.push_back({.name = "b" + std::to_string(i), .server = {}, .weight = 1, .bridge = i});
    const auto whole = Placement::build(Algorithm::rendezvous, members, 4096).value();
    const auto without = Placement::build(Algorithm::rendezvous, {&members[0], 1}, 4096).value();
    const std::vector<ReturningBridge> returning{{.bridge = 1, .share = 6554}, {.bridge = 2, .share = 32768}};
    const auto mixed = whole.with_returning(without, returning);
    const auto count = [](const Placement& placement, std::uint16_t bridge) {
        return static_cast<double>(std::ranges::count_if(
            placement.rows(), [&](const auto& row) { return row.choices[0] == bridge; }));
    };
    CHECK(std::abs(count(mixed, 1) / count(whole, 1) - 0.1) < 0.03);
    CHECK(std::abs(count(mixed, 2) / count(whole, 2) - 0.5) < 0.06);
    const auto nobody = Placement::build(Algorithm::rendezvous, {}, 4096).value();
    CHECK(count(whole.with_returning(nobody, returning), 1) == count(whole, 1));
}

}  // namespace splice
