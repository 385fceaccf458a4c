#include "libsplice/engine/nfqueue.hpp"

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <atomic>
#include <cstring>
#include <string>
#include <thread>

#include "libsplice/datapath/checksum.h"
#include "libsplice/engine/interface.hpp"
#include "libsplice/engine/netfilter_rules.hpp"
#include "tests/support/lab/lab.hpp"
#include "tests/support/lib/loopback.hpp"

using namespace splice;
using lab::UdpSocket;

namespace {

constexpr std::uint16_t kQueue = 7001;

NetfilterMatch everything(NetfilterHook hook) {
    NetfilterMatch match;
    match.hook = hook;
    match.kind = NetfilterMatch::Kind::any;
    match.queue = kQueue;
    return match;
}

NfQueue open_queue(NfQueueOptions options = {}) {
    options.number = kQueue;
    auto queue = NfQueue::open(options);
    INFO((queue ? std::string() : queue.error().text));
    REQUIRE(queue);
    return std::move(*queue);
}

NetfilterRules install(const NetfilterMatch& match) {
    auto rules = NetfilterRules::install("TEST", {match});
    INFO((rules ? std::string() : rules.error().text));
    REQUIRE(rules);
    return std::move(*rules);
}

// The UDP payload of an IPv4 or IPv6 packet without options.
MutableBytes payload_of(const QueuedPacket& packet) {
    const bool ipv4 = std::to_integer<int>(packet.bytes[0]) >> 4 == 4;
    return packet.bytes.subspan(ipv4 ? 28 : 48);
}

// Takes `count` packets, however many batches they come in.
void take(NfQueue& queue, int count, const std::function<Disposition(QueuedPacket&)>& handler) {
    while (count > 0) {
        REQUIRE(lab::wait_readable(queue.descriptor()));
        count -= queue.receive(handler);
    }
    CHECK(count == 0);
}

// Over the payload's first byte; UDP's checksum over IPv4 may be 0 = absent (RFC 768).
void overwrite(const QueuedPacket& packet, char text) {
    payload_of(packet)[0] = static_cast<std::byte>(text);
    std::memset(packet.bytes.data() + 26, 0, 2);
}

}  // namespace

TEST_CASE("each packet of a batch gets its own verdict: dropped, passed as it is, passed as edited") {
    lab::in_new_namespace([] {
        NfQueue queue = open_queue();
        const UdpSocket from = UdpSocket::open(AF_INET);
        const UdpSocket to = UdpSocket::open(AF_INET);
        const NetfilterRules rules = install(everything(NetfilterHook::prerouting));
        for (const char* text : {"drop", "accept", "edit", "Drop", "Accept"}) from.send_to(to, text);

        take(queue, 5, [](QueuedPacket& packet) {
            switch (std::to_integer<char>(payload_of(packet)[0]) | 0x20) {
                case 'd':
                    return Disposition::drop;
                case 'a':
                    return Disposition::accept;
                default:
                    overwrite(packet, 'E');
                    return Disposition::accept_edited;
            }
        });
        CHECK(to.drain() == std::vector<std::string>{"accept", "Edit", "Accept"});
    });
}

TEST_CASE("verdicts of long runs and of single packets reach exactly the packets they are for") {
    lab::in_new_namespace([] {
        NfQueue queue = open_queue();
        const UdpSocket from = UdpSocket::open(AF_INET);
        const UdpSocket to = UdpSocket::open(AF_INET);
        const NetfilterRules rules = install(everything(NetfilterHook::prerouting));
        constexpr int kPackets = 200;  // several batches
        // Runs of every length from 1 to 8 of each answer, and edits between them.
        const auto answer = [](int number) {
            return static_cast<Disposition>((number * number / 7 + number / 5) % 3);
        };
        std::vector<std::string> expected;
        for (int i = 0; i < kPackets; i++) {
            const std::string text = "p" + std::to_string(i);
            from.send_to(to, text);
            if (answer(i) == Disposition::accept) expected.push_back(text);
            if (answer(i) == Disposition::accept_edited) expected.push_back("E" + text.substr(1));
        }
        int seen = 0;
        take(queue, kPackets, [&](QueuedPacket& packet) {
            const Disposition disposition = answer(seen++);
            if (disposition == Disposition::accept_edited) overwrite(packet, 'E');
            return disposition;
        });
        CHECK(to.drain() == expected);
        CHECK(queue.overruns() == 0);
    });
}

TEST_CASE("an edited packet may be shorter than it came") {
    lab::in_new_namespace([] {
        NfQueue queue = open_queue();
        const UdpSocket from = UdpSocket::open(AF_INET);
        const UdpSocket to = UdpSocket::open(AF_INET);
        const NetfilterRules rules = install(everything(NetfilterHook::prerouting));
        from.send_to(to, "shorten me");

        take(queue, 1, [](QueuedPacket& packet) {
            packet.bytes = packet.bytes.first(28 + 7);
            splice_store_be16(packet.bytes.data() + 2, 28 + 7);
            splice_store_be16(packet.bytes.data() + 24, 8 + 7);
            std::memset(packet.bytes.data() + 26, 0, 2);
            return Disposition::accept_edited;
        });
        CHECK(to.receive() == "shorten");
    });
}

