// Tells when files changed, however they are replaced: written in place, renamed over, or by a symbolic link
// that now points elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/descriptor.hpp"

namespace splice {

// Editors and copies write in several steps: what changed is read when it has been quiet so long.
inline constexpr auto kFileQuiet = std::chrono::milliseconds(150);

class FileWatch {
  public:
    // Of no file yet. Errors: the system has no inotify left.
    static SystemResult<FileWatch> open();
    // Watches the file's directory from now on, and takes the file as it is now for what is known of it: call
    // it before the file is read, so that no edit after that is missed. Errors: the directory is not there.
    SystemResult<void> add(const std::string& file);

    // Readable when something happened in a directory; then call drain(), and changed() after kFileQuiet of
    // silence.
    [[nodiscard]] int descriptor() const noexcept { return descriptor_.get(); }
    void drain() noexcept;
    // The files that are others than at the last call, or at add(). A missing file is no change: it is being
    // replaced. Call it before the files are read again, too.
    std::vector<std::string> changed();

  private:
    struct Watched {
        std::string path;
        std::uint64_t device = 0;
        std::uint64_t inode = 0;
        std::int64_t modified_ns = 0;
        std::int64_t size = 0;

        bool refresh() noexcept;  // true: it is another file, or has other contents
    };

    Descriptor descriptor_;
    std::vector<Watched> files_;
};

}  // namespace splice
