#include "balancer/kernel_path.hpp"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

namespace splice {
namespace {

// A folder for each layout of the maps: what another version of them pinned is not taken for ours.
std::string folder_of(const std::string& bpffs, const std::string& interface) {
    return fmt::format("{}/balancer-{}-{}", bpffs, interface, SPLICE_BALANCER_LAYOUT);
}

// One balancer an interface: a name that lives in the network namespace and goes with its process.
SystemResult<Descriptor> lock_interface(const InterfaceInfo& interface) {
    Descriptor lock(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!lock) return system_error("open a local socket", errno);
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    // An abstract name: it begins with a zero byte.
    const std::string text = fmt::format("splicelb-balancer-{}", interface.index);
    std::memcpy(name.sun_path + 1, text.data(), text.size());
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
    if (bind(lock.get(), reinterpret_cast<const sockaddr*>(&name), length) == 0) return lock;
    return system_error("take interface " + interface.name, errno,
                        errno == EADDRINUSE ? "another balancer runs on it" : "");
}

}  // namespace

SystemResult<KernelPath> KernelPath::load(const KernelPathSettings& settings) {
    auto lock = lock_interface(settings.interface);
    if (!lock) return std::unexpected(lock.error());
    auto folder = PinFolder::open(folder_of(settings.bpffs, settings.interface.name));
    if (!folder) return std::unexpected(folder.error());
    auto maps = KernelMaps::load(settings.max_flows,
                                 {.flows = folder->get("flows"), .bridges = folder->get("bridges")});
    if (!maps) return std::unexpected(maps.error());
    return KernelPath(settings, std::move(*lock), std::move(*folder), std::move(*maps));
}

KernelPath::KernelPath(KernelPathSettings settings, Descriptor lock, PinFolder folder,
                       KernelMaps maps) noexcept
    : settings_(std::move(settings)),
      lock_(std::move(lock)),
      folder_(std::move(folder)),
      maps_(std::move(maps)) {}

KernelPath::~KernelPath() {
    if (!link_) return;  // moved from, or never attached: an earlier process's path, if any, goes on
    if (settings_.keep) {
        if (no_merging_) no_merging_->keep();
        return;
    }
    folder_.remove_all();
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
    const auto address = ethernet_address_of(settings_.interface.index);
    if (!address) return std::unexpected(address.error());
    const std::string driver = driver_of(settings_.interface.name);
    const bool transmits = driver != "veth" || mode == XdpMode::generic;
    maps_.write_uplink({settings_.interface.index, *address, transmits});
    description_ += fmt::format("{} XDP, answers by {} (driver {})", to_string(mode),
                                transmits ? "XDP_TX" : "redirect", driver);
    return {};
}

SystemResult<void> KernelPath::attach() {
    const auto mode = choose_mode();
    if (!mode) return std::unexpected(mode.error());
    if (auto attached = attach_link(*mode); !attached) return attached;
    if (link_->mode() == XdpMode::generic) {
        auto off = NoPacketMerging::on(settings_.interface.name);
        if (!off) return std::unexpected(off.error());
        no_merging_ = std::move(*off);
    }
    maps_.copy_latecomers();
    return pin();
}

// Until the uplink is written the program takes no frame for its own, so it answers none in a wrong way.
SystemResult<void> KernelPath::attach_link(XdpMode mode) {
    auto earlier = XdpLink::open_pinned(folder_.pin("link"), settings_.interface);
    if (earlier && (mode == XdpMode::automatic || mode == earlier->mode())) {
        if (auto chosen = choose_reply(earlier->mode()); !chosen) return chosen;
        if (auto replaced = earlier->replace_program(maps_.program()); !replaced) return replaced;
        link_ = std::move(earlier);
        description_ += ", flows taken over";
        return {};
    }
    earlier.reset();
    folder_.remove("link");
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
    if (!folder_.get("link")) {
        if (auto done = link_->pin(folder_.pin("link")); !done) return done;
    }
    if (folder_.mounted())
        description_ += fmt::format(
            ", pinned on a bpffs of our own at {}: seen in this mount namespace alone", *folder_.mounted());
    return {};
}

std::vector<IpAddress> remembered_bridges(const std::string& bpffs, const std::string& interface) {
    const Descriptor map(bpf_obj_get((folder_of(bpffs, interface) + "/bridges").c_str()));
    return map ? read_bridges(map.get()) : std::vector<IpAddress>();
}

}  // namespace splice
