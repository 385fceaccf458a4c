#include "libsplice/engine/raw_socket.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>

#include <cstring>
#include <string>

#include "libsplice/engine/interface.hpp"
#include "tests/support/lab/lab.hpp"

using namespace splice;
using lab::UdpSocket;

namespace {

RawSender open_sender() {
    auto sender = RawSender::open();
    INFO((sender ? std::string() : sender.error().text));
    REQUIRE(sender);
    return std::move(*sender);
}

// Frames that reach an interface, Ethernet header included.
Descriptor sniffer(std::uint32_t interface) {
    Descriptor socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL)));
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = static_cast<int>(interface);
    REQUIRE(bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
    return socket;
}

}  // namespace

TEST_CASE("packets of both families wait for flush() and then arrive in order") {
    lab::in_new_namespace([] {
        RawSender sender = open_sender();
        const UdpSocket ipv4 = UdpSocket::open(AF_INET);
        const UdpSocket ipv6 = UdpSocket::open(AF_INET6);
        for (const char* text : {"one", "two"}) {
            sender.send(lab::udp_packet(AF_INET, 5000, ipv4.port, text));
            sender.send(lab::udp_packet(AF_INET6, 5000, ipv6.port, text));
        }
        CHECK(ipv4.drain().empty());
        sender.flush();
        CHECK(ipv4.drain() == std::vector<std::string>{"one", "two"});
        CHECK(ipv6.drain() == std::vector<std::string>{"one", "two"});
        CHECK(sender.counters().packets == 4);
        CHECK(sender.counters().bytes == 2 * (28 + 3) + 2 * (48 + 3));
        CHECK(sender.counters().failures == 0);
    });
}

TEST_CASE("more packets than a batch holds leave by themselves, none lost, none twice") {
    lab::in_new_namespace([] {
        RawSender sender = open_sender();
        const UdpSocket to = UdpSocket::open(AF_INET);
        std::vector<std::string> expected;
        const std::string tail(3000, '.');  // so that the arena fills before the batch does
        for (int i = 0; i < 300; i++) {
            expected.push_back(std::to_string(i) + tail);
            sender.send(lab::udp_packet(AF_INET, 5000, to.port, expected.back()));
            if (i % 100 == 99) {
                sender.flush();
                CHECK(to.drain() == expected);
                expected.clear();
            }
        }
        for (int i = 0; i < 130; i++) sender.send(lab::udp_packet(AF_INET, 5000, to.port, "x"));
        CHECK(to.drain().size() == 128);
        sender.flush();
        CHECK(to.drain().size() == 2);
    });
}

TEST_CASE("a packet that the kernel refuses is counted by its reason and does not stop those behind it") {
    lab::in_new_namespace([] {
        lab::set_mtu("lo", 1500);
        RawSender sender = open_sender();
        const UdpSocket to = UdpSocket::open(AF_INET);
        sender.send(lab::udp_packet(AF_INET, 5000, to.port, "before"));
        sender.send(lab::udp_packet(AF_INET, 5000, to.port, std::string(1600, 'x')));
        auto unreachable = lab::udp_packet(AF_INET, 5000, to.port, "x");
        splice_store_be32(unreachable.data() + 16, 0xc0000201);  // 192.0.2.1: no route
        sender.send(unreachable);
        sender.send(lab::udp_packet(AF_INET, 5000, to.port, "behind"));
        sender.flush();
        CHECK(to.drain() == std::vector<std::string>{"before", "behind"});
        CHECK(sender.counters().packets == 2);
        CHECK(sender.counters().too_big == 1);
        CHECK(sender.counters().failures == 1);
    });
}

TEST_CASE("what is no IP packet is refused without a system call") {
    lab::in_new_namespace([] {
        RawSender sender = open_sender();
        const std::vector<std::byte> nothing;
        const std::vector<std::byte> short_ipv4(19, std::byte{0x45});
        const std::vector<std::byte> short_ipv6(39, std::byte{0x60});
        const std::vector<std::byte> neither(60, std::byte{0x55});
        for (const auto& bytes : {nothing, short_ipv4, short_ipv6, neither}) sender.send(bytes);
        sender.flush();
        CHECK(sender.counters().failures == 4);
        CHECK(sender.counters().packets == 0);
    });
}

TEST_CASE("a packet for a hop leaves to its link address, wherever its destination would be routed") {
    lab::in_new_namespace([] {
        lab::run("ip", {"link", "add", "left", "type", "veth", "peer", "name", "right"});
        lab::run("ip", {"link", "set", "left", "up"});
        lab::run("ip", {"link", "set", "right", "up"});
        const auto left = find_interface("left");
        const auto right = find_interface("right");
        REQUIRE(left);
        REQUIRE(right);
        const Descriptor seen = sniffer(right->index);
        RawSender sender = open_sender();
        const UdpSocket own = UdpSocket::open(AF_INET);
        // Its destination is this host's own address: by a route it would never leave.
        const auto packet = lab::udp_packet(AF_INET, 5000, own.port, "bounce");
        const Hop hop{left->index, 6, {2, 0, 0, 0, 0, 0x77}};
        sender.send_to_hop(hop, packet);
        sender.flush();

        std::vector<std::byte> frame(2048);
        bool found = false;
        while (!found && lab::wait_readable(seen.get())) {
            const ssize_t length = recv(seen.get(), frame.data(), frame.size(), 0);
            found = length == static_cast<ssize_t>(14 + packet.size()) && frame[12] == std::byte{0x08} &&
                    std::memcmp(frame.data(), hop.address, 6) == 0 &&
                    std::memcmp(frame.data() + 14, packet.data(), packet.size()) == 0;
        }
        CHECK(found);
        CHECK(own.drain().empty());

        sender.send_to_hop(Hop{}, packet);  // unknown: by its destination after all
        sender.flush();
        CHECK(own.drain() == std::vector<std::string>{"bounce"});
    });
}
