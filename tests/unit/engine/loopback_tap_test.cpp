#include "libsplice/engine/loopback_tap.hpp"

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>
#include <string>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/packet.h"
#include "libsplice/datapath/segment.h"
#include "tests/support/lab/lab.hpp"
#include "tests/support/lib/loopback.hpp"

using namespace splice;

namespace {

constexpr std::uint16_t kFirst = 61440;

std::vector<std::byte> segment_to(const char* address, std::uint16_t port, int dscp = 0) {
    const IpAddress host = IpAddress::parse(address).value();
    const splice_option_words none{};
    const splice_segment_draft draft{.from = &host.raw(),
                                     .to = &host.raw(),
                                     .family = static_cast<__u32>(host.family()),
                                     .from_port = splice_htons(80),
                                     .to_port = splice_htons(port),
                                     .seq = 1,
                                     .ack = 1,
                                     .window = 1,
                                     .flags = SPLICE_RST};
    std::vector<std::byte> packet(SPLICE_SEGMENT_MAX + 2);
    packet.resize(splice_write_segment_with_payload(packet.data(), &draft, &none, "ok", 2));
    if (dscp != 0) {
        splice_packet judged{};
        REQUIRE(splice_parse_ip(packet.data(), packet.data() + packet.size(), &judged) == SPLICE_CONTINUE);
        REQUIRE(splice_carry(packet.data(), packet.data() + packet.size(), &judged, &host.raw(),
                             splice_carriage_by_dscp(static_cast<__u8>(dscp))) == SPLICE_CONTINUE);
    }
    return packet;
}

// The ports of what was heard, and whether its checksum was finished.
std::vector<std::pair<std::uint16_t, bool>> heard(LoopbackTap& tap, RawSender& sender) {
    std::vector<std::pair<std::uint16_t, bool>> all;
    tap.receive(
        [&](QueuedPacket& packet) {
            splice_packet judged{};
            const std::byte* const data = packet.bytes.data();
            CHECK(splice_parse_ip(data, data + packet.bytes.size(), &judged) == SPLICE_CONTINUE);
            all.emplace_back(splice_ntohs(judged.ends.destination_port), packet.checksum_finished);
            return Disposition::drop;
        },
        sender);
    return all;
}

}  // namespace

TEST_CASE("the tap hears TCP to its ports on lo, of both families, once each, and nothing else") {
    lab::in_new_namespace([] {
        auto tap = LoopbackTap::open(kFirst);
        INFO((tap ? std::string() : tap.error().text));
        REQUIRE(tap);
        auto sender = RawSender::open();
        REQUIRE(sender);
        const lab::UdpSocket udp = lab::UdpSocket::open(AF_INET);
        for (const char* address : {"127.0.0.1", "::1"})
            for (const int port : {1, kFirst - 1, int{kFirst}, 65535})
                sender->send(segment_to(address, static_cast<std::uint16_t>(port)));
        sender->send(lab::udp_packet(AF_INET, 65000, udp.port, "not TCP"));
        sender->flush();
        REQUIRE(lab::wait_readable((*tap)->descriptor()));
        CHECK(heard(**tap, *sender) == std::vector<std::pair<std::uint16_t, bool>>{
                                           {kFirst, true}, {65535, true}, {kFirst, true}, {65535, true}});
    });
}

TEST_CASE("the tap hears what is marked as a bounce, to any port, and no other mark") {
    lab::in_new_namespace([] {
        auto tap = LoopbackTap::open(kFirst);
        REQUIRE(tap);
        auto sender = RawSender::open();
        REQUIRE(sender);
        std::uint16_t port = 100;
        for (const char* address : {"127.0.0.1", "::1"})
            for (const int dscp : {1, 62, SPLICE_CARRIAGE_BOUNCE, 31, 47, 55, 59, 61})
                sender->send(segment_to(address, port++, dscp));
        sender->flush();
        REQUIRE(lab::wait_readable((*tap)->descriptor()));
        CHECK(heard(**tap, *sender) == std::vector<std::pair<std::uint16_t, bool>>{{102, true}, {110, true}});
    });
}

TEST_CASE("what the tap hears of this host's own sockets has an unfinished checksum, and says so") {
    lab::in_new_namespace([] {
        auto tap = LoopbackTap::open(kFirst);
        REQUIRE(tap);
        auto sender = RawSender::open();
        REQUIRE(sender);
        const Descriptor client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        const sockaddr_in to = testing::loopback(65000);
        (void)connect(client.get(), reinterpret_cast<const sockaddr*>(&to), sizeof(to));
        REQUIRE(lab::wait_readable((*tap)->descriptor()));
        CHECK(heard(**tap, *sender) == std::vector<std::pair<std::uint16_t, bool>>{{65000, false}});
    });
}
