// Time to first byte: one new connection after the other, from connect() to the first byte of the answer.
// Prints the times in microseconds, one a line.
//
//   bench_first_byte ADDRESS PORT PATH COUNT
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>

#include "libsplice/engine/descriptor.hpp"

namespace {

using Clock = std::chrono::steady_clock;

// One request; nothing when it failed (errno says why).
std::optional<double> first_byte_us(const sockaddr_in& server, const std::string& request) {
    const splice::Descriptor connection(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    const timeval limit{5, 0};
    setsockopt(connection.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(connection.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    const auto started = Clock::now();
    if (connect(connection.get(), reinterpret_cast<const sockaddr*>(&server), sizeof(server)) < 0) return {};
    if (::send(connection.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) return {};
    char answer[4096];
    const ssize_t received = recv(connection.get(), answer, sizeof(answer), 0);
    const std::chrono::duration<double, std::micro> elapsed = Clock::now() - started;
    if (received <= 0 || std::strncmp(answer, "HTTP/1.1 200", 12) != 0) return {};
    // Read to the end, so that the server's FIN comes before ours and its port is not in TIME_WAIT here.
    while (recv(connection.get(), answer, sizeof(answer), 0) > 0) {
    }
    return elapsed.count();
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5) {
        std::fprintf(stderr, "usage: bench_first_byte ADDRESS PORT PATH COUNT\n");
        return 2;
    }
    sockaddr_in server{};
    server.sin_family = AF_INET;
    server.sin_port = htons(static_cast<std::uint16_t>(std::atoi(argv[2])));
    if (inet_pton(AF_INET, argv[1], &server.sin_addr) != 1) {
        std::fprintf(stderr, "bench_first_byte: %s is no IPv4 address\n", argv[1]);
        return 2;
    }
    const std::string request =
        std::string("GET ") + argv[3] + " HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
    const int count = std::atoi(argv[4]);
    for (int i = 0; i < count; i++) {
        const std::optional<double> elapsed = first_byte_us(server, request);
        if (!elapsed) {
            std::perror("bench_first_byte: a request had no answer");
            return 1;
        }
        std::printf("%.1f\n", *elapsed);
    }
    return 0;
}
