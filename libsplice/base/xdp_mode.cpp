#include "libsplice/base/xdp_mode.hpp"

namespace splice {

std::string_view to_string(XdpMode mode) noexcept {
    switch (mode) {
        case XdpMode::automatic:
            return "auto";
        case XdpMode::native:
            return "native";
        case XdpMode::generic:
            break;
    }
    return "generic";
}

}  // namespace splice
