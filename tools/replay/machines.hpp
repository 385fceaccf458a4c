// The machines on a conversation's way, and what they send one another; behind the bridge the captured server
// stands for the backend.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "tools/replay/capture_clock.hpp"
#include "tools/replay/conversations.hpp"
#include "tools/replay/narrator.hpp"
#include "tools/replay/outbox.hpp"
#include "tools/replay/schedule.hpp"

namespace splice::replay {

class Machines {
  public:
    // All outlive it.
    Machines(const CaptureClock& clock, Conversations& conversations, Narrator& narrator)
        : clock_(clock), conversations_(conversations), narrator_(narrator) {}

    // A packet of the client, of the conversation that the step is about.
    void from_client(MutableBytes bytes);
    // One of the captured server, as if the backend had sent it.
    void from_server(Arrival& segment);
    // Ends the step. What waited for its conversation's opening has steps of its own then.
    void end_step();

    // The first look at a timer that is due by then; it stands here no longer.
    std::optional<Timer> due_timer(Duration until) { return schedule_.take(until); }
    // What the machine does of itself now: a step for each conversation that it speaks in.
    void run(const Timer& timer);

  private:
    [[nodiscard]] Conversation* conversation() const noexcept { return narrator_.conversation(); }
    [[nodiscard]] Station station(std::uint16_t bridge) const noexcept {
        return {Place::bridge, fleet_->setup->bridges[bridge].name};
    }
    void play_waiting(Conversation& conversation);

    Verdict ask_balancer(MutableBytes bytes);
    void balancer_sent(MutableBytes bytes);
    void learn_syn_ack(Bytes bytes, const splice_packet& packet);
    void to_bridge(std::uint16_t bridge, MutableBytes bytes);
    void bridge_sent(std::uint16_t bridge, MutableBytes bytes);
    void to_backend(std::uint16_t bridge, Bytes bytes, const splice_packet& packet);
    void from_backend(std::uint16_t bridge, MutableBytes bytes);
    void drain();

    void tell_choice(const ToldChoice& told);
    void run_balancer();
    void tell_time_out(Conversation* mine, const std::vector<ToldChoice>& choices, std::deque<Sent>& own);
    Conversation* conversation_of(const Fleet& fleet, const Sent& sent);

    const CaptureClock& clock_;
    Conversations& conversations_;
    Narrator& narrator_;
    Schedule schedule_;
    Outbox outbox_;
    Fleet* fleet_ = nullptr;  // whose machines the step runs
};

}  // namespace splice::replay
