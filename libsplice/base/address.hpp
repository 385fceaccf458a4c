// IP addresses and endpoints: 16 bytes, IPv4 mapped, as the flow key has them.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <expected>
#include <functional>
#include <string>
#include <string_view>

#include "libsplice/datapath/flow.h"

namespace splice {

class IpAddress {
  public:
    IpAddress() noexcept : address_{} {}
    explicit IpAddress(const splice_address& address) noexcept : address_(address) {}

    // "192.168.33.10" or "2001:db8::1"; no prefix length, no zone. The error is a sentence.
    static std::expected<IpAddress, std::string> parse(std::string_view text);
    static IpAddress from_ipv4(std::uint32_t host_order) noexcept;

    [[nodiscard]] int family() const noexcept { return splice_address_is_ipv4(&address_) ? 4 : 6; }
    [[nodiscard]] const splice_address& raw() const noexcept { return address_; }
    [[nodiscard]] std::string to_string() const;
    void append_to(std::string& text) const;
    [[nodiscard]] bool is_loopback() const noexcept;
    [[nodiscard]] bool is_unspecified() const noexcept;
    [[nodiscard]] bool is_multicast() const noexcept;

    friend bool operator==(const IpAddress& a, const IpAddress& b) noexcept {
        return splice_address_equal(&a.address_, &b.address_) != 0;
    }

  private:
    splice_address address_;
};

struct Endpoint {
    IpAddress address;
    std::uint16_t port{};  // host order

    // "192.168.33.30:80" or "[2001:db8::1]:80"; port 1 to 65535. The error is a sentence.
    static std::expected<Endpoint, std::string> parse(std::string_view text);
    [[nodiscard]] std::string to_string() const;
    void append_to(std::string& text) const;
    friend bool operator==(const Endpoint&, const Endpoint&) noexcept = default;
};

// Flow keys as keys of hash tables. Strangers choose the keys, so an executable sets the seed at its start,
// before it makes a table; tests and tools leave it.
struct FlowKeyHash {
    static inline std::uint64_t seed = 0;
    [[nodiscard]] std::size_t operator()(const splice_flow_key& key) const noexcept {
        std::uint64_t hash = seed;
        for (const std::uint64_t word : std::bit_cast<std::array<std::uint64_t, sizeof(key) / 8>>(key)) {
            // The multiplier is 2^64 divided by the golden ratio; the shift brings the well-mixed high bits
            // down.
            hash = (hash ^ word) * 0x9e3779b97f4a7c15U;
            hash ^= hash >> 32;
        }
        return hash;
    }
};
struct FlowKeyEqual {
    [[nodiscard]] bool operator()(const splice_flow_key& a, const splice_flow_key& b) const noexcept {
        return std::memcmp(&a, &b, sizeof(a)) == 0;
    }
};

// "192.0.2.1:1234 > 192.0.2.10:80"
std::string to_string(const splice_flow_key& key);
void append_to(std::string& text, const splice_flow_key& key);
// "192.0.2.1:1234 > 192.0.2.10:80": from the source to the destination.
std::string to_string(const splice_ends& ends);
void append_to(std::string& text, const splice_ends& ends);

}  // namespace splice
