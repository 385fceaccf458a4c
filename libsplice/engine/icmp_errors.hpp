// ICMP errors that this host gets about its own TCP segments from one range of ports: what routers, hosts and
// this host's own stack say of segments that did not arrive.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/descriptor.hpp"
#include "libsplice/engine/packet_source.hpp"

namespace splice {

class IcmpErrors final : public PacketSource {
  public:
    // Of one family (4 or 6), about segments without IP options or extension headers from ports from
    // `first_port` to 65535. The handler gets each as a packet from its IP header on; its answer changes
    // nothing: it is a copy. Null: the host has no IPv6. Errors: no CAP_NET_RAW.
    static SystemResult<std::unique_ptr<IcmpErrors>> open(int family, std::uint16_t first_port);

    [[nodiscard]] int descriptor() const noexcept override { return socket_.get(); }
    void receive(const Handler& handler, RawSender& sender) override;
    [[nodiscard]] std::uint64_t overruns() const noexcept override { return 0; }

  private:
    IcmpErrors(Descriptor socket, int family) noexcept : socket_(std::move(socket)), family_(family) {}

    Descriptor socket_;
    int family_;
    std::vector<std::byte> buffer_ = std::vector<std::byte>(2048);  // an error quotes less than 1280 bytes
};

// Adds those of both families, as far as the host has them.
SystemResult<void> add_icmp_errors(std::vector<std::unique_ptr<PacketSource>>& sources,
                                   std::uint16_t first_port);

}  // namespace splice
