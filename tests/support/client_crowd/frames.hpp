// The frames out of which a crowd's are made.
#pragma once

#include <string_view>

#include "libsplice/engine/next_hop.hpp"
#include "tests/support/client_crowd/crowd.h"

namespace splice::crowd {

struct Ends {
    EthernetAddress from, to;
    splice_address client;  // the last two bytes 0
    splice_address vip;
    std::uint16_t port = 0;  // host order
};

// Whole but for the client's own numbers. A SYN has the options of a Linux client, other segments
// timestamps.
[[nodiscard]] crowd_frame frame_of(crowd_step step, const Ends& ends);
// What a first payload is; the letters stand in CROWD_NAME_OFFSET of the segment.
inline constexpr std::string_view kRequest = "GET /crowds/aaaaaaaa HTTP/1.1\r\nHost: crowd\r\n\r\n";

}  // namespace splice::crowd
