// Each policy, by hand on a few objects, and against a plain implementation and others' counts on many.
#include <doctest/doctest.h>
#include <zlib.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "tests/tools/cache/reference.hpp"
#include "tools/hash/cache/counted_cache.hpp"
#include "tools/hash/cache/random.hpp"

namespace splice::cache {
namespace {

constexpr std::uint32_t kForever = Request::kForever;

// One letter an object, one byte each: "ABA" gives "mmh".
std::string outcomes(Policy policy, std::uint64_t capacity, const std::string& objects) {
    const auto cache = make_cache(policy, capacity);
    std::string told;
    for (const char object : objects) {
        const auto outcome = cache->access({static_cast<std::uint64_t>(object), 1, 0, kForever});
        told += outcome == Outcome::hit ? 'h' : 'm';
    }
    return told;
}

TEST_CASE("LRU: what was asked longest ago leaves") {
    CHECK(outcomes(Policy::lru, 3, "ABCADAB") == "mmmhmhm");
}

TEST_CASE("FIFO: a hit does not save the oldest") {
    CHECK(outcomes(Policy::fifo, 3, "ABCADA") == "mmmhmm");
}

TEST_CASE("Clock: an object that was hit is spared once, as the newest") {
    // D: A is spared and B leaves. E: C leaves. F: A comes before D, and its bit is gone.
    CHECK(outcomes(Policy::clock, 3, "ABCADEFA") == "mmmhmmmm");
    CHECK(outcomes(Policy::clock, 3, "ABCADEA") == "mmmhmmh");
}

TEST_CASE("Sieve: an object that was hit keeps its place, and newcomers leave first") {
    // D: A is spared where it is and B leaves; the hand is at C. E: C leaves. F: D leaves. A is still there.
    CHECK(outcomes(Policy::sieve, 3, "ABCADEFA") == "mmmhmmmh");
}

TEST_CASE("Sieve: the hand starts again at the oldest after it has passed the newest") {
    // All are marked when D comes: the walk clears A, B, C and takes A. Then the hand is at B.
    CHECK(outcomes(Policy::sieve, 3, "ABCABCDBCEA") == "mmmhhhmhhmm");
}

TEST_CASE("S3-FIFO: what leaves the small queue and comes again soon enters the main one") {
    // Capacity 10: the small queue has all ten when K comes; A leaves and is a ghost. A's return goes to
    // main, from where a scan of new objects does not push it.
    CHECK(outcomes(Policy::s3_fifo, 10, "ABCDEFGHIJKALMNOPQRSTUVWXYZA") == "mmmmmmmmmmmmmmmmmmmmmmmmmmmh");
}

TEST_CASE("S3-FIFO: one hit in the small queue is not enough for the main one, two are") {
    CHECK(outcomes(Policy::s3_fifo, 10, "AABCDEFGHIJKA") == "mhmmmmmmmmmmm");
    CHECK(outcomes(Policy::s3_fifo, 10, "AAABCDEFGHIJKA") == "mhhmmmmmmmmmmh");
}

TEST_CASE("W-TinyLFU: a scan of objects asked once does not push out what is asked often") {
    const auto cache = make_cache(Policy::w_tinylfu, 200);
    for (int round = 0; round < 4; ++round) {
        for (std::uint64_t object = 0; object < 150; ++object) (void)cache->access({object, 1, 0, kForever});
    }
    for (std::uint64_t object = 1000; object < 1400; ++object) (void)cache->access({object, 1, 0, kForever});
    std::uint64_t kept = 0;
    for (std::uint64_t object = 0; object < 150; ++object) kept += cache->holds(object) ? 1 : 0;
    CHECK(kept >= 145);  // a count-min sketch may take a newcomer for an old friend
}

TEST_CASE("an object larger than the cache is not stored, and nothing leaves for it") {
    for (const Policy policy : kPolicies) {
        CAPTURE(name(policy));
        const auto cache = make_cache(policy, 100);
        CHECK(cache->access({1, 60, 0, kForever}) == Outcome::miss);
        CHECK(cache->access({2, 101, 0, kForever}) == Outcome::miss);
        CHECK(cache->access({2, 101, 0, kForever}) == Outcome::miss);
        CHECK(cache->access({1, 60, 0, kForever}) == Outcome::hit);
        CHECK(cache->bytes() == 60);
    }
}

TEST_CASE(
    "an object as large as the cache is stored by all policies but W-TinyLFU, whose window it exceeds") {
    for (const Policy policy : kPolicies) {
        CAPTURE(name(policy));
        const auto cache = make_cache(policy, 100);
        CHECK(cache->access({1, 60, 0, kForever}) == Outcome::miss);
        CHECK(cache->access({2, 100, 0, kForever}) == Outcome::miss);
        CHECK(cache->holds(2) == (policy != Policy::w_tinylfu));
    }
}

TEST_CASE("a policy is found by the name that it has") {
    for (const Policy policy : kPolicies) CHECK(policy_named(name(policy)) == policy);
    CHECK(policy_named("arc") == std::nullopt);
    CHECK(policy_named("LRU") == std::nullopt);
}

// Few objects and small caches: every corner of a policy is met often.
TEST_CASE("each policy does what its plain implementation does, request for request, on random traffic") {
    for (const Policy policy : kPolicies) {
        for (std::uint64_t seed = 1; seed <= 60; ++seed) {
            Random random(seed);
            const std::uint64_t objects = 5 + random.below(300);
            const std::uint64_t most_bytes = seed % 3 == 0 ? 1 : 1 + random.below(200);
            const std::uint64_t capacity = 1 + random.below(objects * most_bytes);
            const auto cache = make_cache(policy, capacity);
            const auto plain = reference::make(policy, capacity);
            CAPTURE(name(policy));
            CAPTURE(seed);
            for (int i = 0; i < 5000; ++i) {
                // The square makes low numbers popular.
                const double draw = random.fraction();
                const auto object = static_cast<std::uint64_t>(draw * draw * static_cast<double>(objects));
                const std::uint64_t bytes = hash_of(object ^ seed) % most_bytes + (seed % 7 == 0 ? 0 : 1);
                const bool hit = cache->access({object, bytes, 0, kForever}) == Outcome::hit;
                const bool expected = plain->access(object, bytes);
                if (hit != expected || cache->bytes() != plain->bytes()) {
                    CAPTURE(i);
                    CHECK(hit == expected);
                    REQUIRE(cache->bytes() == plain->bytes());
                }
                REQUIRE(cache->bytes() <= capacity);
            }
        }
    }
}

// The real trace; empty, with a word about the skip, where the corpora are not.
const std::vector<Request>& trace() {
    static const std::vector<Request> requests = [] {
        std::vector<Request> read;
        const char* const corpora = std::getenv("SPLICELB_CORPORA");
        const std::string path =
            std::string(corpora == nullptr ? "" : corpora) + "/hash/storage-trace.csv.gz";
        gzFile file = corpora == nullptr ? nullptr : gzopen(path.c_str(), "rb");
        if (file == nullptr) {
            std::cout << "SKIP a trace of 113,872 requests: SPLICELB_CORPORA does not name the corpora\n";
            return read;
        }
        char line[128];
        (void)gzgets(file, line, sizeof line);  // the names of the columns
        while (gzgets(file, line, sizeof line) != nullptr) {
            std::uint64_t seconds = 0;
            Request request;
            REQUIRE(std::sscanf(line, "%" SCNu64 ",%" SCNu64 ",%" SCNu64, &seconds, &request.object,
                                &request.bytes) == 3);
            request.time = std::chrono::seconds(seconds);
            read.push_back(request);
        }
        gzclose(file);
        return read;
    }();
    return requests;
}

std::vector<CacheRules> sizes_of(Policy policy) {
    std::vector<CacheRules> rules;
    for (std::uint64_t mib = 128; mib <= 1024; mib += 128) rules.push_back({policy, mib << 20});
    return rules;
}

TEST_CASE("LRU and FIFO miss on a real trace what libCacheSim's tests expect, to the byte") {
    if (trace().empty()) return;
    REQUIRE(trace().size() == 113'872);
    std::ifstream file(std::string(std::getenv("SPLICELB_CORPORA")) + "/hash/storage-trace-misses.csv");
    std::string line;
    std::getline(file, line);
    std::vector<CacheRules> rules;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> expected;
    while (std::getline(file, line)) {
        char policy[8];
        std::uint64_t mib = 0;
        std::uint64_t misses = 0;
        std::uint64_t bytes = 0;
        REQUIRE(std::sscanf(line.c_str(), "%7[A-Z],%" SCNu64 ",%" SCNu64 ",%" SCNu64, policy, &mib, &misses,
                            &bytes) == 4);
        rules.push_back({std::string(policy) == "LRU" ? Policy::lru : Policy::fifo, mib << 20});
        expected.emplace_back(misses, bytes);
    }
    REQUIRE(expected.size() == 16);
    CacheGrid grid(rules);
    grid.run(trace());
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const Tally& tally = grid.caches()[i].tally();
        CAPTURE(name(rules[i].policy));
        CAPTURE(rules[i].capacity);
        CHECK(tally.misses == expected[i].first);
        CHECK(tally.missed_bytes == expected[i].second);
        CHECK(tally.requests == 113'872);
        CHECK(tally.bytes == 4'368'040'448);
    }
}

// What libCacheSim's tests expect of its Clock, Sieve and S3-FIFOv0, from 128 MiB in steps of 128 MiB.
TEST_CASE("Clock, Sieve and S3-FIFO miss on a real trace what libCacheSim's tests expect, to the byte") {
    if (trace().empty()) return;
    const std::map<Policy, std::vector<std::pair<std::uint64_t, std::uint64_t>>> expected = {
        {Policy::clock,
         {{93313, 4213887488},
          {89775, 4064512000},
          {83411, 3762650624},
          {81328, 3644467200},
          {74815, 3256760832},
          {72283, 3091688448},
          {71927, 3074241024},
          {64456, 2697378816}}},
        {Policy::sieve,
         {{91699, 4158632960},
          {86720, 3917211648},
          {78578, 3536227840},
          {76707, 3455379968},
          {69945, 3035580416},
          {66221, 2801699328},
          {64445, 2699456000},
          {64376, 2696345600}}},
        {Policy::s3_fifo,
         {{89307, 4040718336},
          {82387, 3703628800},
          {77041, 3353047552},
          {76791, 3282235904},
          {71300, 3038256128},
          {70343, 2980646912},
          {70455, 2984458752},
          {70355, 2979649536}}},
    };
    for (const auto& [policy, misses] : expected) {
        CacheGrid grid(sizes_of(policy));
        grid.run(trace());
        for (std::size_t i = 0; i < misses.size(); ++i) {
            CAPTURE(name(policy));
            CAPTURE(i);
            CHECK(grid.caches()[i].tally().misses == misses[i].first);
            CHECK(grid.caches()[i].tally().missed_bytes == misses[i].second);
        }
    }
}

TEST_CASE("each policy misses on a real trace what its plain implementation misses") {
    if (trace().empty()) return;
    for (const Policy policy : kPolicies) {
        for (const std::uint64_t mib : {std::uint64_t{32}, std::uint64_t{300}, std::uint64_t{1024}}) {
            CountedCache cache({policy, mib << 20});
            cache.run(trace());
            const auto plain = reference::make(policy, mib << 20);
            std::uint64_t misses = 0;
            std::uint64_t missed_bytes = 0;
            for (const Request& request : trace()) {
                if (plain->access(request.object, request.bytes)) continue;
                ++misses;
                missed_bytes += request.bytes;
            }
            CAPTURE(name(policy));
            CAPTURE(mib);
            CHECK(cache.tally().misses == misses);
            CHECK(cache.tally().missed_bytes == missed_bytes);
        }
    }
}

}  // namespace
}  // namespace splice::cache
