// The captured connections to services, found by their packets of either direction.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "tools/replay/conversation.hpp"

namespace splice::replay {

// Connections of a capture that are followed; packets of more are judged as of none.
inline constexpr std::size_t kMaxConversations = 4'000'000;

// One name for the packets of both directions, while nobody knows which end is the client: that of the
// direction in which the lower end comes first, which the name calls the client.
struct PairName {
    splice_flow_key key;
    bool turned;  // this packet goes in the other direction
};
[[nodiscard]] PairName pair_name(const splice_packet& packet) noexcept;

class Conversations {
  public:
    // Outlives it.
    explicit Conversations(Fleets& fleets) : fleets_(fleets) { known_.max_load_factor(0.5); }

    struct Found {
        Conversation* conversation = nullptr;  // stays where it is
        bool from_server = false;
    };
    // The segment's, new where none is known; null when neither end is a service, or when it is full.
    Found of(const splice_packet& segment);
    // The one that is known by its client and service, or null.
    [[nodiscard]] Conversation* find(const splice_flow_key& key);
    // A new connection of the same ends.
    void restart(Conversation& conversation) { conversation.restart(++count_); }
    [[nodiscard]] bool full() const noexcept { return known_.size() >= kMaxConversations; }

  private:
    Conversation* start(const splice_flow_key& key, Fleet& fleet);

    Fleets& fleets_;
    // By pair_name().
    std::unordered_map<splice_flow_key, Conversation, FlowKeyHash, FlowKeyEqual> known_;
    std::uint32_t count_ = 0;
};

}  // namespace splice::replay
