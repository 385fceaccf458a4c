// What the machines send besides the packet that they were handed.
#pragma once

#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "libsplice/core/actions.hpp"

namespace splice::replay {

struct Sent {
    bool by_balancer = false;
    bool to_hop = false;
    std::uint16_t bridge = 0;  // the sender, or for a balancer's 0
    std::vector<std::byte> bytes;
};

[[nodiscard]] inline std::vector<Bytes> packets_of(const std::deque<Sent>& sent) {
    std::vector<Bytes> packets;
    packets.reserve(sent.size());
    for (const Sent& each : sent) packets.emplace_back(each.bytes);
    return packets;
}

// In the order in which it was sent, each with its sender.
class Outbox final : public Actions {
  public:
    void send(Bytes packet) noexcept override { add(packet, false); }
    void send_to_hop(const Hop&, Bytes packet) noexcept override { add(packet, true); }

    void speak_for_balancer() noexcept { speaker_ = {true, false, 0, {}}; }
    void speak_for_bridge(std::uint16_t bridge) noexcept { speaker_ = {false, false, bridge, {}}; }
    [[nodiscard]] bool empty() const noexcept { return sent_.empty(); }
    // Live until the next is sent or popped.
    [[nodiscard]] std::vector<Bytes> packets() const { return packets_of(sent_); }
    std::deque<Sent> take() { return std::exchange(sent_, {}); }
    Sent pop() {
        Sent first = std::move(sent_.front());
        sent_.pop_front();
        return first;
    }

  private:
    void add(Bytes packet, bool to_hop) {
        sent_.push_back({speaker_.by_balancer, to_hop, speaker_.bridge, {packet.begin(), packet.end()}});
    }
    Sent speaker_;
    std::deque<Sent> sent_;
};

}  // namespace splice::replay
