// The loopback address of IPv4 as system calls take it.
#pragma once

#include <netinet/in.h>

#include <cstdint>

namespace splice::testing {

[[nodiscard]] inline sockaddr_in loopback(std::uint16_t port) noexcept {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

}  // namespace splice::testing
