// Tells when files changed, however they are replaced: written in place, renamed over, or by a symbolic link
// that now points elsewhere. A file that somebody is still writing has not changed yet: its beginning may be
// valid by itself, and mean something else.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/descriptor.hpp"

namespace splice {

// Editors and copies write in several steps: what changed is read when it has been quiet so long.
inline constexpr auto kFileQuiet = std::chrono::milliseconds(150);
// Where no event tells that a file is whole (a link to another folder, a network's file system), it is when
// it looks the same after so long.
inline constexpr auto kFileSettled = std::chrono::seconds(1);

class FileWatch {
  public:
    using Clock = std::chrono::steady_clock;

    // Of no file yet. Errors: the system has no inotify left.
    static SystemResult<FileWatch> open();
    // Watches the file's directory from now on, and takes the file as it is now for what is known of it: call
    // it before the file is read, so that no edit after that is missed. One that is watched already stays as
    // it is. Errors: the directory is not there.
    SystemResult<void> add(const std::string& file);

    // Readable when something happened in a directory; then call drain(), and changed() after kFileQuiet of
    // silence. Call changed() every kFileSettled or so, too, for what no event tells of.
    [[nodiscard]] int descriptor() const noexcept { return descriptor_.get(); }
    void drain() noexcept;
    // The files that are whole, and others than at the last call, at take_all() or at add(). A missing file
    // is no change: it is being replaced.
    std::vector<std::string> changed(Clock::time_point now = Clock::now());
    // All files are about to be read: what they are now is no change any more.
    void take_all();

  private:
    // What tells one state of a file from another.
    struct State {
        std::uint64_t device = 0;
        std::uint64_t inode = 0;
        std::int64_t modified_ns = 0;
        std::int64_t size = 0;
        friend bool operator==(const State&, const State&) = default;
    };
    struct Watched {
        std::string path;
        std::string name;   // in its directory
        int directory = 0;  // inotify's number
        State taken;        // the last that was told of
        State seen;         // at the last look
        Clock::time_point seen_first{};
        bool is_written = false;  // somebody writes, and has not closed it
        bool is_whole = false;    // closed after writing, or something was renamed into its directory
    };
    static bool read(const std::string& path, State& state) noexcept;
    static void note(Watched& file, std::uint32_t events, std::string_view name) noexcept;

    Descriptor descriptor_;
    std::vector<Watched> files_;
};

}  // namespace splice
