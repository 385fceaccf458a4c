#include "libsplice/base/quoted.hpp"

#include <algorithm>

namespace splice {
namespace {

constexpr std::size_t kMaxQuoted = 60;

}  // namespace

std::string on_one_line(std::string_view text) {
    std::string line(text);
    std::ranges::replace_if(
        line, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
    return line;
}

std::string quoted(std::string_view text) {
    return "'" + on_one_line(text.substr(0, kMaxQuoted)) + (text.size() > kMaxQuoted ? "...'" : "'");
}

}  // namespace splice
