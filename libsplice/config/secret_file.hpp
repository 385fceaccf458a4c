// The secret that balancers and bridges share: one or two 128-bit keys, 32 hex digits a line, and at most one
// line `lane` with a key by which timestamps name bridges (datapath/lane.h); without it the first key serves.
// Blank lines and lines that begin with '#' are skipped.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/datapath/cookie.h"

namespace splice {

// Errors are one line: what is wrong with which file and what to do. A file that others may read, or that
// anybody but its owner may write, is refused; so is one that belongs to neither root nor this process's
// user, or that somebody else could exchange in a folder or by a symbolic link on the way.
std::expected<splice_secret, std::string> read_secret_file(const std::string& path);

// The text of such a file; `path` is for the error only. A key's bytes are SipHash's two little-endian words.
std::expected<splice_secret, std::string> parse_secret(std::string_view text, const std::string& path);

// The lab's key is public: it is in the sources. Errors unless all `vips` are the lab's (192.168.33.0/24),
// where the secret has it.
std::expected<void, std::string> check_lab_key(const splice_secret& secret, const std::string& path,
                                               const std::vector<IpAddress>& vips);

}  // namespace splice
