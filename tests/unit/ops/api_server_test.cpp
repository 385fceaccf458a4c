#include "libsplice/ops/api_server.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>
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
    return ask(port, method + " " + target + " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
}

std::string post(std::uint16_t port, const std::string& body, const std::string& headers) {
    return ask(port, "POST /thing/cdn HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + headers +
                         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
}

const std::string kJson = "Content-Type: application/json\r\n";

ApiRoutes routes() {
    ApiRoutes all;
    all.page("/healthz", [](const ApiRequest&) { return ApiReply{.body = "ok\n"}; }, ApiRight::open);
    all.page("/broken",
             [](const ApiRequest&) -> ApiReply { throw std::runtime_error("a route that fails"); });
    all.page("/told", [](const ApiRequest&) { return ApiReply{.body = "told\n"}; });
    all.add({.method = "POST",
             .path = "/thing/{name}",
             .right = ApiRight::change,
             .handle = [](const ApiRequest& request, ApiAnswer answer) {
                 // Elsewhere and later, as changes are made.
                 std::thread([request, answer = std::move(answer)] {
                     answer({.status = 201, .body = request.variables[0] + ":" + request.body + "\n"});
                     answer({.status = 500, .body = "a second answer\n"});
                 }).detach();
             }});
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
    CHECK(ask(port, "\x16\x03\x01 no http\r\n\r\n").starts_with("HTTP/1.1 400 "));
    CHECK(get(port, "/" + std::string(10'000, 'a')).starts_with("HTTP/1.1 431 "));
    CHECK(get(port, "/broken").starts_with("HTTP/1.1 500 "));
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

TEST_CASE("a change is answered once, by whatever thread, with what its path and body say") {
    const std::uint16_t port = free_port();
    const auto server = ApiServer::start(local(port), routes());
    REQUIRE(server.has_value());
    const std::string answer = post(port, "{}", kJson);
    CHECK(answer.starts_with("HTTP/1.1 201 "));
    CHECK(answer.ends_with("\r\n\r\ncdn:{}\n"));
}

TEST_CASE("a change that is not JSON by its header, or too large, is refused by name") {
    const std::uint16_t port = free_port();
    const auto server = ApiServer::start(local(port), routes());
    REQUIRE(server.has_value());
    CHECK(post(port, "a=1", "Content-Type: application/x-www-form-urlencoded\r\n")
              .starts_with("HTTP/1.1 415 "));
    CHECK(post(port, "{}", "").starts_with("HTTP/1.1 415 "));
    const std::string refused = post(port, std::string(70'000, ' '), kJson);
    CHECK(refused.starts_with("HTTP/1.1 413 "));
    CHECK(refused.find("\"error\":\"the body is too large: expected at most 64 KiB\"") != std::string::npos);
    CHECK(get(port, "/told?x=%zz").starts_with("HTTP/1.1 400 "));
}

TEST_CASE("without a token only an address or localhost is a Host: another name may be a stranger's page") {
    const std::uint16_t port = free_port();
    const auto server = ApiServer::start(local(port), routes());
    REQUIRE(server.has_value());
    const auto by = [&](const std::string& host) {
        return ask(port, "GET /told HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n");
    };
    for (const std::string host : {"127.0.0.1:10001", "localhost", "LOCALHOST:1", "[::1]:10001", "[::1]"})
        CHECK_MESSAGE(by(host).starts_with("HTTP/1.1 200 "), host);
    for (const std::string host : {"rebound.example:10001", "127.0.0.1.example", "[::1.example]"})
        CHECK_MESSAGE(by(host).starts_with("HTTP/1.1 421 "), host);
}

TEST_CASE("with a token changes need it, and on loopback what is only told does not") {
    const std::uint16_t port = free_port();
    const auto server = ApiServer::start(local(port), routes(), {.token = "a-token-of-23-characters"});
    REQUIRE(server.has_value());
    CHECK(get(port, "/told").starts_with("HTTP/1.1 200 "));
    const std::string refused = post(port, "{}", kJson);
    CHECK(refused.starts_with("HTTP/1.1 401 "));
    CHECK(refused.find("WWW-Authenticate: Bearer\r\n") != std::string::npos);
    for (const std::string wrong :
         {"a-token-of-23-character", "a-token-of-23-charactersX", "b-token-of-23-characters", ""})
        CHECK_MESSAGE(
            post(port, "{}", kJson + "Authorization: Bearer " + wrong + "\r\n").starts_with("HTTP/1.1 401 "),
            wrong);
    CHECK(post(port, "{}", kJson + "Authorization: Basic a-token-of-23-characters\r\n")
              .starts_with("HTTP/1.1 401 "));
    CHECK(post(port, "{}", kJson + "Authorization: bearer a-token-of-23-characters\r\n")
              .starts_with("HTTP/1.1 201 "));
}

TEST_CASE(
    "beyond loopback nothing starts without a token, and with one nothing but the health pages is free") {
    const std::uint16_t port = free_port();
    const Endpoint everywhere = Endpoint::parse("0.0.0.0:" + std::to_string(port)).value();
    const auto refused = ApiServer::start(everywhere, routes());
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().text.find("api.token_file") != std::string::npos);
    const auto server = ApiServer::start(everywhere, routes(), {.token = "a-token-of-23-characters"});
    REQUIRE(server.has_value());
    CHECK(get(port, "/healthz").starts_with("HTTP/1.1 200 "));
    CHECK(get(port, "/told").starts_with("HTTP/1.1 401 "));
    CHECK(ask(port,
              "GET /told HTTP/1.1\r\nHost: lb1.example\r\nConnection: close\r\n"
              "Authorization: Bearer a-token-of-23-characters\r\n\r\n")
              .starts_with("HTTP/1.1 200 "));
}

TEST_CASE("a Unix socket serves, is gone with the server, and a file that was left behind is no obstacle") {
    const std::string path = "/tmp/splicelb-api-test-" + std::to_string(getpid());
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    const auto* const raw = reinterpret_cast<const sockaddr*>(&address);
    {
        const Descriptor left(socket(AF_UNIX, SOCK_STREAM, 0));
        REQUIRE(bind(left.get(), raw, sizeof(address)) == 0);
    }
    {
        const auto server = ApiServer::start(ApiAddress(path), routes());
        REQUIRE(server.has_value());
        const auto second = ApiServer::start(ApiAddress(path), routes());
        REQUIRE_FALSE(second.has_value());
        CHECK(second.error().text.find("unix:" + path) != std::string::npos);
        const Descriptor client(socket(AF_UNIX, SOCK_STREAM, 0));
        REQUIRE(connect(client.get(), raw, sizeof(address)) == 0);
        const std::string request = "GET /told HTTP/1.1\r\nHost: any.example\r\nConnection: close\r\n\r\n";
        REQUIRE(send(client.get(), request.data(), request.size(), 0) ==
                static_cast<ssize_t>(request.size()));
        char buffer[512];
        const ssize_t count = recv(client.get(), buffer, sizeof(buffer), 0);
        CHECK(std::string(buffer, static_cast<std::size_t>(std::max<ssize_t>(count, 0)))
                  .starts_with("HTTP/1.1 200 "));
    }
    CHECK(access(path.c_str(), F_OK) != 0);
}

TEST_CASE("an answer that comes after the server's end is nobody's") {
    const std::uint16_t port = free_port();
    ApiAnswer kept;
    std::atomic<bool> asked = false;
    ApiRoutes all;
    all.add({.method = "GET",
             .path = "/later",
             .right = ApiRight::open,
             .handle = [&](const ApiRequest&, ApiAnswer answer) {
                 kept = std::move(answer);
                 asked = true;
             }});
    {
        const auto server = ApiServer::start(local(port), std::move(all));
        REQUIRE(server.has_value());
        std::thread client([&] { (void)get(port, "/later"); });
        while (!asked) std::this_thread::yield();
        client.detach();
    }
    kept({.body = "too late\n"});
}
