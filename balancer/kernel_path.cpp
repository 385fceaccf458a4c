#include "balancer/kernel_path.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "balancer_xdp.skel.h"
#include "libsplice/engine/bpf_flow_store.hpp"

namespace splice {
namespace {

constexpr const char* kProgram = "balancer_xdp";
constexpr std::uint32_t kOnly = 0;  // the key of an array of one

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

SystemResult<BpfObject> open_program() {
    std::size_t size = 0;
    const void* const bytes = balancer_xdp__elf_bytes(&size);
    return BpfObject::open("balancer", {static_cast<const std::byte*>(bytes), size});
}

std::uint32_t capacity_of(int map) noexcept {
    bpf_map_info info{};
    std::uint32_t length = sizeof(info);
    return bpf_obj_get_info_by_fd(map, &info, &length) == 0 ? info.max_entries : 0;
}

splice_service_key key_of(const IpAddress& vip, std::uint16_t port) noexcept {
    splice_service_key key{};
    key.vip = vip.raw();
    key.port = splice_htons(port);
    return key;
}

// What the kernel decides of a service's key, and what it leaves to user space.
splice_key_rule kernel_rule(const SplicerService& service) noexcept {
    splice_key_rule rule{};
    rule.length = service.key.length;
    rule.depth = static_cast<std::uint8_t>(service.key.depth);
    rule.kind = SPLICE_KEY_USER_SPACE;
    // A ketama ring is found by CRC-32, not by row.
    if (service.placement->algorithm() == Algorithm::ketama) return rule;
    if (service.key.kind == KeyKind::source) rule.kind = SPLICE_KEY_SOURCE;
    if (service.protocol == Protocol::http && service.key.kind == KeyKind::uri) rule.kind = SPLICE_KEY_URI;
    if (service.protocol == Protocol::http && service.key.kind == KeyKind::path) rule.kind = SPLICE_KEY_PATH;
    return rule;
}

splice_service_entry entry_of(const SplicerService& service, std::uint32_t table) noexcept {
    splice_service_entry entry{};
    entry.terms = {.mss = service.mss,
                   .window = kSynAckWindow,
                   .window_scale = service.window_scale,
                   .zero = {},
                   .tsval = 0};
    entry.rule = kernel_rule(service);
    entry.rows = static_cast<std::uint32_t>(service.placement->rows().size());
    entry.table = table;
    entry.dscp = service.dscp;
    entry.chooses_by_source = service.key.kind == KeyKind::source ? 1 : 0;
    return entry;
}

void add(splice_balancer_counters& sum, const splice_balancer_counters& one) noexcept {
    for (std::size_t i = 0; i < kVerdictCount; ++i) sum.verdicts[i] += one.verdicts[i];
    sum.asked += one.asked;
    sum.asked_overruns += one.asked_overruns;
    sum.chosen_by_source += one.chosen_by_source;
}

}  // namespace

SystemResult<KernelPath> KernelPath::load(const KernelPathSettings& settings) {
    auto lock = lock_interface(settings.interface);
    if (!lock) return std::unexpected(lock.error());
    auto folder = PinFolder::open(folder_of(settings.bpffs, settings.interface.name));
    if (!folder) return std::unexpected(folder.error());
    auto object = open_program();
    if (!object) return std::unexpected(object.error());
    KernelPath path(settings, std::move(*lock), std::move(*folder), std::move(*object));

    const auto capacity = static_cast<std::uint32_t>(settings.max_flows);
    path.object_.set_capacity("flows", capacity);
    if (auto flows = path.folder_.get("flows")) {
        if (capacity_of(flows->get()) != capacity) {
            path.old_flows_ = std::move(*flows);
        } else if (auto reused = path.object_.reuse_map("flows", flows->get()); !reused) {
            return std::unexpected(reused.error());
        }
    }
    if (const auto bridges = path.folder_.get("bridges")) {
        if (auto reused = path.object_.reuse_map("bridges", bridges->get()); !reused)
            return std::unexpected(reused.error());
    }
    if (auto loaded = path.object_.load(); !loaded) return std::unexpected(loaded.error());
    if (path.old_flows_) copy_flows(path.old_flows_->get(), path.flows());
    auto memory = MappedBpfArray::map(path.object_.map(".bss"), sizeof(splice_balancer_settings));
    if (!memory) return std::unexpected(memory.error());
    path.memory_ = std::move(*memory);
    path.kernel_ = static_cast<splice_balancer_settings*>(path.memory_.data());
    const auto mac = ethernet_address_of(settings.interface.index);
    if (!mac) return std::unexpected(mac.error());
    std::memcpy(&path.kernel_->mac, mac->data(), mac->size());
    path.write_clock();
    return path;
}

KernelPath::KernelPath(KernelPathSettings settings, Descriptor lock, PinFolder folder,
                       BpfObject object) noexcept
    : settings_(std::move(settings)),
      lock_(std::move(lock)),
      folder_(std::move(folder)),
      object_(std::move(object)) {}

KernelPath::~KernelPath() {
    if (!link_) return;  // moved from, or never attached: an earlier process's path, if any, goes on
    if (settings_.keep) {
        if (no_merging_) no_merging_->keep();
        return;
    }
    folder_.remove_all();
}

void KernelPath::write_clock() {
    timespec wall{};
    timespec monotonic{};
    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_MONOTONIC, &monotonic);
    const std::int64_t offset =
        (wall.tv_sec - monotonic.tv_sec) * 1'000'000'000 + (wall.tv_nsec - monotonic.tv_nsec);
    std::atomic_ref(kernel_->unix_minus_monotonic_ns).store(offset, std::memory_order_relaxed);
}

