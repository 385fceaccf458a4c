#include "libsplice/engine/fcntl.hpp"  // first: see there

#include "libsplice/engine/interface_lock.hpp"

#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "libsplice/engine/trusted_path.hpp"

namespace splice {
namespace {

// Whoever held the file before may have removed it between our open and our lock.
constexpr int kTries = 16;

bool is_same_file(int file, const std::string& path) noexcept {
    struct stat held{};
    struct stat named{};
    return fstat(file, &held) == 0 && lstat(path.c_str(), &named) == 0 && held.st_dev == named.st_dev &&
           held.st_ino == named.st_ino;
}

SystemResult<ino_t> network_namespace() {
    struct stat facts{};
    if (stat("/proc/thread-self/ns/net", &facts) != 0)
        return system_error("look at the network namespace", errno);
    return facts.st_ino;
}

}  // namespace

SystemResult<InterfaceLock> InterfaceLock::take(const std::string& daemon, const InterfaceInfo& interface,
                                                const std::string& folder) {
    const auto network = network_namespace();
    if (!network) return std::unexpected(network.error());
    if (auto made = make_private_folder(folder); !made)
        return std::unexpected(SystemError{made.error().text + "; the lock of interface " + interface.name +
                                               " is there: a process that is not root needs it made before, "
                                               "as its own (systemd: RuntimeDirectory=)",
                                           made.error().code});
    if (auto trusted = check_trusted_path(folder); !trusted) return std::unexpected(trusted.error());
    std::string path = fmt::format("{}/{}-{}-{}.lock", folder, daemon, *network, interface.index);
    const std::string doing = fmt::format("lock interface {} by {}", interface.name, path);
    for (int tries = 0; tries < kTries; ++tries) {
        Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (!file) return system_error(doing, errno);
        if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
            if (errno != EWOULDBLOCK) return system_error(doing, errno);
            return system_error(doing, EBUSY, "another " + daemon + " runs on " + interface.name);
        }
        if (is_same_file(file.get(), path)) return InterfaceLock(std::move(file), std::move(path));
    }
    return system_error(doing, EBUSY, "other processes take and leave it");
}

InterfaceLock::~InterfaceLock() {
    if (file_) (void)unlink(path_.c_str());
}

}  // namespace splice
