// Packets that a machine held, counted as held, and never sent on. The client repeats them.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace splice {

enum class HeldLoss : std::uint8_t {
    no_bridge,     // the service has no bridge that takes connections
    expired,       // nothing that they waited for came, or the flow's entry has gone
    begun_anew,    // the client began another connection on the same ports
    service_gone,  // by a reload
    too_big,       // larger than the way to the bridge
    unsendable,    // their TTL was used up
};
inline constexpr std::size_t kHeldLossCount = 6;

constexpr std::string_view held_loss_name(HeldLoss loss) noexcept {
    constexpr std::array<std::string_view, kHeldLossCount> kNames{"no_bridge",    "expired", "begun_anew",
                                                                  "service_gone", "too_big", "unsendable"};
    return kNames[static_cast<std::size_t>(loss)];
}

// By reason. Any thread may read while the machine counts.
class HeldLossCounters {
  public:
    void add(HeldLoss loss, std::size_t packets) noexcept {
        counts_[static_cast<std::size_t>(loss)].fetch_add(packets, std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint64_t of(HeldLoss loss) const noexcept {
        return counts_[static_cast<std::size_t>(loss)].load(std::memory_order_relaxed);
    }

  private:
    std::array<std::atomic<std::uint64_t>, kHeldLossCount> counts_{};
};

}  // namespace splice
