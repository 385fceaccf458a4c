// By what rules of netfilter are made: what people choose, and what engine/netfilter_rules does.
#pragma once

#include <cstdint>
#include <string_view>

namespace splice {

enum class NetfilterTool : std::uint8_t {
    automatic,  // nftables where it can queue packets, else iptables
    nftables,   // a table of our own
    iptables,   // chains of our own in the raw and mangle tables, by iptables-restore
};
[[nodiscard]] std::string_view to_string(NetfilterTool tool) noexcept;

}  // namespace splice
