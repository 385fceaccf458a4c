// A whole file as text, bounded.
#pragma once

#include <cstddef>
#include <string>

#include "libsplice/base/system_error.hpp"

namespace splice {

struct TextFile {
    std::string text;
    unsigned mode = 0;  // of the file that was read: st_mode
};

// Errors: not there, not readable, not a regular file, longer than `limit` bytes. `doing` begins the error:
// "read the secret file". `hint` stands at its end.
SystemResult<TextFile> read_text_file(const std::string& path, std::size_t limit, const std::string& doing,
                                      const std::string& missing_hint);

// The same for a file that is a secret. More errors: others may use it or its group may write it; it, or a
// folder or symbolic link on the way to it, is neither root's nor this process's user's. `name` is the file
// in words: "the secret file".
SystemResult<TextFile> read_private_file(const std::string& path, std::size_t limit, const std::string& name,
                                         const std::string& missing_hint);

}  // namespace splice
