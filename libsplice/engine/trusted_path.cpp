#include "libsplice/engine/trusted_path.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <filesystem>
#include <vector>

namespace splice {
namespace {

namespace fs = std::filesystem;

constexpr int kMostLinks = 40;  // as the kernel's own limit
constexpr mode_t kGroupOrOthersWrite = 0022;
constexpr mode_t kPrivate = 0700;

bool is_trusted(uid_t owner) noexcept {
    return owner == 0 || owner == geteuid();
}

SystemResult<void> check_owner(const std::string& path, const struct stat& facts) {
    if (is_trusted(facts.st_uid)) return {};
    return std::unexpected(SystemError{
        fmt::format("{} belongs to user {}: expected root or this process's user {}; run: chown {} {}", path,
                    facts.st_uid, geteuid(), geteuid(), path),
        0});
}

// The folder, and what it holds under the name that is asked for.
SystemResult<void> check_step(const std::string& folder, const std::string& entry,
                              const struct stat& entry_facts) {
    struct stat facts{};
    if (stat(folder.c_str(), &facts) != 0) return system_error("look at " + folder, errno);
    if (auto owned = check_owner(folder, facts); !owned) return owned;
    if ((facts.st_mode & kGroupOrOthersWrite) == 0) return {};
    if ((facts.st_mode & S_ISVTX) != 0) return check_owner(entry, entry_facts);
    return std::unexpected(
        SystemError{fmt::format("the folder {} has mode {:04o}: others may exchange {}; run: chmod go-w {}",
                                folder, facts.st_mode & 07777U, entry, folder),
                    0});
}

void put_before(std::vector<std::string>& to_go, const fs::path& path) {
    std::vector<std::string> parts;
    for (const fs::path& part : path) parts.push_back(part.string());
    to_go.insert(to_go.end(), parts.rbegin(), parts.rend());  // the next one is the last
}

SystemResult<std::string> target_of(const std::string& link) {
    std::array<char, PATH_MAX> text{};
    const ssize_t length = readlink(link.c_str(), text.data(), text.size());
    if (length < 0) return system_error("read the symbolic link " + link, errno);
    return std::string(text.data(), static_cast<std::size_t>(length));
}

}  // namespace

SystemResult<void> check_trusted_path(const std::string& path) {
    std::vector<std::string> to_go;
    std::error_code error;
    put_before(to_go, fs::absolute(path, error));
    if (error) return system_error("look at " + path, error.value());
    fs::path at = "/";
    for (int links = 0; !to_go.empty();) {
        const std::string part = to_go.back();
        to_go.pop_back();
        if (part.empty() || part == "." || part == "/") continue;
        if (part == "..") {
            at = at.parent_path();
            continue;
        }
        const std::string entry = (at / part).string();
        struct stat facts{};
        if (lstat(entry.c_str(), &facts) != 0) return system_error("look at " + entry, errno);
        if (auto fine = check_step(at.string(), entry, facts); !fine) return fine;
        if (!S_ISLNK(facts.st_mode)) {
            at = entry;
            if (to_go.empty()) return check_owner(entry, facts);
            continue;
        }
        if (++links > kMostLinks) return system_error("look at " + path, ELOOP);
        const auto target = target_of(entry);
        if (!target) return std::unexpected(target.error());
        if (target->starts_with('/')) at = "/";
        put_before(to_go, *target);
    }
    return {};
}

SystemResult<void> make_private_folder(const std::string& path) {
    if (mkdir(path.c_str(), kPrivate) != 0 && errno != EEXIST)
        return system_error("make the folder " + path, errno);
    struct stat facts{};
    if (lstat(path.c_str(), &facts) != 0) return system_error("look at " + path, errno);
    if (!S_ISDIR(facts.st_mode)) return system_error("use the folder " + path, ENOTDIR, "remove it");
    if (facts.st_uid != geteuid())
        return std::unexpected(SystemError{
            fmt::format("the folder {} belongs to user {}, and this process is user {}: remove it", path,
                        facts.st_uid, geteuid()),
            EPERM});
    if ((facts.st_mode & 07777U) != kPrivate && chmod(path.c_str(), kPrivate) != 0)
        return system_error("close the folder " + path + " to others", errno);
    return {};
}

}  // namespace splice
