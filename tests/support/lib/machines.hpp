// The two machines with rules that tests share, and the client's side of a conversation.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libsplice/core/joiner.hpp"
#include "libsplice/core/splicer.hpp"
#include "tests/support/lib/packets.hpp"

namespace splice::testing {

// One family's addresses of everybody.
struct Topology {
    std::string client, vip;
    std::vector<std::string> bridges;
    std::string backend;
};
[[nodiscard]] const Topology& topology(int family);

inline constexpr splice_secret kSecret{
    {{0x0706050403020100, 0x0f0e0d0c0b0a0908, {}}, {}},
    1,
    0,
    {{0x338fdc615f190ad1, 0x73c000d3d17a28ba, 0x0857f2268b0e68fd, 0xdf287b5053913839, 0x5a72f6cb4af15c7e,
      0xc8e870f41d9b76d6, 0xfe1517c375f7272b, 0x4e9cad2f6cd5a7c9, 0x50f358e53dd355cc, 0xf102ba8801eba7c9}}};

// H of the flow of a client's segment to the VIP (datapath/lane.h), by kSecret.
[[nodiscard]] std::uint32_t lane_hash_of(const Segment& segment);

// With lanes: each bridge has its number, 1 to 3.
[[nodiscard]] SplicerSetup laned_setup(int family = 4);
// Three bridges b1, b2, b3; one HTTP service with key `uri`, port 80, DSCP 1.
[[nodiscard]] SplicerSetup splicer_setup(int family = 4);
// The service's placement again, over the first `bridges` bridges.
[[nodiscard]] std::shared_ptr<const Placement> placement_over(std::size_t bridges,
                                                              Algorithm algorithm = Algorithm::rendezvous);
// Over the bridges of these numbers, from 0.
[[nodiscard]] std::shared_ptr<const Placement> placement_of(const std::vector<std::uint16_t>& numbers,
                                                            Algorithm algorithm = Algorithm::rendezvous);
[[nodiscard]] JoinerSetup joiner_setup(int family = 4);

// A moment that many seconds after an arbitrary beginning, on both clocks.
[[nodiscard]] Instant at(double seconds);

// A client that has opened a connection with a Splicer, and speaks on it.
struct Client {
    Segment base;  // its addresses, ports and options; seq = ISN
    std::uint32_t cookie = 0;
    std::uint32_t server_tsval = 0;

    explicit Client(int family = 4, std::uint16_t port = 40000);
    // The SYN; remembers the answer's cookie.
    Verdict connect(Splicer& splicer, Instant now);
    // A segment `offset` bytes into the stream, that acknowledges the SYN-ACK and nothing more.
    [[nodiscard]] Segment segment(std::string payload, std::uint32_t offset = 0,
                                  std::uint8_t flags = SPLICE_ACK | SPLICE_PSH) const;
};

}  // namespace splice::testing
