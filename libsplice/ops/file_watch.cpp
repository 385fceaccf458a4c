#include "libsplice/ops/file_watch.hpp"

#include <sys/inotify.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <utility>

namespace splice {
namespace {

constexpr std::uint32_t kEvents = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_MODIFY | IN_ATTRIB;

}  // namespace

SystemResult<FileWatch> FileWatch::open() {
    FileWatch watch;
    watch.descriptor_ = Descriptor(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    if (!watch.descriptor_) return system_error("open inotify", errno);
    return watch;
}

SystemResult<void> FileWatch::add(const std::string& file) {
    if (std::ranges::find(files_, file, &Watched::path) != files_.end()) return {};
    const std::filesystem::path path(file);
    std::string directory = path.parent_path().string();
    if (directory.empty()) directory = ".";
    const int number = inotify_add_watch(descriptor_.get(), directory.c_str(), kEvents);
    if (number < 0) return system_error("watch the directory " + directory, errno);
    Watched& watched = files_.emplace_back();
    watched.path = file;
    watched.name = path.filename().string();
    watched.directory = number;
    (void)read(file, watched.taken);
    return {};
}

void FileWatch::note(Watched& file, std::uint32_t events, std::string_view name) noexcept {
    // Not only under its own name: a link that the file's own link leads through may have been exchanged.
    if (events & IN_MOVED_TO) file.is_whole = true;
    if (name != file.name) return;
    if (events & IN_MODIFY) file.is_written = true;
    if (events & (IN_CLOSE_WRITE | IN_MOVED_TO)) {
        file.is_whole = true;
        file.is_written = false;
    }
    // A new link is whole at once; a new file is empty.
    if (events & IN_CREATE) {
        struct stat now{};
        const bool is_link =
            lstat(file.path.c_str(), &now) == 0 && (S_ISLNK(now.st_mode) || now.st_nlink > 1);
        file.is_written = !is_link;
        file.is_whole = is_link;
    }
}

void FileWatch::drain() noexcept {
    alignas(inotify_event) std::array<char, 4096> events;
    for (;;) {
        const ssize_t length = ::read(descriptor_.get(), events.data(), events.size());
        if (length <= 0) return;
        for (const char* at = events.data(); at < events.data() + length;) {
            inotify_event event;
            std::memcpy(&event, at, sizeof(event));
            const std::string_view name = event.len ? at + sizeof(event) : "";
            for (Watched& file : files_) {
                // Events were lost: two looks must agree.
                if (event.mask & IN_Q_OVERFLOW) file.is_written = file.is_whole = false;
                if (event.wd == file.directory) note(file, event.mask, name);
            }
            at += sizeof(event) + event.len;
        }
    }
}

std::vector<std::string> FileWatch::changed(Clock::time_point now) {
    std::vector<std::string> paths;
    for (Watched& file : files_) {
        State state;
        if (!read(file.path, state)) continue;
        const bool is_whole = std::exchange(file.is_whole, false);
        if (state == file.taken || file.is_written) continue;
        if (!is_whole) {
            if (state != file.seen) {
                file.seen = state;
                file.seen_first = now;
            }
            if (now - file.seen_first < kFileSettled) continue;
        }
        file.taken = state;
        paths.push_back(file.path);
    }
    return paths;
}

void FileWatch::take_all() {
    for (Watched& file : files_) (void)read(file.path, file.taken);
}

bool FileWatch::read(const std::string& path, State& state) noexcept {
    struct stat now{};
    if (stat(path.c_str(), &now) != 0) return false;
    state = {.device = now.st_dev,
             .inode = now.st_ino,
             .modified_ns = now.st_mtim.tv_sec * 1'000'000'000LL + now.st_mtim.tv_nsec,
             .size = now.st_size};
    return true;
}

}  // namespace splice
