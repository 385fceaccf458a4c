// One daemon of a kind an interface. The lock is a file that only this process's user can reach: a name that
// anybody could take would let any user keep a balancer from starting.
#pragma once

#include <string>

#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/descriptor.hpp"
#include "libsplice/engine/interface.hpp"

namespace splice {

inline constexpr const char* kLockFolder = "/run/splicelb";

class InterfaceLock {
  public:
    // `daemon`: "balancer". The file is named after it, the network namespace (two may both have an eth1) and
    // the interface's index. Errors: another process holds it (EBUSY); the folder is somebody else's.
    static SystemResult<InterfaceLock> take(const std::string& daemon, const InterfaceInfo& interface,
                                            const std::string& folder = kLockFolder);
    InterfaceLock(InterfaceLock&&) noexcept = default;
    InterfaceLock& operator=(InterfaceLock&&) noexcept = default;
    // Removes the file. The kernel frees the lock however the process ends.
    ~InterfaceLock();

    [[nodiscard]] const std::string& path() const noexcept { return path_; }

  private:
    InterfaceLock(Descriptor file, std::string path) noexcept
        : file_(std::move(file)), path_(std::move(path)) {}
    Descriptor file_;
    std::string path_;
};

}  // namespace splice
