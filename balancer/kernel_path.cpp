#include "balancer/kernel_path.hpp"

#include <bpf/bpf.h>
#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
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

// A link for each uplink; the first one's has the name that it had when there was one.
std::string link_pin(const InterfaceInfo& interface, const InterfaceInfo& first) {
    return interface.name == first.name ? "link" : "link-" + interface.name;
}

// The layout of the pinned path whose link is attached there; nothing when there is none.
std::optional<int> attached_layout(const std::string& bpffs, const InterfaceInfo& interface,
                                   const InterfaceInfo& first, const AttachedProgram& there) {
    if (there.link_id == 0) return std::nullopt;
    for (const int layout : pinned_layouts(bpffs, prefix_of(first.name))) {
        const std::string folder = folder_of(bpffs, first.name, layout);
        if (pinned_link_id(folder + "/" + link_pin(interface, first)) == there.link_id) return layout;
    }
    return std::nullopt;
}

// The layout of what an earlier process left: of the path that serves the interface, or ours.
int earlier_layout(const std::string& bpffs, const InterfaceInfo& interface) {
    const auto there = attached_xdp_program(interface);
    if (!there) return SPLICE_BALANCER_LAYOUT;
    return attached_layout(bpffs, interface, interface, *there).value_or(SPLICE_BALANCER_LAYOUT);
}

Descriptor earlier_map(const std::string& bpffs, const InterfaceInfo& interface, const char* map) {
    const int layout = earlier_layout(bpffs, interface);
    if (!is_readable_layout(layout)) return Descriptor();
    return Descriptor(
        bpf_obj_get(fmt::format("{}/{}", folder_of(bpffs, interface.name, layout), map).c_str()));
}

}  // namespace

SystemResult<KernelPath> KernelPath::load(const KernelPathSettings& settings) {
    const InterfaceInfo& first = settings.uplinks.front();
    auto folder = PinFolder::open(folder_of(settings.bpffs, first.name, SPLICE_BALANCER_LAYOUT));
    if (!folder) return std::unexpected(folder.error());
    InheritedMaps inherited;
    inherited.layout = earlier_layout(settings.bpffs, first);
    if (inherited.layout == SPLICE_BALANCER_LAYOUT) {
        inherited.flows = folder->get("flows");
        inherited.bridges = folder->get("bridges");
    } else {
        const std::string pin = folder_of(settings.bpffs, first.name, inherited.layout) + "/flows";
        if (Descriptor flows(bpf_obj_get(pin.c_str())); flows) inherited.flows = std::move(flows);
    }
    const int layout = inherited.layout;
    auto maps = KernelMaps::load(settings.max_flows, std::move(inherited));
    if (!maps) return std::unexpected(maps.error());
    return KernelPath(settings, layout, std::move(*folder), std::move(*maps));
}

KernelPath::KernelPath(KernelPathSettings settings, int layout, PinFolder folder, KernelMaps maps)
    : settings_(std::move(settings)), layout_(layout), folder_(std::move(folder)), maps_(std::move(maps)) {
    for (const InterfaceInfo& uplink : settings_.uplinks)
        uplinks_.push_back({.interface = uplink, .pin = link_pin(uplink, settings_.uplinks.front())});
}

