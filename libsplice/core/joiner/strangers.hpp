// Segments of no connection that the bridge knows. Each may have overtaken its connection's first payload, or
// be of a connection that this host no longer has: it waits, joins the connection that opens, or is answered
// when its client insists.
#pragma once

#include "libsplice/base/verdict.hpp"
#include "libsplice/core/joiner/connections.hpp"
#include "libsplice/core/joiner/marked_segment.hpp"
#include "libsplice/core/overtakers.hpp"

namespace splice {

class Strangers {
  public:
    Strangers(BridgeConnections& connections, HeldLossCounters& held_lost) noexcept
        : connections_(connections), held_lost_(held_lost) {}

    // `setup` for the answer to one that was held before.
    [[nodiscard]] Verdict take(const MarkedSegment& segment, const JoinerSetup& setup);
    // The connection has opened: what overtook its first payload and acknowledges the same cookie joins it.
    void join(BridgeFlowTable::Entry& opened);
    void expire(Instant now);
    [[nodiscard]] std::optional<Duration> next_deadline() const noexcept { return waiting_.next_due(); }
    [[nodiscard]] std::size_t held_bytes() const noexcept { return waiting_.memory(); }

  private:
    Verdict repeat(const MarkedSegment& segment, Overtakers::Segment& held, const JoinerSetup& setup);
    Verdict judge(const splice_flow_key& key, const JoinerSetup& setup, Actions& out);
    Verdict answer(Overtakers::Segment& segment, const JoinerSetup& setup, Actions& out);

    BridgeConnections& connections_;
    HeldLossCounters& held_lost_;
    Overtakers waiting_;  // keys name the backend
};

}  // namespace splice
