// What an answer's Cache-Control header says to a shared cache.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace splice::tools {

// For how many seconds a shared cache may store the answer (RFC 9111 section 5.2.2): 0 for not at all,
// nothing where the header does not tell.
[[nodiscard]] std::optional<std::uint32_t> shared_ttl(std::string_view cache_control);

}  // namespace splice::tools
