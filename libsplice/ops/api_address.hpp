// Where an API listens.
#pragma once

#include <string>
#include <utility>

#include "libsplice/base/address.hpp"

namespace splice {

// A TCP endpoint, or the path of a Unix stream socket.
struct ApiAddress {
    Endpoint endpoint{};  // where there is no path
    std::string path{};

    ApiAddress() = default;
    ApiAddress(const Endpoint& tcp) : endpoint(tcp) {}  // NOLINT(google-explicit-constructor): each is one
    explicit ApiAddress(std::string socket) : path(std::move(socket)) {}

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
