// A kernel program on one side of an interface, by the clsact qdisc (tc-bpf(8)), which every kernel that runs
// our programs has.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "libsplice/base/system_error.hpp"

namespace splice {

enum class TcSide : std::uint8_t { ingress, egress };
[[nodiscard]] std::string_view to_string(TcSide side) noexcept;

// The programs read an Ethernet header: an error where the interface has none.
SystemResult<void> check_ethernet(const std::string& interface, TcSide side);

// Priority and handle under which our filters hang: those of a killed process are replaced in one step.
inline constexpr std::uint32_t kTcPriority = 5340;
inline constexpr std::uint32_t kTcHandle = 1;

class TcFilter {
  public:
    // Makes the clsact qdisc when there is none. `program` is a descriptor, which may be closed afterwards.
    // Errors: no privilege, no such interface, one without an Ethernet header.
    static SystemResult<TcFilter> attach(const std::string& interface, TcSide side, int program);
    TcFilter(TcFilter&& other) noexcept;
    TcFilter& operator=(TcFilter&& other) noexcept;
    // Detaches; the qdisc too, when nothing hangs on it any more.
    ~TcFilter();
    // Leaves the program where it is.
    void keep() noexcept { interface_ = 0; }

  private:
    TcFilter(std::uint32_t interface, TcSide side) noexcept : interface_(interface), side_(side) {}
    std::uint32_t interface_ = 0;  // index; 0: nothing to detach
    TcSide side_ = TcSide::ingress;
};

// Detaches what a process before may have left there, and the qdisc where nothing hangs on it any more.
void remove_tc_filter(const std::string& interface, TcSide side) noexcept;

}  // namespace splice
