// What somebody wrote, as a message of one line repeats it.
#pragma once

#include <string>
#include <string_view>

namespace splice {

// Control characters as "?".
[[nodiscard]] std::string on_one_line(std::string_view text);
// The same in quotation marks, at most 60 bytes of it.
[[nodiscard]] std::string quoted(std::string_view text);

}  // namespace splice
