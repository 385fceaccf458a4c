// An XDP program on an interface (bpf_link): detached at destruction, unless it was pinned and is to stay.
#pragma once

#include <optional>
#include <string>

#include "libsplice/base/system_error.hpp"
#include "libsplice/base/xdp_mode.hpp"
#include "libsplice/engine/descriptor.hpp"
#include "libsplice/engine/interface.hpp"

namespace splice {

class XdpLink {
  public:
    // Errors: the driver has no native XDP; another program is attached; no privilege.
    static SystemResult<XdpLink> attach(int program, const InterfaceInfo& interface, XdpMode mode);
    // One that was pinned at `path` and still stands on that interface; nothing when there is none.
    static std::optional<XdpLink> open_pinned(const std::string& path, const InterfaceInfo& interface);

    XdpLink(XdpLink&&) noexcept = default;
    XdpLink& operator=(XdpLink&&) noexcept = default;
    ~XdpLink() = default;

    // Puts another program in the place of the one that runs; no packet passes between.
    SystemResult<void> replace_program(int program);
    // The kernel keeps it attached for as long as the pin is there, whatever becomes of this process.
    SystemResult<void> pin(const std::string& path);

    // Whether it still hangs on the interface of that index.
    [[nodiscard]] bool is_on(std::uint32_t interface) const noexcept;

    // native or generic, and why when it was to be chosen.
    [[nodiscard]] XdpMode mode() const noexcept { return mode_; }
    [[nodiscard]] const std::string& reason() const noexcept { return reason_; }

  private:
    XdpLink(Descriptor link, XdpMode mode, std::string reason) noexcept
        : link_(std::move(link)), mode_(mode), reason_(std::move(reason)) {}
    Descriptor link_;
    XdpMode mode_;
    std::string reason_;
};

// Whether frames that `program`, which redirects to its own interface, sends out of a veth arrive at its
// other end: they are lost unless the peer merges packets (GRO) or has XDP itself. Sends a few frames that
// nobody takes, from the interface's address to itself with the EtherType for local experiments (IEEE 802,
// 88-B5).
[[nodiscard]] bool redirect_arrives(int program, const InterfaceInfo& interface);

// The name of the interface's driver ("veth", "ixgbe"), or "unknown" (SIOCETHTOOL).
[[nodiscard]] std::string driver_of(const std::string& interface);

// While it lives, the interface merges no packets (GRO, LRO). Generic XDP runs behind GRO and would edit
// merged packets, whose checksums are not finished.
class NoPacketMerging {
  public:
    static SystemResult<NoPacketMerging> on(const std::string& interface);
    NoPacketMerging(NoPacketMerging&& other) noexcept;
    NoPacketMerging& operator=(NoPacketMerging&& other) noexcept;
    ~NoPacketMerging();
    // Leaves it so: the data path goes on without this process.
    void keep() noexcept { was_on_ = false; }

  private:
    NoPacketMerging(std::string interface, bool was_on) noexcept
        : interface_(std::move(interface)), was_on_(was_on) {}
    std::string interface_;
    bool was_on_ = false;
};

}  // namespace splice
