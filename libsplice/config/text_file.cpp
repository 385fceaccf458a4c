#include "libsplice/engine/fcntl.hpp"  // first: see there

#include "libsplice/config/text_file.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "libsplice/engine/descriptor.hpp"

namespace splice {

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

}  // namespace splice
