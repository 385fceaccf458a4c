// Freshness, answers that may not be stored, ranges, several caches in one pass, and memory.
#include <doctest/doctest.h>

#include <unordered_map>
#include <vector>

#include "tools/hash/cache/counted_cache.hpp"
#include "tools/hash/cache/frequency_sketch.hpp"
#include "tools/hash/cache/random.hpp"

namespace splice::cache {
namespace {

using std::chrono::seconds;

Request whole(std::uint64_t object, std::uint64_t bytes) {
    Request request;
    request.object = object;
    request.bytes = bytes;
    return request;
}

Request part(std::uint64_t object, std::uint64_t bytes, std::uint64_t first, std::uint64_t length) {
    Request request = whole(object, bytes);
    request.first_byte = first;
    request.range_bytes = length;
    return request;
}

TEST_CASE("a copy is a hit until its time to live is over, then it is fetched again and lives anew") {
    for (const Policy policy : kPolicies) {
        CAPTURE(name(policy));
        CountedCache cache({policy, 1000});
        const auto ask = [&](int second) {
            Request request = whole(1, 10);
            request.ttl_s = 60;
            request.time = seconds(second);
            const std::uint64_t before = cache.tally().misses;
            cache.request(request);
            return cache.tally().misses == before;
        };
        CHECK_FALSE(ask(100));
        CHECK(ask(159));
        CHECK_FALSE(ask(160));
        CHECK(ask(219));
        CHECK(cache.tally().expired == 1);
        CHECK(cache.tally().origin_bytes == 20);
        CHECK(cache.cache().objects() == 1);
    }
}

TEST_CASE("a time to live of zero is never a hit, and one beyond all clocks is for ever") {
    CountedCache cache({Policy::lru, 1000});
    Request request = whole(1, 10);
    request.ttl_s = 0;
    cache.request(request);
    cache.request(request);
    CHECK(cache.tally().misses == 2);
    CHECK(cache.tally().expired == 1);
    request = whole(2, 10);
    request.ttl_s = Request::kForever - 1;
    request.time = seconds(5);
    cache.request(request);
    request.time = seconds(4'000'000'000);
    cache.request(request);
    CHECK(cache.tally().misses == 3);
}

TEST_CASE("an answer that may not be stored passes the cache and leaves it as it is") {
    CountedCache cache({Policy::lru, 100});
    cache.request(whole(1, 100));
    Request request = whole(2, 50);
    request.cacheable = false;
    cache.request(request);
    cache.request(request);
    cache.request(whole(1, 100));
    const Tally& tally = cache.tally();
    CHECK(tally.requests == 4);
    CHECK(tally.misses == 3);
    CHECK(tally.uncacheable == 2);
    CHECK(tally.bytes == 300);
    CHECK(tally.missed_bytes == 200);
    CHECK(tally.origin_requests == 3);
    CHECK(tally.origin_bytes == 200);
    CHECK(tally.hit_ratio() == doctest::Approx(0.25));
    CHECK(tally.byte_hit_ratio() == doctest::Approx(1.0 / 3));
}

TEST_CASE("a range's miss fetches the whole object, and any range of it hits afterwards") {
    CountedCache cache({Policy::lru, 10'000});
    cache.request(part(1, 5000, 100, 10));
    cache.request(part(1, 5000, 4000, 2000));  // cut at the end
    CHECK(cache.tally() == Tally{.requests = 2,
                                 .bytes = 1010,
                                 .misses = 1,
                                 .missed_bytes = 10,
                                 .origin_requests = 1,
                                 .origin_bytes = 5000});
}

TEST_CASE("ranges that pass are the origin's, whole requests are stored") {
    CacheRules rules{Policy::lru, 10'000};
    rules.ranges = Ranges::pass;
    CountedCache cache(rules);
    cache.request(part(1, 5000, 100, 10));
    cache.request(whole(1, 5000));
    cache.request(part(1, 5000, 100, 10));
    cache.request(whole(1, 5000));
    CHECK(cache.tally() == Tally{.requests = 4,
                                 .bytes = 10'020,
                                 .misses = 3,
                                 .missed_bytes = 5020,
                                 .origin_requests = 3,
                                 .origin_bytes = 5020});
}

TEST_CASE("slices: a range fetches the slices that it touches, and what is there is not fetched again") {
    CacheRules rules{Policy::lru, 100'000};
    rules.ranges = Ranges::slices;
    rules.slice_bytes = 1000;
    CountedCache cache(rules);
    cache.request(part(1, 3500, 900, 200));  // slices 0 and 1
    CHECK(cache.tally().origin_bytes == 2000);
    CHECK(cache.tally().missed_bytes == 200);
    cache.request(part(1, 3500, 1500, 1000));  // 1 is there, 2 is not: 500 bytes of it
    CHECK(cache.tally().origin_bytes == 3000);
    CHECK(cache.tally().missed_bytes == 700);
    CHECK(cache.tally().misses == 2);
    cache.request(whole(1, 3500));  // only the last 500 bytes are missing
    CHECK(cache.tally().origin_bytes == 3500);
    CHECK(cache.tally().missed_bytes == 1200);
    CHECK(cache.tally().origin_requests == 4);
    cache.request(part(1, 3500, 3400, 5000));
    CHECK(cache.tally().misses == 3);
    cache.request(part(1, 3500, 3500, 10));  // behind the end: no byte, and the last slice is there
    CHECK(cache.tally().misses == 3);
    cache.request(whole(2, 0));
    cache.request(whole(2, 0));
    CHECK(cache.tally().misses == 4);
    CHECK(cache.cache().bytes() == 3500);
}

TEST_CASE("a grid's caches count as each would alone") {
    std::vector<CacheRules> rules;
    for (const Policy policy : kPolicies) {
        for (const std::uint64_t capacity : {1000, 5000}) rules.push_back({policy, capacity});
    }
    Random random(7);
    std::vector<Request> requests;
    for (int i = 0; i < 20'000; ++i) {
        const std::uint64_t object = random.below(1 + random.below(500));
        requests.push_back(whole(object, 1 + object % 40));
    }
    CacheGrid grid(rules);
    for (std::size_t i = 0; i < requests.size(); i += 1000) grid.run(std::span(requests).subspan(i, 1000));
    for (std::size_t i = 0; i < rules.size(); ++i) {
        CountedCache alone(rules[i]);
        for (const Request& request : requests) alone.request(request);
        CHECK(grid.caches()[i].tally() == alone.tally());
    }
}

TEST_CASE("a cleared cache misses what it held and goes on counting") {
    for (const Policy policy : kPolicies) {
        CountedCache cache({policy, 1000});
        cache.request(whole(1, 10));
        cache.clear();
        cache.request(whole(1, 10));
        CHECK(cache.tally().misses == 2);
    }
}

TEST_CASE("the table finds what a map finds, through growth and removals") {
    Contents contents;
    std::unordered_map<std::uint64_t, std::uint64_t> expected;
    Random random(3);
    for (int i = 0; i < 200'000; ++i) {
        const std::uint64_t object = random.below(3000);
        const NodeIndex node = contents.find(object, hash_of(object));
        const auto known = expected.find(object);
        REQUIRE((node != kNoNode) == (known != expected.end()));
        if (node == kNoNode) {
            (void)contents.add(object, hash_of(object), object + 1, 0);
            expected[object] = object + 1;
        } else {
            REQUIRE(contents[node].bytes == known->second);
            contents.erase(node);
            expected.erase(known);
        }
        REQUIRE(contents.objects() == expected.size());
    }
}

// Objects that are seen once each, for ever: what was seen must leave no trace but what is cached.
TEST_CASE("memory depends on what is cached, not on what was seen") {
    for (const Policy policy : kPolicies) {
        CAPTURE(name(policy));
        CountedCache cache({policy, 10'000});
        std::vector<Request> batch(1000);
        std::uint64_t object = 0;
        std::size_t after_the_first = 0;
        for (int i = 0; i < 1000; ++i) {
            for (Request& request : batch) request = whole(object++, 1);
            cache.run(batch);
            if (i == 100) after_the_first = cache.cache().memory_bytes();
        }
        CHECK(cache.cache().memory_bytes() == after_the_first);
        CHECK(cache.cache().objects() <= 10'000);
        // Nodes and the table; S3-FIFO's ghosts once more, W-TinyLFU's sketch.
        CHECK(cache.cache().memory_bytes() <= 10'001 * (policy == Policy::s3_fifo ? 108 : 70));
    }
}

TEST_CASE("a sketch never counts too little before it is halved, and growing keeps its counts") {
    FrequencySketch sketch;
    sketch.hold(1000);
    std::vector<std::uint64_t> before;
    for (std::uint64_t object = 0; object < 300; ++object) {
        for (std::uint64_t i = 0; i < object % 20; ++i) sketch.add(hash_of(object));
    }
    for (std::uint64_t object = 0; object < 300; ++object) {
        before.push_back(sketch.count(hash_of(object)));
        CHECK(before.back() >= std::min<std::uint64_t>(object % 20, FrequencySketch::kMostCount));
    }
    sketch.hold(10'000);
    for (std::uint64_t object = 0; object < 300; ++object)
        CHECK(sketch.count(hash_of(object)) == before[object]);
}

TEST_CASE("a sketch is halved after ten times its words") {
    FrequencySketch sketch;
    for (int i = 0; i < 79; ++i) sketch.add(hash_of(1));
    CHECK(sketch.count(hash_of(1)) == 15);
    sketch.add(hash_of(1));
    CHECK(sketch.count(hash_of(1)) == 7);
}

}  // namespace
}  // namespace splice::cache
