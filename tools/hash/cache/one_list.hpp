// A policy that keeps its objects in one list: new ones come at one end, what leaves is the policy's choice.
#pragma once

#include "tools/hash/cache/policies.hpp"

namespace splice::cache {

// Policy: evict() takes one object out of the list and the contents. The list is not empty then.
template <typename Policy>
class OneList {
  public:
    void store(const Access& access, std::uint64_t hash, std::uint32_t stale_at_s) {
        while (contents_.bytes() + access.bytes > capacity_) static_cast<Policy*>(this)->evict();
        list_.push_newest(contents_, contents_.add(access.object, hash, access.bytes, stale_at_s));
    }
    void prefetch_place(std::uint64_t) const noexcept {}
    [[nodiscard]] std::size_t memory_bytes() const noexcept { return 0; }

  protected:
    void drop(NodeIndex node) noexcept {
        list_.remove(contents_, node);
        contents_.erase(node);
    }
    Contents& contents_;
    NodeList list_;

  private:
    friend Policy;  // nobody else makes one
    OneList(Contents& contents, std::uint64_t capacity) noexcept : contents_(contents), capacity_(capacity) {}
    const std::uint64_t capacity_;
};

}  // namespace splice::cache
