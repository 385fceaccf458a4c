#include "tools/hash/cache/contents.hpp"

#include <algorithm>
#include <cassert>

namespace splice::cache {

NodeIndex NodeStore::take() {
    if (free_ != kNoNode) {
        const NodeIndex node = free_;
        free_ = (*this)[node].newer;
        return node;
    }
    assert(unused_ != kNoNode);
    if (unused_ == nodes_.size()) nodes_.grow(2 * nodes_.size());
    return unused_++;
}

void NodeStore::give_back(NodeIndex node) noexcept {
    (*this)[node].newer = free_;
    free_ = node;
}

ObjectTable::ObjectTable() : slots_(64), mask_(slots_.size() - 1) {
    std::fill(slots_.begin(), slots_.end(), Slot{0, kNoNode});
}

void ObjectTable::insert(std::uint64_t hash, NodeIndex node) {
    if (4 * (size_ + 1) > 3 * slots_.size()) grow();
    const auto tag = static_cast<std::uint32_t>(hash >> 32);
    std::size_t at = tag & mask_;
    while (slots_[at].node != kNoNode) at = (at + 1) & mask_;
    slots_[at] = {tag, node};
    ++size_;
}

void ObjectTable::erase(std::uint64_t hash, NodeIndex node) noexcept {
    std::size_t hole = static_cast<std::uint32_t>(hash >> 32) & mask_;
    while (slots_[hole].node != node) hole = (hole + 1) & mask_;
    // An entry may fill the hole when the hole lies between the entry's home and its place.
    for (std::size_t at = (hole + 1) & mask_; slots_[at].node != kNoNode; at = (at + 1) & mask_) {
        const std::size_t home = slots_[at].tag & mask_;
        if (((at - home) & mask_) >= ((at - hole) & mask_)) {
            slots_[hole] = slots_[at];
            hole = at;
        }
    }
    slots_[hole] = {0, kNoNode};
    --size_;
}

void ObjectTable::grow() {
    BigArray<Slot> old(2 * slots_.size());
    std::fill(old.begin(), old.end(), Slot{0, kNoNode});
    old.swap(slots_);
    mask_ = slots_.size() - 1;
    for (const Slot& slot : old) {
        if (slot.node == kNoNode) continue;
        std::size_t at = slot.tag & mask_;
        while (slots_[at].node != kNoNode) at = (at + 1) & mask_;
        slots_[at] = slot;
    }
}

NodeIndex Contents::add(std::uint64_t object, std::uint64_t hash, std::uint64_t bytes,
                        std::uint32_t stale_at_s) {
    const NodeIndex node = nodes_.take();
    nodes_[node] = {object, bytes, kNoNode, kNoNode, stale_at_s, 0, 0, 0};
    table_.insert(hash, node);
    bytes_ += bytes;
    return node;
}

void Contents::erase(NodeIndex node) noexcept {
    table_.erase(hash_of(nodes_[node].object), node);
    bytes_ -= nodes_[node].bytes;
    nodes_.give_back(node);
}

void NodeList::push_newest(Contents& contents, NodeIndex node) noexcept {
    contents[node].newer = kNoNode;
    contents[node].older = newest_;
    (newest_ == kNoNode ? oldest_ : contents[newest_].newer) = node;
    newest_ = node;
    bytes_ += contents[node].bytes;
}

void NodeList::remove(Contents& contents, NodeIndex node) noexcept {
    const Node& leaving = contents[node];
    (leaving.newer == kNoNode ? newest_ : contents[leaving.newer].older) = leaving.older;
    (leaving.older == kNoNode ? oldest_ : contents[leaving.older].newer) = leaving.newer;
    bytes_ -= leaving.bytes;
}

}  // namespace splice::cache
