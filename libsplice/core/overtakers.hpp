// Segments of no connection that is known, kept for a moment: they may have overtaken the first payload,
// which alone can open it. Bounded; what comes when it is full is not kept.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/bytes.hpp"
#include "libsplice/base/limits.hpp"
#include "libsplice/base/seq.hpp"
#include "libsplice/base/time.hpp"
#include "libsplice/core/actions.hpp"
#include "libsplice/datapath/packet.h"

namespace splice {

class Overtakers {
  public:
    struct Segment {
        Duration due;
        splice_flow_key key;
        Seq seq, ack;
        Duration counted;  // when it came, or came again
        int repeats = 0;   // the owner's to count
        Hop hop;
        std::vector<std::byte> bytes;
    };

    // Copied. `packet` is what the parse said of `bytes`. Good until the next call that changes anything;
    // null: full, or the flow has its share.
    [[nodiscard]] Segment* add(Instant now, Duration wait, const splice_flow_key& key,
                               const splice_packet& packet, const Hop& hop, Bytes bytes) {
        if (segments_.size() >= kOvertakers || count_of(key) >= kOvertakersPerFlow) return nullptr;
        segments_.push_back({now.monotonic + wait,
                             key,
                             Seq(packet.seq),
                             Seq(packet.ack),
                             now.monotonic,
                             0,
                             hop,
                             {bytes.begin(), bytes.end()}});
        memory_ += bytes.size();
        return &segments_.back();
    }

    // The connection has begun: its segments are due at once, in the order in which they came.
    void hurry(Instant now, const splice_flow_key& key) noexcept {
        for (Segment& segment : segments_)
            if (FlowKeyEqual{}(segment.key, key)) segment.due = now.monotonic;
    }

    // What is due, in the order in which it came; it is kept no longer.
    [[nodiscard]] std::vector<Segment> take_due(Instant now) {
        std::vector<Segment> due;
        std::erase_if(segments_, [&](Segment& segment) {
            if (segment.due > now.monotonic) return false;
            memory_ -= segment.bytes.size();
            due.push_back(std::move(segment));
            return true;
        });
        return due;
    }

    // The first that `is` says true of, or null; good until the next call that changes anything.
    template <class Is>
    [[nodiscard]] Segment* find(Is&& is) noexcept {
        const auto found = std::ranges::find_if(segments_, is);
        return found == segments_.end() ? nullptr : &*found;
    }

    // Hands each of the connection's to `take`, which says true to keep it itself.
    template <class Take>
    void take_of(const splice_flow_key& key, Take&& take) {
        std::erase_if(segments_, [&](Segment& segment) {
            if (!FlowKeyEqual{}(segment.key, key) || !take(segment)) return false;
            memory_ -= segment.bytes.size();
            return true;
        });
    }

    // Its time is up, but a client that backs off repeats itself later still: how often it came is
    // remembered, of the last few.
    void remember(const Segment& segment) {
        if (remembered_.size() >= kRemembered) remembered_.pop_front();
        remembered_.push_back({segment.key, segment.seq, segment.ack, segment.repeats});
    }
    // What is remembered of the segment, which is then forgotten.
    [[nodiscard]] std::optional<int> recall(const splice_flow_key& key, Seq seq, Seq ack) {
        const auto found = std::ranges::find_if(remembered_, [&](const Remembered& one) {
            return FlowKeyEqual{}(one.key, key) && one.seq == seq && one.ack == ack;
        });
        if (found == remembered_.end()) return std::nullopt;
        const int repeats = found->repeats;
        remembered_.erase(found);
        return repeats;
    }

    [[nodiscard]] std::optional<Duration> next_due() const noexcept {
        const auto first = std::ranges::min_element(segments_, {}, &Segment::due);
        return first == segments_.end() ? std::nullopt : std::optional(first->due);
    }

    [[nodiscard]] std::size_t memory() const noexcept { return memory_; }  // bytes of packets

  private:
    [[nodiscard]] std::size_t count_of(const splice_flow_key& key) const noexcept {
        return static_cast<std::size_t>(std::ranges::count_if(
            segments_, [&](const Segment& segment) { return FlowKeyEqual{}(segment.key, key); }));
    }

    struct Remembered {
        splice_flow_key key;
        Seq seq, ack;
        int repeats;
    };

    std::vector<Segment> segments_;
    std::deque<Remembered> remembered_;  // the oldest first
    std::size_t memory_ = 0;
};

}  // namespace splice
