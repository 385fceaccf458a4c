// LRU: what was asked longest ago leaves.
#include "tools/hash/cache/one_list.hpp"

namespace splice::cache {
namespace {

struct Lru : OneList<Lru> {
    Lru(Contents& contents, std::uint64_t capacity) noexcept : OneList(contents, capacity) {}
    void hit(NodeIndex node) noexcept { list_.make_newest(contents_, node); }
    void evict() noexcept {
        drop(list_.oldest());
        contents_.prefetch_victim(list_.oldest());
    }
};

}  // namespace

std::unique_ptr<Cache> make_lru(std::uint64_t capacity) {
    return std::make_unique<PolicyCache<Lru>>(capacity);
}

}  // namespace splice::cache
