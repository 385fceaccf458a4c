// Che's approximation by hand where it is exact, and beside simulated LRU.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "tools/hash/cache/che.hpp"
#include "tools/hash/cache/counted_cache.hpp"
#include "tools/hash/cache/random.hpp"

namespace splice::cache {
namespace {

Request asked(std::uint64_t object, std::uint64_t bytes) {
    Request request;
    request.object = object;
    request.bytes = bytes;
    return request;
}

TEST_CASE("when all objects fit, each misses once at most") {
    Popularity popularity;
    for (int i = 0; i < 9; ++i) popularity.count(asked(1, 10));
    popularity.count(asked(2, 30));
    const CheEstimate estimate = che_lru(popularity, 40);
    CHECK(std::isinf(estimate.characteristic_requests));
    CHECK(estimate.hit_ratio == 1);
    CHECK(estimate.cold_hit_ratio == doctest::Approx(0.8));
    CHECK(estimate.cold_byte_hit_ratio == doctest::Approx(80.0 / 120));
}

TEST_CASE("equally popular objects of one size: the hit ratio is the cached share") {
    Popularity popularity;
    for (int round = 0; round < 10; ++round) {
        for (std::uint64_t object = 0; object < 100; ++object) popularity.count(asked(object, 5));
    }
    const CheEstimate estimate = che_lru(popularity, 125);
    CHECK(estimate.hit_ratio == doctest::Approx(0.25));
    CHECK(estimate.byte_hit_ratio == doctest::Approx(0.25));
    // 1 - exp(-T / 100) = 1/4
    CHECK(estimate.characteristic_requests == doctest::Approx(100 * std::log(4.0 / 3)));
    CHECK(estimate.cold_hit_ratio == doctest::Approx(0.225));
}

TEST_CASE("an object larger than the cache never hits") {
    Popularity popularity;
    for (int i = 0; i < 4; ++i) popularity.count(asked(1, 100));
    for (int i = 0; i < 4; ++i) popularity.count(asked(2, 10));
    const CheEstimate estimate = che_lru(popularity, 50);
    CHECK(estimate.hit_ratio == doctest::Approx(0.5));
    CHECK(estimate.cold_hit_ratio == doctest::Approx(3.0 / 8));
}

TEST_CASE("nothing was asked: no ratio, no division by zero") {
    const CheEstimate estimate = che_lru(Popularity(), 100);
    CHECK(estimate.hit_ratio == 0);
    CHECK(estimate.cold_byte_hit_ratio == 0);
}

TEST_CASE("independent requests with sizes: the approximation is within one point of simulated LRU") {
    Random random(11);
    std::vector<Request> requests;
    Popularity popularity;
    for (int i = 0; i < 400'000; ++i) {
        // Ranks whose chance falls as 1 / rank: a Zipf's law of exponent 1.
        const auto object = static_cast<std::uint64_t>(std::pow(20'000.0, random.fraction()));
        requests.push_back(asked(object, 100 + hash_of(object) % 10'000));
        popularity.count(requests.back());
    }
    for (const std::uint64_t capacity : {500'000, 5'000'000, 30'000'000}) {
        CountedCache cache({Policy::lru, capacity});
        cache.run(requests);
        const CheEstimate estimate = che_lru(popularity, capacity);
        CAPTURE(capacity);
        CHECK(std::abs(estimate.cold_hit_ratio - cache.tally().hit_ratio()) < 0.01);
        CHECK(std::abs(estimate.cold_byte_hit_ratio - cache.tally().byte_hit_ratio()) < 0.01);
    }
}

}  // namespace
}  // namespace splice::cache
