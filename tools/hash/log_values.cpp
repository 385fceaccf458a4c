#include "tools/hash/log_values.hpp"

#include <array>
#include <charconv>
#include <chrono>

namespace splice::hash {
namespace {

// The digits at the front of `rest`, which they leave; nothing unless there are `digits` of them.
std::optional<unsigned> take_digits(std::string_view& rest, std::size_t digits) noexcept {
    if (rest.size() < digits) return {};
    unsigned number = 0;
    for (const char c : rest.substr(0, digits)) {
        if (c < '0' || c > '9') return {};
        number = number * 10 + static_cast<unsigned>(c - '0');
    }
    rest.remove_prefix(digits);
    return number;
}

bool take(std::string_view& rest, char expected) noexcept {
    if (!rest.starts_with(expected)) return false;
    rest.remove_prefix(1);
    return true;
}

std::optional<unsigned> take_month(std::string_view& rest) noexcept {
    constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const auto found = kMonths.find(rest.substr(0, 3));
    if (rest.size() < 3 || found == std::string_view::npos || found % 3 != 0) return {};
    rest.remove_prefix(3);
    return static_cast<unsigned>(found / 3 + 1);
}

std::optional<double> seconds_of_day(std::string_view& rest) noexcept {
    const auto hour = take_digits(rest, 2);
    if (!hour || !take(rest, ':')) return {};
    const auto minute = take_digits(rest, 2);
    if (!minute || !take(rest, ':')) return {};
    const auto second = take_digits(rest, 2);
    if (!second || *hour > 24 || *minute > 59 || *second > 60) return {};
    return *hour * 3600.0 + *minute * 60.0 + *second;
}

std::optional<double> seconds_of_date(unsigned year, unsigned month, unsigned day) noexcept {
    const std::chrono::year_month_day date{std::chrono::year(static_cast<int>(year)),
                                           std::chrono::month(month), std::chrono::day(day)};
    if (!date.ok()) return {};
    return static_cast<double>(std::chrono::sys_days(date).time_since_epoch().count()) * 86400;
}

// "+0200", "-05:30", "Z": what has to be added to get UTC. Nothing when it is none of them.
std::optional<double> zone(std::string_view text) noexcept {
    if (text.empty() || text == "Z" || text == "z") return 0;
    const bool east = text.front() == '+';
    if (!east && text.front() != '-') return {};
    text.remove_prefix(1);
    const auto hours = take_digits(text, 2);
    if (!hours) return {};
    take(text, ':');
    const auto minutes = take_digits(text, 2);
    if (!minutes || !text.empty()) return {};
    const double seconds = *hours * 3600.0 + *minutes * 60.0;
    return east ? -seconds : seconds;
}

std::optional<double> iso_time(std::string_view rest) noexcept {
    const auto year = take_digits(rest, 4);
    if (!year || !take(rest, '-')) return {};
    const auto month = take_digits(rest, 2);
    if (!month || !take(rest, '-')) return {};
    const auto day = take_digits(rest, 2);
    if (!day || (!take(rest, 'T') && !take(rest, ' ') && !take(rest, '\t'))) return {};
    const auto date = seconds_of_date(*year, *month, *day);
    const auto time = seconds_of_day(rest);
    if (!date || !time) return {};
    double fraction = 0;
    if (take(rest, '.')) {
        double scale = 0.1;
        for (; !rest.empty() && rest.front() >= '0' && rest.front() <= '9'; rest.remove_prefix(1)) {
            fraction += scale * (rest.front() - '0');
            scale /= 10;
        }
    }
    const auto east = zone(rest);
    if (!east) return {};
    return *date + *time + fraction + *east;
}

int hex_digit(char c) noexcept {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

}  // namespace

std::optional<std::uint64_t> whole_number(std::string_view text) noexcept {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size()) return {};
    return number;
}

std::optional<double> decimal_number(std::string_view text) noexcept {
    double number = 0;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
    if (error != std::errc{} || end != text.data() + text.size() || !(number >= 0)) return {};
    return number;
}

std::optional<double> common_log_time(std::string_view rest) noexcept {
    const auto day = take_digits(rest, 2);
    if (!day || !take(rest, '/')) return {};
    const auto month = take_month(rest);
    if (!month || !take(rest, '/')) return {};
    const auto year = take_digits(rest, 4);
    if (!year || !take(rest, ':')) return {};
    const auto date = seconds_of_date(*year, *month, *day);
    const auto time = seconds_of_day(rest);
    if (!date || !time) return {};
    take(rest, ' ');
    const auto east = zone(rest);
    if (!east) return {};
    return *date + *time + *east;
}

std::optional<double> written_time(std::string_view text) noexcept {
    constexpr double kLastSecond = 1e11;  // in the year 5138
    if (const auto number = decimal_number(text)) {
        if (*number >= kLastSecond * 1e3) return *number / 1e6;
        return *number >= kLastSecond ? *number / 1e3 : *number;
    }
    return iso_time(text);
}

std::string_view take_until(std::string_view& rest, char separator) noexcept {
    const auto at = rest.find(separator);
    const std::string_view taken = rest.substr(0, at);
    rest.remove_prefix(at == std::string_view::npos ? rest.size() : at + 1);
    return taken;
}

std::string_view unescaped(std::string_view text, std::string& scratch) {
    if (text.find('\\') == std::string_view::npos) return text;
    scratch.clear();
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\' || i + 1 == text.size()) {
            scratch += text[i];
            continue;
        }
        const char next = text[i + 1];
        if (next == '"' || next == '\\') {
            scratch += next;
            ++i;
        } else if (next == 'x' && i + 3 < text.size() && hex_digit(text[i + 2]) >= 0 &&
                   hex_digit(text[i + 3]) >= 0) {
            scratch += static_cast<char>(hex_digit(text[i + 2]) * 16 + hex_digit(text[i + 3]));
            i += 3;
        } else {
            scratch += text[i];
        }
    }
    return scratch;
}

}  // namespace splice::hash
