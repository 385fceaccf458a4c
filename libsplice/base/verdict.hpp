// The verdict list of datapath/verdicts.h in C++: names, kinds, sentences, and a counter for each.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

#include "libsplice/datapath/verdicts.h"

namespace splice {

using Verdict = splice_verdict;

inline constexpr std::size_t kVerdictCount = SPLICE_VERDICT_COUNT;

[[nodiscard]] std::string_view verdict_name(Verdict verdict) noexcept;      // "drop_orphan"
[[nodiscard]] std::string_view verdict_sentence(Verdict verdict) noexcept;  // what it means to an operator
[[nodiscard]] splice_verdict_kind verdict_kind(Verdict verdict) noexcept;

// How often each verdict came. Written by one thread, read by any: relaxed, so a packet pays one plain add.
class VerdictCounters {
  public:
    void add(Verdict verdict) noexcept {
        auto& counter = counts_[verdict];
        counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint64_t of(Verdict verdict) const noexcept {
        return counts_[verdict].load(std::memory_order_relaxed);
    }

  private:
    std::array<std::atomic<std::uint64_t>, kVerdictCount> counts_{};
};

}  // namespace splice