// --- Rules
// ---------------------------------------------------------------------------------------------------------

SystemResult<void> KernelPath::write_rules(const SplicerRules& rules) {
    write_secret(rules.secret);
    for (const SplicerService& service : rules.services) {
        std::uint8_t& generation = generation_[service.dscp];
        const std::uint32_t slot = 2U * (service.dscp - 1U) + (generation ^ 1U);
        if (auto written = write_table(slot, service.placement->rows()); !written) return written;
        if (auto written = write_service(service, slot); !written) return written;
        generation ^= 1U;
    }
    remove_other_services(rules);
    return {};
}

SystemResult<void> KernelPath::write_table(std::uint32_t slot, std::span<const splice_placement_row> rows) {
    bpf_map_create_opts options{};
    options.sz = sizeof(options);
    options.map_flags = BPF_F_INNER_MAP | BPF_F_MMAPABLE;
    const auto count = static_cast<std::uint32_t>(std::max<std::size_t>(rows.size(), 1));
    const Descriptor table(bpf_map_create(BPF_MAP_TYPE_ARRAY, "placement", sizeof(std::uint32_t),
                                          sizeof(splice_placement_row), count, &options));
    if (!table) return system_error(fmt::format("make a placement table of {} rows", count), errno);
    constexpr std::size_t kStride = 8;  // the kernel rounds values up
    const auto memory = MappedBpfArray::map(table.get(), count * kStride);
    if (!memory) return std::unexpected(memory.error());
    auto* at = static_cast<std::byte*>(memory->data());
    for (const splice_placement_row& row : rows) {
        std::memcpy(at, &row, sizeof(row));
        at += kStride;
    }
    const int descriptor = table.get();
    if (bpf_map_update_elem(object_.map("tables"), &slot, &descriptor, BPF_ANY) == 0) return {};
    return system_error("put a placement table into its place", errno);
}

SystemResult<void> KernelPath::write_service(const SplicerService& service, std::uint32_t table) {
    const int services = object_.map("services");
    const splice_service_entry entry = entry_of(service, table);
    const splice_service_entry is_vip{};
    const splice_service_key key = key_of(service.vip.address, service.vip.port);
    const splice_service_key vip = key_of(service.vip.address, 0);
    if (bpf_map_update_elem(services, &vip, &is_vip, BPF_ANY) != 0 ||
        bpf_map_update_elem(services, &key, &entry, BPF_ANY) != 0)
        return system_error("write service " + service.name + " into the kernel's table", errno);
    return {};
}

void KernelPath::remove_other_services(const SplicerRules& rules) {
    const int services = object_.map("services");
    const auto wanted = [&](const splice_service_key& key) {
        return std::ranges::any_of(rules.services, [&](const SplicerService& service) {
            return splice_address_equal(&service.vip.address.raw(), &key.vip) &&
                   (key.port == 0 || splice_ntohs(key.port) == service.vip.port);
        });
    };
    std::vector<splice_service_key> gone;
    splice_service_key key{};
    for (int error = bpf_map_get_next_key(services, nullptr, &key); error == 0;
         error = bpf_map_get_next_key(services, &key, &key)) {
        if (!wanted(key)) gone.push_back(key);
    }
    for (const splice_service_key& each : gone) (void)bpf_map_delete_elem(services, &each);
}

void KernelPath::write_secret(const splice_secret& secret) {
    const std::uint32_t other = kernel_->secret ^ 1U;
    kernel_->secrets[other] = secret;
    // The program reads the number first: whoever sees the new one sees the new secret.
    std::atomic_ref(kernel_->secret).store(other, std::memory_order_release);
}

