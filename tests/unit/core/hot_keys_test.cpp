#include "libsplice/core/hot_keys.hpp"

#include <doctest/doctest.h>

#include <cstdlib>

#include "libsplice/base/limits.hpp"
#include "libsplice/core/placement/placement.hpp"

using namespace splice;

namespace {

void count(HotKeys& keys, std::uint64_t hash, std::uint64_t times) {
    for (std::uint64_t i = 0; i < times; ++i) keys.count(hash, "/" + std::to_string(hash));
}

}  // namespace

TEST_CASE("a key is hot from so many openings on, and among the first") {
    HotKeys keys(2);
    CHECK_FALSE(keys.advance(0s));
    count(keys, 1, 100);
    count(keys, 2, 50);
    count(keys, 3, 40);
    count(keys, 4, kHotLeast - 1);
    CHECK_FALSE(keys.advance(999ms));
    CHECK_FALSE(keys.has(1));
    CHECK(keys.advance(1s));
    CHECK(keys.has(1));
    CHECK(keys.has(2));
    CHECK_FALSE(keys.has(3));
    REQUIRE(keys.keys().size() == 2);
    CHECK(keys.keys()[0].key == "/1");
    CHECK(keys.keys()[0].share == doctest::Approx(100.0 / (190 + kHotLeast - 1)));
    CHECK(keys.take_news());
    CHECK_FALSE(keys.take_news());
}

TEST_CASE("a hot key stays hot until it is far from it") {
    HotKeys keys(1);
    keys.advance(0s);
    count(keys, 1, 30);
    count(keys, 2, 20);
    CHECK(keys.advance(1s));
    CHECK(keys.has(1));
    count(keys, 2, 20);  // the first now
    CHECK(keys.advance(2s));
    CHECK(keys.has(1));
    CHECK(keys.has(2));
    count(keys, 3, 60);  // and now 1 is the third
    CHECK(keys.advance(3s));
    CHECK_FALSE(keys.has(1));
    CHECK(keys.has(2));
    CHECK(keys.has(3));
}

TEST_CASE("what nobody asks for any more cools down") {
    HotKeys keys(4);
    keys.advance(0s);
    count(keys, 1, 40);
    keys.advance(1s);
    REQUIRE(keys.has(1));
    bool hot = true;
    for (int second = 2; second < 60; ++second) {
        keys.advance(1s * second);
        hot = keys.has(1);
    }
    CHECK_FALSE(hot);
}

TEST_CASE("the table finds the keys of each service, and forgets those that were replaced") {
    HotTable table;
    std::vector<HotKeys::Key> keys;
    for (std::uint64_t i = 1; i <= 256; ++i)
        keys.push_back({.hash = hash_key_bytes(std::to_string(i)), .key = {}, .share = 0});
    table.replace(1, keys);
    int found = 0;
    for (const auto& key : keys) {
        found += splice_is_hot(&table.table(), key.hash, 1);
        CHECK_FALSE(splice_is_hot(&table.table(), key.hash, 2));
        CHECK_FALSE(splice_is_hot(&table.table(), key.hash + 2, 1));
    }
    CHECK(found >= 254);
    table.replace(2, {keys[0]});
    table.replace(1, {});
    CHECK(splice_is_hot(&table.table(), keys[0].hash, 2));
    for (const auto& key : keys) CHECK_FALSE(splice_is_hot(&table.table(), key.hash, 1));
}
