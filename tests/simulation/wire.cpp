#include "tests/simulation/wire.hpp"

#include <algorithm>
#include <array>

namespace splice::simulation {
namespace {

constexpr std::size_t kTcpHeader = 20;
constexpr std::uint8_t kTcp = 6;

void put(PacketBytes& out, std::uint64_t value, int bytes) {
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
        out.push_back(static_cast<std::byte>(value >> shift & 0xff));
}

std::uint32_t get(Bytes from, std::size_t at, int bytes) {
    std::uint32_t value = 0;
    for (int i = 0; i < bytes; ++i) value = value << 8 | std::to_integer<std::uint32_t>(from[at + i]);
    return value;
}

void set16(PacketBytes& out, std::size_t at, std::uint16_t value) {
    out[at] = static_cast<std::byte>(value >> 8);
    out[at + 1] = static_cast<std::byte>(value & 0xff);
}

std::uint64_t sum_of(Bytes bytes) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i + 1 < bytes.size(); i += 2)
        sum += std::to_integer<unsigned>(bytes[i]) << 8 | std::to_integer<unsigned>(bytes[i + 1]);
    if (bytes.size() % 2) sum += std::to_integer<unsigned>(bytes.back()) << 8;
    return sum;
}

std::uint16_t fold(std::uint64_t sum) {
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

std::size_t address_length(const IpAddress& address) {
    return address.family() == 4 ? 4 : 16;
}

void put_address(PacketBytes& out, const IpAddress& address) {
    const auto* bytes = reinterpret_cast<const std::byte*>(address.raw().bytes);
    out.insert(out.end(), bytes + 16 - address_length(address), bytes + 16);
}

IpAddress get_address(Bytes from, std::size_t at, int family) {
    if (family == 4) return IpAddress::from_ipv4(get(from, at, 4));
    splice_address address{};
    std::transform(from.begin() + static_cast<std::ptrdiff_t>(at),
                   from.begin() + static_cast<std::ptrdiff_t>(at) + 16, address.bytes,
                   [](std::byte b) { return std::to_integer<std::uint8_t>(b); });
    return IpAddress(address);
}

PacketBytes options_of(const Segment& segment) {
    PacketBytes out(segment.leading_nops, std::byte{1});
    if (segment.mss) put(out, 0x02040000U | *segment.mss, 4);
    if (segment.sack_permitted) put(out, 0x0402, 2);
    if (segment.timestamps) {
        put(out, 0x080a, 2);
        put(out, segment.timestamps->value, 4);
        put(out, segment.timestamps->echo_reply, 4);
    }
    if (segment.window_scale) put(out, 0x030300U | *segment.window_scale, 3);
    if (!segment.sack.empty()) {
        put(out, 0x0500U | (2 + 8 * segment.sack.size()), 2);
        for (const auto& [left, right] : segment.sack) {
            put(out, left, 4);
            put(out, right, 4);
        }
    }
    while (out.size() % 4) out.push_back(std::byte{0});
    return out;
}

void get_options(Bytes options, Segment& segment) {
    for (std::size_t at = 0; at < options.size();) {
        const auto kind = std::to_integer<unsigned>(options[at]);
        if (kind == 0) return;
        if (kind == 1) {
            ++at;
            continue;
        }
        if (at + 2 > options.size()) return;
        const auto size = std::to_integer<std::size_t>(options[at + 1]);
        if (size < 2 || at + size > options.size()) return;
        if (kind == 2 && size == 4) segment.mss = static_cast<std::uint16_t>(get(options, at + 2, 2));
        if (kind == 3 && size == 3) segment.window_scale = static_cast<std::uint8_t>(get(options, at + 2, 1));
        if (kind == 4 && size == 2) segment.sack_permitted = true;
        if (kind == 5)
            for (std::size_t i = 2; i + 8 <= size; i += 8)
                segment.sack.emplace_back(get(options, at + i, 4), get(options, at + i + 4, 4));
        if (kind == 8 && size == 10)
            segment.timestamps = Timestamps{get(options, at + 2, 4), get(options, at + 6, 4)};
        at += size;
    }
}

std::uint16_t tcp_sum(Bytes packet, std::size_t addresses_at, std::size_t addresses, Bytes tcp) {
    return fold(sum_of(packet.subspan(addresses_at, addresses)) + kTcp + tcp.size() + sum_of(tcp));
}

}  // namespace

