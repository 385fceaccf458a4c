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
    watch.drain();
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

TEST_CASE("a file that is being written has not changed until its writer closes it") {
    const Directory directory;
    directory.write("config", "one");
    FileWatch watch = watch_on(directory.file("config"));
    std::ofstream writer(directory.file("config"));
    writer << "the first half" << std::flush;
    watch.drain();
    const auto now = FileWatch::Clock::now();
    CHECK(watch.changed(now).empty());
    CHECK(watch.changed(now + std::chrono::minutes(1)).empty());
    writer << ", the second half";
    writer.close();
    watch.drain();
    CHECK(watch.changed(now + std::chrono::minutes(1)) == std::vector{directory.file("config")});
}

TEST_CASE("a new file that is being written in the place of another has not changed either") {
    const Directory directory;
    directory.write("config", "one");
    FileWatch watch = watch_on(directory.file("config"));
    fs::remove(directory.file("config"));
    std::ofstream writer(directory.file("config"));
    watch.drain();
    const auto now = FileWatch::Clock::now();
    CHECK(watch.changed(now).empty());
    CHECK(watch.changed(now + std::chrono::minutes(1)).empty());
    writer << "all";
    writer.close();
    watch.drain();
    CHECK(watch.changed(now) == std::vector{directory.file("config")});
}

TEST_CASE("where no event tells of a change, two looks a second apart must agree") {
    const Directory directory, elsewhere;
    elsewhere.write("target", "one");
    fs::create_symlink(elsewhere.file("target"), directory.file("config"));
    FileWatch watch = watch_on(directory.file("config"));
    elsewhere.write("target", "two, longer");
    const auto now = FileWatch::Clock::now();
    CHECK(watch.changed(now).empty());
    elsewhere.write("target", "three, longer still");
    CHECK(watch.changed(now + std::chrono::seconds(1)).empty());
    CHECK(watch.changed(now + std::chrono::seconds(2)) == std::vector{directory.file("config")});
    CHECK(watch.changed(now + std::chrono::seconds(9)).empty());
}

TEST_CASE("Kubernetes exchanges the folder that the file's link leads through") {
    const Directory directory;
    fs::create_directory(directory.path / "v1");
    fs::create_directory(directory.path / "v2");
    std::ofstream(directory.path / "v1" / "config") << "one";
    std::ofstream(directory.path / "v2" / "config") << "two";
    fs::create_symlink("v1", directory.path / "..data");
    fs::create_symlink("..data/config", directory.path / "config");
    FileWatch watch = watch_on(directory.file("config"));
    fs::create_symlink("v2", directory.path / "..data_tmp");
    fs::rename(directory.path / "..data_tmp", directory.path / "..data");
    watch.drain();
    CHECK(watch.changed() == std::vector{directory.file("config")});
}

TEST_CASE("what is about to be read anew is no change any more") {
    const Directory directory;
    directory.write("config", "one");
    FileWatch watch = watch_on(directory.file("config"));
    directory.write("config", "two, longer");
    watch.drain();
    watch.take_all();
    CHECK(watch.changed().empty());
}
