// The simulation's own reading and writing of packets. It shares no line with libsplice/datapath, whose work
// it checks; libtins, which the unit tests use for that, is too slow for a million packets.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/bytes.hpp"

namespace splice::simulation {

using PacketBytes = std::vector<std::byte>;

enum Flags : std::uint8_t { kFin = 1, kSyn = 2, kRst = 4, kPsh = 8, kAck = 16 };

struct Timestamps {
    std::uint32_t value;
    std::uint32_t echo_reply;
};

// A TCP segment with its IP header, numbers in host order.
struct Segment {
    IpAddress source, destination;
    std::uint16_t source_port = 0, destination_port = 0;
    std::uint32_t seq = 0, ack = 0;
    std::uint8_t flags = 0;
    std::uint16_t window = 0;
    std::uint8_t traffic_class = 0;
    std::optional<std::uint16_t> mss;
    std::optional<std::uint8_t> window_scale;
    bool sack_permitted = false;
    std::optional<Timestamps> timestamps;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> sack;
    std::uint8_t leading_nops = 0;  // so that numbers stand at odd offsets; at most 3
    std::string payload;

    [[nodiscard]] bool has(std::uint8_t flag) const noexcept { return (flags & flag) != 0; }
    // Sequence numbers that it takes.
    [[nodiscard]] std::uint32_t length() const noexcept {
        return static_cast<std::uint32_t>(payload.size()) + (has(kSyn) ? 1 : 0) + (has(kFin) ? 1 : 0);
    }
};

[[nodiscard]] PacketBytes encode(const Segment& segment);

// Nothing when it is no whole TCP segment or one of its checksums is wrong: what a host would drop unread.
[[nodiscard]] std::optional<Segment> decode(Bytes packet);

// The destination, whatever else is broken; nothing when there is none.
[[nodiscard]] std::optional<IpAddress> destination_of(Bytes packet);

}  // namespace splice::simulation
