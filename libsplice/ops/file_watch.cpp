#include "libsplice/ops/file_watch.hpp"

#include <sys/inotify.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <utility>

namespace splice {

SystemResult<FileWatch> FileWatch::open() {
    FileWatch watch;
    watch.descriptor_ = Descriptor(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    if (!watch.descriptor_) return system_error("open inotify", errno);
    return watch;
}

SystemResult<void> FileWatch::add(const std::string& file) {
    std::string directory = std::filesystem::path(file).parent_path().string();
    if (directory.empty()) directory = ".";
    constexpr std::uint32_t kEvents = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_ATTRIB;
    if (inotify_add_watch(descriptor_.get(), directory.c_str(), kEvents) < 0)
        return system_error("watch the directory " + directory, errno);
    files_.emplace_back().path = file;
    files_.back().refresh();
    return {};
}

void FileWatch::drain() noexcept {
    std::array<char, 4096> events;
    while (::read(descriptor_.get(), events.data(), events.size()) > 0) {
    }
}

std::vector<std::string> FileWatch::changed() {
    std::vector<std::string> paths;
    for (Watched& file : files_) {
        if (file.refresh()) paths.push_back(file.path);
    }
    return paths;
}

bool FileWatch::Watched::refresh() noexcept {
    struct stat now{};
    if (stat(path.c_str(), &now) != 0) return false;
    const std::int64_t now_modified_ns = now.st_mtim.tv_sec * 1'000'000'000LL + now.st_mtim.tv_nsec;
    const bool other =
        device != now.st_dev || inode != now.st_ino || modified_ns != now_modified_ns || size != now.st_size;
    device = now.st_dev;
    inode = now.st_ino;
    modified_ns = now_modified_ns;
    size = now.st_size;
    return other;
}

}  // namespace splice
