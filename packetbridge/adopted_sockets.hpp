// Adopted connections are the kernel's own sockets: nobody keeps a list of them, but one may ask.
#pragma once

#include "libsplice/core/bridge.hpp"
#include "libsplice/core/bridge_flows.hpp"
#include "libsplice/engine/socket_diag.hpp"

namespace splice {

class AdoptedSockets final : public BridgeFlows {
  public:
    AdoptedSockets(SocketDiag sockets, std::shared_ptr<const BridgeRules> rules) noexcept
        : sockets_(std::move(sockets)), rules_(std::move(rules)) {}
    void replace_rules(std::shared_ptr<const BridgeRules> rules) noexcept { rules_ = std::move(rules); }

    // Opening connections is the kernel program's.
    bool put(const splice_flow_key&, const splice_bridge_flow&) noexcept override { return false; }
    [[nodiscard]] CarriedFlow find(const splice_flow_key& key) const noexcept override;
    // The kernel removes its sockets itself.
    void erase(const splice_flow_key&) noexcept override {}

  private:
    mutable SocketDiag sockets_;
    std::shared_ptr<const BridgeRules> rules_;
};

}  // namespace splice
