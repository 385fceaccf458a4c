// Circular numbers: sequence numbers and timestamps, types without `<` (RFC 9293 section 3.4, RFC 7323
// section 5.2). Only differences and `before` make sense of them.
#pragma once

#include <cstdint>

namespace splice {

template <class Tag>
class Circular {
  public:
    constexpr Circular() = default;
    constexpr explicit Circular(std::uint32_t value) noexcept : value_(value) {}

    [[nodiscard]] constexpr std::uint32_t value() const noexcept { return value_; }

    friend constexpr bool operator==(Circular, Circular) = default;
    friend constexpr Circular operator+(Circular number, std::uint32_t count) noexcept {
        return Circular(number.value_ + count);
    }
    friend constexpr Circular operator-(Circular number, std::uint32_t count) noexcept {
        return Circular(number.value_ - count);
    }
    // How far `to` is ahead of `from`, modulo 2^32; negative when it is behind.
    friend constexpr std::int32_t operator-(Circular to, Circular from) noexcept {
        return static_cast<std::int32_t>(to.value_ - from.value_);
    }
    // Both within half the circle of each other, as RFC 9293 assumes.
    friend constexpr bool before(Circular a, Circular b) noexcept { return a - b < 0; }
    friend constexpr bool at_or_before(Circular a, Circular b) noexcept { return a - b <= 0; }

  private:
    std::uint32_t value_{};
};

using Seq = Circular<struct SeqTag>;
using TsVal = Circular<struct TsValTag>;

}  // namespace splice
