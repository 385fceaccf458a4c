// One NFQUEUE (libnetfilter_queue, libmnl): packets in, in batches; verdicts out, in batches.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "libsplice/base/bytes.hpp"
#include "libsplice/core/actions.hpp"
#include "libsplice/engine/error.hpp"

namespace splice {

struct NfQueueOptions {
    std::uint16_t number = 0;
    std::uint32_t max_length = 16384;  // packets that wait in the kernel
    bool gso = false;                  // take super-packets whole, with unfinished checksums (up to 64 KiB)
    bool fail_open = false;            // a full queue passes packets instead of dropping them
};

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

class NfQueue {
  public:
    // Errors: no privilege (CAP_NET_ADMIN), the queue is another process's, no kernel support.
    static SystemResult<NfQueue> open(const NfQueueOptions& options);
    NfQueue(NfQueue&&) noexcept;
    NfQueue& operator=(NfQueue&&) noexcept;
    ~NfQueue();

    [[nodiscard]] int descriptor() const noexcept;
    // Takes what waits, at most one batch, without blocking; each packet gets one call of `handler`, whose
    // answer is its verdict. All verdicts have left when it returns. The number of packets; 0 = nothing
    // waits.
    int receive(const std::function<Disposition(QueuedPacket&)>& handler);

    // Packets that the kernel dropped because the queue or our socket buffer was full, as far as it says.
    [[nodiscard]] std::uint64_t overruns() const noexcept;

  private:
    struct Impl;
    explicit NfQueue(std::unique_ptr<Impl> impl) noexcept;
    std::unique_ptr<Impl> impl_;
};

}  // namespace splice
