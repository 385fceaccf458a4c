// A whole file as text, bounded.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

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

// A new content of a file, which is there wholly or not at all, whenever the host stops: written beside it
// first, where all that can fail fails.
class NewTextFile {
  public:
    // The folder is made where it is missing, its own parent must be there. Errors: as the system has them;
    // `doing` begins them, and `hint` stands at their end.
    static SystemResult<NewTextFile> write(const std::string& path, std::string_view text, unsigned mode,
                                           const std::string& doing, const std::string& hint);
    NewTextFile(NewTextFile&& other) noexcept;
    NewTextFile& operator=(NewTextFile&&) = delete;
    ~NewTextFile();  // without put_in_place() nothing has changed

    SystemResult<void> put_in_place();

  private:
    NewTextFile(std::string path, std::string beside, std::string doing)
        : path_(std::move(path)), beside_(std::move(beside)), doing_(std::move(doing)) {}
    std::string path_;
    std::string beside_;  // empty: moved, or in place
    std::string doing_;
};

}  // namespace splice
