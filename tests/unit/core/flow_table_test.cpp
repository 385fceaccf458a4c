#include "libsplice/core/flow_table.hpp"

#include <doctest/doctest.h>

#include <array>
#include <vector>

using namespace splice;

namespace {

using Table = FlowTable<int, 2>;
constexpr std::array<std::uint32_t, 2> kLimits{10, 3};

splice_flow_key key(std::uint16_t port) {
    splice_flow_key made{};
    made.client_port = port;
    return made;
}

std::vector<std::uint16_t> expire(Table& table, std::uint32_t now_s) {
    std::vector<std::uint16_t> gone;
    table.expire(now_s, kLimits, [&](Table::Entry& entry) { gone.push_back(entry.first.client_port); });
    return gone;
}

}  // namespace

TEST_CASE("an entry is found by its key until it is erased") {
    Table table;
    Table::Entry* entry = table.insert(key(1), 8, 0);
    REQUIRE(entry);
    entry->second.value = 42;
    REQUIRE(table.find(key(1)) == entry);
    CHECK(table.find(key(1))->second.value == 42);
    CHECK(table.find(key(2)) == nullptr);
    table.erase(*entry);
    CHECK(table.find(key(1)) == nullptr);
    CHECK(table.size() == 0);
}

TEST_CASE("a full table refuses the new and keeps the living") {
    Table table;
    REQUIRE(table.insert(key(1), 2, 0));
    REQUIRE(table.insert(key(2), 2, 0));
    CHECK(table.insert(key(3), 2, 0) == nullptr);
    CHECK(table.find(key(1)));
    CHECK(table.find(key(2)));
}

TEST_CASE("an entry expires at its list's limit, not a second before") {
    Table table;
    REQUIRE(table.insert(key(1), 8, 100));
    CHECK(table.next_expiry_s(kLimits) == 110);
    CHECK(expire(table, 109).empty());
    CHECK(expire(table, 110) == std::vector<std::uint16_t>{1});
    CHECK_FALSE(table.next_expiry_s(kLimits).has_value());
}

TEST_CASE("a touch renews, and moves between lists with other limits") {
    Table table;
    Table::Entry* first = table.insert(key(1), 8, 100);
    Table::Entry* second = table.insert(key(2), 8, 100);
    table.touch(*first, 0, 105);
    table.touch(*second, 1, 105);
    CHECK(table.next_expiry_s(kLimits) == 108);
    CHECK(expire(table, 108) == std::vector<std::uint16_t>{2});
    CHECK(expire(table, 114).empty());
    CHECK(expire(table, 115) == std::vector<std::uint16_t>{1});
}

TEST_CASE("the oldest goes first, whatever the order of insertion") {
    Table table;
    Table::Entry* first = table.insert(key(1), 8, 100);
    (void)table.insert(key(2), 8, 101);
    (void)table.insert(key(3), 8, 102);
    table.touch(*first, 0, 103);
    CHECK(expire(table, 200) == std::vector<std::uint16_t>{2, 3, 1});
}

TEST_CASE("erase_if erases what the visitor names and leaves the lists whole") {
    Table table;
    for (std::uint16_t port = 0; port < 100; ++port) (void)table.insert(key(port), 1000, port);
    table.erase_if([](Table::Entry& entry) { return entry.first.client_port % 2 == 0; });
    CHECK(table.size() == 50);
    CHECK(expire(table, 1000).size() == 50);
    CHECK(table.size() == 0);
}

TEST_CASE("the second of the clock may wrap") {
    Table table;
    (void)table.insert(key(1), 8, 0xfffffffe);
    CHECK(expire(table, 5).empty());
    CHECK(expire(table, 8) == std::vector<std::uint16_t>{1});
}
