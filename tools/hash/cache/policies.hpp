// The six policies; what they share is in PolicyCache, what tells them apart in one file each.
#pragma once

#include <memory>

#include "tools/hash/cache/cache.hpp"
#include "tools/hash/cache/request.hpp"

namespace splice::cache {

// A Rule is constructed from Contents& and the capacity, and has
//   hit(node)                        for an object that is there, stale or not;
//   store(access, hash, stale_at_s)  for one that is absent and not larger than the capacity: makes room and
//   adds
//                                    it, or refuses it;
//   prefetch_place(hash), memory_bytes()  for what it keeps beside the contents.
template <typename Rule>
class PolicyCache final : public Cache {
  public:
    explicit PolicyCache(std::uint64_t capacity) : Cache(capacity), rule_(contents_, capacity) {}

    Outcome access(const Access& access) override {
        const std::uint64_t hash = hash_of(access.object);
        const NodeIndex node = contents_.find(access.object, hash);
        if (node != kNoNode) {
            const bool stale =
                access.now_s >= contents_[node].stale_at_s && contents_[node].stale_at_s != Request::kForever;
            if (stale) contents_[node].stale_at_s = stale_at(access);
            rule_.hit(node);
            return stale ? Outcome::stale : Outcome::hit;
        }
        if (access.bytes <= capacity_) rule_.store(access, hash, stale_at(access));
        return Outcome::miss;
    }
    void prefetch_place(std::uint64_t object) const noexcept override {
        contents_.prefetch_place(hash_of(object));
        rule_.prefetch_place(hash_of(object));
    }
    void prefetch_node(std::uint64_t object) const noexcept override {
        contents_.prefetch_node(hash_of(object));
    }
    [[nodiscard]] std::size_t memory_bytes() const noexcept override {
        return contents_.memory_bytes() + rule_.memory_bytes();
    }

  private:
    static std::uint32_t stale_at(const Access& access) noexcept {
        return access.ttl_s < Request::kForever - access.now_s ? access.now_s + access.ttl_s
                                                               : Request::kForever;
    }
    Rule rule_;
};

[[nodiscard]] std::unique_ptr<Cache> make_lru(std::uint64_t capacity);
[[nodiscard]] std::unique_ptr<Cache> make_fifo(std::uint64_t capacity);
[[nodiscard]] std::unique_ptr<Cache> make_clock(std::uint64_t capacity);
[[nodiscard]] std::unique_ptr<Cache> make_sieve(std::uint64_t capacity);
[[nodiscard]] std::unique_ptr<Cache> make_s3_fifo(std::uint64_t capacity);
[[nodiscard]] std::unique_ptr<Cache> make_w_tinylfu(std::uint64_t capacity);

}  // namespace splice::cache
