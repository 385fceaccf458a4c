// FIFO: what was stored longest ago leaves.
#include "tools/hash/cache/one_list.hpp"

namespace splice::cache {
namespace {

struct Fifo : OneList<Fifo> {
    Fifo(Contents& contents, std::uint64_t capacity) noexcept : OneList(contents, capacity) {}
    void hit(NodeIndex) noexcept {}
    void evict() noexcept {
        drop(list_.oldest());
        contents_.prefetch_victim(list_.oldest());
    }
};

}  // namespace

std::unique_ptr<Cache> make_fifo(std::uint64_t capacity) {
    return std::make_unique<PolicyCache<Fifo>>(capacity);
}

}  // namespace splice::cache
