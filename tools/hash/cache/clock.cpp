// Clock with one bit (F. J. Corbato, "A Paging Experiment with the Multics System", 1968).
//
// The ring with its hand is a queue here: the hand is at the oldest object, and what it spares becomes the
// newest.
#include "tools/hash/cache/one_list.hpp"

namespace splice::cache {
namespace {

struct Clock : OneList<Clock> {
    Clock(Contents& contents, std::uint64_t capacity) noexcept : OneList(contents, capacity) {}
    void hit(NodeIndex node) noexcept { contents_[node].mark = 1; }
    void evict() noexcept {
        NodeIndex node = list_.oldest();
        for (; contents_[node].mark != 0; node = list_.oldest()) {
            contents_[node].mark = 0;
            list_.make_newest(contents_, node);
        }
        drop(node);
        contents_.prefetch_victim(list_.oldest());
    }
};

}  // namespace

std::unique_ptr<Cache> make_clock(std::uint64_t capacity) {
    return std::make_unique<PolicyCache<Clock>>(capacity);
}

}  // namespace splice::cache
