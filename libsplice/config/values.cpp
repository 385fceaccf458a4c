#include "libsplice/config/values.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>

#include "libsplice/base/limits.hpp"
#include "libsplice/datapath/carriage.h"

namespace splice {
namespace {

constexpr std::size_t kMaxName = 64;
constexpr std::uint8_t kMaxWindowScale = 14;  // RFC 7323 section 2.3

std::optional<std::uint64_t> whole_number(std::string_view text) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return number;
}

struct Unit {
    std::string_view suffix;
    std::uint64_t factor;
};

// "15m" with the units {"m", 60'000'000'000}, ...; a unit that stands first is tried first.
template <std::size_t N>
std::optional<std::uint64_t> number_with_unit(std::string_view text, const std::array<Unit, N>& units) {
    for (const Unit& unit : units) {
        if (!text.ends_with(unit.suffix)) continue;
        const auto number = whole_number(text.substr(0, text.size() - unit.suffix.size()));
        if (!number ||
            *number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) / unit.factor)
            return std::nullopt;
        return *number * unit.factor;
    }
    return std::nullopt;
}

constexpr std::array<Unit, 4> kDurations{
    {{"ms", 1'000'000}, {"s", 1'000'000'000}, {"m", 60'000'000'000}, {"h", 3'600'000'000'000}}};
constexpr std::array<Unit, 3> kSizes{{{"KiB", 1024}, {"MiB", 1024UL * 1024}, {"", 1}}};

bool is_name_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

// Nothing routes these: a packet could neither come from nor be sent to them over a router.
std::string_view why_no_host(const IpAddress& address) {
    const auto& bytes = address.raw().bytes;
    if (address.is_loopback()) return "a loopback address";
    if (address.is_unspecified()) return "the unspecified address";
    if (address.is_multicast()) return "a multicast address";
    if (address.family() == 4 && bytes[12] == 0xff && bytes[13] == 0xff && bytes[14] == 0xff &&
        bytes[15] == 0xff)
        return "the broadcast address";
    if (address.family() == 4 && bytes[12] == 169 && bytes[13] == 254) return "a link-local address";
    if (address.family() == 6 && bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80) return "a link-local address";
    return {};
}

Parsed<void> check_host_address(const IpAddress& address) {
    const std::string_view why = why_no_host(address);
    if (why.empty()) return {};
    return std::unexpected(
        fmt::format("expected the address of a host that packets can be routed to, this is {}", why));
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < a.size(); i++) {
        std::size_t diagonal = std::exchange(row[0], i + 1);
        for (std::size_t j = 0; j < b.size(); j++) {
            const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
        }
    }
    return row.back();
}

}  // namespace

Parsed<std::string> parse_name(std::string_view text) {
    if (text.empty() || text.size() > kMaxName || !std::ranges::all_of(text, is_name_character))
        return std::unexpected(
            fmt::format("expected a name of 1 to {} letters, digits, '.', '_' or '-'", kMaxName));
    return std::string(text);
}

Parsed<std::uint64_t> parse_number(std::string_view text, std::uint64_t least, std::uint64_t most) {
    const auto number = whole_number(text);
    if (!number || *number < least || *number > most)
        return std::unexpected(fmt::format("expected a whole number from {} to {}", least, most));
    return *number;
}

Parsed<std::uint16_t> parse_port(std::string_view text) {
    const auto number = whole_number(text);
    if (!number || *number < 1 || *number > 65535) return std::unexpected("expected a port from 1 to 65535");
    return static_cast<std::uint16_t>(*number);
}

Parsed<std::uint16_t> parse_bridge_number(std::string_view text) {
    const auto number = whole_number(text);
    if (!number || *number < 1 || *number > kMaxBridgeNumber)
        return std::unexpected(
            fmt::format("expected a number from 1 to {}, the bridge's own in the fleet", kMaxBridgeNumber));
    return static_cast<std::uint16_t>(*number);
}

Parsed<std::uint8_t> parse_dscp(std::string_view text) {
    const auto number = whole_number(text);
    if (!number || *number < 1 || *number > SPLICE_CARRIAGE_LAST)
        return std::unexpected(fmt::format("expected a DSCP from 1 to {} ({} is the bounce mark)",
                                           SPLICE_CARRIAGE_LAST, SPLICE_CARRIAGE_BOUNCE));
    return static_cast<std::uint8_t>(*number);
}

