// Where an API listens, for its server and its clients.
#pragma once

#include <cstddef>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

#include "libsplice/base/address.hpp"

namespace splice {

// What a Unix socket's address has room for (sun_path of unix(7)), without its end.
inline constexpr std::size_t kSocketPathMax = 107;

// A TCP endpoint, or the path of a Unix stream socket.
struct ApiAddress {
    Endpoint endpoint{};  // where there is no path
    std::string path{};

    ApiAddress() = default;
    ApiAddress(const Endpoint& tcp) : endpoint(tcp) {}  // NOLINT(google-explicit-constructor): each is one
    explicit ApiAddress(std::string socket) : path(std::move(socket)) {}

    // "127.0.0.1:10001", "[::1]:10001" or "unix:" and a path of 1 to kSocketPathMax bytes. The error is a
    // sentence.
    static std::expected<ApiAddress, std::string> parse(std::string_view text);

    [[nodiscard]] bool is_socket() const noexcept { return !path.empty(); }
    // Whether only this host's own programs reach it.
    [[nodiscard]] bool is_local() const noexcept { return is_socket() || endpoint.address.is_loopback(); }
    // As it is configured: "127.0.0.1:10001" or "unix:/run/splicelb/balancer.sock".
    [[nodiscard]] std::string to_string() const {
        return is_socket() ? "unix:" + path : endpoint.to_string();
    }
    friend bool operator==(const ApiAddress&, const ApiAddress&) = default;
};

}  // namespace splice
