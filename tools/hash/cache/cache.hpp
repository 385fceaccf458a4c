// One simulated cache: a policy and a capacity in bytes. It stores no bytes, only which objects would be
// there.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "tools/hash/cache/contents.hpp"

namespace splice::cache {

enum class Policy : std::uint8_t { lru, fifo, clock, sieve, s3_fifo, w_tinylfu };
inline constexpr Policy kPolicies[] = {Policy::lru,   Policy::fifo,    Policy::clock,
                                       Policy::sieve, Policy::s3_fifo, Policy::w_tinylfu};

// "lru", "fifo", "clock", "sieve", "s3-fifo", "w-tinylfu".
[[nodiscard]] std::string_view name(Policy policy) noexcept;
[[nodiscard]] std::optional<Policy> policy_named(std::string_view name) noexcept;

// What is asked of a cache: an object, or a slice of one.
struct Access {
    std::uint64_t object = 0;
    std::uint64_t bytes = 0;
    std::uint32_t now_s = 0;
    std::uint32_t ttl_s = 0;  // Request::kForever: never stale
};

enum class Outcome : std::uint8_t {
    hit,
    miss,   // now stored, unless it is larger than the cache or the policy refuses it
    stale,  // it was stored, but its time is over: fetched again, in its old place
};

// An object keeps the size that it was first stored with until it leaves. One that is larger than the cache
// is not stored, and nothing leaves for it.
class Cache {
  public:
    explicit Cache(std::uint64_t capacity) noexcept : capacity_(capacity) {}
    Cache(const Cache&) = delete;
    Cache& operator=(const Cache&) = delete;
    virtual ~Cache() = default;

    virtual Outcome access(const Access& access) = 0;

    // For an access that comes soon: brings near where the object is found, and when that is near what is
    // found.
    virtual void prefetch_place(std::uint64_t object) const noexcept = 0;
    virtual void prefetch_node(std::uint64_t object) const noexcept = 0;

    [[nodiscard]] bool holds(std::uint64_t object) const noexcept {
        return contents_.find(object, hash_of(object)) != kNoNode;
    }
    [[nodiscard]] std::uint64_t capacity() const noexcept { return capacity_; }
    [[nodiscard]] std::uint64_t bytes() const noexcept { return contents_.bytes(); }
    [[nodiscard]] std::uint64_t objects() const noexcept { return contents_.objects(); }
    // What the simulation itself allocates.
    [[nodiscard]] virtual std::size_t memory_bytes() const noexcept { return contents_.memory_bytes(); }

  protected:
    Contents contents_;
    const std::uint64_t capacity_;
};

[[nodiscard]] std::unique_ptr<Cache> make_cache(Policy policy, std::uint64_t capacity_bytes);

}  // namespace splice::cache
