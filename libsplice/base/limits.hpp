// Every bound of ours that is not in datapath/, by name. A bound that is reached has a verdict or an error.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/guesses.h"
#include "libsplice/datapath/limits.h"

namespace splice {

using namespace std::chrono_literals;

// First payloads.
inline constexpr std::size_t kFirstPayloadMax = 16UZ * 1024;       // bytes of payload a flow, by default
inline constexpr std::size_t kFirstPayloadMaxLimit = 64UZ * 1024;  // and at most, whatever is configured
inline constexpr std::size_t kFirstPayloadPackets =
    64;  // packets held a flow; then the client's address chooses
inline constexpr std::size_t kFirstPayloadMemory = 64UZ * 1024 * 1024;  // bytes held for all flows together
inline constexpr auto kFirstPayloadWait = 50ms;

// Flow tables.
inline constexpr std::size_t kMaxFlows = 1'000'000;
inline constexpr auto kIdleTimeout = 15min;
inline constexpr auto kClosingTimeout = 60s;  // after a RST, or when both sides have ended
// After the client's FIN, unless the table is more than half full: a server that thinks for five minutes, and
// a minute for the beginning of its answer to be acknowledged.
inline constexpr auto kHalfClosedTimeout = 360s;
inline constexpr auto kOpeningTimeout = 10s;  // a replayed handshake that the backend does not answer

// A bridge's hold while it replays the handshake.
inline constexpr std::size_t kHoldMax = 256UZ * 1024;  // bytes of packets a flow
inline constexpr std::size_t kHoldPackets = 2048;
inline constexpr std::size_t kHoldMemory = 64UZ * 1024 * 1024;

// Segments that may have overtaken their connection's first payload.
inline constexpr auto kOvertakerWait = 50ms;
inline constexpr std::size_t kOvertakers = 1024;       // packets of all connections together
inline constexpr std::size_t kOvertakersPerFlow = 64;  // of one
// At a bridge their first payload may be lost, which the client repeats after a second at most (RFC 6298
// section 2.1); or they have outlived their connection.
inline constexpr auto kUnknownWait = 1500ms;
inline constexpr auto kUnknownRepeatGap = 20ms;  // copies closer together are the network's
inline constexpr int kUnknownRepeats = 2;        // after so many it is no overtaker
inline constexpr std::size_t kRemembered = 256;  // segments that may come again after they have waited

// ICMP errors for packets that are larger than the way to their bridge.
inline constexpr std::uint32_t kTooBigAnswersPerSecond = 200;
// To clients that connected ahead of time and have sent nothing yet: while their cookie lives, and after it.
inline constexpr std::uint32_t kKeepAliveAnswersPerSecond = 30'000;
inline constexpr std::uint32_t kLateAnswersPerSecond = 1'000;
// To clients whose connection no bridge has any more.
inline constexpr std::uint32_t kNotMineAnswersPerSecond = 10'000;

// Wrong cookies of first payloads without timestamps, a second: of an address, of a network, of all.
inline constexpr splice_guess_limits kGuessLimits{{20, 200, 20'000}};
inline constexpr std::uint32_t kMostGuesses = 100'000'000;  // a second: no limit in all but name

// New connections of one source: without a limit, and how a source is told where nobody says.
inline constexpr splice_rate_limit kNoRateLimit{0, SPLICE_ONE_SOURCE, 0};
inline constexpr std::uint32_t kMostNewConnections = 10'000'000;  // a second

// Configuration.
inline constexpr std::size_t kMaxDenyFiles = 64;
inline constexpr std::size_t kMaxServices = SPLICE_MAX_SERVICES;
inline constexpr std::size_t kMaxUplinks = 4;
inline constexpr std::size_t kMaxBridgeNumber = 1018;  // of the fleet; numbers begin with 1
inline constexpr std::size_t kMaxBridges = 4096;
inline constexpr std::uint32_t kTableRows = 1U << 16;
inline constexpr std::uint32_t kMaxTableRows = 1U << 24;
inline constexpr std::uint32_t kMaxWeight = 256;
inline constexpr std::uint8_t kWindowScale = 7;
inline constexpr std::uint16_t kSynAckWindow = 65535;

// A bridge's load is its openings, which count 1/e after the window; every tick they become states to choose
// by.
inline constexpr auto kLoadWindow = 10s;
inline constexpr auto kLoadTick = 200ms;
// Hot keys: counters of a summary, how often they are judged, from how many openings on a key can be hot, and
// how much of it is kept to be shown.
inline constexpr std::size_t kHeavyKeys = 1024;
inline constexpr auto kHotTick = 1s;
inline constexpr std::uint64_t kHotLeast = 16;
inline constexpr std::size_t kHotKeyShown = 128;
inline constexpr std::size_t kHotKeysMax = 256;  // of a service

}  // namespace splice
