#include "libsplice/engine/bpffs.hpp"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <vector>

#include "libsplice/engine/trusted_path.hpp"

namespace splice {
namespace {

namespace fs = std::filesystem;

constexpr const char* kUsualMount = "/sys/fs/bpf";

bool is_bpffs(const fs::path& path) noexcept {
    struct statfs facts{};
    return statfs(path.c_str(), &facts) == 0 && facts.f_type == BPF_FS_MAGIC;
}

// The nearest folder on the way up that is there.
fs::path existing_part(fs::path path) {
    while (!path.empty() && path != path.root_path() && !fs::exists(path)) path = path.parent_path();
    return path;
}

fs::path mount_point_for(const fs::path& path) {
    return path.string().starts_with(kUsualMount) ? fs::path(kUsualMount) : path.parent_path();
}

SystemResult<void> mount_bpffs(const fs::path& at) {
    std::error_code error;
    fs::create_directories(at, error);
    if (error) return system_error("make the folder " + at.string(), error.value());
    // Not mount(): its header declares splice(2) too, which our namespace's name excludes.
    if (syscall(SYS_mount, "bpf", at.c_str(), "bpf", 0UL, "mode=0700") == 0) return {};
    return system_error("mount a bpffs at " + at.string(), errno,
                        "mount one by hand and name a folder in it with `bpffs:` in the configuration");
}

// Those above that are missing are made; what is there may be others' too, as long as they cannot write it.
SystemResult<void> make_folders(const fs::path& path) {
    std::vector<fs::path> missing;
    for (fs::path at = path.parent_path(); !fs::exists(at); at = at.parent_path()) missing.push_back(at);
    missing.insert(missing.begin(), path);
    for (auto folder = missing.rbegin(); folder != missing.rend(); ++folder) {
        if (auto made = make_private_folder(folder->string()); !made) return made;
    }
    return check_trusted_path(path.string());
}

// The folder as the host's first process sees it: nothing when that may not be looked at.
std::optional<bool> is_seen_by_host(const std::string& path) noexcept {
    struct stat root{};
    struct stat here{};
    struct stat there{};
    if (stat("/proc/1/root/", &root) != 0 || stat(path.c_str(), &here) != 0) return std::nullopt;
    if (stat(("/proc/1/root" + path).c_str(), &there) != 0) {
        if (errno == ENOENT) return false;
        return std::nullopt;
    }
    return here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

}  // namespace

SystemResult<PinFolder> PinFolder::open(const std::string& path) {
    std::optional<std::string> mounted;
    if (!is_bpffs(existing_part(path))) {
        const fs::path at = mount_point_for(path);
        if (auto done = mount_bpffs(at); !done) return std::unexpected(done.error());
        mounted = at.string();
    }
    if (auto made = make_folders(path); !made) return std::unexpected(made.error());
    return PinFolder(path, std::move(mounted));
}

std::optional<Descriptor> PinFolder::get(const char* name) const {
    Descriptor object(bpf_obj_get(pin(name).c_str()));
    if (!object) return std::nullopt;
    return object;
}

SystemResult<void> PinFolder::put(const char* name, int object) const {
    remove(name);
    if (bpf_obj_pin(object, pin(name).c_str()) == 0) return {};
    return system_error("pin " + pin(name), errno);
}

void PinFolder::remove(const char* name) const noexcept {
    (void)unlink(pin(name).c_str());
}

std::optional<std::string> PinFolder::short_lived() const {
    if (is_seen_by_host(path_).value_or(!mounted_)) return std::nullopt;
    return fmt::format(
        "the pins in {} are seen in this process's mount namespace alone{}: when it crashes or is killed, "
        "they go "
        "with it, and running connections end; mount a bpffs on the host before the start (mount -t bpf bpf "
        "/sys/fs/bpf, or a folder that this process shares with the host, named by --bpffs or bpffs:)",
        path_, mounted_ ? fmt::format(", where a bpffs was mounted at {}", *mounted_) : "");
}

void PinFolder::remove_all() const noexcept {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

}  // namespace splice