TEST_CASE("IPv6 packets come and go as IPv4's do") {
    lab::in_new_namespace([] {
        NfQueue queue = open_queue();
        const UdpSocket from = UdpSocket::open(AF_INET6);
        const UdpSocket to = UdpSocket::open(AF_INET6);
        const NetfilterRules rules = install(everything(NetfilterHook::prerouting));
        from.send_to(to, "ab");
        from.send_to(to, "no");

        take(queue, 2, [](QueuedPacket& packet) {
            const MutableBytes payload = payload_of(packet);
            if (payload[0] == std::byte{'n'}) return Disposition::drop;
            // Two bytes of one word change places in the sum too: correct it by their difference.
            const std::uint16_t was = splice_load_be16(payload.data());
            splice_store_be16(payload.data(), 0x6364);
            std::byte* const check = packet.bytes.data() + 46;
            std::uint16_t sum = 0;
            std::memcpy(&sum, check, 2);
            sum =
                splice_checksum_update(sum, splice_sum_replace16(0, splice_htons(was), splice_htons(0x6364)));
            std::memcpy(check, &sum, 2);
            return Disposition::accept_edited;
        });
        CHECK(to.drain() == std::vector<std::string>{"cd"});
    });
}

TEST_CASE("a packet of one byte and one of the largest size come whole, and their edits go out whole") {
    lab::in_new_namespace([] {
        NfQueue queue = open_queue();
        const UdpSocket from = UdpSocket::open(AF_INET);
        const UdpSocket to = UdpSocket::open(AF_INET);
        const NetfilterRules rules = install(everything(NetfilterHook::prerouting));
        // Loopback's MTU is 65,536; a netlink message carries 65,531 bytes of packet.
        const std::string largest(65531 - 28, 'x');
        from.send_to(to, "y");
        from.send_to(to, largest);
        take(queue, 2, [](QueuedPacket& packet) {
            CHECK_FALSE(packet.truncated);
            overwrite(packet, 'z');
            return Disposition::accept_edited;
        });
        CHECK(to.receive() == "z");
        std::string got(65536, '\0');
        REQUIRE(recv(to.descriptor.get(), got.data(), got.size(), 0) == static_cast<ssize_t>(largest.size()));
        CHECK(got.substr(0, 2) == "zx");
    });
}

TEST_CASE(
    "a packet longer than a netlink message says so, and passes with its tail even when it was to be "
    "edited") {
    lab::in_new_namespace([] {
        NfQueue queue = open_queue();
        const UdpSocket from = UdpSocket::open(AF_INET);
        const UdpSocket to = UdpSocket::open(AF_INET);
        const NetfilterRules rules = install(everything(NetfilterHook::prerouting));
        const std::string longer(65532 - 28, 'x');
        from.send_to(to, longer);
        take(queue, 1, [](QueuedPacket& packet) {
            CHECK(packet.truncated);
            CHECK(packet.bytes.size() == 65531);
            return Disposition::accept_edited;
        });
        std::string got(65536, '\0');
        CHECK(recv(to.descriptor.get(), got.data(), got.size(), 0) == static_cast<ssize_t>(longer.size()));
    });
}

TEST_CASE("a second process, or a second queue, with the same number is refused with a reason") {
    lab::in_new_namespace([] {
        const NfQueue first = open_queue();
        NfQueueOptions options;
        options.number = kQueue;
        const auto second = NfQueue::open(options);
        REQUIRE_FALSE(second);
        CHECK(second.error().text.starts_with("open NFQUEUE 7001: "));
        CHECK(second.error().text.find("another process has this queue") != std::string::npos);
    });
}

TEST_CASE("what a full queue drops is counted as overruns, and with fail_open it passes instead") {
    for (const bool fail_open : {false, true}) {
        lab::in_new_namespace([&] {
            NfQueueOptions options;
            options.max_length = 4;
            options.fail_open = fail_open;
            NfQueue queue = open_queue(options);
            const UdpSocket from = UdpSocket::open(AF_INET);
            const UdpSocket to = UdpSocket::open(AF_INET);
            const NetfilterRules rules = install(everything(NetfilterHook::prerouting));
            for (int i = 0; i < 10; i++) from.send_to(to, "x");
            take(queue, 4, [](QueuedPacket&) { return Disposition::accept; });
            CHECK(to.drain().size() == (fail_open ? 10 : 4));
            CHECK(queue.overruns() == (fail_open ? 0 : 6));
        });
    }
}

