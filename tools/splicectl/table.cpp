#include "tools/splicectl/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

namespace splice::control {
namespace {

// Bytes of the UTF-8 character that `text` begins with (RFC 3629 section 4, which Unicode's table 3-7 says in
// bytes); 0 when it begins with none.
std::size_t character(std::string_view text) noexcept {
    const auto byte = [&](std::size_t i) {
        return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
    };
    const auto follows = [&](std::size_t i) { return (byte(i) & 0xc0U) == 0x80U; };
    const unsigned first = byte(0);
    if (first < 0x80) return 1;
    if (first >= 0xc2 && first < 0xe0) return follows(1) ? 2 : 0;
    if (first >= 0xe0 && first < 0xf0) {
        const bool overlong = first == 0xe0 && byte(1) < 0xa0;
        const bool surrogate = first == 0xed && byte(1) >= 0xa0;
        return follows(1) && follows(2) && !overlong && !surrogate ? 3 : 0;
    }
    if (first >= 0xf0 && first < 0xf5) {
        const bool overlong = first == 0xf0 && byte(1) < 0x90;
        const bool too_large = first == 0xf4 && byte(1) >= 0x90;
        return follows(1) && follows(2) && follows(3) && !overlong && !too_large ? 4 : 0;
    }
    return 0;
}

// U+0000 to U+001F and U+007F to U+009F.
bool is_control(std::string_view one) noexcept {
    const auto first = static_cast<unsigned char>(one[0]);
    if (one.size() == 1) return first < 0x20 || first == 0x7f;
    return one.size() == 2 && first == 0xc2 && static_cast<unsigned char>(one[1]) < 0xa0;
}

// Characters, each one column wide: names and keys are ASCII nearly always.
std::size_t width(std::string_view text) noexcept {
    return static_cast<std::size_t>(
        std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; }));
}

}  // namespace

std::string harmless(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    while (!text.empty()) {
        const std::size_t bytes = character(text);
        const std::string_view one = text.substr(0, std::max(bytes, 1UZ));
        if (bytes == 0 || is_control(one))
            out += '?';
        else
            out += one;
        text.remove_prefix(one.size());
    }
    return out;
}

void Table::add(std::vector<std::string> cells) {
    assert(cells.size() == columns_.size());
    for (std::size_t i = 0; i < cells.size(); i++) {
        cells[i] = harmless(cells[i]);
        if (cells[i].empty() && i + 1 < cells.size()) cells[i] = "-";
    }
    rows_.push_back(std::move(cells));
}

std::string Table::text() const {
    std::vector<std::size_t> widths;
    for (std::size_t i = 0; i < columns_.size(); i++) {
        std::size_t most = width(columns_[i].title);
        for (const auto& row : rows_) most = std::max(most, width(row[i]));
        widths.push_back(most);
    }
    std::string out;
    const auto line = [&](const auto& cell_of) {
        std::string one;
        for (std::size_t i = 0; i < columns_.size(); i++) {
            const std::string& cell = cell_of(i);
            const std::string blanks(widths[i] - width(cell), ' ');
            one += i == 0 ? "" : "  ";
            one += columns_[i].align == Align::right ? blanks + cell : cell + blanks;
        }
        one.erase(one.find_last_not_of(' ') + 1);
        out += one + '\n';
    };
    line([&](std::size_t i) -> const std::string& { return columns_[i].title; });
    for (const auto& row : rows_) line([&](std::size_t i) -> const std::string& { return row[i]; });
    return out;
}

std::string percent(double share) {
    return fmt::format("{:.1f} %", 100 * share);
}

}  // namespace splice::control
