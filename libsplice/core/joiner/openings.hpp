// Connections that begin: the client's handshake is replayed to the backend, what the client sends meanwhile
// is held, and the backend's SYN-ACK teaches the numbers by which the connection is translated (RFC 9293
// section 3.5).
#pragma once

#include "libsplice/base/verdict.hpp"
#include "libsplice/core/joiner/connections.hpp"
#include "libsplice/core/joiner/marked_segment.hpp"
#include "libsplice/core/joiner/setup.hpp"

namespace splice {

class Openings {
  public:
    explicit Openings(BridgeConnections& connections) noexcept : connections_(connections) {}

    struct Opened {
        Verdict verdict;
        BridgeFlowTable::Entry*
            entry;  // null: not opened; good until the next call that changes a connection
    };
    // A segment with a valid cookie, and no connection of its addresses and ports: the handshake is replayed,
    // the segment waits for its end.
    [[nodiscard]] Opened open(const MarkedSegment& segment, const splice_negotiated& negotiated,
                              const JoinerSetup& setup);
    // One more segment of the client's while the handshake is being replayed.
    [[nodiscard]] Verdict hold(const MarkedSegment& segment);
    // What the backend says while the handshake is being replayed. `segment` is judged, its checksum
    // verified.
    [[nodiscard]] Verdict take_answer(Instant now, const splice_packet& segment, MutableBytes bytes,
                                      BridgeFlowTable::Entry& entry, const splice_secret& secret,
                                      Actions& out);
    // The backend repeats the SYN-ACK of an established connection: its accept queue was full, or what
    // completed its handshake is lost. A client that has nothing to repeat could not help it.
    static void acknowledge_again(const splice_packet& syn_ack, MutableBytes bytes,
                                  const splice_flow_key& key, const splice_bridge_flow& flow, Actions& out);

  private:
    Verdict learn(Instant now, const splice_packet& syn_ack, MutableBytes bytes,
                  BridgeFlowTable::Entry& entry, Actions& out);
    Verdict refuse(BridgeFlowTable::Entry& entry, const splice_secret& secret, Actions& out);

    BridgeConnections& connections_;
};

}  // namespace splice
