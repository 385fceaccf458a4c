#include "tools/cache_control.hpp"

#include <algorithm>
#include <charconv>
#include <string>

#include "libsplice/base/text.hpp"

namespace splice::tools {
namespace {

// The value of a directive as in "max-age=60"; nothing where it has none that is a number.
std::optional<std::uint32_t> seconds_of(std::string_view value) noexcept {
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"')
        value = value.substr(1, value.size() - 2);
    std::uint32_t number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc{} || end != value.data() + value.size()) return {};
    return number;
}

}  // namespace

std::optional<std::uint32_t> shared_ttl(std::string_view cache_control) {
    std::optional<std::uint32_t> max_age, shared_max_age;
    while (!cache_control.empty()) {
        const auto end = std::min(cache_control.find(','), cache_control.size());
        const std::string_view directive = without_blanks(cache_control.substr(0, end));
        cache_control.remove_prefix(std::min(end + 1, cache_control.size()));
        const auto equals = std::min(directive.find('='), directive.size());
        std::string name(directive.substr(0, equals));
        std::ranges::transform(name, name.begin(), to_lower);
        const std::string_view value = directive.substr(std::min(equals + 1, directive.size()));
        if (name == "no-store" || name == "private" || name == "no-cache") return 0;
        if (name == "max-age") max_age = seconds_of(value);
        if (name == "s-maxage") shared_max_age = seconds_of(value);
    }
    return shared_max_age ? shared_max_age : max_age;
}

}  // namespace splice::tools
