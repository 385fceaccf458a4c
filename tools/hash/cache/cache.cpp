#include "tools/hash/cache/cache.hpp"

#include <utility>

#include "tools/hash/cache/policies.hpp"

namespace splice::cache {

std::string_view name(Policy policy) noexcept {
    switch (policy) {
        case Policy::lru:
            return "lru";
        case Policy::fifo:
            return "fifo";
        case Policy::clock:
            return "clock";
        case Policy::sieve:
            return "sieve";
        case Policy::s3_fifo:
            return "s3-fifo";
        case Policy::w_tinylfu:
            return "w-tinylfu";
    }
    std::unreachable();
}

std::optional<Policy> policy_named(std::string_view asked) noexcept {
    for (const Policy policy : kPolicies) {
        if (name(policy) == asked) return policy;
    }
    return std::nullopt;
}

std::unique_ptr<Cache> make_cache(Policy policy, std::uint64_t capacity) {
    switch (policy) {
        case Policy::lru:
            return make_lru(capacity);
        case Policy::fifo:
            return make_fifo(capacity);
        case Policy::clock:
            return make_clock(capacity);
        case Policy::sieve:
            return make_sieve(capacity);
        case Policy::s3_fifo:
            return make_s3_fifo(capacity);
        case Policy::w_tinylfu:
            return make_w_tinylfu(capacity);
    }
    std::unreachable();
}

}  // namespace splice::cache
