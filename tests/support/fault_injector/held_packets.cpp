#include "tests/support/fault_injector/held_packets.hpp"

namespace splice::faults {

bool HeldPackets::hold(Duration now, Bytes packet) {
    if (held_.size() >= kMaxHeld) return false;
    held_.push_back({now + delay_, passed_, {packet.begin(), packet.end()}});
    return true;
}

bool HeldPackets::is_due(const Held& held, Duration now) const noexcept {
    return now >= held.deadline || (overtakers_ != 0 && passed_ - held.passed_before >= overtakers_);
}

void HeldPackets::release(Duration now, const std::function<void(Bytes)>& send) {
    while (!held_.empty() && is_due(held_.front(), now)) {
        send(held_.front().bytes);
        held_.pop_front();
    }
}

void HeldPackets::release_all(const std::function<void(Bytes)>& send) {
    for (const Held& held : held_) send(held.bytes);
    held_.clear();
}

std::optional<Duration> HeldPackets::next_deadline() const noexcept {
    if (held_.empty()) return std::nullopt;
    return held_.front().deadline;
}

}  // namespace splice::faults
