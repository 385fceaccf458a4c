// A whole file as text, bounded.
#pragma once

#include <cstddef>
#include <string>

#include "libsplice/engine/error.hpp"

namespace splice {

struct TextFile {
    std::string text;
    unsigned mode = 0;  // of the file that was read: st_mode
};

// Errors: not there, not readable, not a regular file, longer than `limit` bytes. `doing` begins the error:
// "read the secret file". `hint` stands at its end.
SystemResult<TextFile> read_text_file(const std::string& path, std::size_t limit, const std::string& doing,
                                      const std::string& missing_hint);

}  // namespace splice
