// A UDP socket that does not wait.
#pragma once

#include <optional>

#include "libsplice/base/address.hpp"
#include "libsplice/base/bytes.hpp"
#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/descriptor.hpp"

namespace splice {

class UdpSocket {
  public:
    // Bound to an address of this host, which may come later, and to that port. `doing` begins an error's
    // text.
    static SystemResult<UdpSocket> bind(const Endpoint& local, std::string_view doing);
    // Of any address, and of a port that the kernel chooses; family 4 or 6.
    static SystemResult<UdpSocket> open(int family, std::string_view doing);

    [[nodiscard]] int descriptor() const noexcept { return socket_.get(); }
    // 0 or errno.
    int send(const Endpoint& to, Bytes packet) noexcept;
    // The next packet that waits, in `room`, and whom it is from; nothing: none waits. Larger ones are cut
    // to the room.
    struct Received {
        Endpoint from;
        Bytes packet;
    };
    std::optional<Received> receive(MutableBytes room) noexcept;

  private:
    explicit UdpSocket(Descriptor socket) noexcept : socket_(std::move(socket)) {}
    Descriptor socket_;
};

}  // namespace splice
