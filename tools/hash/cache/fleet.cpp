#include "tools/hash/cache/fleet.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

namespace splice::cache {
namespace {

constexpr Duration kNeverLeft = Duration::min();

std::uint64_t more(std::uint64_t than, std::uint64_t before) noexcept {
    return than > before ? than - before : 0;
}

}  // namespace

Serving::Serving(std::size_t bridges) : up_(bridges, 1) {
    for (std::size_t i = 0; i < bridges; ++i) all_up_.push_back(static_cast<std::uint16_t>(i));
}

void Serving::set(std::uint16_t bridge, bool up) {
    up_[bridge] = up ? 1 : 0;
    all_up_.clear();
    for (std::size_t i = 0; i < up_.size(); ++i) {
        if (up_[i] != 0) all_up_.push_back(static_cast<std::uint16_t>(i));
    }
}

Chooser choose_randomly(std::uint64_t seed) {
    return [random = Random(seed)](const Request&, const Serving& serving) mutable {
        Choices choices;
        const auto up = serving.all_up();
        choices.row = random.next();
        if (up.empty()) return choices;
        const std::uint64_t first = random.below(up.size());
        choices.count = static_cast<std::uint8_t>(std::min(up.size(), Choices::kMost));
        for (std::size_t i = 0; i < choices.count; ++i) choices.bridges[i] = up[(first + i) % up.size()];
        return choices;
    };
}

Chooser choose_in_turn() {
    return [turn = std::uint64_t{0}](const Request&, const Serving& serving) mutable {
        Choices choices;
        const auto up = serving.all_up();
        choices.row = hash_of(turn);
        if (up.empty()) return choices;
        choices.count = static_cast<std::uint8_t>(std::min(up.size(), Choices::kMost));
        for (std::size_t i = 0; i < choices.count; ++i) choices.bridges[i] = up[(turn + i) % up.size()];
        ++turn;
        return choices;
    };
}

Fleet::Fleet(FleetRules rules, Chooser chooser)
    : rules_(std::move(rules)),
      chooser_(std::move(chooser)),
      serving_(rules_.bridges),
      returned_(rules_.bridges, kNeverLeft),
      counts_load_(rules_.bounded_load > 0 || rules_.spread != nullptr),
      load_(rules_.bridges, rules_.load_window),
      random_(rules_.seed),
      interval_began_(rules_.caches.size()) {
    assert(rules_.load_window > Duration::zero());
    assert(std::ranges::is_sorted(rules_.events, {}, &FleetEvent::time));
    assert(
        std::ranges::all_of(rules_.events, [&](const auto& event) { return event.bridge < rules_.bridges; }));
    for (const CacheRules& each : rules_.caches) {
        auto& bridges = caches_.emplace_back();
        bridges.reserve(rules_.bridges);
        for (std::uint16_t i = 0; i < rules_.bridges; ++i) bridges.emplace_back(each);
    }
}

void Fleet::request(const Request& request) {
    if (const auto bridge = open(request)) serve(*bridge, request);
}

std::optional<std::uint16_t> Fleet::open(const Request& request) {
    advance(request.time);
    const Choices named = chooser_(request, serving_);
    // Choices that take the key now, with the rank that each has in `named`.
    Choices able;
    std::array<std::uint8_t, Choices::kMost> rank{};
    for (std::uint8_t i = 0; i < named.count; ++i) {
        if (!takes(named.bridges[i], named.row, request.time)) continue;
        rank[able.count] = i;
        able.bridges[able.count++] = named.bridges[i];
    }
    if (able.count == 0) {
        const auto up = serving_.all_up();
        if (up.empty()) {
            ++counts_.unserved;
            return std::nullopt;
        }
        ++counts_.elsewhere;
        const std::uint16_t bridge = up[hash_of(named.row) % up.size()];
        if (counts_load_) load_.open(bridge);
        return bridge;
    }
    const std::uint8_t taken = pick(able, request);
    ++counts_.by_rank[rank[taken]];
    if (counts_load_) load_.open(able.bridges[taken]);
    return able.bridges[taken];
}

// Which of the choices takes the request: its index.
std::uint8_t Fleet::pick(const Choices& able, const Request& request) {
    std::uint8_t first = 0;
    if (rules_.spread) {
        const auto over = std::min<std::uint64_t>(rules_.spread(request), able.count);
        if (over >= 2) {
            ++counts_.spread;
            const auto one = static_cast<std::uint8_t>(random_.below(over));
            const auto other = static_cast<std::uint8_t>((one + 1 + random_.below(over - 1)) % over);
            first = load_.load(able.bridges[other]) < load_.load(able.bridges[one]) ? other : one;
        }
    }
    if (first == 0 && able.count >= 2 && rules_.warmup > 0 && random_.fraction() < rules_.warmup) {
        ++counts_.warmups;
        first = 1;
    }
    if (rules_.bounded_load <= 0) return first;
    // The opening itself counts, and a bound is a whole number of openings, as in Mirrokni's ceil(c m / n).
    const double bound =
        std::ceil(rules_.bounded_load * (load_.total() + 1) / static_cast<double>(serving_.all_up().size()));
    const auto within = [&](std::uint8_t i) { return load_.load(able.bridges[i]) + 1 <= bound; };
    if (within(first)) return first;
    ++counts_.over_bound;
    std::uint8_t least = first;
    for (std::uint8_t i = 0; i < able.count; ++i) {
        if (i == first) continue;
        if (within(i)) return i;
        if (load_.load(able.bridges[i]) < load_.load(able.bridges[least])) least = i;
    }
    return least;
}

void Fleet::serve(std::uint16_t bridge, const Request& request) {
    advance(request.time);
    for (auto& bridges : caches_) bridges[bridge].request(request);
}

// All are chosen for first, then each cache serves them all while its tables are near. Caches that change in
// between serve before that.
void Fleet::run(std::span<const Request> requests) {
    std::size_t begin = 0;
    chosen_.clear();
    for (std::size_t i = 0; i < requests.size(); ++i) {
        if (due(requests[i].time)) {
            serve_batch(requests.subspan(begin, i - begin));
            begin = i;
        }
        chosen_.push_back(open(requests[i]));
    }
    serve_batch(requests.subspan(begin));
}

void Fleet::serve_batch(std::span<const Request> requests) {
    for (auto& bridges : caches_) {
        for (std::size_t i = 0; i < requests.size(); ++i) {
            const std::size_t place = i + CountedCache::kPlaceAhead;
            const std::size_t node = i + CountedCache::kNodeAhead;
            if (place < requests.size() && chosen_[place])
                bridges[*chosen_[place]].cache().prefetch_place(requests[place].object);
            if (node < requests.size() && chosen_[node])
                bridges[*chosen_[node]].cache().prefetch_node(requests[node].object);
            if (chosen_[i]) bridges[*chosen_[i]].request(requests[i]);
        }
    }
    chosen_.clear();
}

bool Fleet::takes(std::uint16_t bridge, std::uint64_t row, Duration now) const noexcept {
    if (!serving_.up(bridge)) return false;
    if (returned_[bridge] == kNeverLeft || rules_.slow_start <= Duration::zero()) return true;
    const auto since = static_cast<double>((now - returned_[bridge]).count());
    const double share = since / static_cast<double>(rules_.slow_start.count());
    // Each row has its own moment, another at each bridge.
    return static_cast<double>(hash_of(row ^ hash_of(bridge)) >> 11) * 0x1p-53 < share;
}

bool Fleet::due(Duration now) const noexcept {
    return (next_event_ < rules_.events.size() && rules_.events[next_event_].time <= now) ||
           (rules_.interval > Duration::zero() && in_interval_ &&
            now - now % rules_.interval != interval_start_);
}

void Fleet::advance(Duration now) {
    for (; next_event_ < rules_.events.size() && rules_.events[next_event_].time <= now; ++next_event_) {
        const FleetEvent& event = rules_.events[next_event_];
        serving_.set(event.bridge, event.kind != FleetEvent::Kind::lost);
        load_.clear(event.bridge);
        if (event.kind == FleetEvent::Kind::lost) continue;
        returned_[event.bridge] = event.time;
        if (event.kind == FleetEvent::Kind::returned_warm) continue;
        for (auto& bridges : caches_) bridges[event.bridge].clear();
    }
    if (counts_load_) load_.advance(now);
    if (rules_.interval <= Duration::zero()) return;
    const Duration start = now - now % rules_.interval;
    if (in_interval_ && start == interval_start_) return;
    close_interval();
    interval_start_ = start;
    in_interval_ = true;
}

void Fleet::close_interval() {
    if (!in_interval_) return;
    Interval interval{interval_start_, {}};
    for (std::size_t i = 0; i < caches_.size(); ++i) {
        const Tally until = tally(i);
        Tally during = until;
        during -= interval_began_[i];
        interval.caches.push_back(during);
        interval_began_[i] = until;
    }
    series_.push_back(std::move(interval));
    in_interval_ = false;
}

void Fleet::finish() {
    close_interval();
}

const Tally& Fleet::tally(std::size_t cache, std::uint16_t bridge) const noexcept {
    return caches_[cache][bridge].tally();
}

Tally Fleet::tally(std::size_t cache) const noexcept {
    Tally sum;
    for (const CountedCache& bridge : caches_[cache]) sum += bridge.tally();
    return sum;
}

std::size_t Fleet::memory_bytes() const noexcept {
    std::size_t bytes = 0;
    for (const auto& bridges : caches_) {
        for (const CountedCache& bridge : bridges) bytes += bridge.cache().memory_bytes();
    }
    return bytes;
}

Disturbance disturbance(const Fleet& undisturbed, const Fleet& disturbed, std::size_t cache, Duration since,
                        double tolerance) {
    Disturbance cost;
    const Tally without = undisturbed.tally(cache);
    const Tally with = disturbed.tally(cache);
    cost.extra_misses = more(with.misses, without.misses);
    cost.extra_origin_bytes = more(with.origin_bytes, without.origin_bytes);
    // Both series have an interval wherever there was a request: the same ones.
    double worst = -1;
    std::optional<Duration> warm_at = since;
    const std::size_t length = std::min(undisturbed.series().size(), disturbed.series().size());
    for (std::size_t i = 0; i < length; ++i) {
        const Interval& interval = disturbed.series()[i];
        const Duration end = interval.start + disturbed.rules().interval;
        if (end <= since) continue;
        const double usual = undisturbed.series()[i].caches[cache].hit_ratio();
        const double now = interval.caches[cache].hit_ratio();
        if (usual - now > worst) {
            worst = usual - now;
            cost.worst_hit_ratio = now;
            cost.undisturbed_hit_ratio = usual;
        }
        if (usual - now > tolerance) {
            if (i + 1 < length) {
                warm_at = end;
            } else {
                warm_at.reset();
            }
        }
    }
    if (warm_at) cost.warm_after = *warm_at - since;
    return cost;
}

}  // namespace splice::cache
