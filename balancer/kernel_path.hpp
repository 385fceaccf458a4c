// The balancer's data path in the kernel: the XDP program on the uplink, pinned so that it outlives this
// process. Knows interfaces and pins; what the maps hold is kernel_maps' business.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "balancer/kernel_maps.hpp"
#include "libsplice/engine/bpffs.hpp"
#include "libsplice/engine/xdp_link.hpp"

namespace splice {

struct KernelPathSettings {
    InterfaceInfo interface;
    std::string bpffs;  // the folder in which ours is made
    XdpMode xdp_mode = XdpMode::automatic;
    bool keep = false;  // leave it running at destruction
    std::size_t max_flows = kMaxFlows;
};

class KernelPath {
  public:
    // The maps are there, with the flows of an earlier process if there was one; nothing runs yet. Errors:
    // another balancer runs on the interface; no bpffs; the kernel refuses the program.
    static SystemResult<KernelPath> load(const KernelPathSettings& settings);
    KernelPath(KernelPath&&) noexcept = default;
    KernelPath& operator=(KernelPath&&) = delete;
    // Detaches and unpins, unless it is to be kept or was never attached.
    ~KernelPath();

    [[nodiscard]] KernelMaps& maps() noexcept { return maps_; }
    [[nodiscard]] const KernelMaps& maps() const noexcept { return maps_; }

    // From here on packets are handled: in the place of an earlier process's program, or by attaching.
    SystemResult<void> attach();
    // What attach() chose and why, for the log.
    [[nodiscard]] const std::string& description() const noexcept { return description_; }

  private:
    KernelPath(KernelPathSettings settings, Descriptor lock, PinFolder folder, KernelMaps maps) noexcept;
    SystemResult<XdpMode> choose_mode();
    SystemResult<void> choose_reply(XdpMode mode);
    SystemResult<void> attach_link(XdpMode mode);
    SystemResult<void> pin();

    KernelPathSettings settings_;
    Descriptor lock_;
    PinFolder folder_;
    KernelMaps maps_;
    std::optional<NoPacketMerging> no_merging_;
    std::optional<XdpLink> link_;
    std::string description_;
};

// The numbers of bridges that the flows of an earlier process bear; empty when there was none.
std::vector<IpAddress> remembered_bridges(const std::string& bpffs, const std::string& interface);

}  // namespace splice
