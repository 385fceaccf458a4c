#include "packetbridge/bridge_programs.hpp"

#include <bpf/bpf.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <span>
#include <string_view>

#include "bridge_adopt.skel.h"
#include "bridge_translate.skel.h"
#include "libsplice/engine/next_hop.hpp"
#include "packetbridge/earlier_layout.hpp"

namespace splice {
namespace {

// A pin's name has the layout in it.
std::string pin_name(const char* map, int layout = SPLICE_BRIDGE_LAYOUT) {
    return fmt::format("{}-{}", map, layout);
}

struct EarlierFlows {
    int layout = 0;
    Descriptor map;
};

// The flows that the attached program works on; where that cannot be told, those of the newest layout.
std::optional<EarlierFlows> find_earlier_flows(const PinFolder& pins, std::optional<std::uint32_t> attached) {
    std::optional<EarlierFlows> newest;
    for (const int layout : pinned_layouts(pins.path(), "flows-")) {
        auto map = pins.get(pin_name("flows", layout).c_str());
        if (!map) continue;
        const bool in_use = attached && program_uses_map(*attached, map->get());
        newest = EarlierFlows{layout, std::move(*map)};
        if (in_use) break;
    }
    return newest;
}

// Those that the next process goes on with.
std::vector<const char*> shared_maps(Mode mode) {
    if (mode == Mode::adopt) return {"counters"};
    return {"counters", "flows"};
}

SystemResult<KernelProgram> open_program(Mode mode) {
    std::size_t size = 0;
    const void* bytes =
        mode == Mode::adopt ? bridge_adopt::elf_bytes(&size) : bridge_translate::elf_bytes(&size);
    const char* name = mode == Mode::adopt ? "bridge_adopt" : "bridge_translate";
    return KernelProgram::open(name, {static_cast<const std::byte*>(bytes), size});
}

SystemResult<splice_bridge_service_entry> entry_of(const JoinerSetup& setup, const JoinerService& service) {
    splice_bridge_service_entry entry{};
    for (const IpAddress& address : setup.addresses) {
        if (address.family() != service.vip.address.family()) continue;
        if (entry.address_count == SPLICE_BRIDGE_ADDRESSES)
            return system_error(fmt::format("more than {} addresses of one family", SPLICE_BRIDGE_ADDRESSES),
                                0, "the nfqueue engine takes any number");
        entry.addresses[entry.address_count++] = address.raw();
    }
    entry.vip = service.vip.address.raw();
    entry.vip_port = splice_htons(service.vip.port);
    entry.backend = service.backend.address.raw();
    entry.backend_port = splice_htons(service.backend.port);
    entry.window_scale = service.window_scale;
    entry.carriage = service.carriage;
    return entry;
}

}  // namespace

std::vector<std::string> remembered_services(const std::vector<std::string>& folders) {
    std::vector<std::string> names;
    for (const std::string& folder : folders) {
        const Descriptor map(bpf_obj_get((folder + "/" + pin_name("services")).c_str()));
        if (!map) continue;
        const auto entries = read_bpf_array<splice_bridge_service_entry>(map.get());
        names.resize(std::max(names.size(), entries.size()));
        for (std::size_t number = 0; number < entries.size(); ++number) {
            const auto& entry = entries[number];
            if (entry.address_count != 0)
                names[number] = Endpoint{IpAddress(entry.vip), splice_ntohs(entry.vip_port)}.to_string();
        }
    }
    while (!names.empty() && names.back().empty()) names.pop_back();
    return names;
}

SystemResult<BridgePrograms> BridgePrograms::load(Mode mode, std::size_t max_flows,
                                                  std::optional<PinFolder> pins,
                                                  const splice_mark_field& marks,
                                                  std::optional<std::uint32_t> attached) {
    auto program = open_program(mode);
    if (!program) return std::unexpected(program.error());
    BpfObject& object = program->object();
    object.set_constants(".rodata.marks", std::as_bytes(std::span(&marks, 1)));
    if (mode == Mode::translate) object.set_capacity("flows", static_cast<std::uint32_t>(max_flows));
    std::vector<const char*> to_pin;
    std::optional<EarlierFlows> earlier;
    for (const char* map : shared_maps(mode)) {
        if (!pins) break;
        std::optional<Descriptor> old = pins->get(pin_name(map).c_str());
        if (map == std::string_view("flows")) {
            earlier = find_earlier_flows(*pins, attached);
            // Ours may be there beside those that are worked on: of a path that another version has replaced.
            if (earlier && earlier->layout != SPLICE_BRIDGE_LAYOUT) old.reset();
        }
        if (!old || !object.reuse_map(map, old->get())) {
            to_pin.push_back(map);
        } else if (map == std::string_view("flows")) {
            earlier.reset();
        }
    }
    to_pin.push_back("services");  // each process has its own; the next one reads the numbers
    // The kernel empties it when nobody refers to it by name or descriptor.
    if (mode == Mode::adopt) to_pin.push_back("beside");
    if (auto loaded = program->load(sizeof(splice_bridge_settings)); !loaded)
        return std::unexpected(loaded.error());
    for (const char* map : to_pin) {
        if (!pins) break;
        if (auto pinned = pins->put(pin_name(map).c_str(), program->map(map)); !pinned)
            return std::unexpected(pinned.error());
    }
    BridgePrograms programs(std::move(*program), mode, std::move(pins));
    if (earlier) {
        programs.old_flows_ = std::move(earlier->map);
        programs.old_layout_ = earlier->layout;
    }
    return programs;
}

bool BridgePrograms::are_flows_pinned(const PinFolder& pins) {
    return !pinned_layouts(pins.path(), "flows-").empty();
}

std::optional<BridgePrograms::Earlier> BridgePrograms::take_over_flows(const JoinerSetup& setup) {
    if (!old_flows_) return std::nullopt;
    Descriptor earlier = std::move(*old_flows_);
    old_flows_.reset();
    if (!is_readable_bridge_layout(old_layout_))
        return Earlier{{.unread = count_map_entries(earlier.get())}, old_layout_};
    take_over_.emplace(std::move(earlier), conversion_from(old_layout_, setup));
    return Earlier{take_over_->copy(flows()), old_layout_};
}

void BridgePrograms::take_over_changes() {
    if (take_over_) (void)take_over_->copy_changes(flows());
    take_over_.reset();
    if (!pins_) return;
    for (const char* map : {"flows", "counters", "services", "beside"}) {
        for (const int layout : pinned_layouts(pins_->path(), fmt::format("{}-", map))) {
            if (layout != SPLICE_BRIDGE_LAYOUT) pins_->remove(pin_name(map, layout).c_str());
        }
    }
}

SystemResult<void> BridgePrograms::write(const JoinerSetup& setup) {
    std::vector<splice_bridge_service_entry> entries(SPLICE_SERVICE_NUMBERS);
    std::array<std::array<__u16, SPLICE_CARRIAGE_MARKS>, 2> carried{};
    std::array<std::uint64_t, 65536 / 64> ports{};
    std::array<std::uint64_t, 65536 / 64> vip_ports{};
    for (const JoinerService& service : setup.services) {
        const auto entry = entry_of(setup, service);
        if (!entry) return std::unexpected(entry.error());
        entries[service.number] = *entry;
        carried[service.vip.address.family() == 6 ? 1 : 0][service.carriage.mark] = service.number;
        vip_ports[service.vip.port / 64] |= std::uint64_t{1} << (service.vip.port % 64);
        ports[service.backend.port / 64] |= std::uint64_t{1} << (service.backend.port % 64);
    }
    if (mode_ == Mode::translate) {
        for (std::uint32_t word = 0; word < ports.size(); ++word)
            if (bpf_map_update_elem(program_.map("ports"), &word, &ports[word], BPF_ANY) != 0)
                return system_error("write the BPF map ports", errno);
    }
    for (std::uint32_t word = 0; word < vip_ports.size(); ++word)
        if (bpf_map_update_elem(program_.map("vip_ports"), &word, &vip_ports[word], BPF_ANY) != 0)
            return system_error("write the BPF map vip_ports", errno);
    program_.write_secret(setup.secret);
    program_.renew_clock();
    for (std::uint32_t index = 0; index < entries.size(); ++index)
        if (bpf_map_update_elem(program_.map("services"), &index, &entries[index], BPF_ANY) != 0)
            return system_error("write the BPF map services", errno);
    // A mark names its service when the service is there.
    for (std::size_t family = 0; family < carried.size(); ++family)
        for (std::size_t mark = 0; mark < SPLICE_CARRIAGE_MARKS; ++mark)
            std::atomic_ref(settings().carried[family][mark])
                .store(carried[family][mark], std::memory_order_release);
    settings().number = setup.number;
    std::atomic_ref(settings().sample).store(setup.sample, std::memory_order_relaxed);
    write_balancers(setup.balancers);
    std::atomic_ref(settings().leaving).store(setup.leaving ? 1 : 0, std::memory_order_relaxed);
    return {};
}

// While the list is written, for a microsecond, anybody is believed: not nobody.
void BridgePrograms::write_balancers(const splice_balancer_links& balancers) noexcept {
    splice_balancer_links& links = settings().balancers;
    std::atomic_ref(links.restricted).store(0, std::memory_order_seq_cst);
    std::ranges::copy(balancers.macs, links.macs);
    links.count = balancers.count;
    std::atomic_ref(links.restricted).store(balancers.restricted, std::memory_order_release);
}

SystemResult<void> BridgePrograms::set_beside(std::optional<int> ingress, std::optional<int> egress) {
    const bool there = ingress && egress;
    std::atomic_ref<__u16> in_use(settings().beside);
    if (!there) in_use.store(0, std::memory_order_release);
    for (const auto& [key, program] :
         {std::pair<std::uint32_t, std::optional<int>>(SPLICE_BESIDE_INGRESS, ingress),
          {SPLICE_BESIDE_EGRESS, egress}}) {
        if (!program) {
            (void)bpf_map_delete_elem(program_.map("beside"), &key);
        } else if (bpf_map_update_elem(program_.map("beside"), &key, &*program, BPF_ANY) != 0) {
            return system_error("put the programs that translate beside those that adopt", errno);
        }
    }
    if (there) in_use.store(1, std::memory_order_release);
    return {};
}

void BridgePrograms::write_uplink(std::uint32_t interface) {
    const auto address = ethernet_address_of(interface);
    if (!address) return;
    std::ranges::copy(*address, settings().uplink_mac);
    std::atomic_ref(settings().uplink).store(interface, std::memory_order_release);
}

int BridgePrograms::ingress() const {
    return program_.program(mode_ == Mode::adopt ? "bridge_ad_in" : "bridge_tr_in");
}
int BridgePrograms::egress() const {
    return program_.program(mode_ == Mode::adopt ? "bridge_ad_out" : "bridge_tr_out");
}

splice_bridge_counters BridgePrograms::counters() const {
    return program_.counters<splice_bridge_counters>(offsetof(splice_bridge_counters, looks));
}

void BridgePrograms::unpin() noexcept {
    if (pins_) pins_->remove_all();
}

}  // namespace splice
