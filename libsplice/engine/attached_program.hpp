// Kernel programs that hang on an interface already: whose they are, and how one is rid of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "libsplice/engine/interface.hpp"
#include "libsplice/engine/tc_filter.hpp"

namespace splice {

struct AttachedProgram {
    std::uint32_t id = 0;       // bpftool prog show id ID
    std::string name;           // at most 15 characters, as the kernel keeps it; empty: it may not be asked
    std::uint32_t link_id = 0;  // bpftool link detach id ID; 0: not attached by a link, or not known
};

// The XDP program of the interface, native or generic.
std::optional<AttachedProgram> attached_xdp_program(const InterfaceInfo& interface);
// The bridge's TC program: by TCX, or at our priority and handle of clsact.
std::optional<AttachedProgram> attached_tc_program(const InterfaceInfo& interface, TcSide side);
// By TCX alone: the first of a bridge's name.
std::optional<AttachedProgram> attached_tcx_program(std::uint32_t interface, TcSide side);
// The id of the program at our priority and handle of clsact; 0: none.
[[nodiscard]] std::uint32_t attached_tc_filter(std::uint32_t interface, TcSide side);

// The link's own program: whether the pinned one is what serves the interface.
[[nodiscard]] std::uint32_t pinned_link_id(const std::string& path);

}  // namespace splice
