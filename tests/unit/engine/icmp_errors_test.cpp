#include "libsplice/engine/icmp_errors.hpp"

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/datapath/packet.h"
#include "libsplice/datapath/segment.h"
#include "tests/support/lab/lab.hpp"

using namespace splice;

namespace {

constexpr std::uint16_t kFirst = 61440;

// An ICMP error to `address`, about a segment from there and that port.
std::vector<std::byte> error_about(const char* address, std::uint16_t port, int type, int code) {
    const IpAddress host = IpAddress::parse(address).value();
    const splice_option_words none{};
    const splice_segment_draft draft{.from = &host.raw(),
                                     .to = &host.raw(),
                                     .family = static_cast<__u32>(host.family()),
                                     .from_port = splice_htons(port),
                                     .to_port = splice_htons(80),
                                     .seq = 4711,
                                     .ack = 1,
                                     .window = 1,
                                     .flags = SPLICE_ACK};
    std::vector<std::byte> segment(SPLICE_SEGMENT_MAX);
    segment.resize(splice_write_segment_with_payload(segment.data(), &draft, &none, "", 0));
    std::vector<std::byte> message(8 + segment.size());
    message[0] = static_cast<std::byte>(type);
    message[1] = static_cast<std::byte>(code);
    std::ranges::copy(segment, message.begin() + 8);
    if (host.family() == 4) {  // of ICMPv6, the kernel makes it
        const std::uint16_t checksum =
            static_cast<std::uint16_t>(~splice_sum_fold(splice_sum_bytes(0, message.data(), message.size())));
        std::memcpy(message.data() + 2, &checksum, sizeof(checksum));
    }
    return message;
}

void send_to(const char* address, const std::vector<std::byte>& message) {
    const bool ipv4 = IpAddress::parse(address)->family() == 4;
    const Descriptor socket(::socket(ipv4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC,
                                     ipv4 ? int{IPPROTO_ICMP} : int{IPPROTO_ICMPV6}));
    REQUIRE(socket);
    sockaddr_in to4{};
    to4.sin_family = AF_INET;
    to4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockaddr_in6 to6{};
    to6.sin6_family = AF_INET6;
    to6.sin6_addr = IN6ADDR_LOOPBACK_INIT;
    const auto* const to =
        ipv4 ? reinterpret_cast<const sockaddr*>(&to4) : reinterpret_cast<const sockaddr*>(&to6);
    REQUIRE(sendto(socket.get(), message.data(), message.size(), 0, to, ipv4 ? sizeof(to4) : sizeof(to6)) ==
            static_cast<ssize_t>(message.size()));
}

// Types, and the ports of the quoted segments.
std::vector<std::pair<int, std::uint16_t>> heard(IcmpErrors& errors, RawSender& sender,
                                                 const IpAddress& from) {
    std::vector<std::pair<int, std::uint16_t>> all;
    errors.receive(
        [&](QueuedPacket& packet) {
            splice_packet judged{}, quoted{};
            const std::byte* const data = packet.bytes.data();
            CHECK(splice_parse_ip(data, data + packet.bytes.size(), &judged) == SPLICE_CONTINUE);
            CHECK(IpAddress(judged.ends.source) == from);
            CHECK(IpAddress(judged.ends.destination) == from);
            CHECK(splice_parse_icmp_error(data, data + packet.bytes.size(), &judged, &quoted) ==
                  SPLICE_CONTINUE);
            CHECK(quoted.seq == 4711);
            all.emplace_back(judged.icmp_type, splice_ntohs(quoted.ends.source_port));
            return Disposition::drop;
        },
        sender);
    return all;
}

}  // namespace

TEST_CASE(
    "ICMP errors about segments from the range of ports are heard, of both families, and nothing else") {
    lab::in_new_namespace([] {
        auto sender = RawSender::open();
        REQUIRE(sender);
        for (const char* address : {"127.0.0.1", "::1"}) {
            CAPTURE(address);
            const IpAddress host = IpAddress::parse(address).value();
            const bool ipv4 = host.family() == 4;
            auto errors = IcmpErrors::open(host.family(), kFirst);
            INFO((errors ? std::string() : errors.error().text));
            REQUIRE(errors);
            REQUIRE(*errors);
            const int unreachable = ipv4 ? 3 : 1, exceeded = ipv4 ? 11 : 3, echo = ipv4 ? 8 : 128;
            for (const int port : {80, kFirst - 1, int{kFirst}, 65535})
                send_to(address, error_about(address, static_cast<std::uint16_t>(port), unreachable, 1));
            send_to(address, error_about(address, kFirst, echo, 0));
            send_to(address, error_about(address, kFirst, exceeded, 0));
            REQUIRE(lab::wait_readable((*errors)->descriptor()));
            CHECK(heard(**errors, *sender, host) ==
                  std::vector<std::pair<int, std::uint16_t>>{
                      {unreachable, kFirst}, {unreachable, 65535}, {exceeded, kFirst}});
        }
    });
}
