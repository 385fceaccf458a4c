// The keys that were asked most, in constant memory: Space-Saving (Metwally, Agrawal and El Abbadi, ICDT
// 2005). A key that has more than 1/capacity of all requests is among them. A count may be too high, by no
// more than its `error`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libsplice/base/limits.hpp"

namespace splice {

class HeavyKeys {
  public:
    struct Counter {
        std::uint64_t hash = 0;
        std::uint64_t requests = 0;
        std::uint64_t error = 0;  // of `requests`, so many may be other keys'
        std::uint64_t bytes = 0;  // since the key has this counter
        std::string key;
    };

    explicit HeavyKeys(std::size_t capacity = kHeavyKeys);
    // Another request for a key whose requests and bytes so far, this one included, are known from elsewhere.
    // Cheaper, and without an error.
    void count_known(std::uint64_t hash, std::string_view key, std::uint64_t requests, std::uint64_t bytes) {
        // A counter that this key has would be lower by one: then it has none, and gets none yet.
        if (counters_.size() == capacity_ && requests <= heap_.front().requests) return;
        set_known(hash, key, requests, bytes);
    }
    // The same when nothing is known. `hash` stands for the key.
    void count(std::uint64_t hash, std::string_view key, std::uint64_t bytes);
    // As if half as many had come: what is counted later weighs more.
    void halve() noexcept;
    // The counters of the `most` keys, most requests first.
    [[nodiscard]] std::vector<Counter> top(std::size_t most) const;

  private:
    void set_known(std::uint64_t hash, std::string_view key, std::uint64_t requests, std::uint64_t bytes);
    [[nodiscard]] std::size_t counter_for(std::uint64_t hash, std::string_view key);
    [[nodiscard]] std::size_t find(std::uint64_t hash) const noexcept;
    void index(std::size_t counter) noexcept;
    void remove_from_index(std::uint64_t hash) noexcept;
    void sink(std::size_t place) noexcept;
    void rise(std::size_t place) noexcept;
    void swap(std::size_t a, std::size_t b) noexcept;

    struct HeapPlace {
        std::uint64_t requests;
        std::uint32_t counter;
    };
    static constexpr std::uint32_t kNone = 0xffffffff;
    std::size_t capacity_;
    std::vector<Counter> counters_;
    std::vector<HeapPlace> heap_;       // the least requests first
    std::vector<std::uint32_t> place_;  // of a counter in the heap
    std::vector<std::uint32_t> table_;  // counters by hash; linear probing
};

}  // namespace splice
