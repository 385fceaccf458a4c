// The balancer's end of the channel: whom it asks when, and what is known of each bridge by its answers.
//
// An answer counts when it comes from where the question went, bears the question's nonce, which no other
// question has, and its MAC is right by the key that the question was made with. So an answer that is
// replayed counts nowhere, whatever its clock says, and the bridge's clock may be measured.
//
// A bridge that does not answer is asked by the secret's keys in turn: one that answers only by the second
// has not the first, which this balancer issues cookies by.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "libsplice/base/channel_limits.hpp"
#include "libsplice/base/time.hpp"
#include "libsplice/core/channel_answers.hpp"

namespace splice {

// A bridge's address, as often as the balancer's services have it.
struct ChannelPeer {
    IpAddress address;
    bool often = false;  // its connections have a bound
    friend bool operator==(const ChannelPeer&, const ChannelPeer&) = default;
};

// What is known of one.
struct ChannelState {
    std::optional<ChannelPresence> presence;  // its last one, however old
    std::optional<Duration> answered;         // when it answered last; monotonic
    Duration presence_at{};                   // when that came
    std::int64_t clock_ahead_ms = 0;          // its clock less this host's, at that answer
    Duration round_trip{};                    // of that answer
    std::uint32_t asked = 0;                  // questions since it is known
    std::uint32_t missed = 0;                 // questions in a row without an answer

    // Whether it answers now. One that was never asked often enough is not known to be silent.
    [[nodiscard]] bool answers() const noexcept { return answered && missed < kChannelMisses; }
    [[nodiscard]] bool is_silent() const noexcept { return missed >= kChannelMisses; }
    // What it says of itself is of now.
    [[nodiscard]] bool is_present() const noexcept {
        return answers() && presence && presence_at == *answered;
    }
};

struct IpAddressHash {
    [[nodiscard]] std::size_t operator()(const IpAddress& address) const noexcept {
        return static_cast<std::size_t>((address.raw().halves[0] * 31 + address.raw().halves[1]) *
                                        0x9e3779b97f4a7c15U);
    }
};
// By the bridges' addresses.
using ChannelReport = std::unordered_map<IpAddress, ChannelState, IpAddressHash>;

class ChannelAsks {
  public:
    // `seed`: what nonces are made by; nobody can guess it.
    explicit ChannelAsks(const splice_key& seed) noexcept : seed_(seed) {}

    // What is known of addresses that stay is kept. New ones are asked at once, a few at a time.
    void replace(Duration now, std::span<const ChannelPeer> peers, const ChannelSecret& secret);
    // All are asked at once, a few at a time.
    void ask_all(Duration now) noexcept;

    // Gives up what has waited too long, and hands out the questions that are due, at most kChannelBurst.
    // `send(address, question)`; the bytes are good during the call. Times never go back.
    template <class Send>
    void ask(Instant now, Send send) {
        forget_late(now.monotonic);
        if (now.monotonic < next_burst_) return;
        std::size_t count = 0;
        for (auto& [address, peer] : peers_) {
            if (peer.next > now.monotonic) continue;
            if (count++ == kChannelBurst) break;
            send(address, question_for(now, peer));
        }
        if (count != 0) next_burst_ = now.monotonic + kChannelBurstTime;
    }
    // When ask() has something to do; nothing: never.
    [[nodiscard]] std::optional<Duration> next_due() const noexcept;

    ChannelEnd handle(Instant now, const IpAddress& source, Bytes answer);

    // Null: it is none of the peers.
    [[nodiscard]] const ChannelState* state(const IpAddress& address) const noexcept;
    [[nodiscard]] bool is_asked_often(const IpAddress& address) const noexcept;
    [[nodiscard]] ChannelReport report() const;
    // Whether each peer has answered since ask_all(), which was then, or has missed kChannelMisses questions.
    [[nodiscard]] bool all_told_since(Duration then) const noexcept;

  private:
    struct Peer {
        ChannelState state;
        bool often = false;
        Duration next{};                       // question
        std::optional<std::uint64_t> awaited;  // nonce
        Duration sent{};
        std::int64_t sent_unix_ms = 0;
        std::uint32_t key = 0;                        // of the secret, that the question was made with
        std::uint32_t missed_since = kChannelMisses;  // ask_all(): who is silent is asked so often, too
    };
    Bytes question_for(Instant now, Peer& peer) noexcept;
    void forget_late(Duration now) noexcept;

    splice_key seed_;
    std::uint64_t asked_ = 0;
    ChannelSecret secret_;
    std::unordered_map<IpAddress, Peer, IpAddressHash> peers_;
    Duration next_burst_{};
    std::array<std::byte, kChannelMost> question_{};
};

}  // namespace splice
