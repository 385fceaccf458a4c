// Every bound of splice-hash, by name.
#pragma once

#include <cstddef>
#include <cstdint>

#include "libsplice/base/limits.hpp"

namespace splice::hash {

inline constexpr std::size_t kReadBytes = 256UZ * 1024;    // read from a file at once
inline constexpr std::size_t kLineMax = 1024UZ * 1024;     // a longer line is malformed
inline constexpr std::size_t kMalformedShown = 5;          // malformed lines that are quoted in a report
inline constexpr std::size_t kSampledKeys = 1UZ << 20;     // distinct keys that are remembered exactly
inline constexpr std::size_t kHotShown = 10;               // hot keys that are printed unless --top says
inline constexpr std::size_t kMaxTop = kHeavyKeys / 4;     // below that the summary's counts are good
inline constexpr std::size_t kMaxHeaders = 8;              // that the keys of a run take together
inline constexpr std::size_t kBatches = 64;                // parts of a log that are compared with each other
inline constexpr std::size_t kMaxVariants = 256;           // of `compare`
inline constexpr std::size_t kMaxCaches = 256;             // policies times sizes of `cache`
inline constexpr std::uint64_t kMaxObjects = 1ULL << 32;   // of `generate`
inline constexpr std::size_t kMaxConnections = 1UZ << 20;  // that `cache --keep-alive` follows at once

}  // namespace splice::hash
