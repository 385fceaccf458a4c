// What the machines send besides the packet that they were handed, and how they chose.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
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

// FlowChoice, kept.
struct ToldChoice {
    splice_flow_key flow{};
    std::string key;
    std::optional<Fallback> fallback;
    std::uint16_t bridge = 0;
};

// In the order in which it was sent, each with its sender.
class Outbox final : public Actions {
  public:
    void send(Bytes packet) noexcept override { add(packet, false); }
    void send_to_hop(const Hop&, Bytes packet) noexcept override { add(packet, true); }
    void chose(const FlowChoice& choice) noexcept override {
        choices_.push_back({choice.flow, std::string(choice.key), choice.fallback, choice.bridge});
    }

    void speak_for_balancer() noexcept { speaker_ = {true, false, 0, {}}; }
    void speak_for_bridge(std::uint16_t bridge) noexcept { speaker_ = {false, false, bridge, {}}; }
    [[nodiscard]] bool empty() const noexcept { return sent_.empty(); }
    std::deque<Sent> take() { return std::exchange(sent_, {}); }
    std::vector<ToldChoice> take_choices() { return std::exchange(choices_, {}); }
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
    std::vector<ToldChoice> choices_;
};

}  // namespace splice::replay
