// What the engine's tests need of the machine: a network namespace of their own, and datagrams over its
// loopback.
#pragma once

#include <sys/socket.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libsplice/base/bytes.hpp"
#include "libsplice/engine/descriptor.hpp"

namespace splice::lab {

// Runs `body` in a thread with a new network namespace, whose loopback is up; it is gone afterwards. Without
// the privilege `body` does not run: the skip is printed and counted.
void in_new_namespace(const std::function<void()>& body);

// Prints and counts a skip for another reason.
void skip(std::string_view reason);

// Runs a program and returns its output; a failure fails the test.
std::string run(const std::string& program, const std::vector<std::string>& arguments,
                std::string_view input = {});

void set_mtu(const char* interface, int mtu);

// A bound UDP socket on the loopback of the family (AF_INET, AF_INET6), with a receive time-out of 2 s.
struct UdpSocket {
    Descriptor descriptor;
    std::uint16_t port = 0;

    static UdpSocket open(int family);
    void send_to(const UdpSocket& to, std::string_view payload) const;
    // The next datagram's payload; nothing after the time-out.
    [[nodiscard]] std::optional<std::string> receive() const;
    // What is there now.
    [[nodiscard]] std::vector<std::string> drain() const;

  private:
    int family_ = AF_INET;
};

// An IPv4 or IPv6 packet with UDP from the loopback to itself, checksums finished.
std::vector<std::byte> udp_packet(int family, std::uint16_t source_port, std::uint16_t destination_port,
                                  std::string_view payload);

// Waits until the descriptor is readable, at most 2 s.
bool wait_readable(int descriptor);

}  // namespace splice::lab
