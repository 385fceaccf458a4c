#include "tools/hash/cache/request.hpp"

namespace splice::cache {
namespace {

double hits_of(std::uint64_t missed, std::uint64_t all) noexcept {
    return all == 0 ? 0 : static_cast<double>(all - missed) / static_cast<double>(all);
}

}  // namespace

Tally& Tally::operator+=(const Tally& other) noexcept {
    requests += other.requests;
    bytes += other.bytes;
    misses += other.misses;
    missed_bytes += other.missed_bytes;
    expired += other.expired;
    uncacheable += other.uncacheable;
    origin_requests += other.origin_requests;
    origin_bytes += other.origin_bytes;
    return *this;
}

Tally& Tally::operator-=(const Tally& other) noexcept {
    requests -= other.requests;
    bytes -= other.bytes;
    misses -= other.misses;
    missed_bytes -= other.missed_bytes;
    expired -= other.expired;
    uncacheable -= other.uncacheable;
    origin_requests -= other.origin_requests;
    origin_bytes -= other.origin_bytes;
    return *this;
}

double Tally::hit_ratio() const noexcept {
    return hits_of(misses, requests);
}

double Tally::byte_hit_ratio() const noexcept {
    return hits_of(missed_bytes, bytes);
}

}  // namespace splice::cache
