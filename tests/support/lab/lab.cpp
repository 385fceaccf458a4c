#include "tests/support/lab/lab.hpp"

#include <doctest/doctest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <thread>

#include "libsplice/datapath/checksum.h"
#include "libsplice/engine/subprocess.hpp"
#include "tests/support/lib/loopback.hpp"

namespace splice::lab {
namespace {

// Says at the end how many tests did not run: a green line must not hide them.
struct SkipCounter {
    int count = 0;
    ~SkipCounter() {
        if (count > 0) std::printf("skipped: %d engine tests (reasons above)\n", count);
    }
};
SkipCounter skips;

void bring_up(const char* interface) {
    const Descriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
    request.ifr_flags = IFF_UP;
    REQUIRE(ioctl(socket.get(), SIOCSIFFLAGS, &request) == 0);
}

sockaddr_storage loopback(int family, std::uint16_t port) {
    sockaddr_storage storage{};
    if (family == AF_INET) {
        const sockaddr_in address = testing::loopback(port);
        std::memcpy(&storage, &address, sizeof(address));
    } else {
        sockaddr_in6 address{};
        address.sin6_family = AF_INET6;
        address.sin6_port = htons(port);
        address.sin6_addr = in6addr_loopback;
        std::memcpy(&storage, &address, sizeof(address));
    }
    return storage;
}

socklen_t address_size(int family) {
    return family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
}

const sockaddr* as_sockaddr(const sockaddr_storage& storage) {
    return reinterpret_cast<const sockaddr*>(&storage);
}

}  // namespace

void skip(std::string_view reason) {
    skips.count++;
    std::printf("SKIP: %.*s\n", static_cast<int>(reason.size()), reason.data());
}

void in_new_namespace(const std::function<void()>& body) {
    std::thread([&] {
        if (unshare(CLONE_NEWNET) < 0) {
            skip(std::string("no network namespace of our own: ") + std::strerror(errno));
            return;
        }
        try {
            bring_up("lo");
            body();
        } catch (...) {  // a REQUIRE: doctest has counted it
        }
    }).join();
}

std::string run(const std::string& program, const std::vector<std::string>& arguments,
                std::string_view input) {
    const auto path = find_program(program, program);
    REQUIRE(path);
    const auto result = run_program(*path, arguments, input);
    REQUIRE(result);
    INFO(result->complaints);
    REQUIRE(result->exit_code == 0);
    return result->output;
}

void set_mtu(const char* interface, int mtu) {
    const Descriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
    request.ifr_mtu = mtu;
    REQUIRE(ioctl(socket.get(), SIOCSIFMTU, &request) == 0);
}

UdpSocket UdpSocket::open(int family) {
    UdpSocket opened;
    opened.family_ = family;
    opened.descriptor = Descriptor(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    REQUIRE(opened.descriptor);
    sockaddr_storage address = loopback(family, 0);
    REQUIRE(bind(opened.descriptor.get(), as_sockaddr(address), address_size(family)) == 0);
    socklen_t length = sizeof(address);
    REQUIRE(getsockname(opened.descriptor.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
    std::uint16_t port = 0;
    std::memcpy(&port, reinterpret_cast<const std::byte*>(&address) + 2,
                sizeof(port));  // both families: behind it
    opened.port = ntohs(port);
    const int buffer = 4 * 1024 * 1024;
    setsockopt(opened.descriptor.get(), SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
    const timeval limit{2, 0};
    setsockopt(opened.descriptor.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return opened;
}

void UdpSocket::send_to(const UdpSocket& to, std::string_view payload) const {
    const sockaddr_storage address = loopback(family_, to.port);
    REQUIRE(sendto(descriptor.get(), payload.data(), payload.size(), 0, as_sockaddr(address),
                   address_size(family_)) == static_cast<ssize_t>(payload.size()));
}

std::optional<std::string> UdpSocket::receive() const {
    std::string payload(65536, '\0');
    const ssize_t length = recv(descriptor.get(), payload.data(), payload.size(), 0);
    if (length < 0) return std::nullopt;
    payload.resize(static_cast<std::size_t>(length));
    return payload;
}

std::vector<std::string> UdpSocket::drain() const {
    std::vector<std::string> all;
    pollfd here{descriptor.get(), POLLIN, 0};
    while (poll(&here, 1, 0) == 1) all.push_back(receive().value_or(""));
    return all;
}

std::vector<std::byte> udp_packet(int family, std::uint16_t source_port, std::uint16_t destination_port,
                                  std::string_view payload) {
    const std::size_t udp_at = family == AF_INET ? 20 : 40;
    const std::size_t udp_length = 8 + payload.size();
    std::vector<std::byte> packet(udp_at + udp_length);
    std::byte* const ip = packet.data();
    splice_sum pseudo = splice_htons(IPPROTO_UDP) + splice_sum{splice_htons(udp_length)};
    if (family == AF_INET) {
        ip[0] = std::byte{0x45};
        splice_store_be16(ip + 2, static_cast<std::uint16_t>(packet.size()));
        ip[8] = std::byte{64};
        ip[9] = std::byte{IPPROTO_UDP};
        splice_store_be32(ip + 12, INADDR_LOOPBACK);
        splice_store_be32(ip + 16, INADDR_LOOPBACK);
        pseudo = splice_sum_bytes(pseudo, ip + 12, 8);
    } else {
        ip[0] = std::byte{0x60};
        splice_store_be16(ip + 4, static_cast<std::uint16_t>(udp_length));
        ip[6] = std::byte{IPPROTO_UDP};
        ip[7] = std::byte{64};
        ip[23] = std::byte{1};
        ip[39] = std::byte{1};
        pseudo = splice_sum_bytes(pseudo, ip + 8, 32);
    }
    std::byte* const udp = ip + udp_at;
    splice_store_be16(udp, source_port);
    splice_store_be16(udp + 2, destination_port);
    splice_store_be16(udp + 4, static_cast<std::uint16_t>(udp_length));
    std::memcpy(udp + 8, payload.data(), payload.size());
    const auto check =
        static_cast<std::uint16_t>(~splice_sum_fold(splice_sum_bytes(pseudo, udp, udp_length)));
    std::memcpy(udp + 6, &check, sizeof(check));
    return packet;
}

bool wait_readable(int descriptor) {
    pollfd here{descriptor, POLLIN, 0};
    return poll(&here, 1, 2000) == 1;
}

}  // namespace splice::lab
