#include "libsplice/engine/subprocess.hpp"

#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "libsplice/engine/descriptor.hpp"

namespace splice {
namespace {

constexpr std::array<std::string_view, 6> kFolders = {"/usr/sbin/", "/sbin/",          "/usr/local/sbin/",
                                                      "/usr/bin/",  "/usr/local/bin/", "/bin/"};

// A file in memory in the place of a pipe: nobody has to read while the other writes.
Descriptor memory_file(const char* name) noexcept {
    return Descriptor(memfd_create(name, MFD_CLOEXEC));
}

bool write_all(int fd, std::string_view text) noexcept {
    while (!text.empty()) {
        const ssize_t written = write(fd, text.data(), text.size());
        if (written < 0) return false;
        text.remove_prefix(static_cast<std::size_t>(written));
    }
    return lseek(fd, 0, SEEK_SET) == 0;
}

std::string read_all(int fd) {
    std::string text;
    std::array<char, 4096> piece;
    off_t at = 0;
    for (;;) {
        const ssize_t length = pread(fd, piece.data(), piece.size(), at);
        if (length <= 0) return text;
        text.append(piece.data(), static_cast<std::size_t>(length));
        at += length;
    }
}

// posix_spawn's two parameter objects, set up as run_program() promises.
class SpawnPlan {
  public:
    SpawnPlan(int input, int output, int complaints) {
        posix_spawn_file_actions_init(&actions_);
        posix_spawn_file_actions_adddup2(&actions_, input, STDIN_FILENO);
        posix_spawn_file_actions_adddup2(&actions_, output, STDOUT_FILENO);
        posix_spawn_file_actions_adddup2(&actions_, complaints, STDERR_FILENO);
        posix_spawnattr_init(&attributes_);
        sigset_t none;
        sigset_t all;
        sigemptyset(&none);
        sigfillset(&all);
        posix_spawnattr_setsigmask(&attributes_, &none);
        posix_spawnattr_setsigdefault(&attributes_, &all);
        posix_spawnattr_setpgroup(&attributes_, 0);
        posix_spawnattr_setflags(&attributes_,
                                 POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    }
    ~SpawnPlan() {
        posix_spawn_file_actions_destroy(&actions_);
        posix_spawnattr_destroy(&attributes_);
    }
    SpawnPlan(const SpawnPlan&) = delete;
    SpawnPlan& operator=(const SpawnPlan&) = delete;

    // 0 or errno.
    int spawn(pid_t& child, const std::string& path, std::vector<std::string> arguments) const {
        std::vector<char*> argv;
        std::string program = path;
        argv.push_back(program.data());
        for (std::string& each : arguments) argv.push_back(each.data());
        argv.push_back(nullptr);
        std::string search = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
        std::string language = "LC_ALL=C";
        char* const environment[] = {search.data(), language.data(), nullptr};
        return posix_spawn(&child, path.c_str(), &actions_, &attributes_, argv.data(), environment);
    }

  private:
    posix_spawn_file_actions_t actions_{};
    posix_spawnattr_t attributes_{};
};

}  // namespace

SystemResult<std::string> find_program(const std::string& name, std::string_view package) {
    for (const std::string_view folder : kFolders) {
        std::string path = std::string(folder) + name;
        if (access(path.c_str(), X_OK) == 0) return path;
    }
    return system_error("find the program " + name, ENOENT, "install the package " + std::string(package));
}

SystemResult<ProgramResult> run_program(const std::string& path, const std::vector<std::string>& arguments,
                                        std::string_view input) {
    const Descriptor in = memory_file("input");
    const Descriptor out = memory_file("output");
    const Descriptor complaints = memory_file("complaints");
    if (!in || !out || !complaints || !write_all(in.get(), input)) return system_error("run " + path, errno);

    pid_t child = 0;
    if (const int error = SpawnPlan(in.get(), out.get(), complaints.get()).spawn(child, path, arguments))
        return system_error("run " + path, error);
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) return system_error("wait for " + path, errno);
    }
    ProgramResult result;
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    result.output = read_all(out.get());
    result.complaints = read_all(complaints.get());
    return result;
}

}  // namespace splice
