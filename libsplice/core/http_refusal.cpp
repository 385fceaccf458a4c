#include "libsplice/core/http_refusal.hpp"

#include <cstring>
#include <string_view>

#include "libsplice/datapath/checksum.h"

namespace splice {
namespace {

constexpr std::string_view kResponse =
    "HTTP/1.1 503 Service Unavailable\r\n"
    "Content-Type: text/plain\r\n"
    "Content-Length: 33\r\n"
    "Retry-After: 1\r\n"
    "Connection: close\r\n"
    "\r\n"
    "No server takes this connection.\n";

constexpr std::uint8_t kTtl = 64;
constexpr std::size_t kTimestampsLength = 12;  // NOP, NOP, kind 8 (RFC 7323 appendix A)

// The SYN-ACK's clock may have been a kernel program's, a tick before this one, and what goes back in time
// its receiver drops (PAWS, RFC 7323 section 5.3). Both are milliseconds of one clock, so farther apart they
// are of nobody's.
std::uint32_t continue_clock(std::uint32_t now, std::uint32_t echoed) noexcept {
    constexpr std::uint32_t kSecond = 1000;
    return echoed - now < kSecond ? echoed : now;
}

// Writes the IP header for `payload` bytes behind it, from the request's destination to its source.
std::size_t write_ip_header(std::byte* at, const splice_packet& request, std::size_t payload) noexcept {
    if (request.family == 4) {
        splice_ipv4_header ip{};
        ip.version_ihl = 0x45;
        ip.total_length = splice_htons(sizeof(ip) + payload);
        ip.fragment = splice_htons(0x4000);  // do not fragment
        ip.ttl = kTtl;
        ip.protocol = SPLICE_PROTOCOL_TCP;
        ip.source = request.key.vip.words[3];
        ip.destination = request.key.client.words[3];
        ip.checksum = static_cast<std::uint16_t>(~splice_sum_fold(splice_sum_bytes(0, &ip, sizeof(ip))));
        std::memcpy(at, &ip, sizeof(ip));
        return sizeof(ip);
    }
    splice_ipv6_header ip{};
    ip.version_class_label = splice_htonl(6U << 28);
    ip.payload_length = splice_htons(payload);
    ip.next_header = SPLICE_PROTOCOL_TCP;
    ip.hop_limit = kTtl;
    std::memcpy(ip.source, request.key.vip.bytes, sizeof(ip.source));
    std::memcpy(ip.destination, request.key.client.bytes, sizeof(ip.destination));
    std::memcpy(at, &ip, sizeof(ip));
    return sizeof(ip);
}

}  // namespace

HttpRefusal::HttpRefusal(Instant now, const splice_packet& request, Bytes bytes) noexcept {
    splice_tcp_options theirs{};
    splice_parse_tcp_options(bytes.data(), bytes.data() + bytes.size(), &request, &theirs);
    const std::size_t options = theirs.timestamps_offset ? kTimestampsLength : 0;
    const std::size_t tcp_length = sizeof(splice_tcp_header) + options + kResponse.size();

    std::byte* at = buffer_.data() + write_ip_header(buffer_.data(), request, tcp_length);
    splice_tcp_header tcp{};
    tcp.source_port = request.key.vip_port;
    tcp.destination_port = request.key.client_port;
    tcp.seq = splice_htonl(request.ack);
    const std::uint32_t fin = (request.tcp_flags & SPLICE_FIN) ? 1 : 0;
    tcp.ack = splice_htonl(request.seq + request.payload_length + fin);
    tcp.offset = static_cast<std::uint8_t>(((sizeof(tcp) + options) / 4) << 4);
    tcp.flags = SPLICE_ACK | SPLICE_PSH | SPLICE_FIN;
    std::memcpy(at, &tcp, sizeof(tcp));
    if (options) {
        std::byte* option = at + sizeof(tcp);
        splice_store_be32(option, 0x0101080a);
        splice_store_be32(option + 4, continue_clock(now.tsval(), theirs.tsecr));
        splice_store_be32(option + 8, theirs.tsval);
    }
    std::memcpy(at + sizeof(tcp) + options, kResponse.data(), kResponse.size());
    length_ = static_cast<std::size_t>(at - buffer_.data()) + tcp_length;

    splice_packet written{};
    if (splice_parse_ip(buffer_.data(), buffer_.data() + length_, &written) == SPLICE_CONTINUE)
        splice_finish_tcp_checksum(buffer_.data(), &written);
}

}  // namespace splice
