#include "tools/hash/cache/counted_cache.hpp"

#include <algorithm>
#include <cassert>

namespace splice::cache {
namespace {

std::uint32_t second_of(const Request& request) noexcept {
    return static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(request.time).count());
}

}  // namespace

CountedCache::CountedCache(const CacheRules& rules)
    : rules_(rules), cache_(make_cache(rules.policy, rules.capacity)) {
    assert(rules.ranges != Ranges::slices || rules.slice_bytes > 0);
}

void CountedCache::clear() {
    cache_ = make_cache(rules_.policy, rules_.capacity);
}

void CountedCache::request(const Request& request) {
    const std::uint64_t answer = request.answer_bytes();
    ++tally_.requests;
    tally_.bytes += answer;
    if (!request.cacheable || (request.has_range() && rules_.ranges == Ranges::pass)) {
        ++tally_.misses;
        tally_.missed_bytes += answer;
        tally_.uncacheable += request.cacheable ? 0 : 1;
        ++tally_.origin_requests;
        tally_.origin_bytes += answer;
        return;
    }
    if (rules_.ranges == Ranges::slices) return request_slices(request);
    const Outcome outcome =
        cache_->access({request.object, request.bytes, second_of(request), request.ttl_s});
    if (outcome == Outcome::hit) return;
    ++tally_.misses;
    tally_.missed_bytes += answer;
    tally_.expired += outcome == Outcome::stale ? 1 : 0;
    ++tally_.origin_requests;
    tally_.origin_bytes += request.bytes;
}

// An empty object is one empty slice.
void CountedCache::request_slices(const Request& request) {
    const std::uint64_t slice = rules_.slice_bytes;
    // A range behind the object's end asks for its last slice, and is answered with no byte.
    const std::uint64_t last_byte = request.bytes == 0 ? 0 : request.bytes - 1;
    const std::uint64_t begin = request.has_range() ? std::min(request.first_byte, last_byte) : 0;
    const std::uint64_t end = begin + request.answer_bytes();
    bool missed = false;
    bool stale = false;
    std::uint64_t index = begin / slice;
    do {
        const std::uint64_t from = index * slice;
        const std::uint64_t size = std::min(slice, request.bytes - from);
        // Slices are objects of their own. The first has the object's number, so that small objects are
        // themselves.
        const std::uint64_t number = index == 0 ? request.object : hash_of(request.object ^ hash_of(index));
        const Outcome outcome = cache_->access({number, size, second_of(request), request.ttl_s});
        if (outcome != Outcome::hit) {
            missed = true;
            stale = stale || outcome == Outcome::stale;
            ++tally_.origin_requests;
            tally_.origin_bytes += size;
            tally_.missed_bytes += std::min(end, from + size) - std::max(begin, from);
        }
        ++index;
    } while (index * slice < end);
    tally_.misses += missed ? 1 : 0;
    tally_.expired += stale ? 1 : 0;
}

void CountedCache::run(std::span<const Request> requests) {
    for (std::size_t i = 0; i < requests.size(); ++i) {
        if (i + kPlaceAhead < requests.size()) cache_->prefetch_place(requests[i + kPlaceAhead].object);
        if (i + kNodeAhead < requests.size()) cache_->prefetch_node(requests[i + kNodeAhead].object);
        request(requests[i]);
    }
}

CacheGrid::CacheGrid(std::span<const CacheRules> rules) {
    caches_.reserve(rules.size());
    for (const CacheRules& each : rules) caches_.emplace_back(each);
}

void CacheGrid::run(std::span<const Request> requests) {
    for (CountedCache& cache : caches_) cache.run(requests);
}

}  // namespace splice::cache
