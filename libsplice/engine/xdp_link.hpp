// An XDP program on an interface (bpf_link): detached at destruction, unless it was pinned and is to stay.
#pragma once

#include <optional>
#include <string>
#include <vector>

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

// While it lives, the interface merges no packets (GRO, LRO), nor does any device below it, a bridge's port
// or what a VLAN is made on, where merging is done. Generic XDP runs behind GRO and would edit merged
// packets, whose checksums are not finished.
class NoPacketMerging {
  public:
    static SystemResult<NoPacketMerging> on(const std::string& interface);
    NoPacketMerging(NoPacketMerging&& other) noexcept;
    NoPacketMerging& operator=(NoPacketMerging&& other) noexcept;
    ~NoPacketMerging();
    // The first device that merges now: a port that came later, or one that somebody turned on. Empty: none.
    [[nodiscard]] std::string who_merges() const;
    // Turns it off there, too.
    SystemResult<void> again();
    // Leaves it so: the data path goes on without this process.
    void keep() noexcept { were_on_.clear(); }

  private:
    explicit NoPacketMerging(std::string interface) noexcept : interface_(std::move(interface)) {}
    std::string interface_;
    std::vector<std::string> were_on_;
};

}  // namespace splice
