// Packets out: raw IPv4 and IPv6 sockets that take whole packets (routed by the kernel), and a packet socket
// for those that must go back to a hop. Batched: sent with sendmmsg() at flush().
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "libsplice/base/system_error.hpp"
#include "libsplice/core/actions.hpp"

namespace splice {

struct RawSenderCounters {
    std::atomic<std::uint64_t> packets{};
    std::atomic<std::uint64_t> bytes{};
    std::atomic<std::uint64_t> failures{};  // refused by the kernel; the client's retransmission repairs it
    std::atomic<std::uint64_t> too_big{};   // above the route's MTU
};

class RawSender final : public Actions {
  public:
    // `mark`: SO_MARK of all that leaves, so that rules can tell it (0 = none).
    static SystemResult<RawSender> open(std::uint32_t mark = 0);
    RawSender(RawSender&&) noexcept;
    RawSender& operator=(RawSender&&) noexcept;
    ~RawSender() override;

    // Copied; sent at flush() or when the batch is full.
    void send(Bytes packet) noexcept override;
    void send_to_hop(const Hop& hop, Bytes packet) noexcept override;
    void flush() noexcept;

    [[nodiscard]] const RawSenderCounters& counters() const noexcept;

  private:
    struct Impl;
    explicit RawSender(std::unique_ptr<Impl> impl) noexcept;
    std::unique_ptr<Impl> impl_;
};

}  // namespace splice
