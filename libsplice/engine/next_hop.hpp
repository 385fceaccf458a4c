// Where packets to an address leave this host and whose Ethernet address they get, by the kernel's own route
// and neighbour tables: for programs that send without asking the kernel (XDP).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/netlink.hpp"

namespace splice {

using EthernetAddress = std::array<std::uint8_t, 6>;
// In the low 48 bits, as it is in a frame.
[[nodiscard]] std::uint64_t mac_of(const EthernetAddress& address) noexcept;

struct NextHop {
    std::uint32_t interface = 0;  // index
    EthernetAddress source{};     // the interface's own
    EthernetAddress neighbour{};
    std::uint32_t mtu = 0;  // of the route: bytes from the IP header on
    bool ethernet = true;   // false: an interface without Ethernet addresses (a tunnel), whose hops need none
    bool local = false;     // the address is this host's own
    friend bool operator==(const NextHop&, const NextHop&) = default;
};

class NextHops {
  public:
    static SystemResult<NextHops> open();

    // Readable when routes, neighbours or interfaces have changed; drain() then.
    [[nodiscard]] int descriptor() const noexcept { return changes_.descriptor(); }
    // Takes the notices. True: something changed that resolve() may answer otherwise.
    bool drain() noexcept;

    // The next hop of each address; nothing where there is no route, or where the neighbour is not known
    // (yet): then, and where it was not heard of for a while, the kernel is told to ask for it.
    std::vector<std::optional<NextHop>> resolve(std::span<const IpAddress> addresses);

  private:
    NextHops(NetlinkSocket questions, NetlinkSocket changes) noexcept
        : questions_(std::move(questions)), changes_(std::move(changes)) {}

    NetlinkSocket questions_;
    NetlinkSocket changes_;
};

// How this host's routes lead to an address; nothing: they do not.
struct WayTo {
    std::string interface;  // its name
    bool local = false;     // the address is this host's own
    bool on_link = false;   // no router is between
};
[[nodiscard]] std::optional<WayTo> way_to(const IpAddress& address);

// The Ethernet addresses at which frames for an interface arrive: its own, and those of devices that are
// stacked on it in this network namespace (macvlan), in the order of their indices. Errors: no such
// interface, or it has none.
struct EthernetAddresses {
    EthernetAddress own{};
    std::vector<EthernetAddress> upper;
};
SystemResult<EthernetAddresses> ethernet_addresses_at(std::uint32_t interface);

// An interface's own Ethernet address; errors: no such interface, or it has none.
SystemResult<EthernetAddress> ethernet_address_of(std::uint32_t interface);

}  // namespace splice
