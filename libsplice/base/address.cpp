#include "libsplice/base/address.hpp"

#include <arpa/inet.h>

#include <array>
#include <charconv>
#include <cstring>
#include <optional>

#include "libsplice/base/decimal.hpp"
#include "libsplice/base/quoted.hpp"

namespace splice {
namespace {

// inet_pton() wants a terminated string; nothing longer than its longest spelling is an address.
std::optional<std::array<char, INET6_ADDRSTRLEN>> terminated(std::string_view text) {
    std::array<char, INET6_ADDRSTRLEN> copy{};
    if (text.empty() || text.size() >= copy.size() || text.contains('\0')) return std::nullopt;
    std::memcpy(copy.data(), text.data(), text.size());
    return copy;
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
    std::uint16_t port = 0;
    const char* const first = text.data();
    const char* const last = first + text.size();
    const auto [stopped, error] = std::from_chars(first, last, port);
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

// inet_ntop() prints by a format string, which takes ten times as long.
void append_ipv4(std::string& text, const splice_address& address) {
    for (std::size_t i = 12; i < 16; ++i) {
        if (i > 12) text += '.';
        append_decimal(text, address.bytes[i]);
    }
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
    std::string text;
    append_to(text);
    return text;
}

void IpAddress::append_to(std::string& text) const {
    if (family() == 4) {
        append_ipv4(text, address_);
        return;
    }
    std::array<char, INET6_ADDRSTRLEN> ipv6{};
    inet_ntop(AF_INET6, address_.bytes, ipv6.data(), ipv6.size());
    text += ipv6.data();
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
    std::string text;
    append_to(text);
    return text;
}

void Endpoint::append_to(std::string& text) const {
    const bool ipv4 = address.family() == 4;
    if (!ipv4) text += '[';
    address.append_to(text);
    text += ipv4 ? ":" : "]:";
    append_decimal(text, port);
}

namespace {

void append_pair(std::string& text, const splice_address& first, std::uint16_t first_port,
                 const splice_address& second, std::uint16_t second_port) {
    Endpoint{IpAddress(first), ntohs(first_port)}.append_to(text);
    text += " > ";
    Endpoint{IpAddress(second), ntohs(second_port)}.append_to(text);
}

}  // namespace

std::string to_string(const splice_flow_key& key) {
    std::string text;
    append_to(text, key);
    return text;
}

void append_to(std::string& text, const splice_flow_key& key) {
    append_pair(text, key.client, key.client_port, key.server, key.server_port);
}

std::string to_string(const splice_ends& ends) {
    std::string text;
    append_to(text, ends);
    return text;
}

void append_to(std::string& text, const splice_ends& ends) {
    append_pair(text, ends.source, ends.source_port, ends.destination, ends.destination_port);
}

}  // namespace splice
