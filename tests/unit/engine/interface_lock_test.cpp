#include "libsplice/engine/interface_lock.hpp"

#include <doctest/doctest.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <thread>

using namespace splice;

namespace {

struct Folder {
    std::string path = "/tmp/splicelb-lock-XXXXXX";
    Folder() { REQUIRE(mkdtemp(path.data()) != nullptr); }
    ~Folder() { std::filesystem::remove_all(path); }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
};

const InterfaceInfo kEth1{.name = "eth1", .index = 7};

}  // namespace

TEST_CASE("an interface is one daemon's of a kind, until that lets go, and the file is gone then") {
    const Folder folder;
    {
        const auto first = InterfaceLock::take("balancer", kEth1, folder.path);
        REQUIRE(first.has_value());
        const auto second = InterfaceLock::take("balancer", kEth1, folder.path);
        REQUIRE_FALSE(second.has_value());
        CHECK(second.error().code == EBUSY);
        CHECK(second.error().text.find("another balancer runs on eth1") != std::string::npos);
        CHECK(InterfaceLock::take("packetbridge", kEth1, folder.path).has_value());
        CHECK(InterfaceLock::take("balancer", {.name = "eth2", .index = 8}, folder.path).has_value());
    }
    CHECK(std::filesystem::is_empty(folder.path));
    CHECK(InterfaceLock::take("balancer", kEth1, folder.path).has_value());
}

TEST_CASE("interfaces of the same index in two network namespaces are two") {
    if (geteuid() != 0) return;
    const Folder folder;
    const auto here = InterfaceLock::take("balancer", kEth1, folder.path);
    REQUIRE(here.has_value());
    bool taken = false;
    std::thread([&] {
        taken = unshare(CLONE_NEWNET) == 0 && InterfaceLock::take("balancer", kEth1, folder.path).has_value();
    }).join();
    CHECK(taken);
}

TEST_CASE("a folder that others may write is closed to them, and a link in the file's place is refused") {
    const Folder folder;
    const auto made = InterfaceLock::take("balancer", kEth1, folder.path);
    REQUIRE(made.has_value());
    const std::string path = made->path();
    REQUIRE(chmod(folder.path.c_str(), 0777) == 0);
    CHECK(InterfaceLock::take("packetbridge", kEth1, folder.path).has_value());
    struct stat facts{};
    REQUIRE(stat(folder.path.c_str(), &facts) == 0);
    CHECK((facts.st_mode & 07777U) == 0700);
    const std::string other = folder.path + "/linked";
    std::filesystem::create_directory(other);
    std::filesystem::create_symlink("/tmp/splicelb-nowhere", other + "/" + path.substr(path.rfind('/') + 1));
    CHECK_FALSE(InterfaceLock::take("balancer", kEth1, other).has_value());
    CHECK_FALSE(std::filesystem::exists("/tmp/splicelb-nowhere"));
}
