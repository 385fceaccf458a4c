// Which objects a cache holds: nodes in an array, an open-addressing table that finds them, and lists through
// them.
//
// Own code and not a library's: std::unordered_map with std::list costs about 90 bytes and three dependent
// loads an object. Here an object costs a node of 32 bytes and between 11 and 21 bytes of table, and a
// request for an object that is absent mostly touches one cache line. Nodes are 32-bit indices, so links are
// half a pointer's size.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tools/hash/cache/big_array.hpp"

namespace splice::cache {

// Spreads any numbering of objects, consecutive ones too, over 64 bits (the finaliser of SplitMix64).
[[nodiscard]] constexpr std::uint64_t hash_of(std::uint64_t object) noexcept {
    std::uint64_t z = object + 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

using NodeIndex = std::uint32_t;
inline constexpr NodeIndex kNoNode = 0xffffffff;

struct Node {
    std::uint64_t object;
    std::uint64_t bytes;
    NodeIndex newer;  // in its list; kNoNode at the end. A free node's: the next free one
    NodeIndex older;
    std::uint32_t stale_at_s;  // Request::kForever: never
    std::uint8_t mark;         // a policy's: visited bit, or how often it was asked
    std::uint8_t list;         // a policy's: which of its lists the node is in
    std::uint16_t unused;
};
static_assert(sizeof(Node) == 32);

// Nodes keep their index for life, but not their address. Memory of nodes that were given back is kept for
// later ones.
class NodeStore {
  public:
    [[nodiscard]] Node& operator[](NodeIndex index) noexcept { return nodes_[index]; }
    [[nodiscard]] const Node& operator[](NodeIndex index) const noexcept { return nodes_[index]; }
    [[nodiscard]] NodeIndex take();
    void give_back(NodeIndex index) noexcept;
    void prefetch(NodeIndex index) const noexcept { __builtin_prefetch(&nodes_[index], 1); }
    // Of the nodes that were ever taken: the rest of the array was never touched.
    [[nodiscard]] std::size_t memory_bytes() const noexcept { return unused_ * sizeof(Node); }

  private:
    BigArray<Node> nodes_{64};
    NodeIndex unused_ = 0;  // nodes below were taken at least once
    NodeIndex free_ = kNoNode;
};

// Linear probing; a removed entry's followers move up, so there are no tombstones. At most three quarters
// full. An entry keeps 32 bits of the hash: a different object is told apart without a look at its node, and
// neither growing nor removing touches nodes.
class ObjectTable {
  public:
    ObjectTable();
    // The first node with that hash for which `same` is true.
    template <typename Same>
    [[nodiscard]] NodeIndex find(std::uint64_t hash, Same&& same) const noexcept {
        const auto tag = static_cast<std::uint32_t>(hash >> 32);
        for (std::size_t at = tag & mask_; slots_[at].node != kNoNode; at = (at + 1) & mask_) {
            if (slots_[at].tag == tag && same(slots_[at].node)) return slots_[at].node;
        }
        return kNoNode;
    }
    void insert(std::uint64_t hash, NodeIndex node);
    // A node that may be the object's: no other has these 32 bits of its hash, mostly.
    [[nodiscard]] NodeIndex likely(std::uint64_t hash) const noexcept {
        return find(hash, [](NodeIndex) { return true; });
    }
    // The node must be there.
    void erase(std::uint64_t hash, NodeIndex node) noexcept;
    void prefetch(std::uint64_t hash) const noexcept {
        __builtin_prefetch(&slots_[static_cast<std::uint32_t>(hash >> 32) & mask_]);
    }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] std::size_t memory_bytes() const noexcept { return slots_.size() * sizeof(Slot); }

  private:
    struct Slot {
        std::uint32_t tag;
        NodeIndex node;
    };
    void grow();

    BigArray<Slot> slots_;
    std::size_t mask_;
    std::size_t size_ = 0;
};

// The objects of one cache, or of a memory of objects that have left it.
class Contents {
  public:
    [[nodiscard]] NodeIndex find(std::uint64_t object, std::uint64_t hash) const noexcept {
        return table_.find(hash, [&](NodeIndex node) { return nodes_[node].object == object; });
    }
    // The object must be absent. Its node is in no list yet.
    [[nodiscard]] NodeIndex add(std::uint64_t object, std::uint64_t hash, std::uint64_t bytes,
                                std::uint32_t stale_at_s);
    // The node must have left its list.
    void erase(NodeIndex node) noexcept;
    // Loads from memory cost more than all that is computed here, so they begin early. First the table's
    // place of an object, some requests later its node, if there is one.
    void prefetch_place(std::uint64_t hash) const noexcept { table_.prefetch(hash); }
    void prefetch_node(std::uint64_t hash) const noexcept {
        const NodeIndex node = table_.likely(hash);
        if (node != kNoNode) nodes_.prefetch(node);
    }
    // `victim` leaves next: its place of the table, and the node that leaves after it.
    void prefetch_victim(NodeIndex victim) const noexcept {
        if (victim == kNoNode) return;
        table_.prefetch(hash_of(nodes_[victim].object));
        if (nodes_[victim].newer != kNoNode) nodes_.prefetch(nodes_[victim].newer);
    }

    [[nodiscard]] Node& operator[](NodeIndex node) noexcept { return nodes_[node]; }
    [[nodiscard]] const Node& operator[](NodeIndex node) const noexcept { return nodes_[node]; }
    [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
    [[nodiscard]] std::size_t objects() const noexcept { return table_.size(); }
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        return nodes_.memory_bytes() + table_.memory_bytes();
    }

  private:
    NodeStore nodes_;
    ObjectTable table_;
    std::uint64_t bytes_ = 0;
};

// A queue through nodes of one Contents: new nodes come at one end, old ones leave at the other.
class NodeList {
  public:
    void push_newest(Contents& contents, NodeIndex node) noexcept;
    void remove(Contents& contents, NodeIndex node) noexcept;
    void make_newest(Contents& contents, NodeIndex node) noexcept {
        if (node == newest_) return;
        remove(contents, node);
        push_newest(contents, node);
    }
    [[nodiscard]] NodeIndex newest() const noexcept { return newest_; }
    [[nodiscard]] NodeIndex oldest() const noexcept { return oldest_; }
    [[nodiscard]] bool empty() const noexcept { return oldest_ == kNoNode; }
    [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

  private:
    NodeIndex newest_ = kNoNode;
    NodeIndex oldest_ = kNoNode;
    std::uint64_t bytes_ = 0;
};

}  // namespace splice::cache
