// Every bound of splicectl, by name.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace splice::control {

using namespace std::chrono_literals;

inline constexpr auto kAnswerTime = 15s;  // from the connection to the answer's last byte
inline constexpr std::uint64_t kMaxAnswer = 64ULL * 1024 * 1024;  // bytes of an answer's body
inline constexpr std::size_t kMaxToken = 4096;                    // bytes of a token's file
inline constexpr std::size_t kFlowsPerPage = 1000;                // the API's own bound
inline constexpr std::size_t kMaxFlowsShown = 1'000'000;          // of one `flows`
inline constexpr unsigned kMaxWeight = 256;                       // the API's own bound
inline constexpr double kMinInterval = 0.1;                       // seconds between two looks of `watch`
inline constexpr double kMaxInterval = 3600;
inline constexpr std::uint64_t kMaxLooks = 1'000'000'000;
inline constexpr std::size_t kVerdictsShown = 8;  // of `watch`: those that rise the most

}  // namespace splice::control
