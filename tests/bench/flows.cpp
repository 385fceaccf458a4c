#include "tests/bench/flows.hpp"

#include <malloc.h>

#include <stdexcept>

#include "libsplice/datapath/checksum.h"
#include "libsplice/datapath/cookie.h"
#include "libsplice/datapath/packet.h"
#include "libsplice/datapath/verify.h"

namespace splice::bench {
namespace {

constexpr std::uint32_t kClientIsn = 5000;
constexpr std::uint8_t kOptionsByte = 3 << SPLICE_COOKIE_MSS_SHIFT | SPLICE_COOKIE_SACK | 7;

testing::Segment segment_of(const std::string& payload, const std::string& destination, std::uint8_t dscp) {
    testing::Segment segment;
    segment.source = "10.0.0.0";
    segment.destination = destination;
    segment.seq = kClientIsn + 1;
    segment.flags = SPLICE_ACK | SPLICE_PSH;
    segment.dscp = dscp;
    segment.timestamps = testing::Timestamps{777'000, 1'000'000};
    segment.payload = payload;
    return segment;
}

// The IPv4 header's checksum over 20 bytes, from nothing.
void finish_ipv4_header(std::byte* ip) {
    splice_sum sum = 0;
    splice_store16(ip + 10, 0);
    for (int i = 0; i < 20; i += 4) sum += splice_load32(ip + i);
    splice_store16(ip + 10, static_cast<std::uint16_t>(~splice_sum_fold(sum)));
}

}  // namespace

FirstPayloads::FirstPayloads(const std::string& payload)
    : FirstPayloads(payload, testing::topology(4).vip, 0) {}

FirstPayloads::FirstPayloads(const std::string& payload, const std::string& destination, std::uint8_t dscp)
    : model_(segment_of(payload, destination, dscp).build()) {
    key_.server = IpAddress::parse(testing::topology(4).vip)->raw();
    key_.server_port = splice_htons(80);
}

testing::PacketBytes& FirstPayloads::packet(std::uint32_t number) {
    packet_ = model_;  // who had the last one may have edited it
    std::byte* const ip = packet_.data();
    std::byte* const tcp = ip + 20;
    const std::uint32_t address = splice_htonl(0x0a000000 + (number >> 15));
    const std::uint16_t port = splice_htons(static_cast<std::uint16_t>(1024 + (number & 0x7fff)));
    splice_address_from_ipv4(&key_.client, address);
    key_.client_port = port;
    const auto epoch = static_cast<std::uint32_t>(testing::at(0).unix_s / SPLICE_EPOCH_SECONDS);
    const auto options = static_cast<std::uint8_t>((epoch & 1) << SPLICE_COOKIE_PARITY_SHIFT | kOptionsByte);
    const std::uint32_t cookie =
        splice_cookie_of(&testing::kSecret.keys[0], &key_, kClientIsn, epoch, options);

    splice_store32(ip + 12, address);
    finish_ipv4_header(ip);
    splice_store16(tcp, port);
    splice_store32(tcp + 8, splice_htonl(cookie + 1));
    splice_packet parsed{};
    if (splice_parse_ip(ip, ip + packet_.size(), &parsed) != SPLICE_CONTINUE)
        throw std::logic_error("a packet of ours does not parse");
    splice_finish_tcp_checksum(ip, &parsed);
    return packet_;
}

std::size_t allocated_bytes() {
    const struct mallinfo2 info = ::mallinfo2();
    return info.uordblks + info.hblkhd;
}

}  // namespace splice::bench
