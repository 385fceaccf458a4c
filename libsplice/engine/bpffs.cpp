#include "libsplice/engine/bpffs.hpp"

#include <bpf/bpf.h>
#include <linux/magic.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

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

}  // namespace

SystemResult<PinFolder> PinFolder::open(const std::string& path) {
    std::optional<std::string> mounted;
    if (!is_bpffs(existing_part(path))) {
        const fs::path at = mount_point_for(path);
        if (auto done = mount_bpffs(at); !done) return std::unexpected(done.error());
        mounted = at.string();
    }
    std::error_code error;
    fs::create_directories(path, error);
    if (error) return system_error("make the folder " + path + " in the bpffs", error.value());
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

void PinFolder::remove_all() const noexcept {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

}  // namespace splice
