// Tells when files changed, however they are replaced: written in place, renamed over, or by a symbolic link
// that now points elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "libsplice/engine/descriptor.hpp"
#include "libsplice/engine/error.hpp"

namespace splice {

// Editors and copies write in several steps: what changed is read when it has been quiet so long.
inline constexpr auto kFileQuiet = std::chrono::milliseconds(150);

class FileWatch {
  public:
    // Watches the directories of the files with inotify. Errors: a directory is not there.
    static SystemResult<FileWatch> open(const std::vector<std::string>& files);

    // Readable when something happened in a directory; then call drain(), and changed() after kFileQuiet of
    // silence.
    [[nodiscard]] int descriptor() const noexcept { return descriptor_.get(); }
    void drain() noexcept;
    // The files that are others than at the last call (a missing file is no change: it is being replaced).
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
