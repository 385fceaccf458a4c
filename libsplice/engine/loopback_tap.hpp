// What arrives at this host's loopback for one range of TCP ports, seen beside whoever else gets it: what a
// program of our own on this host sends to us does not come in by the uplink.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/descriptor.hpp"
#include "libsplice/engine/packet_source.hpp"

namespace splice {

class LoopbackTap final : public PacketSource {
  public:
    // TCP segments of either family, without IPv6 extension headers, to ports from `first_port` to 65535. The
    // handler's answer changes nothing: each is a copy. Errors: no CAP_NET_RAW.
    static SystemResult<std::unique_ptr<LoopbackTap>> open(std::uint16_t first_port);

    [[nodiscard]] int descriptor() const noexcept override { return socket_.get(); }
    void receive(const Handler& handler, RawSender& sender) override;
    [[nodiscard]] std::uint64_t overruns() const noexcept override { return 0; }

  private:
    explicit LoopbackTap(Descriptor socket) noexcept : socket_(std::move(socket)) {}

    Descriptor socket_;
    std::vector<std::byte> buffer_ = std::vector<std::byte>(64UZ * 1024);
};

}  // namespace splice
