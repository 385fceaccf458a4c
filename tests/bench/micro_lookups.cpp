// From a key's text to its bridge, by each algorithm, and by libmemcached's ketama ring beside ours: the same
// servers, weights, keys and points a server. Of the other algorithms Debian 12 has no library.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <libmemcached/memcached.h>

#include <memory>
#include <string>
#include <vector>

#include "libsplice/base/limits.hpp"
#include "libsplice/core/placement/placement.hpp"

namespace {

using namespace splice;

constexpr std::uint16_t kPort = 443;
constexpr std::size_t kKeys = 1U << 14;

// Many, so that what a look-up reads is not what the one before has read.
const std::vector<std::string>& keys() {
    static const std::vector<std::string> all = [] {
        std::vector<std::string> made;
        for (std::size_t i = 0; i < kKeys; ++i)
            made.push_back(fmt::format("/video/{}/segment-{:05}.ts", i * 7919, i));
        return made;
    }();
    return all;
}

std::string address_of(std::size_t bridge) {
    return fmt::format("10.0.{}.{}", bridge / 250, bridge % 250 + 1);
}

template <class LookUp>
void measure(benchmark::State& state, LookUp&& look_up) {
    const std::vector<std::string>& all = keys();
    std::size_t at = 0;
    for (auto _ : state) {
        benchmark::DoNotOptimize(look_up(all[at]));
        at = (at + 1) % kKeys;
    }
    state.SetItemsProcessed(state.iterations());
}

void look_up(benchmark::State& state, Algorithm algorithm) {
    std::vector<PlacementMember> members;
    for (std::uint16_t i = 0; i < state.range(0); ++i)
        members.push_back({.name = fmt::format("b{}", i + 1),
                           .server = fmt::format("{}:{}", address_of(i), kPort),
                           .weight = 1,
                           .bridge = i});
    const auto placement = Placement::build(algorithm, members, kTableRows);
    if (!placement) return state.SkipWithError(placement.error().c_str());
    measure(state, [&](const std::string& key) { return placement->choose(key); });
}

void BM_lookup_rendezvous(benchmark::State& state) {
    look_up(state, Algorithm::rendezvous);
}
void BM_lookup_maglev(benchmark::State& state) {
    look_up(state, Algorithm::maglev);
}
void BM_lookup_jump(benchmark::State& state) {
    look_up(state, Algorithm::jump);
}
void BM_lookup_ketama(benchmark::State& state) {
    look_up(state, Algorithm::ketama);
}

// Its weighted ring, which has as many points a server as ours. `hash`: of the keys. Not its CRC-32, of which
// it keeps 15 bits: all keys then go to one server.
void look_up_in_libmemcached(benchmark::State& state, memcached_hash_t hash) {
    const std::unique_ptr<memcached_st, decltype(&memcached_free)> ring(memcached_create(nullptr),
                                                                        memcached_free);
    memcached_behavior_set(ring.get(), MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED, 1);
    for (std::size_t i = 0; i < static_cast<std::size_t>(state.range(0)); ++i)
        memcached_server_add_with_weight(ring.get(), address_of(i).c_str(), kPort, 1);
    memcached_behavior_set(ring.get(), MEMCACHED_BEHAVIOR_HASH, hash);
    measure(state, [&](const std::string& key) {
        return memcached_generate_hash(ring.get(), key.data(), key.size());
    });
}

// The fastest of its functions that uses all of the ring.
void BM_lookup_ketama_libmemcached(benchmark::State& state) {
    look_up_in_libmemcached(state, MEMCACHED_HASH_JENKINS);
    state.SetLabel("keys by Jenkins");
}
// What its clients have agreed on.
void BM_lookup_ketama_libmemcached_md5(benchmark::State& state) {
    look_up_in_libmemcached(state, MEMCACHED_HASH_MD5);
    state.SetLabel("keys by MD5");
}

BENCHMARK(BM_lookup_rendezvous)->Arg(10)->Arg(100);
BENCHMARK(BM_lookup_maglev)->Arg(10)->Arg(100);
BENCHMARK(BM_lookup_jump)->Arg(10)->Arg(100);
BENCHMARK(BM_lookup_ketama)->Arg(10)->Arg(100);
BENCHMARK(BM_lookup_ketama_libmemcached)->Arg(10)->Arg(100);
BENCHMARK(BM_lookup_ketama_libmemcached_md5)->Arg(10)->Arg(100);

}  // namespace
