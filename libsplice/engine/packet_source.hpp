// Where a data plane's packets come from: an NFQUEUE, or the ring of a kernel program.
#pragma once

#include <cstdint>
#include <functional>

#include "libsplice/engine/queued_packet.hpp"
#include "libsplice/engine/raw_socket.hpp"

namespace splice {

class PacketSource {
  public:
    using Handler = std::function<Disposition(QueuedPacket&)>;
    virtual ~PacketSource() = default;
    [[nodiscard]] virtual int descriptor() const noexcept = 0;
    // Takes what waits, at most one batch, without blocking. A packet that is accepted goes on its way: the
    // queue's by verdict, others out of `sender`.
    virtual void receive(const Handler& handler, RawSender& sender) = 0;
    // Packets that the kernel dropped because there was no room for them.
    [[nodiscard]] virtual std::uint64_t overruns() const noexcept = 0;
};

}  // namespace splice
