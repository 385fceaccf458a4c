// Simulated caches: a request for four policies at once, alone and in a fleet of four bridges.
#include <benchmark/benchmark.h>

#include <cmath>
#include <vector>

#include "tools/hash/cache/fleet.hpp"

namespace {

using namespace splice::cache;

constexpr std::size_t kBatch = 1024;
constexpr Policy kFour[] = {Policy::lru, Policy::fifo, Policy::sieve, Policy::s3_fifo};

// A million objects of 17 KiB in the mean, asked by a Zipf's law of exponent 0.8.
std::vector<Request> traffic() {
    Random random(1);
    std::vector<Request> requests(1U << 20);
    for (Request& request : requests) {
        const double draw = random.fraction();
        request.object = static_cast<std::uint64_t>(std::pow(draw * (std::pow(1e6, 0.2) - 1) + 1, 5));
        request.bytes = 1024 + (hash_of(request.object) >> 49);
    }
    return requests;
}

std::vector<CacheRules> four(std::uint64_t capacity) {
    std::vector<CacheRules> rules;
    for (const Policy policy : kFour) rules.push_back({policy, capacity});
    return rules;
}

template <typename Run>
void measure(benchmark::State& state, Run&& run) {
    const std::vector<Request> requests = traffic();
    const std::span<const Request> all(requests);
    for (std::size_t i = 0; i < all.size(); i += kBatch) run(all.subspan(i, kBatch));
    std::size_t at = 0;
    while (state.KeepRunningBatch(kBatch)) {
        run(all.subspan(at, kBatch));
        at = (at + kBatch) % all.size();
    }
    state.SetItemsProcessed(state.iterations());
}

void BM_cache_request_four_policies(benchmark::State& state) {
    CacheGrid grid(four(1ULL << 30));
    measure(state, [&](std::span<const Request> batch) { grid.run(batch); });
}
BENCHMARK(BM_cache_request_four_policies);

void BM_cache_request_four_policies_fleet(benchmark::State& state) {
    FleetRules rules;
    rules.bridges = 4;
    rules.caches = four(1ULL << 28);
    Fleet fleet(rules, [](const Request& request, const Serving&) {
        const std::uint64_t hash = hash_of(request.object);
        return Choices{{static_cast<std::uint16_t>(hash % 4)}, 1, hash};
    });
    measure(state, [&](std::span<const Request> batch) { fleet.run(batch); });
}
BENCHMARK(BM_cache_request_four_policies_fleet);

}  // namespace
