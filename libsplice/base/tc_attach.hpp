// By what the bridge's kernel programs hang on their interface: what people choose, and what
// engine/tc_program does.
#pragma once

#include <cstdint>
#include <string_view>

namespace splice {

enum class TcAttach : std::uint8_t {
    automatic,  // TCX where the kernel has it, else clsact
    tcx,        // a bpf_link, which nobody else can take (Linux 6.6)
    clsact,     // a filter of the clsact qdisc, which anybody may delete
};
[[nodiscard]] std::string_view to_string(TcAttach attach) noexcept;

}  // namespace splice