KernelPath::~KernelPath() {
    if (!is_attached()) return;  // moved from, or never attached: an earlier process's path goes on
    if (goes_on()) {
        for (OnUplink& on : uplinks_)
            if (on.no_merging) on.no_merging->keep();
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

bool KernelPath::is_attached() const noexcept {
    return std::ranges::any_of(uplinks_, [](const OnUplink& on) { return on.link.has_value(); });
}

std::string KernelPath::folder_name(int layout) const {
    return folder_of(settings_.bpffs, settings_.uplinks.front().name, layout);
}

std::size_t KernelPath::number_of(const OnUplink& on) const noexcept {
    return static_cast<std::size_t>(&on - uplinks_.data());
}

std::string KernelPath::description() const {
    std::string all;
    for (const OnUplink& on : uplinks_) {
        if (!all.empty()) all += "; ";
        all += (uplinks_.size() > 1 ? on.interface.name + ": " : "") + on.description;
    }
    return all + description_;
}

// What the driver really delivers. A veth's frames of XDP_TX arrive only where the peer has XDP too; those of
// a redirect also where the peer merges packets; and the kernel counts the lost ones as sent. So it is tried.
SystemResult<XdpMode> KernelPath::choose_mode(OnUplink& on) {
    if (settings_.xdp_mode == XdpMode::generic || driver_of(on.interface.name) != "veth" ||
        redirect_arrives(maps_.redirect_probe(), on.interface))
        return settings_.xdp_mode;
    if (settings_.xdp_mode == XdpMode::automatic) {
        on.description = "what native XDP sends is lost in this veth; ";
        return XdpMode::generic;
    }
    return system_error(
        "run native XDP on " + on.interface.name, 0,
        "what it sends is lost in this veth: turn on its peer's GRO with ethtool -K PEER gro on, or try "
        "--xdp-mode generic");
}

SystemResult<void> KernelPath::choose_reply(OnUplink& on, XdpMode mode) {
    const auto addresses = ethernet_addresses_at(on.interface.index);
    if (!addresses) return std::unexpected(addresses.error());
    const std::string driver = driver_of(on.interface.name);
    const bool transmits = driver != "veth" || mode == XdpMode::generic;
    std::vector<Uplink> uplinks = maps_.uplinks();
    uplinks.resize(uplinks_.size());
    uplinks[number_of(on)] = {on.interface.index, addresses->own, addresses->upper, transmits};
    maps_.write_uplinks(std::move(uplinks));
    on.description += fmt::format("{} XDP, answers by {} (driver {})", to_string(mode),
                                  transmits ? "XDP_TX" : "redirect", driver);
    return {};
}

SystemResult<void> KernelPath::attach() {
    for (OnUplink& on : uplinks_) {
        if (auto attached = attach_program(on); !attached) return attached;
    }
    maps_.take_over_changes();
    return pin();
}

SystemResult<void> KernelPath::attach_program(OnUplink& on) {
    const auto mode = choose_mode(on);
    if (!mode) return std::unexpected(mode.error());
    if (auto attached = attach_link(on, *mode); !attached) return attached;
    if (on.link->mode() != XdpMode::generic || on.no_merging) return {};
    auto off = NoPacketMerging::on(on.interface.name);
    if (!off) return std::unexpected(off.error());
    on.no_merging.emplace(std::move(*off));
    return {};
}

// Until the uplink is written the program takes no frame for its own, so it answers none in a wrong way.
SystemResult<void> KernelPath::attach_link(OnUplink& on, XdpMode mode) {
    const std::string earlier_link = folder_name(layout_) + "/" + on.pin;
    auto earlier = XdpLink::open_pinned(earlier_link, on.interface);
    if (earlier && (mode == XdpMode::automatic || mode == earlier->mode())) {
        if (auto chosen = choose_reply(on, earlier->mode()); !chosen) return chosen;
        if (auto replaced = earlier->replace_program(maps_.program()); !replaced) return replaced;
        on.link = std::move(earlier);
        took_over_ = true;
        on.description += ", flows taken over";
        return {};
    }
    earlier.reset();
    (void)unlink(earlier_link.c_str());
    auto link = XdpLink::attach(maps_.program(), on.interface, mode);
    if (!link) return std::unexpected(link.error());
    if (auto chosen = choose_reply(on, link->mode()); !chosen) return chosen;
    on.link = std::move(*link);
    if (mode != on.link->mode()) on.description += ": " + on.link->reason();
    return {};
}

SystemResult<void> KernelPath::pin() {
    if (auto done = folder_.put("flows", maps_.flows()); !done) return done;
    if (auto done = folder_.put("bridges", maps_.bridges()); !done) return done;
    if (auto done = folder_.put("services", maps_.services()); !done) return done;
    for (OnUplink& on : uplinks_) {
        if (auto done = pin_link(on); !done) return done;
    }
    remove_other_links();
    remove_other_layouts();
    layout_ = SPLICE_BALANCER_LAYOUT;
    if (folder_.mounted()) description_ += ", a bpffs mounted at " + *folder_.mounted();
    if (const auto why = folder_.short_lived()) log_warning(*why);
    return {};
}

SystemResult<void> KernelPath::pin_link(OnUplink& on) {
    if (layout_ != SPLICE_BALANCER_LAYOUT)
        folder_.remove(on.pin.c_str());  // of a path that is not attached any more
    if (folder_.get(on.pin.c_str())) return {};
    return on.link->pin(folder_.pin(on.pin.c_str()));
}

HostFactList KernelPath::facts() {
    HostFactList facts;
    for (OnUplink& on : uplinks_) {
        facts.push_back(program_fact(on));
        facts.push_back(addresses_fact(on));
        facts.push_back(merging_fact(on));
    }
    return facts;
}

bool KernelPath::may_be_away(const OnUplink& on) const noexcept {
    return uplinks_.size() > 1 && interface_index(on.interface.name) == 0;
}

HostFact KernelPath::program_fact(OnUplink& on) {
    return {.kind = "xdp_program",
            .words = "the XDP program on " + on.interface.name,
            .observe = [this, &on]() -> std::optional<std::string> {
                if (on.link && on.link->is_on(interface_index(on.interface.name))) return std::nullopt;
                return may_be_away(on) ? std::nullopt : std::optional<std::string>("is gone");
            },
            .put_right = [this, &on] { return attach_again(on); },
            .silent = true};  // no notice tells that a link was detached
}

HostFact KernelPath::addresses_fact(OnUplink& on) {
    return {.kind = "ethernet_addresses",
            .words = "the program's knowledge of the Ethernet addresses of " + on.interface.name +
                     " and of devices above it",
            .observe = [this, &on]() -> std::optional<std::string> {
                if (may_be_away(on)) return std::nullopt;
                const std::uint32_t index = interface_index(on.interface.name);
                const auto now = ethernet_addresses_at(index);
                if (!now) return "cannot be compared: " + now.error().text;
                const Uplink& known = maps_.uplinks()[number_of(on)];
                if (index == known.interface && now->own == known.address && now->upper == known.upper)
                    return std::nullopt;
                return "is old, for they have changed";
            },
            .put_right = [this, &on] { return follow_addresses(on); }};
}

// Of generic XDP alone. Devices below come and go, and bring their own.
HostFact KernelPath::merging_fact(OnUplink& on) {
    return {.kind = "merging",
            .words = "that nothing below generic XDP merges packets (GRO) on " + on.interface.name,
            .observe = [&on]() -> std::optional<std::string> {
                const std::string who = on.no_merging ? on.no_merging->who_merges() : "";
                return who.empty() ? std::nullopt : std::optional("is not so at " + who);
            },
            .put_right = [&on] { return on.no_merging->again(); },
            .may_wait = true,
            .silent = true};
}

// The interface was removed and is back, under another index; or somebody detached the link.
SystemResult<void> KernelPath::attach_again(OnUplink& on) {
    auto interface = find_interface(on.interface.name);
    if (!interface) return std::unexpected(interface.error());
    if (interface->index != on.interface.index && on.no_merging) {
        // What was turned off is gone with its interface; the new one of that name has its own.
        on.no_merging->keep();
        on.no_merging.reset();
    }
    on.interface = std::move(*interface);
    on.link.reset();
    folder_.remove(on.pin.c_str());
    on.description.clear();
    if (auto attached = attach_program(on); !attached) return attached;
    return on.link->pin(folder_.pin(on.pin.c_str()));
}

SystemResult<void> KernelPath::follow_addresses(OnUplink& on) {
    // A device that was in another network namespace meanwhile has kept the program, but not its index.
    auto interface = find_interface(on.interface.name);
    if (!interface) return std::unexpected(interface.error());
    on.interface = std::move(*interface);
    const auto now = ethernet_addresses_at(on.interface.index);
    if (!now) return std::unexpected(now.error());
    std::vector<Uplink> uplinks = maps_.uplinks();
    Uplink& uplink = uplinks[number_of(on)];
    uplink.interface = on.interface.index;
    uplink.address = now->own;
    uplink.upper = now->upper;
    maps_.write_uplinks(std::move(uplinks));
    return {};
}

// Of uplinks that this start is not given: what hangs there by these pins goes.
void KernelPath::remove_other_links() const {
    std::error_code ignored;
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path(), ignored))
        names.push_back(entry.path().filename());
    for (const std::string& name : names) {
        if (name.starts_with("link") && std::ranges::find(uplinks_, name, &OnUplink::pin) == uplinks_.end())
            folder_.remove(name.c_str());
    }
}

// Nothing works on them any more.
void KernelPath::remove_other_layouts() const {
    for (const int layout : pinned_layouts(settings_.bpffs, prefix_of(settings_.uplinks.front().name))) {
        std::error_code ignored;
        if (layout != SPLICE_BALANCER_LAYOUT) std::filesystem::remove_all(folder_name(layout), ignored);
    }
}

SystemResult<void> check_no_other_path(const InterfaceInfo& interface, const InterfaceInfo& first,
                                       const std::string& bpffs, EngineChoice engine) {
    const auto there = attached_xdp_program(interface);
    if (!there || there->name != kBalancerProgram) return {};
    const std::string folder = folder_of(bpffs, first.name, SPLICE_BALANCER_LAYOUT);
    const bool takes_over = attached_layout(bpffs, interface, first, *there).has_value();
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
