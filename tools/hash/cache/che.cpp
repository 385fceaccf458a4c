#include "tools/hash/cache/che.hpp"

#include <cmath>
#include <limits>

namespace splice::cache {
namespace {

// Halvings of the interval that holds the characteristic time: all bits of a double.
constexpr int kBisections = 64;

double chance_to_be_there(double requests, double time) {
    return -std::expm1(-requests * time);
}

}  // namespace

void Popularity::count(const Request& request) {
    ++requests_;
    const std::uint64_t hash = hash_of(request.object);
    const NodeIndex known =
        table_.find(hash, [&](NodeIndex index) { return objects_[index].object == request.object; });
    if (known != kNoNode) {
        ++objects_[known].requests;
        return;
    }
    table_.insert(hash, static_cast<NodeIndex>(objects_.size()));
    objects_.push_back({request.object, request.bytes, 1});
}

CheEstimate che_lru(const Popularity& popularity, std::uint64_t capacity) {
    CheEstimate estimate;
    double all_bytes = 0;
    for (const auto& object : popularity.objects()) {
        if (object.bytes <= capacity) all_bytes += static_cast<double>(object.bytes);
    }
    // The time is a share of the log here: an object's rate is then its count.
    double time = std::numeric_limits<double>::infinity();
    if (all_bytes > static_cast<double>(capacity)) {
        const auto held = [&](double share) {
            double bytes = 0;
            for (const auto& object : popularity.objects()) {
                if (object.bytes > capacity) continue;
                bytes += static_cast<double>(object.bytes) *
                         chance_to_be_there(static_cast<double>(object.requests), share);
            }
            return bytes;
        };
        double low = 0;
        double high = 1;
        while (held(high) < static_cast<double>(capacity) && high < 1e18) high *= 2;
        for (int i = 0; i < kBisections && low < high; ++i) {
            const double middle = low + (high - low) / 2;
            (held(middle) < static_cast<double>(capacity) ? low : high) = middle;
        }
        time = high;
    }
    estimate.characteristic_requests = time * static_cast<double>(popularity.requests());
    double requests = 0;
    double bytes = 0;
    for (const auto& object : popularity.objects()) {
        const auto asked = static_cast<double>(object.requests);
        const auto size = static_cast<double>(object.bytes);
        requests += asked;
        bytes += asked * size;
        if (object.bytes > capacity) continue;
        const double hit = chance_to_be_there(asked, time);
        estimate.hit_ratio += asked * hit;
        estimate.byte_hit_ratio += asked * size * hit;
        estimate.cold_hit_ratio += (asked - 1) * hit;
        estimate.cold_byte_hit_ratio += (asked - 1) * size * hit;
    }
    if (requests > 0) {
        estimate.hit_ratio /= requests;
        estimate.cold_hit_ratio /= requests;
    }
    if (bytes > 0) {
        estimate.byte_hit_ratio /= bytes;
        estimate.cold_byte_hit_ratio /= bytes;
    }
    return estimate;
}

}  // namespace splice::cache
