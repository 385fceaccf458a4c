// Sieve (Y. Zhang et al., "SIEVE is Simpler than LRU", NSDI 2024).
//
// As Clock, but what the hand spares keeps its place, so new objects are not mixed with proven ones.
#include "tools/hash/cache/one_list.hpp"

namespace splice::cache {
namespace {

struct Sieve : OneList<Sieve> {
    Sieve(Contents& contents, std::uint64_t capacity) noexcept : OneList(contents, capacity) {}
    void hit(NodeIndex node) noexcept { contents_[node].mark = 1; }
    void evict() noexcept {
        NodeIndex node = hand_ == kNoNode ? list_.oldest() : hand_;
        while (contents_[node].mark != 0) {
            contents_[node].mark = 0;
            node = contents_[node].newer == kNoNode ? list_.oldest() : contents_[node].newer;
        }
        // kNoNode behind the newest: then the next walk begins at what is the oldest by then.
        hand_ = contents_[node].newer;
        drop(node);
        contents_.prefetch_victim(hand_);
    }

  private:
    NodeIndex hand_ = kNoNode;
};

}  // namespace

std::unique_ptr<Cache> make_sieve(std::uint64_t capacity) {
    return std::make_unique<PolicyCache<Sieve>>(capacity);
}

}  // namespace splice::cache
