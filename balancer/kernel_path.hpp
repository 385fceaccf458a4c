// The balancer's data path in the kernel: the XDP program with its maps, on the uplink, pinned so that it
// outlives this process. Knows maps and pins; what packets mean is the program's and the Splicer's.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "libsplice/bpf/balancer_maps.h"
#include "libsplice/core/splicer.hpp"
#include "libsplice/engine/bpf_object.hpp"
#include "libsplice/engine/bpffs.hpp"
#include "libsplice/engine/next_hop.hpp"
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
    // The program is verified and its maps are there, with the flows of an earlier process if there was one;
    // nothing runs yet. Errors: another balancer runs on the interface; no bpffs; the kernel refuses the
    // program.
    static SystemResult<KernelPath> load(const KernelPathSettings& settings);
    KernelPath(KernelPath&&) noexcept = default;
    KernelPath& operator=(KernelPath&&) = delete;
    // Detaches and unpins, unless it is to be kept or was never attached.
    ~KernelPath();

    // Each service changes from old to new at once. Errors: the kernel has no memory for a table; then
    // services that are not written yet go on as they were.
    SystemResult<void> write_rules(const SplicerRules& rules);
    // By bridge number; without a next hop user space sends.
    void write_bridges(std::span<const SplicerBridge> bridges, std::span<const std::optional<NextHop>> hops);
    // How far the wall clock is from the monotonic one; again now and then, for it may be set.
    void write_clock();

    // From here on packets are handled: in the place of an earlier process's program, or by attaching.
    SystemResult<void> attach();

    [[nodiscard]] int flows() const { return object_.map("flows"); }
    [[nodiscard]] int asked() const { return object_.map("asked"); }
    // Of all processors together, since load().
    [[nodiscard]] splice_balancer_counters counters() const;
    // What attach() chose and why, for the log.
    [[nodiscard]] const std::string& description() const noexcept { return description_; }

  private:
    KernelPath(KernelPathSettings settings, Descriptor lock, PinFolder folder, BpfObject object) noexcept;
    SystemResult<void> write_table(std::uint32_t slot, std::span<const splice_placement_row> rows);
    SystemResult<void> write_service(const SplicerService& service, std::uint32_t table);
    void remove_other_services(const SplicerRules& rules);
    void write_secret(const splice_secret& secret);
    SystemResult<XdpMode> choose_mode();
    void choose_reply(XdpMode mode);
    SystemResult<void> pin();

    KernelPathSettings settings_;
    Descriptor lock_;
    PinFolder folder_;
    std::optional<Descriptor> old_flows_;  // of another capacity: copied
    BpfObject object_;
    MappedBpfArray memory_;                       // the program's settings
    splice_balancer_settings* kernel_ = nullptr;  // in that memory
    std::vector<std::uint8_t> generation_ = std::vector<std::uint8_t>(SPLICE_MAX_SERVICES + 1);  // by DSCP
    bool transmits_ = false;  // XDP_TX reaches where packets come from
    std::optional<NoPacketMerging> no_merging_;
    std::optional<XdpLink> link_;
    std::string description_;
};

// The numbers of bridges that the flows of an earlier process bear; empty when there was none.
std::vector<IpAddress> remembered_bridges(const std::string& bpffs, const std::string& interface);

}  // namespace splice
