#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <random>
#include <string>

#include "libsplice/core/heavy_keys.hpp"
#include "libsplice/core/placement/builders.hpp"
#include "tools/hash/key_sample.hpp"
#include "tools/hash/share_error.hpp"
#include "tools/hash/zipf.hpp"

namespace splice::hash {
namespace {

// Requests whose keys are numbers, popular ones first.
std::vector<std::uint64_t> traffic(std::uint64_t keys, double exponent, std::size_t requests) {
    const Zipf zipf(keys, exponent);
    std::mt19937_64 random(7);
    std::vector<std::uint64_t> drawn;
    drawn.reserve(requests);
    for (std::size_t i = 0; i < requests; ++i)
        drawn.push_back(zipf.draw([&] { return static_cast<double>(random() >> 11) * 0x1p-53; }));
    return drawn;
}

TEST_CASE("few keys are all remembered") {
    KeySample sample(1000);
    for (const std::uint64_t key : {1, 2, 1, 3, 1}) sample.count(placement::mix64(key), 10, 0);
    CHECK(sample.is_exact());
    CHECK(sample.distinct() == 3);
    const KeySample::Entry* first = sample.count(placement::mix64(1), 5, 0);
    REQUIRE(first != nullptr);
    CHECK(first->requests == 4);
    CHECK(first->bytes == 35);
}

TEST_CASE("many keys are sampled evenly, and who is in the sample was counted from the first request") {
    constexpr std::uint64_t kKeys = 1'000'000;
    KeySample sample(10'000);
    for (std::uint64_t round = 1; round <= 2; ++round) {
        for (std::uint64_t key = 0; key < kKeys; ++key) sample.count(placement::mix64(key), 1, 0);
    }
    CHECK_FALSE(sample.is_exact());
    // 5,000 entries at least: one standard deviation is 1.4 %.
    CHECK(std::abs(static_cast<double>(sample.distinct()) / kKeys - 1) < 0.07);
    for (const KeySample::Entry& entry : sample.slots()) {
        if (entry.requests != 0) REQUIRE(entry.requests == 2);
    }
}

TEST_CASE("Space-Saving finds every key above its threshold, and is wrong by no more than it says") {
    constexpr std::size_t kCapacity = 100;
    constexpr std::size_t kRequests = 100'000;
    HeavyKeys heavy(kCapacity);
    std::map<std::uint64_t, std::uint64_t> exact;
    for (const std::uint64_t key : traffic(50'000, 1.0, kRequests)) {
        ++exact[key];
        heavy.count(placement::mix64(key), std::to_string(key), 1);
    }
    std::map<std::string, HeavyKeys::Counter> found;
    for (const HeavyKeys::Counter& counter : heavy.top(kCapacity)) {
        found[counter.key] = counter;
        const std::uint64_t truth = exact[std::stoull(counter.key)];
        CHECK(counter.requests >= truth);
        CHECK(counter.requests - counter.error <= truth);
        CHECK(counter.error <= kRequests / kCapacity);
    }
    for (const auto& [key, requests] : exact) {
        if (requests > kRequests / kCapacity) CHECK(found.contains(std::to_string(key)));
    }
}

TEST_CASE("counts that are known from elsewhere are kept without an error") {
    HeavyKeys heavy(4);
    std::map<std::uint64_t, std::uint64_t> exact;
    for (const std::uint64_t key : traffic(1000, 1.2, 20'000)) {
        const std::uint64_t requests = ++exact[key];
        heavy.count_known(placement::mix64(key), std::to_string(key), requests, requests * 3);
    }
    const auto top = heavy.top(4);
    REQUIRE(top.size() == 4);
    for (std::size_t i = 0; i < top.size(); ++i) {
        CHECK(top[i].key == std::to_string(i + 1));
        CHECK(top[i].requests == exact[i + 1]);
        CHECK(top[i].bytes == exact[i + 1] * 3);
        CHECK(top[i].error == 0);
    }
}

TEST_CASE("Zipf's law with exponents below, at and above 1") {
    for (const double exponent : {0.0, 0.5, 1.0, 1.5}) {
        CAPTURE(exponent);
        constexpr std::uint64_t kKeys = 20;
        constexpr std::size_t kRequests = 200'000;
        double all = 0;
        for (std::uint64_t rank = 1; rank <= kKeys; ++rank) all += std::pow(rank, -exponent);
        std::map<std::uint64_t, std::uint64_t> counts;
        for (const std::uint64_t key : traffic(kKeys, exponent, kRequests)) ++counts[key];
        for (std::uint64_t rank = 1; rank <= kKeys; ++rank) {
            const double wanted = std::pow(rank, -exponent) / all * kRequests;
            CHECK(std::abs(static_cast<double>(counts[rank]) - wanted) < 5 * std::sqrt(wanted));
        }
        CHECK(counts.begin()->first >= 1);
        CHECK(counts.rbegin()->first <= kKeys);
    }
}

TEST_CASE("the interval of a share is that of independent requests when they are") {
    ShareError error(2);
    std::mt19937_64 random(3);
    constexpr std::size_t kRequests = 100'000;
    for (std::size_t i = 0; i < kRequests; ++i) {
        error.add(random() % 2, 1);
        error.next();
    }
    const double independent = 1.96 * std::sqrt(0.25 / kRequests);
    CHECK(error.half_width(0) > independent * 0.6);
    CHECK(error.half_width(0) < independent * 1.5);
}

TEST_CASE("the interval of a share is wider when requests for a bridge come together") {
    ShareError error(2);
    std::mt19937_64 random(3);
    constexpr std::size_t kRequests = 100'000;
    std::size_t bridge = 0;
    for (std::size_t i = 0; i < kRequests; ++i) {
        if (i % 100 == 0) bridge = random() % 2;
        error.add(bridge, 1);
        error.next();
    }
    CHECK(error.half_width(0) > 1.96 * std::sqrt(0.25 / kRequests) * 5);
}

TEST_CASE("a log that is too short has no interval") {
    ShareError error(2);
    error.add(0, 1);
    error.next();
    CHECK(std::isnan(error.half_width(0)));
}

}  // namespace
}  // namespace splice::hash
