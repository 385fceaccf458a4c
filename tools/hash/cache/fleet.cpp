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
      choice_(choice_rule()),
      loads_(rules_.load_window),
      random_(rules_.seed),
      interval_began_(rules_.caches.size()) {
    assert(rules_.load_window > Duration::zero());
    assert(std::ranges::is_sorted(rules_.events, {}, &FleetEvent::time));
    assert(
        std::ranges::all_of(rules_.events, [&](const auto& event) { return event.bridge < rules_.bridges; }));
    loads_.set_services(loaded_services());
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
        loads_.add(bridge, {.offered = 1, .taken = 1});
        return bridge;
    }
    const std::uint8_t taken = pick(able, request, named);
    ++counts_.by_rank[rank[taken]];
    return able.bridges[taken];
}

splice_choice_rule Fleet::choice_rule() const noexcept {
    splice_choice_rule rule{};
    rule.warmup = static_cast<__u16>(std::min(std::lround(rules_.warmup * 65536), 65535L));
    rule.weighs = rules_.warmup > 0 || rules_.bounded_load > 0 || rules_.spread ? 1 : 0;
    return rule;
}

std::vector<LoadedService> Fleet::loaded_services() const {
    if (choice_.weighs == 0) return {};
    LoadedService service{
        .identity = 1, .mark = 1, .states = 0, .bounded_load = rules_.bounded_load, .bridges = {}};
    for (std::uint16_t i = 0; i < rules_.bridges; ++i)
        service.bridges.push_back({.bridge = i, .weight = i < rules_.weights.size() ? rules_.weights[i] : 1});
    return {std::move(service)};
}

// Which of the choices takes the request, by the balancer's rule (datapath/choice.h): its index.
std::uint8_t Fleet::pick(const Choices& able, const Request& request, const Choices& named) {
    if (choice_.weighs == 0) return 0;
    splice_placement_row row{{SPLICE_NO_BRIDGE, SPLICE_NO_BRIDGE, SPLICE_NO_BRIDGE}};
    std::copy_n(able.bridges.begin(), able.count, row.choices);
    splice_choice_rule rule = choice_;
    if (rules_.spread)
        rule.spread = static_cast<__u8>(std::min(rules_.spread(request, named), SPLICE_CHOICES + 0U));
    const bool hot = rule.spread >= 2 && able.count >= 2;
    const splice_choice choice = splice_choose(&row, &rule, loads_.states(), random_.next(), hot ? 1 : 0);
    loads_.count(rule, row, choice);
    counts_.spread += hot ? 1 : 0;
    counts_.warmups += choice.why == SPLICE_CHOSE_WARMUP ? 1 : 0;
    counts_.over_bound += choice.why == SPLICE_CHOSE_NEXT || choice.why == SPLICE_CHOSE_LEAST ? 1 : 0;
    return choice.rank;
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
        loads_.set_takes(event.bridge, event.kind != FleetEvent::Kind::lost);
        if (event.kind == FleetEvent::Kind::lost) continue;
        returned_[event.bridge] = event.time;
        if (event.kind == FleetEvent::Kind::returned_warm) continue;
        for (auto& bridges : caches_) bridges[event.bridge].clear();
    }
    (void)loads_.advance(now);
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
