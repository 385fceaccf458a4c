// One NFQUEUE (libnetfilter_queue, libmnl): packets in, in batches; verdicts out, in batches.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/queued_packet.hpp"

namespace splice {

struct NfQueueOptions {
    std::uint16_t number = 0;
    std::uint32_t max_length = 16384;  // packets that wait in the kernel
    bool gso = false;                  // take super-packets whole, with unfinished checksums (up to 64 KiB)
    bool fail_open = false;            // a full queue passes packets instead of dropping them
};

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
