// A packet socket of one Ethernet interface, for what a host says of addresses there (ARP, neighbour
// discovery).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "libsplice/base/address.hpp"
#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/descriptor.hpp"

namespace splice {

using MacAddress = std::array<std::uint8_t, 6>;
// "02:00:00:00:00:01"
[[nodiscard]] std::string to_string(const MacAddress& mac);

struct LinkSocket {
    Descriptor socket;              // SOCK_DGRAM: packets begin after the Ethernet header
    std::optional<MacAddress> own;  // the interface's; nothing where it has none
};

// `protocol`: an EtherType, in host byte order; `doing` begins the error. Errors: no privilege, no interface.
SystemResult<LinkSocket> open_link(std::uint32_t interface, std::uint16_t protocol, const std::string& doing);
// One packet of `length` bytes, to a MAC address.
SystemResult<void> send_on_link(const LinkSocket& link, std::uint32_t interface, std::uint16_t protocol,
                                const MacAddress& to, const void* packet, std::size_t length,
                                const std::string& doing);
// An ARP request for an IPv4 address to everybody, from the interface's own MAC address, which it must have.
// `sender`: who asks, also an IPv4 address; nothing: it is a probe (RFC 5227 section 1.1), from which nobody
// learns anything.
SystemResult<void> send_arp_request(const LinkSocket& link, std::uint32_t interface,
                                    const std::optional<IpAddress>& sender, const IpAddress& target,
                                    const std::string& doing);

}  // namespace splice
