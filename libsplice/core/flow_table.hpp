// A bounded table of flows with idle lists: entries live in one node each, and expiry looks only at the head
// of each list. Used by the balancer's and the bridge's machine.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <utility>

#include "libsplice/base/address.hpp"
#include "libsplice/datapath/flow.h"

namespace splice {

// `Lists` idle lists, each with a limit of its own in seconds; an entry stands in one of them, ordered by
// when it was touched last. Never evicts the living: insert() refuses when `capacity` entries live.
template <class Value, std::size_t Lists>
class FlowTable {
  public:
    struct Node {
        Value value{};

      private:
        friend class FlowTable;
        std::pair<const splice_flow_key, Node>* previous = nullptr;
        std::pair<const splice_flow_key, Node>* next = nullptr;
        std::uint32_t last_seen_s = 0;
        std::uint8_t list = 0;
    };
    using Entry = std::pair<const splice_flow_key, Node>;  // stays where it is until erased

    FlowTable() = default;
    FlowTable(const FlowTable&) = delete;
    FlowTable& operator=(const FlowTable&) = delete;

    [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }

    [[nodiscard]] Entry* find(const splice_flow_key& key) noexcept {
        const auto found = entries_.find(key);
        return found == entries_.end() ? nullptr : &*found;
    }

    // The hash table's own, for walks that are interrupted: their number changes when the table grows, and
    // then entries are in others.
    [[nodiscard]] std::size_t buckets() const noexcept { return entries_.bucket_count(); }
    [[nodiscard]] std::size_t bucket_size(std::size_t bucket) const { return entries_.bucket_size(bucket); }
    template <class Visit>
    void visit_bucket(std::size_t bucket, Visit&& visit) const {
        for (auto each = entries_.cbegin(bucket); each != entries_.cend(bucket); ++each) visit(*each);
    }

    // A new entry in list 0, or null when the table holds `capacity`. The key must not be there.
    [[nodiscard]] Entry* insert(const splice_flow_key& key, std::size_t capacity, std::uint32_t now_s) {
        if (entries_.size() >= capacity) return nullptr;
        Entry* entry = &*entries_.try_emplace(key).first;
        append(*entry, 0, now_s);
        return entry;
    }

    void erase(Entry& entry) noexcept {
        unlink(entry);
        entries_.erase(entries_.find(entry.first));
    }

    // The entry was heard of now and belongs to `list`.
    void touch(Entry& entry, std::uint8_t list, std::uint32_t now_s) noexcept {
        Node& node = entry.second;
        // Within a second the order of a list does not matter: most packets of a busy flow move nothing.
        if (node.list == list && node.last_seen_s == now_s) return;
        unlink(entry);
        append(entry, list, now_s);
    }

    // Hands each entry that was idle for its list's limit to `forget`, then erases it.
    template <class Forget>
    std::size_t expire(std::uint32_t now_s, const std::array<std::uint32_t, Lists>& limits_s,
                       Forget&& forget) {
        std::size_t expired = 0;
        for (std::size_t list = 0; list < Lists; ++list) {
            while (Entry* oldest = heads_[list]) {
                if (now_s - oldest->second.last_seen_s < limits_s[list]) break;
                forget(*oldest);
                erase(*oldest);
                ++expired;
            }
        }
        return expired;
    }

    // The second of the monotonic clock at which expire() has something to do.
    [[nodiscard]] std::optional<std::uint32_t> next_expiry_s(
        const std::array<std::uint32_t, Lists>& limits_s) const noexcept {
        std::optional<std::uint32_t> next;
        for (std::size_t list = 0; list < Lists; ++list) {
            if (!heads_[list]) continue;
            const std::uint32_t due = heads_[list]->second.last_seen_s + limits_s[list];
            if (!next || due < *next) next = due;
        }
        return next;
    }

    // Every entry, in no order; `visit` says true to erase it.
    template <class Visit>
    void erase_if(Visit&& visit) {
        for (auto at = entries_.begin(); at != entries_.end();) {
            Entry& entry = *at++;
            if (visit(entry)) erase(entry);
        }
    }

  private:
    void append(Entry& entry, std::uint8_t list, std::uint32_t now_s) noexcept {
        Node& node = entry.second;
        node.list = list;
        node.last_seen_s = now_s;
        node.next = nullptr;
        node.previous = tails_[list];
        (tails_[list] ? tails_[list]->second.next : heads_[list]) = &entry;
        tails_[list] = &entry;
    }

    void unlink(Entry& entry) noexcept {
        Node& node = entry.second;
        (node.previous ? node.previous->second.next : heads_[node.list]) = node.next;
        (node.next ? node.next->second.previous : tails_[node.list]) = node.previous;
    }

    std::unordered_map<splice_flow_key, Node, FlowKeyHash, FlowKeyEqual> entries_;
    std::array<Entry*, Lists> heads_{};
    std::array<Entry*, Lists> tails_{};
};

}  // namespace splice