namespace {

struct Transfer {
    std::size_t largest = 0;
    std::size_t unfinished = 0;
    std::size_t super_packets = 0;
    bool intact = false;
};

std::string pattern(std::size_t length) {
    std::string text(length, '\0');
    for (std::size_t i = 0; i < length; i++) text[i] = static_cast<char>(i * 2654435761U >> 24);
    return text;
}

std::string read_to_end(int socket) {
    std::string all;
    std::string piece(65536, '\0');
    for (;;) {
        const ssize_t length = recv(socket, piece.data(), piece.size(), 0);
        if (length <= 0) return all;
        all.append(piece, 0, static_cast<std::size_t>(length));
    }
}

// One TCP connection over the loopback with an MTU of 1500; all its packets pass the queue at `hook`.
Transfer transfer_over_tcp(NetfilterHook hook, bool gso, Disposition disposition) {
    lab::set_mtu("lo", 1500);
    Transfer result;
    NfQueueOptions options;
    options.gso = gso;
    NfQueue queue = open_queue(options);

    const Descriptor listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = testing::loopback(0);
    REQUIRE(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
    REQUIRE(listen(listener.get(), 1) == 0);
    socklen_t length = sizeof(address);
    getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length);
    const Descriptor client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const NetfilterRules rules = install(everything(hook));

    const std::string sent = pattern(1'000'000);
    std::string received;
    std::atomic<bool> done = false;
    std::thread talk([&] {
        connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address));
        const Descriptor server(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        std::thread writer([&] {
            std::size_t at = 0;
            while (at < sent.size()) {
                const ssize_t wrote = send(client.get(), sent.data() + at, sent.size() - at, MSG_NOSIGNAL);
                if (wrote <= 0) break;
                at += static_cast<std::size_t>(wrote);
            }
            shutdown(client.get(), SHUT_WR);
        });
        received = read_to_end(server.get());
        writer.join();
        done = true;
    });
    for (int idle = 0; !done && idle < 100;) {
        const int packets = queue.receive([&](QueuedPacket& packet) {
            result.largest = std::max(result.largest, packet.bytes.size());
            if (!packet.checksum_finished) result.unfinished++;
            if (packet.super_packet) result.super_packets++;
            return packet.checksum_finished || packet.super_packet ? disposition : Disposition::accept;
        });
        if (packets > 0) {
            idle = 0;
        } else {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
            idle++;
        }
    }
    shutdown(client.get(), SHUT_RDWR);
    talk.join();
    result.intact = received == sent;
    return result;
}

}  // namespace

TEST_CASE("without gso every packet is cut to the MTU and has a finished checksum") {
    lab::in_new_namespace([] {
        const Transfer seen =
            transfer_over_tcp(NetfilterHook::postrouting, false, Disposition::accept_edited);
        CHECK(seen.intact);
        CHECK(seen.largest <= 1500);
        CHECK(seen.unfinished == 0);
        CHECK(seen.super_packets == 0);
    });
}

TEST_CASE("with gso super-packets come whole, are marked, and pass untouched") {
    lab::in_new_namespace([] {
        const Transfer seen = transfer_over_tcp(NetfilterHook::postrouting, true, Disposition::accept);
        CHECK(seen.intact);
        CHECK(seen.largest > 10'000);
        CHECK(seen.super_packets > 0);
        CHECK(seen.unfinished > 0);
    });
}

TEST_CASE(
    "an edited super-packet on its way out needs no checksum: its segments get theirs when they are cut") {
    lab::in_new_namespace([] {
        const Transfer seen = transfer_over_tcp(NetfilterHook::postrouting, true, Disposition::accept_edited);
        CHECK(seen.intact);
        CHECK(seen.super_packets > 0);
    });
}

TEST_CASE("a packet that arrived tells the hop it came from: interface and link address") {
    lab::in_new_namespace([] {
        lab::run("ip", {"link", "add", "left", "type", "veth", "peer", "name", "right"});
        lab::run("ip", {"link", "set", "left", "address", "02:00:00:00:00:aa", "up"});
        lab::run("ip", {"link", "set", "right", "address", "02:00:00:00:00:bb", "up"});
        lab::run("ip", {"address", "add", "192.0.2.1/24", "dev", "left"});
        lab::run("ip", {"neigh", "replace", "192.0.2.9", "lladdr", "02:00:00:00:00:bb", "dev", "left"});
        NfQueue queue = open_queue();
        NetfilterMatch match = everything(NetfilterHook::prerouting);
        match.interface = "right";
        const NetfilterRules rules = install(match);

        const Descriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(9);
        to.sin_addr.s_addr = htonl(0xc0000209);
        REQUIRE(sendto(socket.get(), "x", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 1);
        Hop hop;
        bool seen = false;
        // The interfaces speak IPv6 on their own account as well.
        while (!seen) {
            REQUIRE(lab::wait_readable(queue.descriptor()));
            queue.receive([&](QueuedPacket& packet) {
                if (std::to_integer<int>(packet.bytes[0]) >> 4 == 4) {
                    hop = packet.hop;
                    seen = true;
                }
                return Disposition::drop;
            });
        }
        const auto right = find_interface("right");
        REQUIRE(right);
        CHECK(hop.interface == right->index);
        CHECK(hop.address_length == 6);
        const std::uint8_t expected[6] = {2, 0, 0, 0, 0, 0xaa};
        CHECK(std::memcmp(hop.address, expected, 6) == 0);
    });
}
