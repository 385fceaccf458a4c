#include "libsplice/engine/trusted_path.hpp"

#include <doctest/doctest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

using namespace splice;
namespace fs = std::filesystem;

namespace {

constexpr uid_t kStranger = 65'534;

// A folder under /tmp, which is sticky, and a file in it.
struct Folder {
    fs::path path;
    Folder() {
        std::string name = "/tmp/splicelb-trust-XXXXXX";
        REQUIRE(mkdtemp(name.data()) != nullptr);
        path = name;
        std::ofstream(file()) << "x";
    }
    ~Folder() { fs::remove_all(path); }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    [[nodiscard]] std::string file() const { return (path / "file").string(); }
    void mode(mode_t mode) const { REQUIRE(chmod(path.c_str(), mode) == 0); }
};

std::string complaint(const std::string& path) {
    const auto trusted = check_trusted_path(path);
    return trusted ? "" : trusted.error().text;
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a file of ours in a folder of ours is trusted, also below a sticky folder and by a link") {
    const Folder folder;
    CHECK(complaint(folder.file()).empty());
    fs::create_symlink("file", folder.path / "link");
    fs::create_symlink(folder.path / ".." / folder.path.filename() / "link", folder.path / "far");
    CHECK(complaint((folder.path / "far").string()).empty());
}

TEST_CASE("a folder that others may write is refused by name, unless it is sticky") {
    const Folder folder;
    for (const mode_t mode : {0777U, 0770U, 0702U}) {
        CAPTURE(mode);
        folder.mode(mode);
        CHECK(contains(complaint(folder.file()), "chmod go-w " + folder.path.string()));
    }
    folder.mode(01777);
    CHECK(complaint(folder.file()).empty());
}

TEST_CASE("a link is refused for the folder that it stands in and for the one that it leads to") {
    const Folder open;
    const Folder closed;
    open.mode(0777);
    fs::create_symlink(closed.file(), open.path / "link");
    fs::create_symlink(open.file(), closed.path / "link");
    CHECK(contains(complaint((open.path / "link").string()), open.path.string()));
    CHECK(contains(complaint((closed.path / "link").string()), open.path.string()));
}

TEST_CASE("a link that leads to itself, and a part that is missing, are refused") {
    const Folder folder;
    fs::create_symlink("loop", folder.path / "loop");
    CHECK(contains(complaint((folder.path / "loop").string()), "Too many levels"));
    CHECK(contains(complaint((folder.path / "none" / "file").string()), "No such file"));
}

TEST_CASE("a file, folder or link in a sticky folder that is somebody else's is refused") {
    if (geteuid() != 0) return;
    const Folder folder;
    REQUIRE(chown(folder.file().c_str(), kStranger, kStranger) == 0);
    CHECK(contains(complaint(folder.file()), "belongs to user 65534"));
    REQUIRE(chown(folder.file().c_str(), 0, 0) == 0);
    REQUIRE(chown(folder.path.c_str(), kStranger, kStranger) == 0);
    CHECK(contains(complaint(folder.file()), folder.path.string() + " belongs to user 65534"));
    REQUIRE(chown(folder.path.c_str(), 0, 0) == 0);
    folder.mode(01777);
    fs::create_symlink("file", folder.path / "link");
    REQUIRE(lchown((folder.path / "link").c_str(), kStranger, kStranger) == 0);
    CHECK(contains(complaint((folder.path / "link").string()), "link belongs to user 65534"));
}

TEST_CASE("a private folder is made, closed where it was open, and refused where it is somebody else's") {
    const Folder folder;
    const std::string path = (folder.path / "private").string();
    const auto mode = [&] {
        struct stat facts{};
        REQUIRE(stat(path.c_str(), &facts) == 0);
        return facts.st_mode & 07777U;
    };
    REQUIRE(make_private_folder(path).has_value());
    CHECK(mode() == 0700);
    REQUIRE(chmod(path.c_str(), 0755) == 0);
    REQUIRE(make_private_folder(path).has_value());
    CHECK(mode() == 0700);
    CHECK_FALSE(make_private_folder(folder.file()).has_value());
    if (geteuid() != 0) return;
    REQUIRE(chown(path.c_str(), kStranger, kStranger) == 0);
    CHECK_FALSE(make_private_folder(path).has_value());
}
