#include "tools/hash/cache/frequency_sketch.hpp"

#include <algorithm>

namespace splice::cache {
namespace {

struct Counter {
    std::size_t word;  // in its block
    unsigned shift;
};

// Five bits of the hash for each row, from bit 40: the lower ones name the block.
Counter counter(std::uint64_t hash, unsigned row) noexcept {
    const auto bits = static_cast<unsigned>(hash >> (40 + 5 * row)) & 31;
    return {2 * row + (bits >> 4), 4 * (bits & 15)};
}

}  // namespace

void FrequencySketch::hold(std::size_t objects) {
    while (words_.size() < objects) {
        const std::size_t size = words_.size();
        words_.resize(2 * size);
        std::copy_n(words_.begin(), size, words_.begin() + static_cast<std::ptrdiff_t>(size));
    }
}

void FrequencySketch::add(std::uint64_t hash) noexcept {
    std::uint64_t* const words = &words_[block(hash)];
    for (unsigned row = 0; row < kRows; ++row) {
        const Counter at = counter(hash, row);
        if (((words[at.word] >> at.shift) & kMostCount) < kMostCount) words[at.word] += 1ULL << at.shift;
    }
    if (++additions_ >= kSample * words_.size()) halve();
}

std::uint64_t FrequencySketch::count(std::uint64_t hash) const noexcept {
    const std::uint64_t* const words = &words_[block(hash)];
    std::uint64_t least = kMostCount;
    for (unsigned row = 0; row < kRows; ++row) {
        const Counter at = counter(hash, row);
        least = std::min(least, (words[at.word] >> at.shift) & kMostCount);
    }
    return least;
}

void FrequencySketch::halve() noexcept {
    for (std::uint64_t& word : words_) word = (word >> 1) & 0x7777777777777777ULL;
    additions_ /= 2;
}

}  // namespace splice::cache
