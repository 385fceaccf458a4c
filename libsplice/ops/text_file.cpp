#include "libsplice/engine/fcntl.hpp"  // first: see there

#include "libsplice/ops/text_file.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "libsplice/engine/descriptor.hpp"
#include "libsplice/engine/trusted_path.hpp"

namespace splice {
namespace {

constexpr unsigned kOthersAny = 0007;
constexpr unsigned kGroupWrite = 0020;

}  // namespace

SystemResult<TextFile> read_text_file(const std::string& path, std::size_t limit, const std::string& doing,
                                      const std::string& missing_hint) {
    const std::string what = doing + " " + path;
    // Not blocking: a named pipe without a writer must not stop a start.
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file)
        return system_error(
            what, errno, errno == ENOENT ? missing_hint : "run it as root or choose a file that it may read");
    struct stat status{};
    if (fstat(file.get(), &status) != 0) return system_error(what, errno);
    if (!S_ISREG(status.st_mode)) return std::unexpected(SystemError{what + ": not a regular file", 0});
    TextFile read;
    read.mode = status.st_mode;
    read.text.resize(limit + 1);
    std::size_t length = 0;
    while (length < read.text.size()) {
        const ssize_t count = ::read(file.get(), read.text.data() + length, read.text.size() - length);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return system_error(what, errno);
        if (count == 0) break;
        length += static_cast<std::size_t>(count);
    }
    if (length > limit)
        return std::unexpected(SystemError{what + ": longer than " + std::to_string(limit) + " bytes", 0});
    read.text.resize(length);
    return read;
}

SystemResult<TextFile> read_private_file(const std::string& path, std::size_t limit, const std::string& name,
                                         const std::string& missing_hint) {
    auto file = read_text_file(path, limit, "read " + name, missing_hint);
    if (!file) return file;
    if (file->mode & (kOthersAny | kGroupWrite))
        return std::unexpected(SystemError{
            fmt::format("{} {} has mode {:04o}: {}; run: chmod 600 {}", name, path, file->mode & 07777,
                        file->mode & kOthersAny ? "others may use it" : "its group may write it", path),
            0});
    if (auto trusted = check_trusted_path(path); !trusted)
        return std::unexpected(SystemError{name + " " + path + ": " + trusted.error().text, 0});
    return file;
}

namespace {

std::string folder_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

SystemResult<void> write_all(int file, std::string_view text, const std::string& what) {
    while (!text.empty()) {
        const ssize_t count = ::write(file, text.data(), text.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return system_error(what, errno);
        text.remove_prefix(static_cast<std::size_t>(count));
    }
    if (fsync(file) != 0) return system_error(what, errno);
    return {};
}

}  // namespace

SystemResult<NewTextFile> NewTextFile::write(const std::string& path, std::string_view text, unsigned mode,
                                             const std::string& doing, const std::string& hint) {
    const std::string what = doing + " " + path;
    const std::string folder = folder_of(path);
    constexpr mode_t kFolderMode = 0755;
    if (mkdir(folder.c_str(), kFolderMode) != 0 && errno != EEXIST)
        return system_error(what + ": make " + folder, errno, hint);
    NewTextFile made(path, path + ".new", what);
    const Descriptor file(
        ::open(made.beside_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode));
    if (!file) {
        const int error = errno;
        made.beside_.clear();
        return system_error(what, error, hint);
    }
    if (auto written = write_all(file.get(), text, what); !written) return std::unexpected(written.error());
    return made;
}

NewTextFile::NewTextFile(NewTextFile&& other) noexcept
    : path_(std::move(other.path_)),
      beside_(std::exchange(other.beside_, {})),
      doing_(std::move(other.doing_)) {}

NewTextFile::~NewTextFile() {
    if (!beside_.empty()) unlink(beside_.c_str());
}

SystemResult<void> NewTextFile::put_in_place() {
    if (rename(beside_.c_str(), path_.c_str()) != 0) return system_error(doing_, errno);
    beside_.clear();
    const Descriptor folder(::open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (folder) (void)fsync(folder.get());  // some file systems know no such thing
    return {};
}

}  // namespace splice
