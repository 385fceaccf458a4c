#include "libsplice/wire/print_packet.hpp"

#include <algorithm>
#include <array>
#include <concepts>
#include <utility>

#include "libsplice/base/address.hpp"
#include "libsplice/base/decimal.hpp"
#include "libsplice/base/verdict.hpp"
#include "libsplice/datapath/packet.h"
#include "libsplice/wire/tcp_options.hpp"

namespace splice {
namespace {

// Bytes shown of what cannot be read: an IPv4 header and a bit.
constexpr std::size_t kHexBytes = 24;

// Writes behind what stands in a string.
class Line {
  public:
    explicit Line(std::string& text) noexcept : text_(text) {}

    // Text as it is, numbers in decimal, one behind the other.
    template <class... Pieces>
    void add(const Pieces&... pieces) {
        (add_one(pieces), ...);
    }
    void add_hex(Bytes bytes, std::string_view separator) {
        constexpr std::string_view kDigits = "0123456789abcdef";
        std::string_view before;
        for (const std::byte byte : bytes) {
            add(before, kDigits[std::to_integer<unsigned>(byte >> 4)],
                kDigits[std::to_integer<unsigned>(byte & std::byte{15})]);
            before = separator;
        }
    }

  private:
    void add_one(std::string_view text) { text_ += text; }
    void add_one(char letter) { text_ += letter; }
    void add_one(const IpAddress& address) { address.append_to(text_); }
    void add_one(const splice_ends& ends) { append_to(text_, ends); }
    template <std::unsigned_integral Number>
    void add_one(Number number) {
        append_decimal(text_, number);
    }
    std::string& text_;
};

void add_hosts(Line& line, const splice_ends& ends) {
    line.add(IpAddress(ends.source), " > ", IpAddress(ends.destination));
}

void add_flags(Line& line, std::uint8_t flags) {
    constexpr std::array<std::pair<std::uint8_t, char>, 8> kLetters = {{{SPLICE_SYN, 'S'},
                                                                        {SPLICE_FIN, 'F'},
                                                                        {SPLICE_RST, 'R'},
                                                                        {SPLICE_PSH, 'P'},
                                                                        {SPLICE_ACK, 'A'},
                                                                        {SPLICE_URG, 'U'},
                                                                        {SPLICE_ECE, 'E'},
                                                                        {SPLICE_CWR, 'W'}}};
    line.add(" ");
    for (const auto& [flag, letter] : kLetters) {
        if (flags & flag) line.add(letter);
    }
}

void add_sack_blocks(Line& line, Bytes blocks) {
    line.add("sack");
    for (; !blocks.empty(); blocks = blocks.subspan(8)) {
        line.add(" ", splice_load_be32(blocks.data()), ":", splice_load_be32(blocks.data() + 4));
    }
}

// By kind, if the length is the kind's; otherwise by its bytes.
void add_option(Line& line, const TcpOption& option) {
    const Bytes body = option.body;
    if (option.kind == SPLICE_OPTION_PADDING) {
        line.add("nop");
    } else if (option.kind == SPLICE_TCP_OPTION_MSS && body.size() == 2) {
        line.add("mss ", splice_load_be16(body.data()));
    } else if (option.kind == SPLICE_TCP_OPTION_WINDOW_SCALE && body.size() == 1) {
        line.add("ws ", std::to_integer<unsigned>(body[0]));
    } else if (option.kind == SPLICE_TCP_OPTION_SACK_PERMITTED && body.empty()) {
        line.add("sackOK");
    } else if (option.kind == SPLICE_TCP_OPTION_SACK && !body.empty() && body.size() % 8 == 0) {
        add_sack_blocks(line, body);
    } else if (option.kind == SPLICE_TCP_OPTION_TIMESTAMPS && body.size() == 8) {
        line.add("ts ", splice_load_be32(body.data()), " ", splice_load_be32(body.data() + 4));
    } else {
        line.add("option ", option.kind, body.empty() ? "" : " ");
        line.add_hex(body, "");
    }
}

void add_options(Line& line, Bytes data, const splice_packet& packet) {
    if (packet.payload_offset == packet.l4_offset + SPLICE_TCP_HEADER_MIN) return;
    TcpOptionCursor cursor(data, packet);
    line.add(" <");
    std::string_view before;
    while (const auto option = cursor.next()) {
        line.add(std::exchange(before, ","));
        add_option(line, *option);
    }
    if (cursor.malformed()) line.add(before, "malformed");
    line.add(">");
}

void add_segment(Line& line, Bytes data, const splice_packet& packet) {
    line.add(packet.ends);
    add_flags(line, packet.tcp_flags);
    line.add(" seq=", packet.seq);
    if (packet.tcp_flags & SPLICE_ACK) line.add(" ack=", packet.ack);
    line.add(" win=", packet.window);
    add_options(line, data, packet);
    line.add(" len=", packet.payload_length);
    if (splice_verify_tcp_checksum(data.data(), &packet) == 0) line.add(" checksum=wrong");
}

// What an ICMP error says, in words; empty when it is none. RFC 792, RFC 1191, RFC 4443.
std::string_view icmp_word(const splice_packet& packet) noexcept {
    if (packet.protocol == SPLICE_PROTOCOL_ICMPV6) {
        switch (packet.icmp_type) {
            case 1:
                return "unreachable";
            case 2:
                return "packet too big";
            case 3:
                return "time exceeded";
            case 4:
                return "parameter problem";
            default:
                return {};
        }
    }
    switch (packet.icmp_type) {
        case 3:
            return "unreachable";
        case 11:
            return "time exceeded";
        case 12:
            return "parameter problem";
        default:
            return {};
    }
}

// The link's MTU, where the message tells it: in the last bytes of its 8-byte header.
void add_icmp_reason(Line& line, Bytes data, const splice_packet& packet) {
    const std::byte* const icmp = data.data() + packet.l4_offset;
    if (packet.protocol == SPLICE_PROTOCOL_ICMP && packet.icmp_type == 3 && packet.icmp_code == 4) {
        line.add(" (fragmentation needed, mtu ", splice_load_be16(icmp + 6), ")");
    } else if (packet.protocol == SPLICE_PROTOCOL_ICMPV6 && packet.icmp_type == 2) {
        line.add(" (mtu ", splice_load_be32(icmp + 4), ")");
    } else {
        line.add(" (code ", packet.icmp_code, ")");
    }
}

void add_icmp(Line& line, Bytes data, const splice_packet& packet) {
    add_hosts(line, packet.ends);
    const std::string_view word = icmp_word(packet);
    if (word.empty()) {
        line.add(" icmp type=", packet.icmp_type, " code=", packet.icmp_code, " len=", packet.payload_length);
        return;
    }
    line.add(" icmp ", word);
    add_icmp_reason(line, data, packet);
    splice_packet quoted{};
    const Verdict verdict = splice_parse_icmp_error(data.data(), data.data() + data.size(), &packet, &quoted);
    if (verdict == SPLICE_CONTINUE) {
        line.add(" {", quoted.ends, " seq=", quoted.seq, "}");
    } else {
        line.add(" {", verdict_name(verdict), "}");
    }
}

// What the parser turned away: its reason, and the bytes for whoever doubts it.
void add_unread(Line& line, Bytes packet_bytes, const splice_packet& packet, Verdict verdict) {
    if (packet.family != 0) {
        const bool ports = packet.ends.source_port != 0 || packet.ends.destination_port != 0;
        ports ? line.add(packet.ends) : add_hosts(line, packet.ends);
        line.add(" ");
    }
    line.add(verdict_name(verdict), ", ", packet_bytes.size(), " bytes");
    if (packet_bytes.empty()) return;
    line.add(": ");
    line.add_hex(packet_bytes.first(std::min(packet_bytes.size(), kHexBytes)), " ");
    if (packet_bytes.size() > kHexBytes) line.add(" ...");
}

// `data` begins at the frame or at the IP header, packet.l3_offset says which; it is not empty.
void add_from(Line& line, Bytes data, splice_packet& packet) {
    const Verdict verdict = splice_parse_ip(data.data(), data.data() + data.size(), &packet);
    if (verdict != SPLICE_CONTINUE) {
        add_unread(line, data.subspan(packet.l3_offset), packet, verdict);
        return;
    }
    packet.protocol == SPLICE_PROTOCOL_TCP ? add_segment(line, data, packet) : add_icmp(line, data, packet);
    line.add(" dscp=", static_cast<unsigned>(packet.traffic_class) >> 2U);
    if (const unsigned ecn = packet.traffic_class & 3U) line.add(" ecn=", ecn);
    line.add(" ttl=", packet.ttl);
}

}  // namespace

void append_packet(std::string& text, Bytes packet_bytes) {
    Line line(text);
    splice_packet packet{};
    if (packet_bytes.empty())
        add_unread(line, packet_bytes, packet, SPLICE_drop_truncated);
    else
        add_from(line, packet_bytes, packet);
}

std::string print_packet(Bytes packet_bytes) {
    std::string text;
    append_packet(text, packet_bytes);
    return text;
}

std::string print_frame(Bytes frame) {
    std::string text;
    Line line(text);
    splice_packet packet{};
    const Verdict verdict = frame.empty()
                                ? SPLICE_drop_truncated
                                : splice_parse_ethernet(frame.data(), frame.data() + frame.size(), &packet);
    if (verdict == SPLICE_CONTINUE)
        add_from(line, frame, packet);
    else
        add_unread(line, frame, splice_packet{}, verdict);
    return text;
}

}  // namespace splice