Parsed<std::uint32_t> parse_weight(std::string_view text) {
    const auto number = whole_number(text);
    if (!number || *number > kMaxWeight)
        return std::unexpected(
            fmt::format("expected a weight from 0 (takes no new flows) to {}", kMaxWeight));
    return static_cast<std::uint32_t>(*number);
}

Parsed<std::uint8_t> parse_window_scale(std::string_view text) {
    const auto number = whole_number(text);
    if (!number || *number > kMaxWindowScale)
        return std::unexpected(fmt::format("expected a window scale from 0 to {}", kMaxWindowScale));
    return static_cast<std::uint8_t>(*number);
}

Parsed<Duration> parse_duration(std::string_view text) {
    const auto nanoseconds = number_with_unit(text, kDurations);
    if (!nanoseconds) return std::unexpected("expected a duration such as 50ms, 2s, 15m or 1h");
    return Duration(static_cast<std::int64_t>(*nanoseconds));
}

Parsed<std::size_t> parse_size(std::string_view text) {
    const auto bytes = number_with_unit(text, kSizes);
    if (!bytes) return std::unexpected("expected a size such as 16KiB, 1MiB or a number of bytes");
    return static_cast<std::size_t>(*bytes);
}

std::optional<double> parse_decimal(std::string_view text) {
    double number = 0;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
    const bool begins = !text.empty() && text.front() >= '0' && text.front() <= '9';
    if (!begins || error != std::errc{} || end != text.data() + text.size()) return {};
    return number;
}

Parsed<double> parse_share(std::string_view text) {
    const auto expected = std::unexpected("expected a share such as \"2 %\" or 0.02, at most 100 %");
    const bool percent = text.ends_with('%');
    if (percent) text.remove_suffix(1);
    while (percent && text.ends_with(' ')) text.remove_suffix(1);
    const auto number = parse_decimal(text);
    if (!number) return expected;
    const double share = percent ? *number / 100 : *number;
    if (share < 0 || share > 1) return expected;
    return share;
}

Parsed<Protocol> parse_protocol(std::string_view text) {
    for (const Protocol protocol : {Protocol::http, Protocol::tls, Protocol::tcp}) {
        if (text == to_string(protocol)) return protocol;
    }
    return std::unexpected("expected http, tls or tcp");
}

Parsed<IpAddress> parse_host_address(std::string_view text) {
    auto address = IpAddress::parse(text);
    if (!address)
        return std::unexpected("expected an IPv4 or IPv6 address such as 192.0.2.10 or 2001:db8::10");
    if (auto host = check_host_address(*address); !host) return std::unexpected(host.error());
    return *address;
}

Parsed<Endpoint> parse_host_endpoint(std::string_view text) {
    auto endpoint = Endpoint::parse(text);
    if (!endpoint)
        return std::unexpected(
            "expected an address and a port from 1 to 65535 such as 192.0.2.10:80 or [2001:db8::10]:80");
    if (auto host = check_host_address(endpoint->address); !host) return std::unexpected(host.error());
    return *endpoint;
}

std::string_view to_string(Protocol protocol) noexcept {
    switch (protocol) {
        case Protocol::http:
            return "http";
        case Protocol::tls:
            return "tls";
        case Protocol::tcp:
            return "tcp";
    }
    return "http";
}

std::string format_duration(Duration duration) {
    const auto nanoseconds = static_cast<std::uint64_t>(duration.count());
    for (auto unit = kDurations.rbegin(); unit != kDurations.rend(); ++unit) {
        if (nanoseconds != 0 && nanoseconds % unit->factor == 0)
            return fmt::format("{}{}", nanoseconds / unit->factor, unit->suffix);
    }
    return fmt::format("{}ms", nanoseconds / kDurations[0].factor);
}

std::string_view nearest(std::string_view word, const std::vector<std::string_view>& candidates) {
    std::string_view best;
    // Two slips, or one in a short word; more is another word.
    std::size_t best_distance = word.size() < 4 ? 2 : 3;
    for (const std::string_view candidate : candidates) {
        const std::size_t distance = edit_distance(word, candidate);
        if (distance >= best_distance) continue;
        best_distance = distance;
        best = candidate;
    }
    return best;
}

}  // namespace splice
