// A kernel program on one side of an interface by TCX (Linux 6.6): a bpf_link, detached at destruction unless
// it was pinned and is to stay. Nobody takes it with a qdisc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/descriptor.hpp"
#include "libsplice/engine/tc_filter.hpp"

namespace splice {

// Whether the kernel has TCX.
[[nodiscard]] bool kernel_has_tcx() noexcept;

// The ids of the programs on that side of the interface, in the order in which they run; none where the
// kernel has no TCX.
[[nodiscard]] std::vector<std::uint32_t> tcx_programs(std::uint32_t interface, TcSide side);

class TcxLink {
  public:
    // Before other programs on that side. Errors: no TCX, no privilege, no such interface.
    static SystemResult<TcxLink> attach(const std::string& interface, TcSide side, int program);
    // One that was pinned at `path` and still hangs on that side of the interface; nothing when there is
    // none.
    static std::optional<TcxLink> open_pinned(const std::string& path, std::uint32_t interface, TcSide side);
    // One that some process has, by its id; the same condition.
    static std::optional<TcxLink> open_by_id(std::uint32_t link, std::uint32_t interface, TcSide side);

    // Puts another program in the place of the one that runs; no packet passes between.
    SystemResult<void> replace_program(int program);
    // The kernel keeps it attached for as long as the pin is there. A pin of that name goes.
    SystemResult<void> pin(const std::string& path);
    // Off the interface, whatever pins it.
    void detach() noexcept;

    // Whether it still hangs on the interface of that index, with that program.
    [[nodiscard]] bool runs(std::uint32_t interface, std::uint32_t program) const noexcept;

  private:
    explicit TcxLink(Descriptor link) noexcept : link_(std::move(link)) {}
    [[nodiscard]] bool is_at(std::uint32_t interface, TcSide side) const noexcept;
    Descriptor link_;
};

// The id of the link by which the program hangs there; 0: none that this process may ask for.
[[nodiscard]] std::uint32_t tcx_link_of(std::uint32_t interface, TcSide side, std::uint32_t program);

}  // namespace splice
