// --any-vip's first look at a capture: which endpoints are servers, and what they speak.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "libsplice/core/hash_key.hpp"
#include "tools/replay/arrival.hpp"
#include "tools/replay/fleet.hpp"

namespace splice::replay {

// What a client's first bytes speak: a TLS handshake record, an HTTP/1 request or the HTTP/2 preface. As few
// bytes as one may tell; nothing when they are neither's beginning.
[[nodiscard]] std::optional<Protocol> recognise(Bytes payload);

// A server is where a SYN goes or a SYN-ACK comes from; of a connection without either, the end with the
// lower port.
class Survey {
  public:
    void take(const Arrival& arrival);
    // What was found, as services; one whose first payload nothing tells speaks tcp.
    [[nodiscard]] Fleets services() const;

  private:
    struct Connection {
        bool reversed = false;   // the server is the end that the key calls client
        std::uint8_t looks = 0;  // payloads of the client that were looked at
        std::optional<Protocol> protocol;
    };
    std::unordered_map<splice_flow_key, std::uint32_t, FlowKeyHash, FlowKeyEqual> index_;
    std::vector<std::pair<splice_flow_key, Connection>> connections_;  // in the order of the capture
};

}  // namespace splice::replay
