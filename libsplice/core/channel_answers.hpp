// The bridge's end of the channel: which questions are answered, and how many.
//
// A question counts when its MAC is right, by either key of the secret: whoever does not know the secret gets
// no answer, and takes nothing from anybody's budget. Each source that knows it has a budget. A question of
// another time than this host's, by more than kChannelClockMost, is answered by this host's clock alone, so
// that a wrong clock can be told from a wrong secret; replayed later, an old question gains nothing but that.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <string_view>
#include <unordered_map>

#include "libsplice/base/channel_limits.hpp"
#include "libsplice/base/time.hpp"
#include "libsplice/wire/channel.hpp"

namespace splice {

// What became of a packet of the channel, at either end.
enum class ChannelEnd : std::uint8_t {
    taken,        // a question that was answered, an answer that was awaited
    other_clock,  // of another time: only clocks were told
    malformed,    // no packet of the channel
    no_secret,    // its MAC is wrong: the sender knows another secret, or none
    unexpected,   // nobody asked, or it comes too late; of a kind that is not for this end
    over_budget,  // its source has asked too often
    not_sent,     // the system refused to send it
};
inline constexpr std::size_t kChannelEnds = 7;
[[nodiscard]] std::string_view to_string(ChannelEnd end) noexcept;

// Read by any thread.
using ChannelCounters = std::array<std::atomic<std::uint64_t>, kChannelEnds>;

class ChannelAnswers {
  public:
    explicit ChannelAnswers(const ChannelSecret& secret) noexcept : secret_(secret) {}
    void replace_secret(const ChannelSecret& secret) noexcept { secret_ = secret; }

    // `presence` is asked only for a question that gets it. `answer`: bytes of `to`, which has kChannelMost;
    // empty: none, and `end` says why. An answer is never larger than its question. Times never go back.
    struct Result {
        ChannelEnd end{};
        Bytes answer;
    };
    Result handle(Instant now, const IpAddress& source, Bytes question,
                  const std::function<ChannelPresence()>& presence, MutableBytes to);

  private:
    struct Budget {
        double left = kChannelAnswersAtOnce;
        Duration since{};
    };
    struct SourceHash {
        std::size_t operator()(std::uint64_t source) const noexcept {
            return static_cast<std::size_t>(source * 0x9e3779b97f4a7c15U);
        }
    };
    bool take_budget(Duration now, const IpAddress& source);

    ChannelSecret secret_;
    std::unordered_map<std::uint64_t, Budget, SourceHash> budgets_;  // at most kChannelSources
};

// The wall clock in milliseconds.
[[nodiscard]] inline std::int64_t unix_ms_of(Instant now) noexcept {
    return now.unix_s * 1000 + now.unix_part_ms;
}

}  // namespace splice
