// The file system in which kernel objects have names (bpffs), and so outlive the process that made them.
#pragma once

#include <optional>
#include <string>

#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/descriptor.hpp"

namespace splice {

// A folder for the pins of one data path.
class PinFolder {
  public:
    // Makes `path` if it is not there, and mounts a bpffs where it has none under it: at /sys/fs/bpf if the
    // path is there, else at the path's parent. The folders in the bpffs are this process's user's alone
    // (0700): who may write there decides what program serves the interface. Errors: it cannot be mounted or
    // written; a folder on the way is somebody else's.
    static SystemResult<PinFolder> open(const std::string& path);

    [[nodiscard]] const std::string& path() const noexcept { return path_; }
    [[nodiscard]] std::string pin(const char* name) const { return path_ + "/" + name; }
    // The object of that pin; nothing when there is none.
    [[nodiscard]] std::optional<Descriptor> get(const char* name) const;
    // In the place of another that has the name.
    SystemResult<void> put(const char* name, int object) const;
    void remove(const char* name) const noexcept;
    // With all its pins.
    void remove_all() const noexcept;
    // Mounted by us: where.
    [[nodiscard]] const std::optional<std::string>& mounted() const noexcept { return mounted_; }
    // Why the pins will not outlive this process, as a sentence for a warning; nothing when they will, as far
    // as this process can see. A mount of a mount namespace of its own goes when its last process ends.
    [[nodiscard]] std::optional<std::string> short_lived() const;

  private:
    PinFolder(std::string path, std::optional<std::string> mounted) noexcept
        : path_(std::move(path)), mounted_(std::move(mounted)) {}
    std::string path_;
    std::optional<std::string> mounted_;
};

}  // namespace splice
