// Packets of one flow that wait for a decision, in the order of their sequence numbers, and the contiguous
// stream that they carry: a first payload at the balancer, a replayed handshake at the bridge.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "libsplice/base/bytes.hpp"
#include "libsplice/base/seq.hpp"
#include "libsplice/datapath/packet.h"

namespace splice {

struct SegmentHoldLimits {
    std::size_t stream_bytes;  // payload from the first byte on that may be held
    std::size_t packets;
};

class SegmentHold {
  public:
    enum class Added : std::uint8_t {
        stored,
        duplicate,  // every byte of it, and its FIN, are held already
        outside,    // begins before the first byte, or at the limit or beyond
        full,       // more packets than the limit
    };

    // `first`: the sequence number of the stream's first byte (the client's ISN + 1).
    SegmentHold(Seq first, SegmentHoldLimits limits) noexcept : first_(first), limits_(limits) {}

    // `bytes` begins at the IP header; `packet` is what the parse said of it, with l3_offset 0. A packet
    // without payload is stored when it carries FIN or RST, or is the first of all.
    Added add(const splice_packet& packet, Bytes bytes);

    // The stream from its first byte on, as far as it is without a gap, at most stream_bytes. Where segments
    // overlap, the byte that came in the earlier position is kept.
    [[nodiscard]] Bytes stream() const noexcept { return stream_; }
    // A FIN stands right behind stream(): nothing more will come.
    [[nodiscard]] bool ended() const noexcept { return ended_; }
    // No more will be held: the stream or the number of packets has reached its limit.
    [[nodiscard]] bool at_limit() const noexcept {
        return stream_.size() >= limits_.stream_bytes || packets_.size() >= limits_.packets;
    }
    [[nodiscard]] Seq first() const noexcept { return first_; }
    [[nodiscard]] std::size_t packets() const noexcept { return packets_.size(); }
    // What it occupies, to be counted against the memory of all.
    [[nodiscard]] std::size_t memory() const noexcept { return memory_; }

    // Calls `each(MutableBytes packet)` in the order of sequence numbers.
    template <class Each>
    void for_each(Each&& each) {
        for (Held& held : packets_) each(MutableBytes(held.bytes));
    }

  private:
    struct Held {
        std::uint32_t offset;  // of its payload in the stream
        std::uint32_t payload_length;
        std::uint16_t payload_offset;  // in bytes
        bool fin;
        std::vector<std::byte> bytes;
    };

    [[nodiscard]] bool covers(std::uint32_t offset, std::uint32_t length, bool fin) const noexcept;
    void extend_stream();

    Seq first_;
    SegmentHoldLimits limits_;
    std::vector<Held> packets_;  // by offset, then by arrival
    std::vector<std::byte> stream_;
    std::size_t memory_ = 0;
    bool ended_ = false;
};

}  // namespace splice
