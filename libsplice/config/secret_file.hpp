// The secret that balancers and bridges share: one or two 128-bit keys, 32 hex digits a line. Blank lines and
// lines that begin with '#' are skipped.
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "libsplice/datapath/cookie.h"

namespace splice {

// Errors are one line: what is wrong with which file and what to do. A file that others may read, or that
// anybody but its owner may write, is refused.
std::expected<splice_secret, std::string> read_secret_file(const std::string& path);

// The text of such a file; `path` is for the error only. A key's bytes are SipHash's two little-endian words.
std::expected<splice_secret, std::string> parse_secret(std::string_view text, const std::string& path);

}  // namespace splice