PacketBytes encode(const Segment& segment) {
    const PacketBytes options = options_of(segment);
    const bool ipv4 = segment.source.family() == 4;
    const std::size_t tcp_length = kTcpHeader + options.size() + segment.payload.size();
    const std::size_t ip_length = ipv4 ? 20 : 40;
    PacketBytes out;
    out.reserve(ip_length + tcp_length);
    if (ipv4) {
        put(out, 0x4500U | segment.traffic_class, 2);
        put(out, ip_length + tcp_length, 2);
        put(out, 0x00004000, 4);
        put(out, 64U << 8 | kTcp, 2);
        put(out, 0, 2);
    } else {
        put(out, 0x60000000U | std::uint32_t{segment.traffic_class} << 20, 4);
        put(out, tcp_length, 2);
        put(out, kTcp << 8 | 64U, 2);
    }
    put_address(out, segment.source);
    put_address(out, segment.destination);
    if (ipv4) set16(out, 10, static_cast<std::uint16_t>(~fold(sum_of(out))));

    put(out, segment.source_port, 2);
    put(out, segment.destination_port, 2);
    put(out, segment.seq, 4);
    put(out, segment.ack, 4);
    put(out, (kTcpHeader + options.size()) / 4 << 12 | segment.flags, 2);
    put(out, segment.window, 2);
    put(out, 0, 4);
    out.insert(out.end(), options.begin(), options.end());
    const Bytes payload = as_bytes(segment.payload);
    out.insert(out.end(), payload.begin(), payload.end());
    const std::size_t at = ipv4 ? 12 : 8;
    set16(out, ip_length + 16,
          static_cast<std::uint16_t>(
              ~tcp_sum(out, at, 2 * address_length(segment.source), Bytes(out).subspan(ip_length))));
    return out;
}

std::optional<Segment> decode(Bytes packet) {
    if (packet.empty()) return {};
    const int family = std::to_integer<int>(packet[0]) >> 4;
    const std::size_t ip_length = family == 4 ? 20 : 40;
    if ((family != 4 && family != 6) || packet.size() < ip_length + kTcpHeader) return {};
    if (family == 4 && (packet[0] != std::byte{0x45} || fold(sum_of(packet.first(20))) != 0xffff)) return {};
    const std::size_t length = family == 4 ? get(packet, 2, 2) : get(packet, 4, 2) + ip_length;
    const unsigned protocol = get(packet, family == 4 ? 9 : 6, 1);
    if (length > packet.size() || length < ip_length + kTcpHeader || protocol != kTcp) return {};
    if (family == 4 && (get(packet, 6, 2) & 0x3fff)) return {};

    const Bytes tcp = packet.first(length).subspan(ip_length);
    const std::size_t at = family == 4 ? 12 : 8;
    const std::size_t each = family == 4 ? 4 : 16;
    if (tcp_sum(packet, at, 2 * each, tcp) != 0xffff) return {};
    const std::size_t header = (get(tcp, 12, 1) >> 4) * 4;
    if (header < kTcpHeader || header > tcp.size()) return {};

    Segment segment;
    segment.source = get_address(packet, at, family);
    segment.destination = get_address(packet, at + each, family);
    segment.source_port = static_cast<std::uint16_t>(get(tcp, 0, 2));
    segment.destination_port = static_cast<std::uint16_t>(get(tcp, 2, 2));
    segment.seq = get(tcp, 4, 4);
    segment.ack = get(tcp, 8, 4);
    segment.flags = static_cast<std::uint8_t>(get(tcp, 13, 1));
    segment.window = static_cast<std::uint16_t>(get(tcp, 14, 2));
    segment.traffic_class =
        static_cast<std::uint8_t>(family == 4 ? get(packet, 1, 1) : get(packet, 0, 2) >> 4);
    get_options(tcp.first(header).subspan(kTcpHeader), segment);
    segment.payload = as_text(tcp.subspan(header));
    return segment;
}

std::optional<IpAddress> destination_of(Bytes packet) {
    if (packet.empty()) return {};
    const int family = std::to_integer<int>(packet[0]) >> 4;
    if (family == 4 && packet.size() >= 20) return get_address(packet, 16, 4);
    if (family == 6 && packet.size() >= 40) return get_address(packet, 24, 6);
    return {};
}

}  // namespace splice::simulation
