#include "libsplice/engine/xdp_link.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>
#include <utility>

#include "libsplice/engine/attached_program.hpp"
#include "libsplice/engine/next_hop.hpp"
#include "libsplice/engine/stacked_devices.hpp"

namespace splice {
namespace {

constexpr std::string_view kProgram = "balancer_xdp";
constexpr int kProbeFrames = 16;
constexpr int kProbeTries = 10;
constexpr auto kProbePause = std::chrono::milliseconds(2);

std::string attaching(const InterfaceInfo& interface, XdpMode mode) {
    return std::string("attach XDP program ")
        .append(kProgram)
        .append(" to ")
        .append(interface.name)
        .append(" in ")
        .append(to_string(mode))
        .append(" mode");
}

std::string_view hint_for(int code, XdpMode mode) noexcept {
    switch (code) {
        case EBUSY:
        case EEXIST:
            return "another XDP program is there";
        case EOPNOTSUPP:
            return mode == XdpMode::native ? "the driver has no native XDP; try --xdp-mode generic" : "";
        case EINVAL:
        case ERANGE:
            return mode == XdpMode::native
                       ? "the driver refuses it with this MTU or these queues; try --xdp-mode generic"
                       : "";
        default:
            return "";
    }
}

SystemResult<Descriptor> attach_in_mode(int program, const InterfaceInfo& interface, XdpMode mode) {
    bpf_link_create_opts options{};
    options.sz = sizeof(options);
    options.flags = mode == XdpMode::native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
    const int link = bpf_link_create(program, static_cast<int>(interface.index), BPF_XDP, &options);
    if (link < 0) {
        const int error = errno;
        std::string hint(hint_for(error, mode));
        if (const auto other = attached_xdp_program(interface); other && (error == EBUSY || error == EEXIST))
            hint += ": " + other->name + ", id " + std::to_string(other->id);
        return system_error(attaching(interface, mode), error, hint);
    }
    return Descriptor(link);
}

// What runs there now, by the kernel's word.
XdpMode mode_of(const InterfaceInfo& interface) noexcept {
    bpf_xdp_query_opts answer{};
    answer.sz = sizeof(answer);
    const bool known = bpf_xdp_query(static_cast<int>(interface.index), 0, &answer) == 0;
    return known && answer.attach_mode == XDP_ATTACHED_SKB ? XdpMode::generic : XdpMode::native;
}

// Any socket carries ethtool's questions.
int ask_ethtool(const std::string& interface, void* question) noexcept {
    const Descriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket) return errno;
    ifreq request{};
    std::strncpy(request.ifr_name, interface.c_str(), IFNAMSIZ - 1);
    request.ifr_data = static_cast<char*>(question);
    return ioctl(socket.get(), SIOCETHTOOL, &request) < 0 ? errno : 0;
}

int set_gro(const std::string& interface, bool on) noexcept {
    ethtool_value value{};
    value.cmd = ETHTOOL_SGRO;
    value.data = on ? 1 : 0;
    return ask_ethtool(interface, &value);
}

// One that cannot say has none.
bool merges(const std::string& interface) noexcept {
    ethtool_value value{};
    value.cmd = ETHTOOL_GGRO;
    return ask_ethtool(interface, &value) == 0 && value.data != 0;
}

// A veth counts there what its peer has taken.
std::uint64_t sent_packets(const std::string& interface) {
    std::uint64_t packets = 0;
    std::ifstream("/sys/class/net/" + interface + "/statistics/tx_packets") >> packets;
    return packets;
}

}  // namespace

SystemResult<XdpLink> XdpLink::attach(int program, const InterfaceInfo& interface, XdpMode mode) {
    if (mode != XdpMode::automatic) {
        auto link = attach_in_mode(program, interface, mode);
        if (!link) return std::unexpected(link.error());
        return XdpLink(std::move(*link), mode, "as configured");
    }
    auto native = attach_in_mode(program, interface, XdpMode::native);
    if (native) return XdpLink(std::move(*native), XdpMode::native, "the driver can");
    // Something else is attached: another mode would not change that.
    if (native.error().code == EBUSY || native.error().code == EEXIST || native.error().code == EPERM)
        return std::unexpected(native.error());
    auto generic = attach_in_mode(program, interface, XdpMode::generic);
    if (!generic) return std::unexpected(generic.error());
    return XdpLink(std::move(*generic), XdpMode::generic, native.error().text);
}

