#include "libsplice/engine/backend_look.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <vector>

#include "libsplice/engine/descriptor.hpp"
#include "tests/support/lab/lab.hpp"
#include "tests/support/lib/loopback.hpp"

using namespace splice;
using namespace std::chrono_literals;

namespace {

Endpoint endpoint(const std::string& text) {
    return Endpoint::parse(text).value();
}

// Listens at any address, with room for one connection that waits.
Descriptor listener(std::uint16_t port) {
    Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_port = htons(port);
    REQUIRE(bind(socket.get(), reinterpret_cast<const sockaddr*>(&any), sizeof(any)) == 0);
    REQUIRE(listen(socket.get(), 0) == 0);
    return socket;
}

BackendLook look(const std::string& at) {
    return look_at_backends(std::vector{endpoint(at)}, 200ms).at(0);
}

}  // namespace

TEST_CASE("a backend that listens is told from one that refuses, hangs, is silent or cannot be reached") {
    lab::in_new_namespace([] {
        CHECK(look("127.0.0.1:8080") == BackendLook::refuses);
        CHECK(look("[::1]:8080") == BackendLook::refuses);
        CHECK(look("203.0.113.1:8080") == BackendLook::unreachable);
        CHECK(look("[2001:db8::1]:8080") == BackendLook::unreachable);
        lab::run("nft",
                 {"add table ip firewall; add chain ip firewall in { type filter hook input priority 0; }; "
                  "add rule ip firewall in tcp dport 8081 drop"});
        CHECK(look("127.0.0.1:8081") == BackendLook::silent);

        const Descriptor open = listener(8080);
        CHECK(look("127.0.0.1:8080") == BackendLook::listens);
        // The kernel tells of it: nothing was tried, so nothing waits to be accepted.
        CHECK(accept4(open.get(), nullptr, nullptr, SOCK_CLOEXEC) < 0);

        std::vector<Descriptor> clients;
        const sockaddr_in address = testing::loopback(8080);
        for (int i = 0; i < 3 && look("127.0.0.1:8080") != BackendLook::full; ++i) {
            clients.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
            (void)connect(clients.back().get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
        }
        CHECK(look("127.0.0.1:8080") == BackendLook::full);
    });
}
