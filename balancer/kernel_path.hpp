// The balancer's data path in the kernel: the XDP program on each uplink, pinned so that it outlives this
// process. Knows interfaces and pins; what the maps hold is kernel_maps' business.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "balancer/kernel_maps.hpp"
#include "libsplice/config/common.hpp"
#include "libsplice/engine/bpffs.hpp"
#include "libsplice/engine/xdp_link.hpp"

namespace splice {

struct KernelPathSettings {
    std::vector<InterfaceInfo> uplinks;  // at least one; the folder of pins is named after the first
    std::string bpffs;                   // the folder in which ours is made
    XdpMode xdp_mode = XdpMode::automatic;
    bool keep = false;  // leave it running at destruction
    std::size_t max_flows = kMaxFlows;
};

class KernelPath {
  public:
    // The maps are there, with the flows of an earlier process if there was one; nothing runs yet. The caller
    // holds the interface's lock. Errors: no bpffs; the kernel refuses the program.
    static SystemResult<KernelPath> load(const KernelPathSettings& settings);
    KernelPath(KernelPath&&) noexcept = default;
    KernelPath& operator=(KernelPath&&) = delete;
    // Detaches and unpins, unless it goes on or was never attached.
    ~KernelPath();

    [[nodiscard]] KernelMaps& maps() noexcept { return maps_; }
    [[nodiscard]] const KernelMaps& maps() const noexcept { return maps_; }

    // Flows of an earlier process that ours cannot go on with where they are: copied, and logged in one line.
    // The setup is the one that the maps were given.
    void take_over_flows(const SplicerSetup& setup);
    // From here on packets are handled: in the place of an earlier process's program, or by attaching.
    SystemResult<void> attach();
    // The start has succeeded. Before that, an earlier process's path that was taken over goes on at
    // destruction, whatever `keep` says.
    void settle() noexcept { settled_ = true; }
    // From here on `keep` is true.
    void hand_over() noexcept { settings_.keep = true; }
    [[nodiscard]] bool goes_on() const noexcept {
        return is_attached() && (settled_ ? settings_.keep : took_over_);
    }
    // What the program needs of the host, once it is attached. They refer to this.
    [[nodiscard]] HostFactList facts();
    // What attach() chose and why, for the log.
    [[nodiscard]] std::string description() const;

  private:
    // The program on one uplink.
    struct OnUplink {
        InterfaceInfo interface;
        std::string pin;  // the link's, in the folder
        std::optional<NoPacketMerging> no_merging{};
        std::optional<XdpLink> link{};
        std::string description{};
    };

    KernelPath(KernelPathSettings settings, int layout, PinFolder folder, KernelMaps maps);
    SystemResult<XdpMode> choose_mode(OnUplink& on);
    SystemResult<void> choose_reply(OnUplink& on, XdpMode mode);
    SystemResult<void> attach_link(OnUplink& on, XdpMode mode);
    SystemResult<void> attach_program(OnUplink& on);
    SystemResult<void> pin();
    SystemResult<void> pin_link(OnUplink& on);
    SystemResult<void> attach_again(OnUplink& on);
    SystemResult<void> follow_addresses(OnUplink& on);
    [[nodiscard]] HostFact merging_fact(OnUplink& on);
    [[nodiscard]] bool is_attached() const noexcept;
    [[nodiscard]] std::string folder_name(int layout) const;
    // Where the maps know of it.
    [[nodiscard]] std::size_t number_of(const OnUplink& on) const noexcept;
    // One of several may be away.
    [[nodiscard]] bool may_be_away(const OnUplink& on) const noexcept;
    [[nodiscard]] HostFact program_fact(OnUplink& on);
    [[nodiscard]] HostFact addresses_fact(OnUplink& on);
    void remove_other_layouts() const;
    void remove_other_links() const;

    KernelPathSettings settings_;
    int layout_;  // of the path that serves the interface until ours does
    PinFolder folder_;
    KernelMaps maps_;
    std::vector<OnUplink> uplinks_;  // as in the settings; their facts refer to them
    bool took_over_ = false;
    bool settled_ = false;
    std::string description_;  // of what is not one uplink's
};

// Refuses a start beside a program of ours that runs on the interface and that this start would not take
// over: it would go on serving by its own rules. The folder of pins is named after `first`, the first uplink.
// `engine` is what the start would take first; the error (EBUSY) says what runs there and how one is rid of
// it.
SystemResult<void> check_no_other_path(const InterfaceInfo& interface, const InterfaceInfo& first,
                                       const std::string& bpffs, EngineChoice engine);

// The numbers of services that the flows of an earlier process bear, as names by number; empty when there was
// none.
std::vector<std::string> remembered_services(const std::string& bpffs, const InterfaceInfo& interface);

// The numbers of bridges that the flows of an earlier process bear; empty when there was none.
std::vector<IpAddress> remembered_bridges(const std::string& bpffs, const InterfaceInfo& interface);

}  // namespace splice