std::optional<XdpLink> XdpLink::open_pinned(const std::string& path, const InterfaceInfo& interface) {
    Descriptor link(bpf_obj_get(path.c_str()));
    if (!link) return std::nullopt;
    bpf_link_info info{};
    std::uint32_t length = sizeof(info);
    // The index is 0 when the interface is gone, and another one's when it was made anew.
    if (bpf_obj_get_info_by_fd(link.get(), &info, &length) != 0 || info.type != BPF_LINK_TYPE_XDP ||
        info.xdp.ifindex != interface.index)
        return std::nullopt;
    return XdpLink(std::move(link), mode_of(interface), "as it was");
}

SystemResult<void> XdpLink::replace_program(int program) {
    if (bpf_link_update(link_.get(), program, nullptr) == 0) return {};
    return system_error("replace the attached XDP program", errno);
}

bool XdpLink::is_on(std::uint32_t interface) const noexcept {
    bpf_link_info info{};
    std::uint32_t length = sizeof(info);
    // The index is 0 once the link is detached or the interface is gone.
    return interface != 0 && bpf_obj_get_info_by_fd(link_.get(), &info, &length) == 0 &&
           info.xdp.ifindex == interface;
}

SystemResult<void> XdpLink::pin(const std::string& path) {
    if (bpf_obj_pin(link_.get(), path.c_str()) == 0) return {};
    return system_error("pin the XDP link at " + path, errno);
}

bool redirect_arrives(int program, const InterfaceInfo& interface) {
    const auto own = ethernet_address_of(interface.index);
    if (!own) return false;
    std::array<std::uint8_t, 60> frame{};
    std::ranges::copy(*own, frame.begin());
    std::ranges::copy(*own, frame.begin() + 6);
    frame[12] = 0x88;
    frame[13] = 0xb5;
    xdp_md context{};
    context.data_end = frame.size();
    context.ingress_ifindex = interface.index;
    bpf_test_run_opts options{};
    options.sz = sizeof(options);
    options.data_in = frame.data();
    options.data_size_in = frame.size();
    options.ctx_in = &context;
    options.ctx_size_in = sizeof(context);
    options.repeat = kProbeFrames;
    options.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
    const std::uint64_t before = sent_packets(interface.name);
    // Linux before 5.18 cannot be asked.
    if (bpf_prog_test_run_opts(program, &options) != 0) return false;
    for (int tries = 0; tries < kProbeTries; ++tries) {
        if (sent_packets(interface.name) - before >= kProbeFrames) return true;
        std::this_thread::sleep_for(kProbePause);
    }
    return false;
}

std::string driver_of(const std::string& interface) {
    ethtool_drvinfo info{};
    info.cmd = ETHTOOL_GDRVINFO;
    if (ask_ethtool(interface, &info) != 0) return "unknown";
    return {info.driver, strnlen(info.driver, sizeof(info.driver))};
}

SystemResult<NoPacketMerging> NoPacketMerging::on(const std::string& interface) {
    NoPacketMerging off(interface);
    if (auto done = off.again(); !done) return std::unexpected(done.error());
    return off;
}

std::string NoPacketMerging::who_merges() const {
    for (const std::string& name : with_devices_below(interface_))
        if (merges(name)) return name;
    return {};
}

SystemResult<void> NoPacketMerging::again() {
    for (const std::string& name : with_devices_below(interface_)) {
        if (!merges(name)) continue;
        if (const int error = set_gro(name, false))
            return system_error(
                "turn off generic receive offload of " + name, error,
                "generic XDP must see packets as they came; try ethtool -K " + name + " gro off");
        if (std::ranges::find(were_on_, name) == were_on_.end()) were_on_.push_back(name);
    }
    return {};
}

NoPacketMerging::NoPacketMerging(NoPacketMerging&& other) noexcept
    : interface_(std::move(other.interface_)), were_on_(std::exchange(other.were_on_, {})) {}

NoPacketMerging& NoPacketMerging::operator=(NoPacketMerging&& other) noexcept {
    std::swap(interface_, other.interface_);
    std::swap(were_on_, other.were_on_);
    return *this;
}

NoPacketMerging::~NoPacketMerging() {
    for (const std::string& name : were_on_) (void)set_gro(name, true);
}

}  // namespace splice
