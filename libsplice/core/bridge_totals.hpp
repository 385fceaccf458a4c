// What the balancer has seen of each service's bridges: by the machine since it was taken, by the API since
// the start.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "libsplice/core/flow_counts.hpp"
#include "libsplice/core/health.hpp"

namespace splice {

// A service's bridge, and what was seen of it by the way.
struct SignedBridge {
    std::uint16_t service = 0;  // number
    std::uint16_t bridge = 0;
    PassiveSigns signs{};
    std::uint64_t packets = 0;  // of clients, that it was sent
    std::uint64_t bytes = 0;    // of these IP packets, with their headers
};

class BridgeTotals {
  public:
    // By the service's number and the bridge's in flow entries; all zero where nothing was seen.
    [[nodiscard]] SignedBridge& at(std::uint16_t service, std::uint16_t bridge) {
        SignedBridge& of = totals_[service_bridge_key(service, bridge)];
        of.service = service;
        of.bridge = bridge;
        return of;
    }
    [[nodiscard]] SignedBridge of(std::uint16_t service, std::uint16_t bridge) const noexcept {
        const auto found = totals_.find(service_bridge_key(service, bridge));
        return found == totals_.end() ? SignedBridge{} : found->second;
    }
    void add(std::span<const SignedBridge> seen) {
        for (const SignedBridge& each : seen) {
            SignedBridge& total = at(each.service, each.bridge);
            total.signs.add(each.signs);
            total.packets += each.packets;
            total.bytes += each.bytes;
        }
    }
    // All that was seen, and begins anew.
    [[nodiscard]] std::vector<SignedBridge> take() {
        std::vector<SignedBridge> taken;
        for (const auto& [key, seen] : std::exchange(totals_, {})) taken.push_back(seen);
        return taken;
    }

  private:
    std::unordered_map<std::uint32_t, SignedBridge> totals_;
};

}  // namespace splice
