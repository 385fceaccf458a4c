#include "libsplice/core/joiner/marked_segment.hpp"

#include "libsplice/core/joiner/segments.hpp"
#include "libsplice/datapath/bridge_rules.h"
#include "libsplice/datapath/parse_options.h"

namespace splice {

std::uint32_t lane_of(const MarkedSegment& segment, const JoinerSetup& setup) noexcept {
    if (setup.number == 0) return SPLICE_NO_LANE;
    splice_tcp_options options{};
    splice_parse_tcp_options(begin_of(segment.bytes), end_of(segment.bytes), &segment.packet, &options);
    return splice_bridge_lane(&segment.packet, &options, &segment.service.vip.address.raw(), &setup.secret,
                              segment.now.unix_ms());
}

}  // namespace splice
