// --any-vip's first look at a capture: which endpoints are servers, and what they speak.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "libsplice/core/hash_key.hpp"
#include "libsplice/core/segment_hold.hpp"
#include "tools/replay/arrival.hpp"
#include "tools/replay/fleet.hpp"

namespace splice::replay {

// What a client's stream speaks, by its beginning, or by what follows a PROXY header: a TLS handshake record,
// an HTTP/1 request (line ends before it are skipped) or the HTTP/2 preface; tcp when it begins as none of
// them. Nothing as long as more must come to tell.
[[nodiscard]] std::optional<Speech> recognise(Bytes stream);
// The same of a stream of which no more is known: http or tls when it may be the beginning of one of theirs
// that is common, tcp behind a PROXY header; nothing otherwise.
[[nodiscard]] std::optional<Speech> guess(Bytes stream);

// A server is where a SYN goes or a SYN-ACK comes from; of a connection without either, the end with the
// lower port. What it speaks, the first bytes of its clients tell: of a connection whose SYN was captured the
// stream from its first byte on, whatever the order of its segments; of others each segment by itself.
class Survey {
  public:
    void take(const Arrival& arrival);
    // What was found, as services; one whose first payload nothing tells speaks tcp.
    [[nodiscard]] Fleets services() const;

  private:
    struct Connection {
        bool reversed = false;              // the server is the end that the key calls client
        bool decided = false;               // nothing more is looked at
        std::uint8_t looks = 0;             // segments that were looked at by themselves
        std::optional<Speech> speech;       // nothing: tcp
        std::optional<Seq> first;           // the number of the client's first byte
        std::unique_ptr<SegmentHold> hold;  // of the stream, while it does not tell
    };
    void take_syn(Connection& connection, const Arrival& arrival, bool from_server);
    void look(Connection& connection, const splice_packet& packet, Bytes bytes);
    void look_at_stream(Connection& connection, const splice_packet& packet, Bytes bytes);
    void decide(Connection& connection, std::optional<Speech> speech);

    std::unordered_map<splice_flow_key, std::uint32_t, FlowKeyHash, FlowKeyEqual> index_;
    std::vector<std::pair<splice_flow_key, Connection>> connections_;  // in the order of the capture
    std::size_t held_ = 0;                                             // bytes, of all connections
};

}  // namespace splice::replay
