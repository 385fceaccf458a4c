// The policies once more, written from the papers' pseudo code and nothing else: plain lists and maps, slow,
// obvious.
#pragma once

#include <cstdint>
#include <memory>

#include "tools/hash/cache/cache.hpp"

namespace splice::cache::reference {

class PlainCache {
  public:
    virtual ~PlainCache() = default;
    // True: a hit. A miss stores the object.
    virtual bool access(std::uint64_t object, std::uint64_t bytes) = 0;
    [[nodiscard]] virtual std::uint64_t bytes() const = 0;
};

[[nodiscard]] std::unique_ptr<PlainCache> make(Policy policy, std::uint64_t capacity);

}  // namespace splice::cache::reference
