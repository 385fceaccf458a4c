#include "libsplice/ops/api_server.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <vector>

#include "libsplice/engine/descriptor.hpp"
#include "tests/support/lib/loopback.hpp"

using namespace splice;

namespace {

template <class Call>
int with_address(Call call, int number, sockaddr_in address) {
    return call(number, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
}

// A port that was free a moment ago.
std::uint16_t free_port() {
    const Descriptor probe(socket(AF_INET, SOCK_STREAM, 0));
    REQUIRE(with_address(bind, probe.get(), testing::loopback(0)) == 0);
    sockaddr_in address{};
    socklen_t length = sizeof(address);
    getsockname(probe.get(), reinterpret_cast<sockaddr*>(&address), &length);
    return ntohs(address.sin_port);
}

Endpoint local(std::uint16_t port) {
    return Endpoint::parse("127.0.0.1:" + std::to_string(port)).value();
}

// All that the server says until it closes.
std::string ask(std::uint16_t port, const std::string& request) {
    const Descriptor client(socket(AF_INET, SOCK_STREAM, 0));
    const timeval limit{.tv_sec = 5, .tv_usec = 0};
    setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    REQUIRE(with_address(connect, client.get(), testing::loopback(port)) == 0);
    REQUIRE(send(client.get(), request.data(), request.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(request.size()));
    std::string answer;
    char buffer[4096];
    for (ssize_t count; (count = recv(client.get(), buffer, sizeof(buffer), 0)) > 0;)
        answer.append(buffer, static_cast<std::size_t>(count));
    return answer;
}

std::string get(std::uint16_t port, const std::string& target, const std::string& method = "GET") {
    return ask(port, method + " " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
}

ApiRoutes routes() {
    ApiRoutes all;
    all["/healthz"] = [] { return ApiReply{.body = "ok\n"}; };
    all["/broken"] = []() -> ApiReply { throw std::runtime_error("a route that fails"); };
    return all;
}

}  // namespace

TEST_CASE("a route answers GET, with or without a query, and HEAD without a body") {
    const std::uint16_t port = free_port();
    const auto server = ApiServer::start(local(port), routes());
    REQUIRE(server.has_value());
    CHECK(get(port, "/healthz").starts_with("HTTP/1.1 200 "));
    CHECK(get(port, "/healthz").ends_with("\r\n\r\nok\n"));
    CHECK(get(port, "/healthz?x=1").ends_with("\r\n\r\nok\n"));
    const std::string head = get(port, "/healthz", "HEAD");
    CHECK(head.find("Content-Length: 3\r\n") != std::string::npos);
    CHECK(head.ends_with("\r\n\r\n"));
}

TEST_CASE("any number of connections that say nothing, or half a header, keep nobody out") {
    const std::uint16_t port = free_port();
    const auto server = ApiServer::start(local(port), routes());
    REQUIRE(server.has_value());
    std::vector<Descriptor> silent;
    for (int i = 0; i < 100; i++) {
        silent.emplace_back(socket(AF_INET, SOCK_STREAM, 0));
        REQUIRE(with_address(connect, silent.back().get(), testing::loopback(port)) == 0);
        if (i % 2 == 0) REQUIRE(send(silent.back().get(), "GET /hea", 8, MSG_NOSIGNAL) == 8);
        CHECK(get(port, "/healthz").ends_with("\r\n\r\nok\n"));
    }
}

TEST_CASE("a connection that says nothing is closed") {
    const std::uint16_t port = free_port();
    const auto server = ApiServer::start(local(port), routes());
    REQUIRE(server.has_value());
    CHECK(ask(port, "GET /healthz HTTP/1.1\r\n").empty());
}

TEST_CASE("an unknown path is 404 and another method 405") {
    const std::uint16_t port = free_port();
    const auto server = ApiServer::start(local(port), routes());
    REQUIRE(server.has_value());
    CHECK(get(port, "/nothing").starts_with("HTTP/1.1 404 "));
    const std::string refused = get(port, "/healthz", "DELETE");
    CHECK(refused.starts_with("HTTP/1.1 405 "));
    CHECK(refused.find("Allow: GET, HEAD\r\n") != std::string::npos);
}

TEST_CASE(
    "garbage, a header beyond the limit and a route that throws cost their connection, not the server") {
    const std::uint16_t port = free_port();
    const auto server = ApiServer::start(local(port), routes());
    REQUIRE(server.has_value());
    CHECK(ask(port, "\x16\x03\x01 no http\r\n\r\n").empty());
    CHECK_FALSE(get(port, "/" + std::string(10'000, 'a')).starts_with("HTTP/1.1 200 "));
    CHECK(get(port, "/broken").empty());
    CHECK(get(port, "/healthz").starts_with("HTTP/1.1 200 "));
}

TEST_CASE("an address in use is refused by name, with what to try") {
    const std::uint16_t port = free_port();
    const auto first = ApiServer::start(local(port), routes());
    REQUIRE(first.has_value());
    const auto second = ApiServer::start(local(port), routes());
    REQUIRE_FALSE(second.has_value());
    CHECK(second.error().code == EADDRINUSE);
    CHECK(second.error().text.find("127.0.0.1:" + std::to_string(port)) != std::string::npos);
    CHECK(second.error().text.find("--api off") != std::string::npos);
}

TEST_CASE("a server that goes closes its connections") {
    const std::uint16_t port = free_port();
    auto server = ApiServer::start(local(port), routes());
    REQUIRE(server.has_value());
    const Descriptor idle(socket(AF_INET, SOCK_STREAM, 0));
    REQUIRE(with_address(connect, idle.get(), testing::loopback(port)) == 0);
    {
        const ApiServer gone = std::move(*server);
    }
    char byte = 0;
    CHECK(recv(idle.get(), &byte, 1, 0) <= 0);
    CHECK(with_address(connect, Descriptor(socket(AF_INET, SOCK_STREAM, 0)).get(), testing::loopback(port)) !=
          0);
}
