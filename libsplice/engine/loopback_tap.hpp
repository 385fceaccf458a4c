// What a bridge on this host sends to the balancer, seen at loopback beside whoever else gets it, for it does
// not come in by the uplink: answers to one range of TCP ports, and what it bounces.
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
    // TCP segments of either family, without IPv6 extension headers: those to ports from `first_port` to
    // 65535, and those to any port that bear a bounce's mark. The handler's answer changes nothing: each is a
    // copy. Errors: no CAP_NET_RAW.
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
