#include "libsplice/core/http_refusal.hpp"

#include <string_view>

#include "libsplice/datapath/segment.h"

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

// A kernel program's clock may have written the SYN-ACK, a tick ahead of this one. A receiver drops what goes
// back in time (PAWS, RFC 7323 section 5.3), so we continue from the echo. If they differ by more than a
// second, the echo is not ours; then we use our own clock.
std::uint32_t continue_clock(std::uint32_t now, std::uint32_t echoed) noexcept {
    constexpr std::uint32_t kSecond = 1000;
    return echoed - now < kSecond ? echoed : now;
}

}  // namespace

HttpRefusal::HttpRefusal(Instant now, bool keyed_clock, const splice_packet& request, Bytes bytes) noexcept {
    splice_tcp_options theirs{};
    splice_parse_tcp_options(bytes.data(), bytes.data() + bytes.size(), &request, &theirs);
    const splice_option_words options = splice_timestamps_option(
        theirs.timestamps_offset != 0, keyed_clock ? theirs.tsecr : continue_clock(now.tsval(), theirs.tsecr),
        theirs.tsval);
    const std::uint32_t fin = (request.tcp_flags & SPLICE_FIN) ? 1 : 0;
    const splice_segment_draft draft{.from = &request.ends.destination,
                                     .to = &request.ends.source,
                                     .family = request.family,
                                     .from_port = request.ends.destination_port,
                                     .to_port = request.ends.source_port,
                                     .seq = request.ack,
                                     .ack = request.seq + request.payload_length + fin,
                                     .window = 0,
                                     .flags = SPLICE_ACK | SPLICE_PSH | SPLICE_FIN};
    static_assert(SPLICE_SEGMENT_MAX + kResponse.size() <= sizeof(buffer_));
    length_ = splice_write_segment_with_payload(buffer_.data(), &draft, &options, kResponse.data(),
                                                static_cast<std::uint32_t>(kResponse.size()));
}

}  // namespace splice
