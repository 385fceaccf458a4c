#include "libsplice/engine/port_guard.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/lab/lab.hpp"

using namespace splice;

namespace {

constexpr splice_mark_field kMarks{SPLICE_MARK_VALUE, SPLICE_MARK_MASK, 0};
constexpr const char* kTable = "splicelb-test";

Endpoint endpoint(const char* text) {
    return Endpoint::parse(text).value();
}

PortGuard install(const std::vector<Endpoint>& ports) {
    auto guard = PortGuard::install(kTable, ports, kMarks);
    INFO((guard ? std::string() : guard.error().text));
    REQUIRE(guard);
    return std::move(*guard);
}

std::string listed() {
    return lab::run("nft", {"list", "ruleset"});
}

enum class Answer : std::uint8_t { refused, none };

// What a host says to a SYN on a port where nobody listens.
Answer knock(const Endpoint& at) {
    const bool ipv4 = at.address.family() == 4;
    const Descriptor socket(
        ::socket(ipv4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    int error = 0;
    if (ipv4) {
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(at.port);
        to.sin_addr.s_addr = at.address.raw().words[3];
        error = connect(socket.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)) < 0 ? errno : 0;
    } else {
        sockaddr_in6 to{};
        to.sin6_family = AF_INET6;
        to.sin6_port = htons(at.port);
        std::memcpy(&to.sin6_addr, at.address.raw().bytes, 16);
        error = connect(socket.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)) < 0 ? errno : 0;
    }
    if (error == ECONNREFUSED) return Answer::refused;
    REQUIRE(error == EINPROGRESS);
    pollfd wanted{.fd = socket.get(), .events = POLLOUT, .revents = 0};
    if (poll(&wanted, 1, 300) == 0) return Answer::none;
    socklen_t length = sizeof(error);
    REQUIRE(getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &length) == 0);
    REQUIRE(error == ECONNREFUSED);
    return Answer::refused;
}

// Runs `body` on another host, whose one link leads to the host of the thread that calls: there the addresses
// 192.0.2.10 and 2001:db8::10.
void from_another_host(const std::function<void()>& body) {
    const std::string here = std::to_string(gettid());
    lab::in_new_namespace([&] {
        lab::run("ip", {"link", "add", "far", "type", "veth", "peer", "name", "near", "netns", here});
        lab::run("ip", {"link", "set", "far", "up"});
        const auto there = [&](std::vector<std::string> words) {
            words.insert(words.begin(), {"-t", here, "-n", "ip"});
            lab::run("nsenter", words);
        };
        there({"link", "set", "near", "up"});
        there({"address", "add", "192.0.2.10/24", "dev", "near"});
        there({"address", "add", "2001:db8::10/64", "dev", "near", "nodad"});
        lab::run("ip", {"address", "add", "192.0.2.1/24", "dev", "far"});
        lab::run("ip", {"address", "add", "2001:db8::1/64", "dev", "far", "nodad"});
        body();
        // The kernel takes a namespace down when it finds time, and the next host needs the name at once.
        lab::run("ip", {"link", "delete", "far"});
    });
}

}  // namespace

TEST_CASE("what reaches this host for a guarded port is dropped and counted, of other ports refused") {
    lab::in_new_namespace([] {
        const PortGuard guard = install({endpoint("192.0.2.10:80"), endpoint("[2001:db8::10]:80")});
        from_another_host([] {
            CHECK(knock(endpoint("192.0.2.10:80")) == Answer::none);
            CHECK(knock(endpoint("[2001:db8::10]:80")) == Answer::none);
            CHECK(knock(endpoint("192.0.2.10:81")) == Answer::refused);
            CHECK(knock(endpoint("[2001:db8::10]:81")) == Answer::refused);
        });
        CHECK(guard.dropped() >= 2);
    });
}

TEST_CASE("what a bridge of this host has marked passes the guard, and so does what this host sends itself") {
    lab::in_new_namespace([] {
        const PortGuard guard = install({endpoint("192.0.2.10:80"), endpoint("127.0.0.1:80")});
        CHECK(knock(endpoint("127.0.0.1:80")) == Answer::refused);
        lab::run("nft", {"-f", "-"},
                 "table ip marks {\nchain marks {\ntype filter hook prerouting priority 0\n"
                 "tcp dport 80 meta mark set 0xc00030c1\n}\n}\n");
        from_another_host([] { CHECK(knock(endpoint("192.0.2.10:80")) == Answer::refused); });
        CHECK(guard.dropped() == 0);
    });
}

TEST_CASE("other ports take the guarded ones' place, and the count goes on") {
    lab::in_new_namespace([] {
        PortGuard guard = install({endpoint("192.0.2.10:80")});
        from_another_host([] { CHECK(knock(endpoint("192.0.2.10:80")) == Answer::none); });
        const std::uint64_t before = guard.dropped();
        CHECK(before >= 1);
        REQUIRE(guard.replace({endpoint("192.0.2.10:81")}));
        CHECK(guard.dropped() == before);
        from_another_host([] {
            CHECK(knock(endpoint("192.0.2.10:80")) == Answer::refused);
            CHECK(knock(endpoint("192.0.2.10:81")) == Answer::none);
        });
        CHECK(guard.dropped() > before);
    });
}

TEST_CASE("a guard goes with its object, and one that is kept stays until the next takes its place") {
    lab::in_new_namespace([] {
        {
            const PortGuard guard = install({endpoint("192.0.2.10:80")});
        }
        CHECK(listed().empty());
        {
            PortGuard guard = install({endpoint("192.0.2.10:80")});
            guard.keep();
        }
        CHECK(listed().find("192.0.2.10 . 80") != std::string::npos);
        {
            const PortGuard guard = install({endpoint("192.0.2.10:81")});
            CHECK(listed().find("192.0.2.10 . 80") == std::string::npos);
        }
        CHECK(listed().empty());
    });
}

TEST_CASE("a guard that another program has deleted or changed is missed and put right, its count with it") {
    lab::in_new_namespace([] {
        PortGuard guard = install({endpoint("192.0.2.10:80")});
        from_another_host([] { CHECK(knock(endpoint("192.0.2.10:80")) == Answer::none); });
        const std::uint64_t before = guard.dropped();
        const HostFact fact = guard.fact();
        CHECK_FALSE(fact.observe());
        lab::run("nft", {"add", "table", "ip", "somebody"});
        CHECK_FALSE(fact.observe());
        for (const std::vector<std::string>& words :
             {std::vector<std::string>{"flush", "ruleset"}, {"flush", "chain", "inet", kTable, "guard"}}) {
            lab::run("nft", words);
            CHECK(fact.observe() == "are not as they were installed");
            REQUIRE(fact.put_right());
            CHECK_FALSE(fact.observe());
            CHECK(guard.dropped() == before);
        }
    });
}
