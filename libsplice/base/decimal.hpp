// Numbers as decimal text, for lines of which there are many.
#pragma once

#include <array>
#include <charconv>
#include <cstdint>
#include <string>

namespace splice {

inline void append_decimal(std::string& text, std::uint64_t number) {
    std::array<char, 20> digits;  // of 2^64 - 1
    char* const end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
    text.append(digits.data(), end);
}

}  // namespace splice
