// What packets a rule of ours in netfilter takes, and to which queue; however the kernel is told.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "libsplice/base/address.hpp"

namespace splice {

enum class NetfilterHook : std::uint8_t {
    prerouting,   // before connection tracking
    postrouting,  // routed, about to leave
    forward,
    input,   // for this host's own sockets
    output,  // from this host's own sockets, raw ones too
};

// Packets that match all of it. The addresses decide the family; without any it is a rule of both.
struct NetfilterMatch {
    NetfilterHook hook = NetfilterHook::prerouting;
    std::string interface{};  // where it arrives (prerouting, input, forward) or leaves (postrouting,
                              // output); empty = any
    // Any of them; none: whatever it is. Ports are all given or all 0, which is any.
    std::vector<Endpoint> sources{};
    std::vector<Endpoint> destinations{};
    enum class Kind : std::uint8_t { tcp, icmp_error, any } kind = Kind::tcp;  // tcp alone has ports
    std::vector<std::uint8_t> dscps{};  // any of them; none: whatever it is
    std::uint32_t except_mark = 0;  // packets with this mark (SO_MARK) do not match; 0 = whatever their mark
    std::uint16_t queue = 0;
    bool bypass = false;  // pass packets while no process holds the queue
    friend bool operator==(const NetfilterMatch&, const NetfilterMatch&) = default;
};

// Whether the rule takes packets of the family, 4 or 6.
[[nodiscard]] bool is_of_family(const NetfilterMatch& rule, int family) noexcept;

// ICMP errors of a family by their types: destination unreachable, time exceeded and parameter problem
// (RFC 792); those three and packet too big (RFC 4443).
[[nodiscard]] const std::vector<int>& icmp_error_types(int family);

}  // namespace splice
