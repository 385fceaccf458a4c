// W-TinyLFU (G. Einziger, R. Friedman and B. Manes, "TinyLFU: A Highly Efficient Cache Admission Policy", ACM
// Transactions on Storage 13(4), 2017).
//
// A window of 1 % of the bytes, an LRU, takes every new object. What leaves it asks to enter the main cache,
// a segmented LRU of probation and protected (80 %): it enters when it was asked more often than all the
// objects together that would leave for it. With objects of one size that is the paper's rule; for others it
// is the aggregated victims of G. Einziger et al., "Lightweight Robust Size Aware Cache Management", 2021.
#include "tools/hash/cache/frequency_sketch.hpp"
#include "tools/hash/cache/policies.hpp"

namespace splice::cache {
namespace {

enum List : std::uint8_t { kWindow, kProbation, kProtected };

class WTinyLfu {
  public:
    WTinyLfu(Contents& contents, std::uint64_t capacity) noexcept
        : contents_(contents),
          window_capacity_(capacity / 100),
          main_capacity_(capacity - window_capacity_),
          protected_capacity_(main_capacity_ - main_capacity_ / 5) {}

    void hit(NodeIndex node) noexcept {
        Node& asked = contents_[node];
        sketch_.add(hash_of(asked.object));
        switch (asked.list) {
            case kWindow:
                window_.make_newest(contents_, node);
                break;
            case kProtected:
                protected_.make_newest(contents_, node);
                break;
            case kProbation:
                probation_.remove(contents_, node);
                put(protected_, kProtected, node);
                while (protected_.bytes() > protected_capacity_) {
                    const NodeIndex demoted = protected_.oldest();
                    protected_.remove(contents_, demoted);
                    put(probation_, kProbation, demoted);
                }
                break;
            default:  // a node is in one of the three
                break;
        }
    }

    void store(const Access& access, std::uint64_t hash, std::uint32_t stale_at_s) {
        sketch_.add(hash);
        put(window_, kWindow, contents_.add(access.object, hash, access.bytes, stale_at_s));
        while (window_.bytes() > window_capacity_) {
            const NodeIndex candidate = window_.oldest();
            window_.remove(contents_, candidate);
            if (make_room_for(contents_[candidate])) {
                put(probation_, kProbation, candidate);
            } else {
                contents_.erase(candidate);
            }
        }
        sketch_.hold(contents_.objects());
    }

    void prefetch_place(std::uint64_t hash) const noexcept { sketch_.prefetch(hash); }
    [[nodiscard]] std::size_t memory_bytes() const noexcept { return sketch_.memory_bytes(); }

  private:
    void put(NodeList& list, List name, NodeIndex node) noexcept {
        contents_[node].list = name;
        list.push_newest(contents_, node);
    }

    // Who leaves after `victim`: probation's oldest first, then protected's.
    [[nodiscard]] NodeIndex next_victim(NodeIndex victim) const noexcept {
        const Node& node = contents_[victim];
        return node.newer == kNoNode && node.list == kProbation ? protected_.oldest() : node.newer;
    }
    [[nodiscard]] NodeIndex first_victim() const noexcept {
        return probation_.empty() ? protected_.oldest() : probation_.oldest();
    }

    // False, and nothing has changed, when those that would leave are worth more.
    bool make_room_for(const Node& candidate) noexcept {
        if (candidate.bytes > main_capacity_) return false;
        const std::uint64_t held = probation_.bytes() + protected_.bytes();
        const std::uint64_t needed = held + candidate.bytes;
        if (needed <= main_capacity_) return true;
        const std::uint64_t worth = sketch_.count(hash_of(candidate.object));
        std::uint64_t victims_worth = 0;
        std::uint64_t freed = 0;
        for (NodeIndex victim = first_victim(); needed - freed > main_capacity_;
             victim = next_victim(victim)) {
            victims_worth += sketch_.count(hash_of(contents_[victim].object));
            if (victims_worth >= worth) return false;
            freed += contents_[victim].bytes;
        }
        while (probation_.bytes() + protected_.bytes() + candidate.bytes > main_capacity_) {
            const NodeIndex victim = first_victim();
            (contents_[victim].list == kProbation ? probation_ : protected_).remove(contents_, victim);
            contents_.erase(victim);
        }
        return true;
    }

    Contents& contents_;
    const std::uint64_t window_capacity_;
    const std::uint64_t main_capacity_;
    const std::uint64_t protected_capacity_;
    NodeList window_;
    NodeList probation_;
    NodeList protected_;
    FrequencySketch sketch_;
};

}  // namespace

std::unique_ptr<Cache> make_w_tinylfu(std::uint64_t capacity) {
    return std::make_unique<PolicyCache<WTinyLfu>>(capacity);
}

}  // namespace splice::cache