void KernelPath::write_bridges(std::span<const SplicerBridge> bridges,
                               std::span<const std::optional<NextHop>> hops) {
    const int map = object_.map("bridges");
    for (std::uint32_t i = 0; i < bridges.size() && i < SPLICE_MAX_BRIDGES; ++i) {
        splice_bridge_entry was{};
        (void)bpf_map_lookup_elem(map, &i, &was);
        splice_bridge_entry entry{};
        entry.address = bridges[i].address.raw();
        if (i < hops.size() && hops[i]) {
            const NextHop& hop = *hops[i];
            std::memcpy(entry.link, hop.neighbour.data(), hop.neighbour.size());
            std::memcpy(reinterpret_cast<std::byte*>(entry.link) + hop.neighbour.size(), hop.source.data(),
                        hop.source.size());
            const bool back = transmits_ && hop.interface == settings_.interface.index;
            entry.out = back ? SPLICE_OUT_BACK : hop.interface;
        } else if (splice_address_equal(&was.address, &entry.address)) {
            // Better a neighbour that does not answer than a flood of packets into user space.
            std::memcpy(entry.link, was.link, sizeof(entry.link));
            entry.out = was.out;
        }
        if (std::memcmp(&was, &entry, sizeof(entry)) != 0)
            (void)bpf_map_update_elem(map, &i, &entry, BPF_ANY);
    }
}

// --- Attaching
// -----------------------------------------------------------------------------------------------------

// What the driver really delivers. A veth's frames of XDP_TX arrive only where the peer has XDP too; those of
// a redirect also where the peer merges packets; and the kernel counts the lost ones as sent. So it is tried.
SystemResult<XdpMode> KernelPath::choose_mode() {
    if (settings_.xdp_mode == XdpMode::generic || driver_of(settings_.interface.name) != "veth" ||
        redirect_arrives(object_.program("redirect_probe"), settings_.interface))
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

void KernelPath::choose_reply(XdpMode mode) {
    const std::string driver = driver_of(settings_.interface.name);
    transmits_ = driver != "veth" || mode == XdpMode::generic;
    kernel_->reply = transmits_ ? SPLICE_OUT_BACK : settings_.interface.index;
    description_ += fmt::format("{} XDP, answers by {} (driver {})", to_string(mode),
                                transmits_ ? "XDP_TX" : "redirect", driver);
}

SystemResult<void> KernelPath::attach() {
    const auto mode = choose_mode();
    if (!mode) return std::unexpected(mode.error());
    const int program = object_.program(kProgram);
    auto earlier = XdpLink::open_pinned(folder_.pin("link"), settings_.interface);
    if (earlier && (*mode == XdpMode::automatic || *mode == earlier->mode())) {
        choose_reply(earlier->mode());
        if (auto replaced = earlier->replace_program(program); !replaced) return replaced;
        link_ = std::move(earlier);
        description_ += ", flows taken over";
    } else {
        earlier.reset();
        folder_.remove("link");
        auto link = XdpLink::attach(program, settings_.interface, *mode);
        if (!link) return std::unexpected(link.error());
        choose_reply(link->mode());
        link_ = std::move(*link);
        if (*mode != link_->mode()) description_ += ": " + link_->reason();
    }
    if (link_->mode() == XdpMode::generic) {
        auto off = NoPacketMerging::on(settings_.interface.name);
        if (!off) return std::unexpected(off.error());
        no_merging_ = std::move(*off);
    }
    // What the earlier program opened since the first copy.
    if (old_flows_) copy_flows(old_flows_->get(), flows());
    old_flows_.reset();
    return pin();
}

SystemResult<void> KernelPath::pin() {
    if (auto done = folder_.put("flows", flows()); !done) return done;
    if (auto done = folder_.put("bridges", object_.map("bridges")); !done) return done;
    if (!folder_.get("link")) {
        if (auto done = link_->pin(folder_.pin("link")); !done) return done;
    }
    if (folder_.mounted())
        description_ += fmt::format(
            ", pinned on a bpffs of our own at {}: seen in this mount namespace alone", *folder_.mounted());
    return {};
}

splice_balancer_counters KernelPath::counters() const {
    static const auto processors = static_cast<std::size_t>(std::max(libbpf_num_possible_cpus(), 1));
    std::vector<splice_balancer_counters> each(processors);
    static_assert(sizeof(splice_balancer_counters) % 8 == 0, "values of a processor stand side by side");
    splice_balancer_counters sum{};
    if (bpf_map_lookup_elem(object_.map("counters"), &kOnly, each.data()) != 0) return sum;
    for (const splice_balancer_counters& one : each) add(sum, one);
    return sum;
}

std::vector<IpAddress> remembered_bridges(const std::string& bpffs, const std::string& interface) {
    std::vector<IpAddress> bridges;
    const Descriptor map(bpf_obj_get((folder_of(bpffs, interface) + "/bridges").c_str()));
    if (!map) return bridges;
    std::size_t used = 0;
    for (std::uint32_t i = 0; i < capacity_of(map.get()); ++i) {
        splice_bridge_entry entry{};
        if (bpf_map_lookup_elem(map.get(), &i, &entry) != 0) break;
        bridges.emplace_back(entry.address);
        if (!bridges.back().is_unspecified()) used = bridges.size();
    }
    bridges.resize(used);
    return bridges;
}

}  // namespace splice
