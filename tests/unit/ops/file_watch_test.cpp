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

FileWatch watch_on(const std::string& file) {
    auto watch = FileWatch::open();
    REQUIRE(watch.has_value());
    REQUIRE(watch->add(file).has_value());
    return std::move(*watch);
}

bool readable(int descriptor) {
    pollfd wait{descriptor, POLLIN, 0};
    return poll(&wait, 1, 0) == 1;
}

}  // namespace

TEST_CASE("a file that is written anew has changed, once") {
    const Directory directory;
    directory.write("secret", "one");
    FileWatch watch = watch_on(directory.file("secret"));
    CHECK(watch.changed().empty());
    directory.write("secret", "two, longer");
    CHECK(readable(watch.descriptor()));
    watch.drain();
    CHECK_FALSE(readable(watch.descriptor()));
    CHECK(watch.changed() == std::vector{directory.file("secret")});
    CHECK(watch.changed().empty());
}

TEST_CASE("a file that another is renamed over has changed") {
    const Directory directory;
    directory.write("config", "same");
    FileWatch watch = watch_on(directory.file("config"));
    directory.write("config.new", "same");
    fs::rename(directory.file("config.new"), directory.file("config"));
    CHECK(readable(watch.descriptor()));
    CHECK(watch.changed() == std::vector{directory.file("config")});
}

TEST_CASE("other files of the directory, and a file that is gone, are no change") {
    const Directory directory;
    directory.write("config", "one");
    FileWatch watch = watch_on(directory.file("config"));
    directory.write("other", "x");
    CHECK(watch.changed().empty());
    fs::remove(directory.file("config"));
    CHECK(watch.changed().empty());
}

TEST_CASE("a directory that does not exist is refused by name") {
    auto watch = FileWatch::open();
    REQUIRE(watch.has_value());
    const auto added = watch->add("/nonexistent/secret");
    REQUIRE_FALSE(added.has_value());
    CHECK(added.error().text.find("/nonexistent") != std::string::npos);
}
