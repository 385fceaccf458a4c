#include "libsplice/base/address.hpp"

#include <arpa/inet.h>

#include <array>
#include <charconv>
#include <cstring>
#include <optional>

namespace splice {
namespace {

std::string quoted(std::string_view text) {
    return '"' + std::string(text) + '"';
}

// inet_pton() wants a terminated string; nothing longer than its longest spelling is an address.
std::optional<std::array<char, INET6_ADDRSTRLEN>> terminated(std::string_view text) {
    std::array<char, INET6_ADDRSTRLEN> copy{};
    if (text.empty() || text.size() >= copy.size() || text.contains('\0')) return std::nullopt;
    std::memcpy(copy.data(), text.data(), text.size());
    return copy;
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
    std::uint16_t port = 0;
    const char* const last = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), last, port);
    if (error != std::errc{} || stopped != last || port == 0) return std::nullopt;
    return port;
}

// The two halves of "192.0.2.1:80" or "[2001:db8::1]:80", not yet judged.
struct EndpointText {
    std::string_view address;
    std::string_view port;
    bool bracketed = false;
};

std::optional<EndpointText> split_endpoint(std::string_view text) {
    if (text.starts_with('[')) {
        const auto close = text.find("]:");
        if (close == std::string_view::npos) return std::nullopt;
        return EndpointText{text.substr(1, close - 1), text.substr(close + 2), true};
    }
    const auto colon = text.find(':');
    if (colon == std::string_view::npos) return std::nullopt;
    return EndpointText{text.substr(0, colon), text.substr(colon + 1), false};
}

}  // namespace

std::expected<IpAddress, std::string> IpAddress::parse(std::string_view text) {
    const auto copy = terminated(text);
    splice_address address{};
    in_addr ipv4{};
    if (copy && inet_pton(AF_INET, copy->data(), &ipv4) == 1) {
        splice_address_from_ipv4(&address, ipv4.s_addr);
        return IpAddress(address);
    }
    if (copy && inet_pton(AF_INET6, copy->data(), address.bytes) == 1) return IpAddress(address);
    return std::unexpected(quoted(text) + " is not an IP address such as 192.168.33.10 or 2001:db8::1");
}

IpAddress IpAddress::from_ipv4(std::uint32_t host_order) noexcept {
    splice_address address{};
    splice_address_from_ipv4(&address, htonl(host_order));
    return IpAddress(address);
}

std::string IpAddress::to_string() const {
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (family() == 4) {
        inet_ntop(AF_INET, &address_.words[3], text.data(), text.size());
    } else {
        inet_ntop(AF_INET6, address_.bytes, text.data(), text.size());
    }
    return text.data();
}

bool IpAddress::is_loopback() const noexcept {
    if (family() == 4) return address_.bytes[12] == 127;
    splice_address one{};
    one.bytes[15] = 1;
    return splice_address_equal(&address_, &one) != 0;
}

bool IpAddress::is_unspecified() const noexcept {
    if (family() == 4) return address_.words[3] == 0;
    return address_.halves[0] == 0 && address_.halves[1] == 0;
}

bool IpAddress::is_multicast() const noexcept {
    if (family() == 4) return (address_.bytes[12] & 0xf0) == 0xe0;
    return address_.bytes[0] == 0xff;
}

std::expected<Endpoint, std::string> Endpoint::parse(std::string_view text) {
    const auto halves = split_endpoint(text);
    if (!halves) {
        return std::unexpected(quoted(text) +
                               " is not ADDRESS:PORT, such as 192.168.33.30:80 or [2001:db8::1]:80");
    }
    auto address = IpAddress::parse(halves->address);
    if (!address) return std::unexpected(std::move(address.error()));
    // Brackets are IPv6's: "2001:db8::1:80" would be read two ways, "[192.0.2.1]:80" is nobody's spelling.
    if (halves->bracketed != halves->address.contains(':')) {
        return std::unexpected(quoted(text) +
                               ": brackets stand around an IPv6 address and around nothing else");
    }
    const auto port = parse_port(halves->port);
    if (!port) {
        return std::unexpected(quoted(halves->port) + " in " + quoted(text) +
                               " is not a port from 1 to 65535");
    }
    return Endpoint{*address, *port};
}

std::string Endpoint::to_string() const {
    const std::string port_text = ':' + std::to_string(port);
    if (address.family() == 4) return address.to_string() + port_text;
    return '[' + address.to_string() + ']' + port_text;
}

std::size_t FlowKeyHash::operator()(const splice_flow_key& key) const noexcept {
    std::array<std::uint64_t, sizeof(key) / sizeof(std::uint64_t)> words;
    std::memcpy(words.data(), &key, sizeof(key));
    std::uint64_t hash = 0;
    for (const std::uint64_t word : words) {
        // The multiplier is 2^64 divided by the golden ratio; the shift brings the well-mixed high bits down.
        hash = (hash ^ word) * 0x9e3779b97f4a7c15U;
        hash ^= hash >> 32;
    }
    return hash;
}

bool FlowKeyEqual::operator()(const splice_flow_key& a, const splice_flow_key& b) const noexcept {
    return std::memcmp(&a, &b, sizeof(a)) == 0;
}

std::string to_string(const splice_flow_key& key) {
    const Endpoint client{IpAddress(key.client), ntohs(key.client_port)};
    const Endpoint vip{IpAddress(key.vip), ntohs(key.vip_port)};
    return client.to_string() + " > " + vip.to_string();
}

}  // namespace splice
