#include "libsplice/core/joiner/marked_segment.hpp"

#include "libsplice/core/joiner/segments.hpp"
#include "libsplice/datapath/lane.h"
#include "libsplice/datapath/parse_options.h"

namespace splice {

std::uint32_t lane_of(const MarkedSegment& segment, const JoinerSetup& setup) noexcept {
    if (setup.number == 0) return SPLICE_NO_LANE;
    splice_tcp_options options{};
    splice_parse_tcp_options(begin_of(segment.bytes), end_of(segment.bytes), &segment.packet, &options);
    if (!options.timestamps_offset) return SPLICE_NO_LANE;
    const splice_ends& ends = segment.packet.ends;
    const std::uint32_t hash =
        splice_lane_hash_of(&setup.secret.lane, &ends.source, &segment.service.vip.address.raw(),
                            ends.source_port, ends.destination_port);
    return splice_lane_of(hash, options.tsecr, segment.now.unix_ms());
}

}  // namespace splice
