#include "packetbridge/bridge_programs.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <span>

#include "bridge_adopt.skel.h"
#include "bridge_translate.skel.h"

namespace splice {
namespace {

// A pin's name has the layout in it: what another version left is not ours to read.
constexpr int kLayout = SPLICE_BRIDGE_LAYOUT;
std::string pin_name(const char* map) {
    return fmt::format("{}-{}", map, kLayout);
}

std::vector<const char*> pinned_maps(Mode mode) {
    if (mode == Mode::adopt) return {"counters"};
    return {"counters", "flows"};
}

SystemResult<BpfObject> open_object(Mode mode) {
    std::size_t size = 0;
    const void* bytes =
        mode == Mode::adopt ? bridge_adopt::elf_bytes(&size) : bridge_translate::elf_bytes(&size);
    const char* name = mode == Mode::adopt ? "bridge_adopt" : "bridge_translate";
    return BpfObject::open(name, {static_cast<const std::byte*>(bytes), size});
}

// Nanoseconds; steps of the wall clock show here.
std::int64_t unix_minus_monotonic_ns() noexcept {
    timespec wall{}, monotonic{};
    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_MONOTONIC, &monotonic);
    return (wall.tv_sec - monotonic.tv_sec) * std::int64_t{1'000'000'000} + wall.tv_nsec - monotonic.tv_nsec;
}

SystemResult<splice_bridge_service_entry> entry_of(const BridgeRules& rules, const BridgeService& service) {
    splice_bridge_service_entry entry{};
    for (const IpAddress& address : rules.addresses) {
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
    return entry;
}

}  // namespace

SystemResult<BridgePrograms> BridgePrograms::load(Mode mode, std::size_t max_flows,
                                                  std::optional<PinFolder> pins,
                                                  const splice_mark_field& marks) {
    auto object = open_object(mode);
    if (!object) return std::unexpected(object.error());
    if (mode == Mode::adopt) object->set_constants(".rodata.marks", std::as_bytes(std::span(&marks, 1)));
    if (mode == Mode::translate) object->set_capacity("flows", static_cast<std::uint32_t>(max_flows));
    std::vector<const char*> to_pin;
    for (const char* map : pinned_maps(mode)) {
        if (!pins) break;
        const auto old = pins->get(pin_name(map).c_str());
        // A map that does not fit (another size was configured) is left behind with what is in it.
        if (!old || !object->reuse_map(map, old->get())) to_pin.push_back(map);
    }
    if (auto loaded = object->load(); !loaded) return std::unexpected(loaded.error());
    for (const char* map : to_pin) {
        if (auto pinned = pins->put(pin_name(map).c_str(), object->map(map)); !pinned)
            return std::unexpected(pinned.error());
    }
    return BridgePrograms(std::move(*object), mode, std::move(pins));
}

bool BridgePrograms::are_flows_pinned(const PinFolder& pins) {
    return pins.get(pin_name("flows").c_str()).has_value();
}

SystemResult<void> BridgePrograms::write(const BridgeRules& rules) {
    std::array<splice_bridge_service_entry, SPLICE_BRIDGE_SERVICES> entries{};
    std::array<std::uint64_t, 65536 / 64> ports{};
    std::array<std::uint64_t, 65536 / 64> vip_ports{};
    for (const BridgeService& service : rules.services) {
        const auto entry = entry_of(rules, service);
        if (!entry) return std::unexpected(entry.error());
        entries[splice_bridge_service_index(static_cast<std::uint32_t>(service.vip.address.family()),
                                            service.dscp)] = *entry;
        vip_ports[service.vip.port / 64] |= std::uint64_t{1} << (service.vip.port % 64);
        ports[service.backend.port / 64] |= std::uint64_t{1} << (service.backend.port % 64);
    }
    if (mode_ == Mode::translate) {
        for (std::uint32_t word = 0; word < ports.size(); ++word)
            if (bpf_map_update_elem(object_.map("ports"), &word, &ports[word], BPF_ANY) != 0)
                return system_error("write the BPF map ports", errno);
    }
    for (std::uint32_t word = 0; word < vip_ports.size(); ++word)
        if (bpf_map_update_elem(object_.map("vip_ports"), &word, &vip_ports[word], BPF_ANY) != 0)
            return system_error("write the BPF map vip_ports", errno);
    if (auto written = write_settings(rules.secret); !written) return written;
    for (std::uint32_t index = 0; index < entries.size(); ++index)
        if (bpf_map_update_elem(object_.map("services"), &index, &entries[index], BPF_ANY) != 0)
            return system_error("write the BPF map services", errno);
    return {};
}

// The new secret stands whole in the slot that is not in use before its number is turned.
SystemResult<void> BridgePrograms::write_settings(const splice_secret& secret) {
    const std::uint32_t zero = 0;
    const std::uint32_t other = settings_.secret ^ 1;
    settings_.secrets[other] = splice_secret_prepared(&secret);
    settings_.unix_minus_monotonic_ns = unix_minus_monotonic_ns();
    for (const std::uint32_t in_use : {settings_.secret, other}) {
        settings_.secret = in_use;
        if (bpf_map_update_elem(object_.map("settings"), &zero, &settings_, BPF_ANY) != 0)
            return system_error("write the BPF map settings", errno);
    }
    return {};
}

void BridgePrograms::renew_clock() noexcept {
    const std::uint32_t zero = 0;
    settings_.unix_minus_monotonic_ns = unix_minus_monotonic_ns();
    (void)bpf_map_update_elem(object_.map("settings"), &zero, &settings_, BPF_ANY);
}

int BridgePrograms::ingress() const {
    return object_.program(mode_ == Mode::adopt ? "bridge_ad_in" : "bridge_tr_in");
}
int BridgePrograms::egress() const {
    return object_.program(mode_ == Mode::adopt ? "bridge_ad_out" : "bridge_tr_out");
}

splice_bridge_counters BridgePrograms::counters() const {
    static_assert(sizeof(splice_bridge_counters) % 8 == 0,
                  "values of per-processor maps are rounded up to 8");
    std::vector<splice_bridge_counters> each(static_cast<std::size_t>(libbpf_num_possible_cpus()));
    splice_bridge_counters sum{};
    const std::uint32_t zero = 0;
    if (bpf_map_lookup_elem(object_.map("counters"), &zero, each.data()) != 0) return sum;
    for (const splice_bridge_counters& one : each) {
        for (std::size_t i = 0; i < kVerdictCount; ++i) sum.verdicts[i] += one.verdicts[i];
        sum.asked += one.asked;
    }
    return sum;
}

void BridgePrograms::unpin() noexcept {
    if (pins_) pins_->remove_all();
}

}  // namespace splice
