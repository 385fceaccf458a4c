#include "libsplice/base/netfilter_tool.hpp"

namespace splice {

std::string_view to_string(NetfilterTool tool) noexcept {
    switch (tool) {
        case NetfilterTool::automatic:
            return "auto";
        case NetfilterTool::nftables:
            return "nftables";
        case NetfilterTool::iptables:
            break;
    }
    return "iptables";
}

}  // namespace splice
