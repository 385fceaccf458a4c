// The step that runs, the conversation that it is about, and whoever is told of it.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "tools/replay/conversation.hpp"
#include "tools/replay/observer.hpp"

namespace splice::replay {

inline constexpr Station kClient{Place::client, "client"};
inline constexpr Station kBalancer{Place::balancer, "balancer"};
inline constexpr Station kBackend{Place::backend, "backend"};

class Narrator {
  public:
    explicit Narrator(std::vector<Observer*> observers) : observers_(std::move(observers)) {}

    // A step begins with no conversation. `number`: of the captured packet, 0 for a time-out.
    void begin(std::uint64_t number, Duration time, std::size_t captured, std::size_t length,
               bool checksum_ignored = false) {
        step_ = {.number = number,
                 .time = time,
                 .captured = static_cast<std::uint32_t>(captured),
                 .length = static_cast<std::uint32_t>(std::max(captured, length)),
                 .checksum_ignored = checksum_ignored};
        conversation_ = nullptr;
        tell([&](Observer& each) { each.begins(step_); });
    }
    // It is about this one. To be said again when the conversation has begun anew.
    void enter(Conversation& conversation) noexcept {
        conversation_ = &conversation;
        step_.conversation = conversation.id;
        step_.key = conversation.key;
    }
    [[nodiscard]] const Step& step() const noexcept { return step_; }
    [[nodiscard]] Conversation* conversation() const noexcept { return conversation_; }  // null: of none

    void came(Station from, Station to, Bytes bytes) {
        tell([&](Observer& each) { each.came(step_, from, to, bytes); });
    }
    void judge(Station where, Verdict verdict) {
        tell([&](Observer& each) { each.judged(step_, where, verdict); });
    }
    void chose(const Choice& choice) {
        tell([&](Observer& each) { each.chose(step_, choice); });
    }
    void note(Place at, std::string_view text) {
        tell([&](Observer& each) { each.noted(step_, at, text); });
    }
    void left(Station from, Station to, Bytes bytes) {
        tell([&](Observer& each) { each.left(step_, from, to, bytes); });
    }
    void end() {
        tell([&](Observer& each) { each.ends(step_); });
    }

  private:
    template <class Tell>
    void tell(Tell&& tell_one) {
        for (Observer* observer : observers_) tell_one(*observer);
    }

    std::vector<Observer*> observers_;
    Step step_;
    Conversation* conversation_ = nullptr;
};

}  // namespace splice::replay
