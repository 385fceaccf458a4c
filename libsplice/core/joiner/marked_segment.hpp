// One marked TCP segment on its way through the bridge's rules.
#pragma once

#include <cstddef>

#include "libsplice/base/bytes.hpp"
#include "libsplice/base/time.hpp"
#include "libsplice/core/actions.hpp"
#include "libsplice/core/joiner/connections.hpp"
#include "libsplice/core/joiner/setup.hpp"
#include "libsplice/datapath/parse.h"

namespace splice {

// Lives for one call of the machine.
struct MarkedSegment {
    Instant now;
    MutableBytes bytes;    // from the IP header on, without a link's padding
    splice_packet packet;  // as it is in `bytes`: addressed to the bridge
    const Hop& hop;
    const JoinerService& service;
    splice_flow_key key;  // names the backend
    KnownConnection known;
    std::size_t room;  // bytes of packets that may still be held
    Actions& out;
};

// The lane that its timestamps name (lane.h); SPLICE_NO_LANE, also where this bridge has no number.
[[nodiscard]] std::uint32_t lane_of(const MarkedSegment& segment, const JoinerSetup& setup) noexcept;

}  // namespace splice
