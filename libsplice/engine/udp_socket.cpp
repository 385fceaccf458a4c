#include "libsplice/engine/udp_socket.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace splice {
namespace {

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t size = 0;
    [[nodiscard]] const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
};

SocketAddress socket_address(const Endpoint& endpoint) noexcept {
    SocketAddress address;
    const splice_address& raw = endpoint.address.raw();
    if (endpoint.address.family() == 4) {
        sockaddr_in ipv4{};
        ipv4.sin_family = AF_INET;
        ipv4.sin_port = htons(endpoint.port);
        ipv4.sin_addr.s_addr = raw.words[3];
        std::memcpy(&address.storage, &ipv4, address.size = sizeof(ipv4));
    } else {
        sockaddr_in6 ipv6{};
        ipv6.sin6_family = AF_INET6;
        ipv6.sin6_port = htons(endpoint.port);
        std::memcpy(&ipv6.sin6_addr, raw.bytes, sizeof(raw.bytes));
        std::memcpy(&address.storage, &ipv6, address.size = sizeof(ipv6));
    }
    return address;
}

Endpoint endpoint_of(const sockaddr_storage& storage) noexcept {
    if (storage.ss_family == AF_INET) {
        sockaddr_in ipv4{};
        std::memcpy(&ipv4, &storage, sizeof(ipv4));
        return {IpAddress::from_ipv4(ntohl(ipv4.sin_addr.s_addr)), ntohs(ipv4.sin_port)};
    }
    sockaddr_in6 ipv6{};
    std::memcpy(&ipv6, &storage, sizeof(ipv6));
    splice_address address{};
    std::memcpy(address.bytes, &ipv6.sin6_addr, sizeof(address.bytes));
    return {IpAddress(address), ntohs(ipv6.sin6_port)};
}

SystemResult<Descriptor> make_socket(int family, std::string_view doing) {
    Descriptor made(socket(family == 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!made) return system_error(doing, errno);
    const int yes = 1;
    if (family == 6) setsockopt(made.get(), IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof(yes));
    return made;
}

}  // namespace

SystemResult<UdpSocket> UdpSocket::open(int family, std::string_view doing) {
    auto made = make_socket(family, doing);
    if (!made) return std::unexpected(made.error());
    return UdpSocket(std::move(*made));
}

SystemResult<UdpSocket> UdpSocket::bind(const Endpoint& local, std::string_view doing) {
    auto made = make_socket(local.address.family(), doing);
    if (!made) return std::unexpected(made.error());
    // An address of IPv6 that is new is no address of the host's yet while the kernel looks for its twin.
    const int yes = 1;
    if (local.address.family() == 4)
        setsockopt(made->get(), IPPROTO_IP, IP_FREEBIND, &yes, sizeof(yes));
    else
        setsockopt(made->get(), IPPROTO_IPV6, IPV6_FREEBIND, &yes, sizeof(yes));
    const SocketAddress address = socket_address(local);
    if (::bind(made->get(), address.get(), address.size) != 0) return system_error(doing, errno);
    return UdpSocket(std::move(*made));
}

int UdpSocket::send(const Endpoint& to, Bytes packet) noexcept {
    const SocketAddress address = socket_address(to);
    if (sendto(socket_.get(), packet.data(), packet.size(), 0, address.get(), address.size) >= 0) return 0;
    return errno;
}

std::optional<UdpSocket::Received> UdpSocket::receive(MutableBytes room) noexcept {
    sockaddr_storage from{};
    socklen_t size = sizeof(from);
    const ssize_t got =
        recvfrom(socket_.get(), room.data(), room.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
    if (got < 0) return std::nullopt;
    return Received{endpoint_of(from), room.first(static_cast<std::size_t>(got))};
}

}  // namespace splice
