// How an XDP program hangs on its interface: what people choose, and what engine/xdp_link does.
#pragma once

#include <cstdint>
#include <string_view>

namespace splice {

enum class XdpMode : std::uint8_t {
    automatic,  // native if the driver can, else generic
    native,     // in the driver, before the kernel makes a packet of its own of it
    generic,    // in the stack: any interface, slower
};
[[nodiscard]] std::string_view to_string(XdpMode mode) noexcept;

}  // namespace splice
