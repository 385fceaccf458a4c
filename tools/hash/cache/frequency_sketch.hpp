// How often an object was asked lately, for W-TinyLFU: a count-min sketch of four rows whose counters are
// halved from time to time.
//
// A counter has 4 bits, 16 are a word, 8 words (a cache line) a block. An object's hash names its block, and
// in it one counter of each row: row r has the words 2r and 2r+1. So an object costs one cache line, as in
// Caffeine.
#pragma once

#include <cstdint>
#include <vector>

namespace splice::cache {

class FrequencySketch {
  public:
    static constexpr std::size_t kWordsOfBlock = 8;
    static constexpr unsigned kRows = 4;
    static constexpr std::uint64_t kMostCount = 15;
    static constexpr std::size_t kSample = 10;  // halved after that many times its words

    FrequencySketch() : words_(kWordsOfBlock) {}
    // At least a word (four counters of each row) an object. Growing doubles the blocks and copies them, so
    // no object's count gets lower.
    void hold(std::size_t objects);
    void add(std::uint64_t hash) noexcept;
    // Never less than the true count since the last halving, at most kMostCount.
    [[nodiscard]] std::uint64_t count(std::uint64_t hash) const noexcept;
    void prefetch(std::uint64_t hash) const noexcept { __builtin_prefetch(&words_[block(hash)], 1); }
    [[nodiscard]] std::size_t memory_bytes() const noexcept { return words_.size() * sizeof(std::uint64_t); }

  private:
    void halve() noexcept;
    [[nodiscard]] std::size_t block(std::uint64_t hash) const noexcept {
        return (hash & (words_.size() / kWordsOfBlock - 1)) * kWordsOfBlock;
    }

    std::vector<std::uint64_t> words_;
    std::size_t additions_ = 0;
};

}  // namespace splice::cache
