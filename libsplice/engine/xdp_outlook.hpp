// What XDP an interface would give, without a start.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libsplice/engine/interface.hpp"

namespace splice {

struct XdpOutlook {
    enum class Source : std::uint8_t {
        tried,    // a program that passes everything was attached and taken away
        told,     // by the driver: the kernel knows its abilities since 6.3
        unknown,  // neither
    };
    Source source = Source::unknown;
    bool native = false;
    std::string reason;  // why not native, where it was tried
};

// Tries it where that disturbs nobody (see is_tried_gently()) and no program is there; a few frames of ours
// go through a veth. Else asks the kernel.
[[nodiscard]] XdpOutlook look_at_xdp(const InterfaceInfo& interface);

// Whether a driver takes a program without resetting its link, which others lose for seconds.
[[nodiscard]] bool is_tried_gently(std::string_view driver) noexcept;

// Of large receive offload and of VLAN tags that the card takes off: whether they are on; nothing where it
// cannot be told.
struct ReceiveOffloads {
    bool merges = false;      // LRO
    bool takes_tags = false;  // rxvlan
};
[[nodiscard]] std::optional<ReceiveOffloads> receive_offloads(const std::string& interface);

}  // namespace splice
