#include "libsplice/ops/file_watch.hpp"

#include <doctest/doctest.h>
#include <poll.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

using namespace splice;
namespace fs = std::filesystem;

namespace {

struct Directory {
    fs::path path;
    Directory() {
        std::string name = (fs::temp_directory_path() / "splicelb-watch-XXXXXX").string();
        REQUIRE(mkdtemp(name.data()) != nullptr);
        path = name;
    }
    ~Directory() { fs::remove_all(path); }
    Directory(const Directory&) = delete;
    Directory& operator=(const Directory&) = delete;

    [[nodiscard]] std::string file(const std::string& name) const { return (path / name).string(); }
    void write(const std::string& name, const std::string& text) const { std::ofstream(file(name)) << text; }
};

bool readable(int descriptor) {
    pollfd wait{descriptor, POLLIN, 0};
    return poll(&wait, 1, 0) == 1;
}

}  // namespace

TEST_CASE("a file that is written anew has changed, once") {
    const Directory directory;
    directory.write("secret", "one");
    auto watch = FileWatch::open({directory.file("secret")});
    REQUIRE(watch.has_value());
    CHECK(watch->changed().empty());
    directory.write("secret", "two, longer");
    CHECK(readable(watch->descriptor()));
    watch->drain();
    CHECK_FALSE(readable(watch->descriptor()));
    CHECK(watch->changed() == std::vector{directory.file("secret")});
    CHECK(watch->changed().empty());
}

TEST_CASE("a file that another is renamed over has changed") {
    const Directory directory;
    directory.write("config", "same");
    auto watch = FileWatch::open({directory.file("config")});
    REQUIRE(watch.has_value());
    directory.write("config.new", "same");
    fs::rename(directory.file("config.new"), directory.file("config"));
    CHECK(readable(watch->descriptor()));
    CHECK(watch->changed() == std::vector{directory.file("config")});
}

TEST_CASE("other files of the directory, and a file that is gone, are no change") {
    const Directory directory;
    directory.write("config", "one");
    auto watch = FileWatch::open({directory.file("config")});
    REQUIRE(watch.has_value());
    directory.write("other", "x");
    CHECK(watch->changed().empty());
    fs::remove(directory.file("config"));
    CHECK(watch->changed().empty());
}

TEST_CASE("a directory that does not exist is refused by name") {
    const auto watch = FileWatch::open({"/nonexistent/secret"});
    REQUIRE_FALSE(watch.has_value());
    CHECK(watch.error().text.find("/nonexistent") != std::string::npos);
}
