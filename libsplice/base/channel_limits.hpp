// The channel's bounds (docs/channel.md), by name.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace splice {

using namespace std::chrono_literals;

// What a bridge answers each source that knows the secret, and how many
// sources it counts apart; what it reads in all, so that a flood costs it a few percent of a processor.
inline constexpr std::uint32_t kChannelAnswersPerSecond = 20;
inline constexpr std::uint32_t kChannelAnswersAtOnce = 40;
inline constexpr std::size_t kChannelSources = 1024;
inline constexpr std::uint32_t kChannelReadsPerSecond = 20'000;
inline constexpr auto kChannelClockMost = 32s;  // a question of another time is told this host's clock alone
// How often a balancer asks a bridge, and one whose connections have a bound; how long an answer may take,
// and after how many questions without one a bridge does not answer. Questions are sent a few at a time.
inline constexpr auto kChannelInterval = 2s;
inline constexpr auto kChannelShortInterval = 500ms;
inline constexpr auto kChannelAnswerTime = 400ms;
inline constexpr std::uint32_t kChannelMisses = 3;
inline constexpr std::size_t kChannelBurst = 64;
inline constexpr auto kChannelBurstTime = 10ms;

}  // namespace splice
