#include "libsplice/wire/print_packet.hpp"

#include <doctest/doctest.h>
#include <tins/tins.h>

#include <random>
#include <vector>

namespace splice {
namespace {

using Octets = std::vector<std::uint8_t>;
using Tins::TCP;

std::string print(const Octets& octets) {
    return print_packet(std::as_bytes(std::span(octets)));
}

TCP segment(std::uint16_t to, std::uint16_t from, std::uint8_t flags) {
    TCP tcp(to, from);
    tcp.flags(flags);
    tcp.seq(7);
    tcp.ack_seq(9);
    tcp.window(65535);
    return tcp;
}

Octets ipv4(const Tins::PDU& payload, std::uint8_t tos = 0, std::uint8_t ttl = 63) {
    Tins::IP ip = Tins::IP("192.0.2.10", "192.0.2.1") / payload;
    ip.tos(tos);
    ip.ttl(ttl);
    return ip.serialize();
}

Octets ipv6(const Tins::PDU& payload) {
    Tins::IPv6 ip = Tins::IPv6("2001:db8::10", "2001:db8::1") / payload;
    ip.hop_limit(63);
    return ip.serialize();
}

TEST_CASE("a SYN-ACK with every usual option") {
    TCP tcp = segment(80, 4000, TCP::SYN | TCP::ACK);
    tcp.mss(1460);
    tcp.sack_permitted();
    tcp.timestamp(1, 2);
    tcp.add_option(TCP::option(TCP::NOP));
    tcp.winscale(7);
    CHECK(print(ipv4(tcp, 1 << 2)) ==
          "192.0.2.1:4000 > 192.0.2.10:80 SA seq=7 ack=9 win=65535 "
          "<mss 1460,sackOK,ts 1 2,nop,ws 7> len=0 dscp=1 ttl=63");
}

TEST_CASE("a segment of IPv6 with a payload; ack is left out when the flag is") {
    CHECK(print(ipv6(segment(80, 4000, TCP::PSH | TCP::ACK) / Tins::RawPDU("hello"))) ==
          "[2001:db8::1]:4000 > [2001:db8::10]:80 PA seq=7 ack=9 win=65535 len=5 dscp=0 ttl=63");
    CHECK(print(ipv4(segment(80, 4000, TCP::RST))) ==
          "192.0.2.1:4000 > 192.0.2.10:80 R seq=7 win=65535 len=0 dscp=0 ttl=63");
}

TEST_CASE("every flag has its letter, and ECN shows when it is set") {
    CHECK(print(ipv4(segment(80, 4000, 0xff & ~(TCP::SYN | TCP::RST)), 63 << 2 | 2)) ==
          "192.0.2.1:4000 > 192.0.2.10:80 FPAUEW seq=7 ack=9 win=65535 len=0 dscp=63 ecn=2 ttl=63");
}

TEST_CASE("SACK blocks, an unknown option and one of a wrong length") {
    TCP tcp = segment(80, 4000, TCP::ACK);
    tcp.sack({100, 200, 4294967290, 5});
    const std::uint8_t multipath[] = {0x81, 0x0a};
    tcp.add_option(
        TCP::option(static_cast<TCP::OptionTypes>(30), std::begin(multipath), std::end(multipath)));
    const std::uint8_t scale[] = {7, 0};
    tcp.add_option(TCP::option(TCP::WSCALE, std::begin(scale), std::end(scale)));
    // libtins fills up with NOPs.
    CHECK(print(ipv4(tcp)).contains("<sack 100:200 4294967290:5,option 30 810a,option 3 0700,nop,nop>"));
}

TEST_CASE("options that overrun the header are called malformed behind those that do not") {
    Octets octets = ipv4(segment(80, 4000, TCP::ACK));
    octets.insert(octets.end(), {1, 1, 8, 10});
    octets[3] = static_cast<std::uint8_t>(octets[3] + 4);     // IP: total length
    octets[32] = static_cast<std::uint8_t>(octets[32] + 16);  // TCP: header length
    octets[11] = static_cast<std::uint8_t>(octets[11] - 4);   // IP: checksum; its low byte is more than 4
    CHECK(print(octets) ==
          "192.0.2.1:4000 > 192.0.2.10:80 A seq=7 ack=9 win=65535 <nop,nop,malformed> len=0 checksum=wrong "
          "dscp=0 "
          "ttl=63");
}

TEST_CASE("a wrong TCP checksum is told") {
    Octets octets = ipv4(segment(80, 4000, TCP::ACK) / Tins::RawPDU("hello"));
    octets.back() ^= 1;
    CHECK(print(octets).contains(" len=5 checksum=wrong dscp=0"));
}

TEST_CASE("an ICMP error says why, and the segment that it quotes") {
    Octets quoted = ipv4(segment(80, 4000, TCP::ACK));
    quoted.resize(28);  // as few as RFC 792 promises
    Tins::ICMP too_big(Tins::ICMP::DEST_UNREACHABLE);
    too_big.code(4);
    too_big.mtu(1300);
    CHECK(print(ipv4(too_big / Tins::RawPDU(quoted))) ==
          "192.0.2.1 > 192.0.2.10 icmp unreachable (fragmentation needed, mtu 1300) "
          "{192.0.2.1:4000 > 192.0.2.10:80 seq=7} dscp=0 ttl=63");
    CHECK(print(ipv4(Tins::ICMP(Tins::ICMP::TIME_EXCEEDED) / Tins::RawPDU(quoted)))
              .contains(" icmp time exceeded (code 0) {192.0.2.1:4000 > "));
    quoted.resize(24);
    CHECK(print(ipv4(too_big / Tins::RawPDU(quoted))).contains(" {drop_bad_icmp} "));
}

TEST_CASE("an ICMPv6 error says why, and the segment that it quotes") {
    Tins::ICMPv6 too_big(static_cast<Tins::ICMPv6::Types>(2));
    too_big.sequence(1280);  // stands where the MTU's low half does
    CHECK(print(ipv6(too_big / Tins::RawPDU(ipv6(segment(80, 4000, TCP::ACK))))) ==
          "2001:db8::1 > 2001:db8::10 icmp packet too big (mtu 1280) "
          "{[2001:db8::1]:4000 > [2001:db8::10]:80 seq=7} dscp=0 ttl=63");
}

TEST_CASE("an ICMP message that is no error is told by its numbers") {
    CHECK(print(ipv4(Tins::ICMP(Tins::ICMP::ECHO_REQUEST) / Tins::RawPDU("ping"))) ==
          "192.0.2.1 > 192.0.2.10 icmp type=8 code=0 len=4 dscp=0 ttl=63");
}

TEST_CASE("what is neither TCP nor ICMP is told by its hosts, its verdict and its first bytes") {
    const std::string line = print(ipv4(Tins::UDP(53, 4000) / Tins::RawPDU("0123456789")));
    CHECK(line.starts_with("192.0.2.1 > 192.0.2.10 pass_not_tcp, 38 bytes: 45 00 00 26 "));
    CHECK(line.ends_with(" 0f a0 00 35 ..."));
}

TEST_CASE("a fragment, a cut segment and flags that contradict each other are told by their verdicts") {
    Tins::IP fragment = Tins::IP("192.0.2.10", "192.0.2.1") / segment(80, 4000, TCP::ACK);
    fragment.flags(Tins::IP::MORE_FRAGMENTS);
    CHECK(print(fragment.serialize()).starts_with("192.0.2.1 > 192.0.2.10 drop_fragment, 40 bytes: 45 "));

    Octets cut = ipv6(segment(80, 4000, TCP::ACK));
    cut.pop_back();
    CHECK(print(cut).starts_with("2001:db8::1 > 2001:db8::10 drop_truncated, 59 bytes: 60 "));

    CHECK(print(ipv4(segment(80, 4000, TCP::SYN | TCP::FIN)))
              .starts_with("192.0.2.1:4000 > 192.0.2.10:80 drop_bad_tcp_flags, 40 bytes: 45 "));
}

TEST_CASE("nothing, and what is no IP at all") {
    CHECK(print({}) == "drop_truncated, 0 bytes");
    CHECK(print({0xff, 0x00}) == "drop_bad_ip_header, 2 bytes: ff 00");
    CHECK(print({0x45}) == "drop_truncated, 1 bytes: 45");
}

TEST_CASE("a frame is printed as the packet in it, behind VLAN tags too") {
    const Octets packet = ipv4(segment(80, 4000, TCP::ACK));
    Octets plain = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00};
    Octets tagged = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0x00, 0x00, 0x05, 0x08, 0x00};
    for (Octets frame : {plain, tagged}) {
        frame.insert(frame.end(), packet.begin(), packet.end());
        CHECK(print_frame(std::as_bytes(std::span(frame))) == print(packet));
    }
    const Octets arp = {255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 2, 0x08, 0x06, 0, 1};
    CHECK(print_frame(std::as_bytes(std::span(arp))) ==
          "pass_not_ip, 16 bytes: ff ff ff ff ff ff 02 00 00 00 00 02 08 06 00 01");
    CHECK(print_frame({}) == "drop_truncated, 0 bytes");
}

TEST_CASE("whatever the bytes are, they make one line of bounded length") {
    std::mt19937 random(1);
    for (int round = 0; round < 20'000; ++round) {
        Octets octets = round % 2 ? ipv4(segment(80, 4000, TCP::ACK) / Tins::RawPDU("hello"))
                                  : ipv6(segment(80, 4000, TCP::ACK) / Tins::RawPDU("hello"));
        for (int flips = 0; flips < 3; ++flips) {
            octets[random() % octets.size()] = static_cast<std::uint8_t>(random());
        }
        octets.resize(random() % (octets.size() + 1));
        const std::string line = print(octets);
        REQUIRE_FALSE(line.empty());
        REQUIRE_FALSE(line.contains('\n'));
        REQUIRE(line.size() < 500);
        REQUIRE_FALSE(print_frame(std::as_bytes(std::span(octets))).empty());
    }
}

}  // namespace
}  // namespace splice
