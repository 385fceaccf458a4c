// Adopted connections are the kernel's own sockets: nobody keeps a list of them, but one may ask.
#pragma once

#include "libsplice/core/bridge_flows.hpp"
#include "libsplice/core/joiner.hpp"
#include "libsplice/engine/socket_diag.hpp"

namespace splice {

class AdoptedSockets final : public BridgeFlows {
  public:
    AdoptedSockets(SocketDiag sockets, std::shared_ptr<const JoinerSetup> setup) noexcept
        : sockets_(std::move(sockets)), setup_(std::move(setup)) {}
    void replace_setup(std::shared_ptr<const JoinerSetup> setup) noexcept { setup_ = std::move(setup); }

    // Opening connections is the kernel program's.
    bool put(const splice_flow_key&, const splice_bridge_flow&) noexcept override { return false; }
    [[nodiscard]] CarriedFlow find(const splice_flow_key& key) const noexcept override;
    // The kernel removes its sockets itself.
    void erase(const splice_flow_key&) noexcept override {}
    void for_each(const Visit&) const override {}

  private:
    mutable SocketDiag sockets_;
    std::shared_ptr<const JoinerSetup> setup_;
};

}  // namespace splice
