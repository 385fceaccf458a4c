// Single values as people write them, the same in flags and in YAML. Errors are sentences that begin with
// "expected" and say the form.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/time.hpp"
#include "libsplice/core/hash_key.hpp"

namespace splice {

template <class T>
using Parsed = std::expected<T, std::string>;

Parsed<std::string> parse_name(std::string_view text);  // letters, digits, '.', '_', '-'; 1 to 64 of them
Parsed<std::uint64_t> parse_number(std::string_view text, std::uint64_t least, std::uint64_t most);
Parsed<std::uint16_t> parse_port(std::string_view text);
Parsed<std::uint8_t> parse_dscp(std::string_view text);
Parsed<std::uint16_t> parse_bridge_number(std::string_view text);  // 1 to kMaxBridgeNumber
Parsed<std::uint32_t> parse_weight(std::string_view text);
Parsed<std::uint8_t> parse_window_scale(std::string_view text);
Parsed<Duration> parse_duration(std::string_view text);  // 50ms, 2s, 15m, 1h
Parsed<std::size_t> parse_size(std::string_view text);   // 16KiB, 1MiB, plain bytes
Parsed<double> parse_share(std::string_view text);       // "2 %", "2%" or 0.02: 0 to 1
// Digits with at most one point: 1.25.
std::optional<double> parse_decimal(std::string_view text);
Parsed<Protocol> parse_protocol(std::string_view text);  // http, tls, tcp
// An address of one host that packets can be sent to: not loopback, multicast, link-local or unspecified.
Parsed<IpAddress> parse_host_address(std::string_view text);
Parsed<Endpoint> parse_host_endpoint(std::string_view text);

[[nodiscard]] std::string_view to_string(Protocol protocol) noexcept;
[[nodiscard]] std::string format_duration(Duration duration);

// The candidate that `word` was most likely meant to be; empty when none is near.
[[nodiscard]] std::string_view nearest(std::string_view word,
                                       const std::vector<std::string_view>& candidates);

}  // namespace splice
