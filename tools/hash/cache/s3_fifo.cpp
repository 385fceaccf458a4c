// S3-FIFO (J. Yang et al., "FIFO Queues are All You Need for Cache Eviction", SOSP 2023, algorithm 1).
//
// New objects pass a small queue; those that are asked there twice more, or again soon after they left it,
// enter the main one. A third queue, the ghosts, remembers which objects left the small one: numbers, no
// bytes.
#include <algorithm>

#include "tools/hash/cache/policies.hpp"

namespace splice::cache {
namespace {

constexpr std::uint8_t kMostMarks = 3;     // two bits
constexpr std::uint8_t kMarksForMain = 2;  // "freq > 1"

class S3Fifo {
  public:
    S3Fifo(Contents& contents, std::uint64_t capacity) noexcept
        : contents_(contents), capacity_(capacity), main_capacity_(capacity - capacity / 10) {}

    void hit(NodeIndex node) noexcept {
        std::uint8_t& mark = contents_[node].mark;
        mark = std::min<std::uint8_t>(mark + 1, kMostMarks);
    }

    void store(const Access& access, std::uint64_t hash, std::uint32_t stale_at_s) {
        const NodeIndex ghost = ghosts_.find(access.object, hash);
        if (ghost != kNoNode) drop_ghost(ghost);
        while (contents_.bytes() + access.bytes > capacity_) evict();
        const NodeIndex node = contents_.add(access.object, hash, access.bytes, stale_at_s);
        (ghost != kNoNode ? main_ : small_).push_newest(contents_, node);
    }

    void prefetch_place(std::uint64_t hash) const noexcept { ghosts_.prefetch_place(hash); }
    [[nodiscard]] std::size_t memory_bytes() const noexcept { return ghosts_.memory_bytes(); }

  private:
    // One object leaves the cache, unless the small queue had only objects for the main one.
    void evict() {
        if (main_.bytes() > main_capacity_ || small_.empty()) {
            evict_main();
        } else {
            evict_small();
        }
    }

    void evict_small() {
        while (!small_.empty()) {
            const NodeIndex node = small_.oldest();
            small_.remove(contents_, node);
            if (contents_[node].mark >= kMarksForMain) {
                contents_[node].mark = 0;
                main_.push_newest(contents_, node);
                continue;
            }
            remember(contents_[node]);
            contents_.erase(node);
            contents_.prefetch_victim(small_.oldest());
            if (!small_.empty()) ghosts_.prefetch_place(hash_of(contents_[small_.oldest()].object));
            return;
        }
    }

    void evict_main() noexcept {
        while (contents_[main_.oldest()].mark != 0) {
            const NodeIndex node = main_.oldest();
            --contents_[node].mark;
            main_.make_newest(contents_, node);
        }
        const NodeIndex node = main_.oldest();
        main_.remove(contents_, node);
        contents_.erase(node);
        contents_.prefetch_victim(main_.oldest());
    }

    // The ghosts' objects are together no larger than the main queue's capacity.
    void remember(const Node& leaving) {
        if (leaving.bytes > main_capacity_) return;
        while (ghosts_.bytes() + leaving.bytes > main_capacity_) drop_ghost(ghost_list_.oldest());
        const NodeIndex ghost = ghosts_.add(leaving.object, hash_of(leaving.object), leaving.bytes, 0);
        ghost_list_.push_newest(ghosts_, ghost);
        ghosts_.prefetch_victim(ghost_list_.oldest());
    }
    void drop_ghost(NodeIndex ghost) noexcept {
        ghost_list_.remove(ghosts_, ghost);
        ghosts_.erase(ghost);
    }

    Contents& contents_;
    const std::uint64_t capacity_;
    const std::uint64_t main_capacity_;
    NodeList small_;
    NodeList main_;
    Contents ghosts_;
    NodeList ghost_list_;
};

}  // namespace

std::unique_ptr<Cache> make_s3_fifo(std::uint64_t capacity) {
    return std::make_unique<PolicyCache<S3Fifo>>(capacity);
}

}  // namespace splice::cache
