// Values as logs write them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace splice::hash {

// Digits alone.
[[nodiscard]] std::optional<std::uint64_t> whole_number(std::string_view text) noexcept;
// "12.5", not negative.
[[nodiscard]] std::optional<double> decimal_number(std::string_view text) noexcept;

// Seconds since 1970. "17/May/2015:10:05:03 +0000"
[[nodiscard]] std::optional<double> common_log_time(std::string_view text) noexcept;
// "2015-05-17T10:05:03.25+02:00", also with a blank for the T, without a fraction, without a zone (UTC), with
// Z; or "1431857103.25": above 10^11 it is milliseconds, above 10^14 microseconds.
[[nodiscard]] std::optional<double> written_time(std::string_view text) noexcept;

// The part before `separator`, which goes from `rest` together with it; all when there is none.
std::string_view take_until(std::string_view& rest, char separator) noexcept;

// Undoes \xhh, \" and \\ (how Apache and nginx write what is not printable). `scratch` is used when there is
// something to undo.
[[nodiscard]] std::string_view unescaped(std::string_view text, std::string& scratch);

}  // namespace splice::hash
