// A packet that waits for a verdict, whatever brought it here, and what becomes of it.
#pragma once

#include <cstdint>

#include "libsplice/base/bytes.hpp"
#include "libsplice/core/actions.hpp"

namespace splice {

// A packet out of the queue; valid during the handler.
struct QueuedPacket {
    std::uint32_t id = 0;
    MutableBytes bytes;  // from the IP header; may be edited, and shortened but not lengthened
    bool checksum_finished =
        true;                   // false: the kernel left TCP's checksum to the card (only with options.gso)
    bool super_packet = false;  // to be cut into segments by the kernel or the card (only with options.gso)
    bool truncated = false;  // longer than the 65,531 bytes that a netlink message carries: bytes is its head
    Hop hop;                 // who sent it here; interface 0 where it did not arrive (POSTROUTING, OUTPUT)
};

// What becomes of a queued packet. accept_edited: it goes on as `bytes` now stands. The kernel then takes the
// TCP checksum for finished, so an edit of a packet with an unfinished one finishes it. The one exception is
// a super-packet that leaves the host (POSTROUTING): each segment's checksum is made when it is cut, whatever
// stood there; a super-packet for this host's own sockets is verified whole. A truncated packet is never
// accepted as edited: it would lose its tail, so that answer is taken for `accept`.
enum class Disposition : std::uint8_t { drop, accept, accept_edited };

}  // namespace splice
