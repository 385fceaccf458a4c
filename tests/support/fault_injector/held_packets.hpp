// Packets that are kept back until others have overtaken them, or their time is over.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include "libsplice/base/bytes.hpp"
#include "libsplice/base/time.hpp"

namespace splice::faults {

// Packets held at once; a packet beyond it is not held.
inline constexpr std::size_t kMaxHeld = 4096;

class HeldPackets {
  public:
    // A packet leaves when `overtakers` packets were seen after it (0: whatever their number) or after
    // `delay`.
    HeldPackets(std::uint32_t overtakers, Duration delay) noexcept : overtakers_(overtakers), delay_(delay) {}

    // A copy. False: no room.
    bool hold(Duration now, Bytes packet);
    // Another packet passes.
    void count_overtaker() noexcept { passed_++; }
    // Hands over, in the order in which they were held, those whose wait is over.
    void release(Duration now, const std::function<void(Bytes)>& send);
    void release_all(const std::function<void(Bytes)>& send);
    // When release() has something to do on account of time; nothing = nothing is held.
    [[nodiscard]] std::optional<Duration> next_deadline() const noexcept;

  private:
    struct Held {
        Duration deadline{};
        std::uint64_t passed_before = 0;
        std::vector<std::byte> bytes;
    };
    [[nodiscard]] bool is_due(const Held& held, Duration now) const noexcept;

    std::uint32_t overtakers_;
    Duration delay_;
    std::uint64_t passed_ = 0;
    std::deque<Held> held_;  // the oldest first: both conditions come true in this order
};

}  // namespace splice::faults
