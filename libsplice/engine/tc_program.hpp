// A program of the bridge on one side of its interface: by a link of TCX where the kernel has it, else by a
// filter of clsact.
#pragma once

#include <optional>
#include <string>
#include <variant>

#include "libsplice/base/system_error.hpp"
#include "libsplice/base/tc_attach.hpp"
#include "libsplice/engine/tc_filter.hpp"
#include "libsplice/engine/tcx_link.hpp"

namespace splice {

// Where it hangs.
struct TcPlace {
    std::string interface;
    TcSide side = TcSide::ingress;
    std::string pin;  // of its link, in a bpffs
};

// Detached at destruction, unless it is kept.
class TcProgram {
  public:
    // In the place of the bridge's program that hangs there, of this process or of one before, and whichever
    // way: no packet passes between, and afterwards there is one. `how` is not automatic. `program` is a
    // descriptor, which may be closed afterwards. Errors: no privilege, no such interface, one without an
    // Ethernet header, another program's `ingress` qdisc that leaves no room for clsact.
    static SystemResult<TcProgram> attach(TcAttach how, const TcPlace& place, int program);
    TcProgram(TcProgram&&) noexcept;
    TcProgram& operator=(TcProgram&&) noexcept;
    ~TcProgram();
    // Leaves the program where it is.
    void keep() noexcept;

    // Whether the program of that id is where it was attached.
    [[nodiscard]] bool runs(std::uint32_t program) const;

  private:
    TcProgram(TcPlace place, std::variant<TcFilter, TcxLink> attached) noexcept
        : place_(std::move(place)), attached_(std::move(attached)) {}

    TcPlace place_;
    std::optional<std::variant<TcFilter, TcxLink>> attached_;  // empty: moved from or kept
};

// What automatic means here.
[[nodiscard]] TcAttach choose_tc_attach(TcAttach wanted) noexcept;

// Detaches what a process before may have left there.
void remove_tc_program(const TcPlace& place) noexcept;

}  // namespace splice
