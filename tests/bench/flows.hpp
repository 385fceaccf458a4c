// Many connections' packets, made quickly: one packet of libtins, with the client's address, port and cookie
// written over it.
#pragma once

#include <cstdint>
#include <string>

#include "libsplice/core/actions.hpp"
#include "tests/support/lib/machines.hpp"

namespace splice::bench {

// Takes what a machine sends and forgets it.
class Nowhere final : public Actions {
  public:
    void send(Bytes) noexcept override {}
    void send_to_hop(const Hop&, Bytes) noexcept override {}
};

inline const std::string kRequest = "GET /video/intro/segment-00017.ts HTTP/1.1\r\nHost: cdn.example\r\n\r\n";

// The segment that begins connection after connection with testing::splicer_rules(4), at testing::at(0).
class FirstPayloads {
  public:
    // `destination`, `dscp`: as the balancer gets it, or as a bridge does.
    explicit FirstPayloads(const std::string& payload = kRequest);
    FirstPayloads(const std::string& payload, const std::string& destination, std::uint8_t dscp);

    // The packet of connection `number` (below 2^27), checksums finished. Lives until the next call.
    [[nodiscard]] testing::PacketBytes& packet(std::uint32_t number);

  private:
    testing::PacketBytes model_;
    testing::PacketBytes packet_;
    splice_flow_key key_{};  // with the VIP, whatever the destination
};

// Bytes that this process has from the allocator, its overhead included.
[[nodiscard]] std::size_t allocated_bytes();

}  // namespace splice::bench
