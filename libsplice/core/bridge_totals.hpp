// What each bridge of each service was given since the start: what the API and its metrics tell.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>

#include "libsplice/core/splicer.hpp"

namespace splice {

class BridgeTotals {
  public:
    void add(std::span<const SignedBridge> seen) {
        for (const SignedBridge& each : seen) {
            SignedBridge& total = totals_[key_of(each.service, each.bridge)];
            total.signs.add(each.signs);
            total.packets += each.packets;
            total.bytes += each.bytes;
        }
    }
    // By the service's number and the bridge's in flow entries.
    [[nodiscard]] SignedBridge of(std::uint16_t service, std::uint16_t bridge) const noexcept {
        const auto found = totals_.find(key_of(service, bridge));
        return found == totals_.end() ? SignedBridge{} : found->second;
    }

  private:
    static std::uint32_t key_of(std::uint16_t service, std::uint16_t bridge) noexcept {
        return static_cast<std::uint32_t>(service) << 16 | bridge;
    }
    std::unordered_map<std::uint32_t, SignedBridge> totals_;
};

}  // namespace splice
