// Bytes: spans of std::byte everywhere, and the few casts that they need, in one place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace splice {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

inline Bytes as_bytes(std::string_view text) noexcept {
    return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

inline std::string_view as_text(Bytes bytes) noexcept {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace splice
