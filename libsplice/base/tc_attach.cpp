#include "libsplice/base/tc_attach.hpp"

namespace splice {

std::string_view to_string(TcAttach attach) noexcept {
    switch (attach) {
        case TcAttach::automatic:
            return "auto";
        case TcAttach::tcx:
            return "tcx";
        case TcAttach::clsact:
            break;
    }
    return "clsact";
}

}  // namespace splice
