// Files of prefixes: one a line, IPv4 or IPv6, an address being a prefix of its whole length. What follows a
// # is a comment.
#pragma once

#include <cstddef>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "libsplice/core/prefix_set.hpp"

namespace splice {

inline constexpr std::size_t kMaxPrefixes = 1'000'000;  // of all files together

// More prefixes. The error is a sentence with file, line and the expected form.
std::expected<void, std::string> parse_prefixes(std::string_view text, const std::string& path,
                                                std::vector<splice_prefix>& prefixes);
std::expected<PrefixSet, std::string> read_prefix_files(const std::vector<std::string>& paths);

}  // namespace splice
