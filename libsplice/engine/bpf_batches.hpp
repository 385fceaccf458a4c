// A BPF hash map read and cleared with the kernel's batch calls, a piece at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace splice {

// Entries asked for at once; the longest chain of the map's buckets must fit.
inline constexpr std::uint32_t kBpfBatch = 4096;

// Where a walk of a map stands; nothing: at its beginning.
using BpfCursor = std::optional<std::uint64_t>;

// The next entries from `cursor` on, which it moves; after the last ones, to the beginning. `keys` and
// `values` have room for `most`. The number of entries.
std::uint32_t read_bpf_batch(int map, BpfCursor& cursor, void* keys, void* values,
                             std::uint32_t most = kBpfBatch) noexcept;
// `count` keys of `key_size` bytes each. Those that are gone already are passed over.
void delete_bpf_batch(int map, const void* keys, std::size_t count, std::size_t key_size) noexcept;

// A walk of a map of Key -> Value. Entries that come or go meanwhile are seen or not.
template <class Key, class Value>
class BpfWalk {
  public:
    // `map` must stay open.
    explicit BpfWalk(int map) : map_(map), keys_(kBpfBatch), values_(kBpfBatch) {}

    // Reads the next piece. False: it is the last one, and the next call begins anew.
    bool next() noexcept {
        count_ = read_bpf_batch(map_, cursor_, keys_.data(), values_.data());
        return !at_beginning();
    }
    void rewind() noexcept { cursor_.reset(); }
    [[nodiscard]] bool at_beginning() const noexcept { return !cursor_; }

    // Of the piece that was read last.
    [[nodiscard]] std::span<const Key> keys() const noexcept { return {keys_.data(), count_}; }
    [[nodiscard]] std::span<const Value> values() const noexcept { return {values_.data(), count_}; }

  private:
    int map_;
    BpfCursor cursor_;
    std::uint32_t count_ = 0;
    std::vector<Key> keys_;
    std::vector<Value> values_;
};

// Each entry of the map to `visit(key, value)`.
template <class Key, class Value, class Visit>
void for_each_bpf_entry(int map, Visit visit) {
    BpfWalk<Key, Value> walk(map);
    for (bool more = true; more;) {
        more = walk.next();
        for (std::size_t i = 0; i < walk.keys().size(); ++i) visit(walk.keys()[i], walk.values()[i]);
    }
}

template <class Key>
void delete_bpf_entries(int map, const std::vector<Key>& keys) noexcept {
    delete_bpf_batch(map, keys.data(), keys.size(), sizeof(Key));
}

}  // namespace splice
