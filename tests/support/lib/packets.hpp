// Packets for tests, built by libtins, which knows nothing of our code: what we read was written by it, and
// what we wrote is checked by it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/bytes.hpp"
#include "libsplice/core/actions.hpp"
#include "libsplice/datapath/packet.h"

namespace splice::testing {

using PacketBytes = std::vector<std::byte>;

struct Timestamps {
    std::uint32_t value = 0;
    std::uint32_t echo_reply = 0;
};

// A TCP segment from IP header to payload; a test names what differs. Addresses of one family.
struct Segment {
    std::string source = "192.0.2.1";
    std::string destination = "198.51.100.10";
    std::uint16_t source_port = 40000;
    std::uint16_t destination_port = 80;
    std::uint32_t seq = 1000;
    std::uint32_t ack = 0;
    std::uint8_t flags = SPLICE_ACK;
    std::uint16_t window = 64240;
    std::uint8_t dscp = 0;
    std::uint8_t ecn = 0;
    std::uint8_t ttl = 64;
    std::optional<std::uint16_t> mss{};
    std::optional<std::uint8_t> window_scale{};
    bool sack_permitted = false;
    std::optional<Timestamps> timestamps{};
    std::vector<std::pair<std::uint32_t, std::uint32_t>> sack{};
    std::string payload{};
    std::string refused_by{};      // a bridge's address: bounced by it, sealed with kSecret
    bool atomic_fragment = false;  // IPv6: behind a fragment header that says that it is whole

    [[nodiscard]] PacketBytes build() const;
};

// What a packet of ours says, or a doctest failure when it does not parse. Numbers in host order.
struct Parsed {
    splice_packet packet{};
    splice_tcp_options options{};
    std::string source, destination;
    std::string payload;
    std::uint8_t dscp = 0, ecn = 0;
    bool checksums_right = false;  // as libtins computes them
};
[[nodiscard]] Parsed parse(Bytes packet);

// An ICMP (family of the addresses) "fragmentation needed" or "packet too big" from `router` to `to`, that
// quotes the first `quote_bytes` of `about`.
[[nodiscard]] PacketBytes icmp_too_big(const std::string& router, const std::string& to, Bytes about,
                                       std::size_t quote_bytes, std::uint16_t mtu);

// Collects what a machine sends.
class SentPackets final : public Actions {
  public:
    void send(Bytes packet) noexcept override { sent.emplace_back(packet.begin(), packet.end()); }
    void send_to_hop(const Hop& hop, Bytes packet) noexcept override {
        hops.push_back(hop);
        bounced.emplace_back(packet.begin(), packet.end());
    }
    std::vector<PacketBytes> sent, bounced;
    std::vector<Hop> hops;
};

}  // namespace splice::testing
