#include "balancer/kernel_path.hpp"

#include <bpf/bpf.h>
#include <fmt/format.h>

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "balancer/earlier_layout.hpp"
#include "libsplice/engine/attached_program.hpp"
#include "libsplice/ops/log.hpp"

namespace splice {
namespace {

constexpr const char* kBalancerProgram = "balancer_xdp";

std::string prefix_of(const std::string& interface) {
    return fmt::format("balancer-{}-", interface);
}

// A folder for each layout of the maps.
std::string folder_of(const std::string& bpffs, const std::string& interface, int layout) {
    return fmt::format("{}/{}{}", bpffs, prefix_of(interface), layout);
}

// The layout of the pinned path whose link is attached; nothing when there is none.
std::optional<int> attached_layout(const std::string& bpffs, const InterfaceInfo& interface,
                                   const AttachedProgram& there) {
    if (there.link_id == 0) return std::nullopt;
    for (const int layout : pinned_layouts(bpffs, prefix_of(interface.name))) {
        if (pinned_link_id(folder_of(bpffs, interface.name, layout) + "/link") == there.link_id)
            return layout;
    }
    return std::nullopt;
}

// The layout of what an earlier process left: of the path that serves the interface, or ours.
int earlier_layout(const std::string& bpffs, const InterfaceInfo& interface) {
    const auto there = attached_xdp_program(interface);
    if (!there) return SPLICE_BALANCER_LAYOUT;
    return attached_layout(bpffs, interface, *there).value_or(SPLICE_BALANCER_LAYOUT);
}

Descriptor earlier_map(const std::string& bpffs, const InterfaceInfo& interface, const char* map) {
    const int layout = earlier_layout(bpffs, interface);
    if (!is_readable_layout(layout)) return Descriptor();
    return Descriptor(
        bpf_obj_get(fmt::format("{}/{}", folder_of(bpffs, interface.name, layout), map).c_str()));
}

}  // namespace

SystemResult<KernelPath> KernelPath::load(const KernelPathSettings& settings) {
    auto folder = PinFolder::open(folder_of(settings.bpffs, settings.interface.name, SPLICE_BALANCER_LAYOUT));
    if (!folder) return std::unexpected(folder.error());
    InheritedMaps inherited;
    inherited.layout = earlier_layout(settings.bpffs, settings.interface);
    if (inherited.layout == SPLICE_BALANCER_LAYOUT) {
        inherited.flows = folder->get("flows");
        inherited.bridges = folder->get("bridges");
    } else {
        const std::string pin =
            folder_of(settings.bpffs, settings.interface.name, inherited.layout) + "/flows";
        if (Descriptor flows(bpf_obj_get(pin.c_str())); flows) inherited.flows = std::move(flows);
    }
    const int layout = inherited.layout;
    auto maps = KernelMaps::load(settings.max_flows, std::move(inherited));
    if (!maps) return std::unexpected(maps.error());
    return KernelPath(settings, layout, std::move(*folder), std::move(*maps));
}

KernelPath::KernelPath(KernelPathSettings settings, int layout, PinFolder folder, KernelMaps maps) noexcept
    : settings_(std::move(settings)), layout_(layout), folder_(std::move(folder)), maps_(std::move(maps)) {}

KernelPath::~KernelPath() {
    if (!link_) return;  // moved from, or never attached: an earlier process's path, if any, goes on
    if (goes_on()) {
        if (no_merging_) no_merging_->keep();
        return;
    }
    folder_.remove_all();
}

void KernelPath::take_over_flows(const SplicerSetup& setup) {
    const auto taken = maps_.take_over_flows(setup);
    if (!taken) return;
    const std::string line = describe(*taken, layout_);
    if (line.empty()) return;
    if (taken->unserved + taken->refused + taken->unread == 0) return log_info(line);
    log_warning(line);
}

// What the driver really delivers. A veth's frames of XDP_TX arrive only where the peer has XDP too; those of
// a redirect also where the peer merges packets; and the kernel counts the lost ones as sent. So it is tried.
SystemResult<XdpMode> KernelPath::choose_mode() {
    if (settings_.xdp_mode == XdpMode::generic || driver_of(settings_.interface.name) != "veth" ||
        redirect_arrives(maps_.redirect_probe(), settings_.interface))
        return settings_.xdp_mode;
    if (settings_.xdp_mode == XdpMode::automatic) {
        description_ = "what native XDP sends is lost in this veth; ";
        return XdpMode::generic;
    }
    return system_error(
        "run native XDP on " + settings_.interface.name, 0,
        "what it sends is lost in this veth: turn on its peer's GRO with ethtool -K PEER gro on, or try "
        "--xdp-mode generic");
}

SystemResult<void> KernelPath::choose_reply(XdpMode mode) {
    const auto addresses = ethernet_addresses_at(settings_.interface.index);
    if (!addresses) return std::unexpected(addresses.error());
    const std::string driver = driver_of(settings_.interface.name);
    const bool transmits = driver != "veth" || mode == XdpMode::generic;
    maps_.write_uplink({settings_.interface.index, addresses->own, addresses->upper, transmits});
    description_ += fmt::format("{} XDP, answers by {} (driver {})", to_string(mode),
                                transmits ? "XDP_TX" : "redirect", driver);
    return {};
}

SystemResult<void> KernelPath::attach() {
    if (auto attached = attach_program(); !attached) return attached;
    maps_.take_over_changes();
    return pin();
}

SystemResult<void> KernelPath::attach_program() {
    const auto mode = choose_mode();
    if (!mode) return std::unexpected(mode.error());
    if (auto attached = attach_link(*mode); !attached) return attached;
    if (link_->mode() != XdpMode::generic || no_merging_) return {};
    auto off = NoPacketMerging::on(settings_.interface.name);
    if (!off) return std::unexpected(off.error());
    no_merging_.emplace(std::move(*off));
    return {};
}

// Until the uplink is written the program takes no frame for its own, so it answers none in a wrong way.
SystemResult<void> KernelPath::attach_link(XdpMode mode) {
    const std::string earlier_link = folder_of(settings_.bpffs, settings_.interface.name, layout_) + "/link";
    auto earlier = XdpLink::open_pinned(earlier_link, settings_.interface);
    if (earlier && (mode == XdpMode::automatic || mode == earlier->mode())) {
        if (auto chosen = choose_reply(earlier->mode()); !chosen) return chosen;
        if (auto replaced = earlier->replace_program(maps_.program()); !replaced) return replaced;
        link_ = std::move(earlier);
        took_over_ = true;
        description_ += ", flows taken over";
        return {};
    }
    earlier.reset();
    (void)unlink(earlier_link.c_str());
    auto link = XdpLink::attach(maps_.program(), settings_.interface, mode);
    if (!link) return std::unexpected(link.error());
    if (auto chosen = choose_reply(link->mode()); !chosen) return chosen;
    link_ = std::move(*link);
    if (mode != link_->mode()) description_ += ": " + link_->reason();
    return {};
}

SystemResult<void> KernelPath::pin() {
    if (auto done = folder_.put("flows", maps_.flows()); !done) return done;
    if (auto done = folder_.put("bridges", maps_.bridges()); !done) return done;
    if (auto done = folder_.put("services", maps_.services()); !done) return done;
    if (layout_ != SPLICE_BALANCER_LAYOUT) folder_.remove("link");  // of a path that is not attached any more
    if (!folder_.get("link")) {
        if (auto done = link_->pin(folder_.pin("link")); !done) return done;
    }
    remove_other_layouts();
    layout_ = SPLICE_BALANCER_LAYOUT;
    if (folder_.mounted()) description_ += ", a bpffs mounted at " + *folder_.mounted();
    if (const auto why = folder_.short_lived()) log_warning(*why);
    return {};
}

HostFactList KernelPath::facts() {
    const std::string& interface = settings_.interface.name;
    return {{.kind = "xdp_program",
             .words = "the XDP program on " + interface,
             .observe = [this]() -> std::optional<std::string> {
                 if (link_ && link_->is_on(interface_index(settings_.interface.name))) return std::nullopt;
                 return "is gone";
             },
             .put_right = [this] { return attach_again(); },
             .silent = true},  // no notice tells that a link was detached
            {.kind = "ethernet_addresses",
             .words = "the program's knowledge of the Ethernet addresses of " + interface +
                      " and of devices above it",
             .observe = [this]() -> std::optional<std::string> {
                 const std::uint32_t index = interface_index(settings_.interface.name);
                 const auto now = ethernet_addresses_at(index);
                 if (!now) return "cannot be compared: " + now.error().text;
                 const Uplink& known = maps_.uplink();
                 if (index == known.interface && now->own == known.address && now->upper == known.upper)
                     return std::nullopt;
                 return "is old, for they have changed";
             },
             .put_right = [this] { return follow_addresses(); }}};
}

// The interface was removed and is back, under another index; or somebody detached the link.
SystemResult<void> KernelPath::attach_again() {
    auto interface = find_interface(settings_.interface.name);
    if (!interface) return std::unexpected(interface.error());
    if (interface->index != settings_.interface.index && no_merging_) {
        // What was turned off is gone with its interface; the new one of that name has its own.
        no_merging_->keep();
        no_merging_.reset();
    }
    settings_.interface = std::move(*interface);
    link_.reset();
    folder_.remove("link");
    description_.clear();
    if (auto attached = attach_program(); !attached) return attached;
    return link_->pin(folder_.pin("link"));
}

SystemResult<void> KernelPath::follow_addresses() {
    // A device that was in another network namespace meanwhile has kept the program, but not its index.
    auto interface = find_interface(settings_.interface.name);
    if (!interface) return std::unexpected(interface.error());
    settings_.interface = std::move(*interface);
    const auto now = ethernet_addresses_at(settings_.interface.index);
    if (!now) return std::unexpected(now.error());
    Uplink uplink = maps_.uplink();
    uplink.interface = settings_.interface.index;
    uplink.address = now->own;
    uplink.upper = now->upper;
    maps_.write_uplink(uplink);
    return {};
}

// Nothing works on them any more.
void KernelPath::remove_other_layouts() const {
    for (const int layout : pinned_layouts(settings_.bpffs, prefix_of(settings_.interface.name))) {
        std::error_code ignored;
        if (layout != SPLICE_BALANCER_LAYOUT)
            std::filesystem::remove_all(folder_of(settings_.bpffs, settings_.interface.name, layout),
                                        ignored);
    }
}

SystemResult<void> check_no_other_path(const InterfaceInfo& interface, const std::string& bpffs,
                                       EngineChoice engine) {
    const auto there = attached_xdp_program(interface);
    if (!there || there->name != kBalancerProgram) return {};
    const std::string folder = folder_of(bpffs, interface.name, SPLICE_BALANCER_LAYOUT);
    const bool takes_over = attached_layout(bpffs, interface, *there).has_value();
    if (takes_over && engine != EngineChoice::nfqueue) return {};
    return system_error(
        fmt::format(
            "start on {}: the XDP program {} (id {}, link {}) of an earlier balancer serves it and is {}",
            interface.name, there->name, there->id, there->link_id,
            takes_over ? "kept" : "not pinned in " + folder),
        EBUSY,
        fmt::format("start with {} to take it over, or end it with: bpftool link detach id {}",
                    takes_over ? "--engine ebpf" : "--engine ebpf and the --bpffs that it was started with",
                    there->link_id));
}

std::vector<std::string> remembered_services(const std::string& bpffs, const InterfaceInfo& interface) {
    const Descriptor map = earlier_map(bpffs, interface, "services");
    return map ? read_service_names(map.get()) : std::vector<std::string>();
}

std::vector<IpAddress> remembered_bridges(const std::string& bpffs, const InterfaceInfo& interface) {
    const Descriptor map = earlier_map(bpffs, interface, "bridges");
    return map ? read_bridges(map.get()) : std::vector<IpAddress>();
}

}  // namespace splice
