#include "tests/bpf/balancer_rig.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>
#include <map>
#include <numeric>
#include <stdexcept>
#include <string_view>

#include "libsplice/engine/clock.hpp"
#include "libsplice/wire/print_packet.hpp"
#include "tests/bpf/told_records.hpp"

namespace splice::testing {
namespace {

constexpr std::size_t kEthernetHeader = 14;

template <class T>
T whole(SystemResult<T> result) {
    if (!result) throw std::runtime_error(result.error().text);
    return std::move(*result);
}

void whole(const SystemResult<void>& result) {
    if (!result) throw std::runtime_error(result.error().text);
}

std::vector<std::optional<NextHop>> next_hops(std::size_t bridges) {
    return std::vector<std::optional<NextHop>>(bridges, NextHop{1, kOwnMac, kBridgeMac});
}

void fill(KernelMaps& maps, const SplicerSetup& setup) {
    maps.write_bridges(setup.bridges, next_hops(setup.bridges.size()));
    whole(maps.write_setup(setup));
}

// Loaded programs that nobody uses now, by the flows that they have room for.
std::multimap<std::size_t, KernelMaps>& idle_programs() {
    static std::multimap<std::size_t, KernelMaps> idle;
    return idle;
}

KernelMaps idle_or_loaded(std::size_t max_flows) {
    auto idle = idle_programs().extract(max_flows);
    if (idle.empty()) return whole(KernelMaps::load(max_flows, {}));
    KernelMaps maps = std::move(idle.mapped());
    empty_maps(maps.program());
    whole(maps.begin_anew());
    return maps;
}

KernelMaps begin(const SplicerSetup& setup) {
    KernelMaps maps = idle_or_loaded(setup.max_flows);
    maps.write_uplinks({{.interface = 1, .address = kOwnMac, .transmits = true}});
    fill(maps, setup);
    return maps;
}

MappedBpfArray settings_of(int program) {
    return whole(MappedBpfArray::map(map_of(program, ".bss").get(), sizeof(splice_balancer_settings)));
}

splice_balancer_settings& settings_in(const MappedBpfArray& memory) noexcept {
    return *static_cast<splice_balancer_settings*>(memory.data());
}

// Of this moment, as the program's settings pair jiffies with seconds.
std::uint64_t jiffies_now(const splice_balancer_settings& settings) {
    timespec tick{};
    clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
    const Duration since =
        read_clock().monotonic - std::chrono::seconds(static_cast<std::int64_t>(settings.monotonic_s));
    return settings.jiffies + static_cast<std::uint64_t>(since.count() / tick.tv_nsec);
}

struct LoadedMap {
    Descriptor descriptor;
    bpf_map_info about{};
};

std::vector<LoadedMap> maps_of(int program) {
    bpf_prog_info info{};
    std::uint32_t length = sizeof(info);
    std::array<std::uint32_t, 16> ids{};
    info.nr_map_ids = ids.size();
    info.map_ids = reinterpret_cast<std::uintptr_t>(ids.data());
    if (bpf_obj_get_info_by_fd(program, &info, &length) != 0 || info.nr_map_ids > ids.size())
        throw std::runtime_error("ask for the program's maps");
    std::vector<LoadedMap> maps;
    for (std::size_t i = 0; i < info.nr_map_ids; ++i) {
        LoadedMap& map = maps.emplace_back();
        map.descriptor = Descriptor(bpf_map_get_fd_by_id(ids[i]));
        length = sizeof(map.about);
        if (bpf_obj_get_info_by_fd(map.descriptor.get(), &map.about, &length) != 0)
            throw std::runtime_error("ask for a map of the program");
    }
    return maps;
}

void delete_all(int map, const bpf_map_info& about) {
    std::vector<std::byte> key(about.key_size);
    while (bpf_map_get_next_key(map, nullptr, key.data()) == 0) {
        if (bpf_map_delete_elem(map, key.data()) != 0) throw std::runtime_error("empty a map");
    }
}

// For every processor alike.
void write_zeros(int map, const bpf_map_info& about) {
    const std::size_t processors = about.type == BPF_MAP_TYPE_PERCPU_ARRAY
                                       ? static_cast<std::size_t>(std::max(libbpf_num_possible_cpus(), 1))
                                       : 1;
    const std::size_t value = (about.value_size + 7UZ) / 8 * 8;  // the kernel rounds values up
    const std::vector<std::byte> zeros(about.max_entries * processors * value);
    std::vector<std::uint32_t> keys(about.max_entries);
    std::iota(keys.begin(), keys.end(), 0U);
    std::uint32_t count = about.max_entries;
    bpf_map_batch_opts options{};
    options.sz = sizeof(options);
    if (bpf_map_update_batch(map, keys.data(), zeros.data(), &count, &options) != 0)
        throw std::runtime_error("write zeros into a map");
}

}  // namespace

std::string describe(const Outcome& outcome) {
    std::string text(verdict_name(outcome.verdict));
    for (const PacketBytes& packet : outcome.sent) text += "\n    " + print_packet(packet);
    return text;
}

PacketBytes frame_around(Bytes packet, std::size_t vlan_tags) {
    PacketBytes frame;
    const auto put = [&](std::initializer_list<std::uint8_t> bytes) {
        for (const std::uint8_t byte : bytes) frame.push_back(std::byte{byte});
    };
    for (const std::uint8_t byte : kOwnMac) frame.push_back(std::byte{byte});
    for (const std::uint8_t byte : kRouterMac) frame.push_back(std::byte{byte});
    for (std::size_t tag = 1; tag < vlan_tags; ++tag) put({0x88, 0xa8, 0, 5});
    if (vlan_tags >= 1) put({0x81, 0x00, 0, 6});
    const bool ipv6 = !packet.empty() && static_cast<std::uint8_t>(packet[0]) >> 4 == 6;
    put({static_cast<std::uint8_t>(ipv6 ? 0x86 : 0x08), static_cast<std::uint8_t>(ipv6 ? 0xdd : 0x00)});
    frame.insert(frame.end(), packet.begin(), packet.end());
    return frame;
}

bool may_load_programs() {
    const auto setup = splicer_setup();
    const auto maps = KernelMaps::load(16, {});
    return maps.has_value() || maps.error().code != EPERM;
}

Descriptor map_of(int program, std::string_view name) {
    std::vector<LoadedMap> maps = maps_of(program);
    for (auto& [map, about] : maps) {
        if (std::string_view(about.name).ends_with(name)) return std::move(map);
    }
    throw std::runtime_error("the program has no map " + std::string(name));
}

void empty_maps(int program) {
    const std::vector<LoadedMap> maps = maps_of(program);
    for (const auto& [map, about] : maps) {
        const std::string_view name = about.name;
        if (name.ends_with(".bss") || name.contains(".rodata")) continue;
        switch (about.type) {
            case BPF_MAP_TYPE_HASH:
                delete_all(map.get(), about);
                break;
            case BPF_MAP_TYPE_ARRAY:
            case BPF_MAP_TYPE_PERCPU_ARRAY:
                write_zeros(map.get(), about);
                break;
            case BPF_MAP_TYPE_ARRAY_OF_MAPS:
                for (std::uint32_t key = 0; key < about.max_entries; ++key)
                    (void)bpf_map_delete_elem(map.get(), &key);  // one that is not there
                break;
            case BPF_MAP_TYPE_RINGBUF:
                (void)ToldRecords(map.get()).take();  // as bytes, whatever they are
                break;
            default:
                throw std::runtime_error("no way to empty the map " + std::string(name));
        }
    }
}

// --- The kernel's side

KernelBalancer::KernelBalancer(std::shared_ptr<const SplicerSetup> setup)
    : max_flows_(setup->max_flows),
      maps_(begin(*setup)),
      flows_(maps_.flows(), maps_.sources(), maps_.service_flows()),
      splicer_(setup, flows_),
      asked_(maps_.asked(), SPLICE_ASKED_TO_LOOK) {
    splicer_.share_counts(maps_.guesses(), maps_.rates());
    settings_ = settings_of(maps_.program());
    jiffies_ = jiffies_now(settings_in(settings_));
}

KernelBalancer::~KernelBalancer() {
    idle_programs().emplace(max_flows_, std::move(maps_));
}

void KernelBalancer::replace_setup(std::shared_ptr<const SplicerSetup> setup) {
    fill(maps_, *setup);
    splicer_.replace_setup(std::move(setup));
}

void KernelBalancer::tick(Instant now) {
    SentPackets out;
    maps_.read_openings(splicer_);
    splicer_.expire(now, out);
    maps_.write_states(splicer_.loads());
    maps_.write_hot_keys(splicer_.hot_table());
}

// A jiffy counts for a 65536th of a millisecond, so half of those are room enough on either side.
void KernelBalancer::stop_clock(Instant now) {
    const auto ms = std::chrono::floor<std::chrono::milliseconds>(now.monotonic).count() % 1000;
    splice_balancer_settings& settings = settings_in(settings_);
    settings.monotonic_s = static_cast<std::uint64_t>(now.seconds());
    settings.seconds_per_jiffy = 0;
    settings.ms_per_jiffy = 1;
    settings.jiffies =
        jiffies_ - (static_cast<std::uint64_t>(ms) << SPLICE_MS_SHIFT) - (1U << (SPLICE_MS_SHIFT - 1));
    settings.common.unix_minus_monotonic_s = now.unix_s - static_cast<std::int64_t>(now.seconds());
    settings.common.unix_minus_monotonic_ms =
        now.unix_s * 1000 + now.unix_part_ms -
        std::chrono::floor<std::chrono::milliseconds>(now.monotonic).count();
}

void KernelBalancer::narrow(const SplicerSetup& setup, std::uint32_t mtu) {
    auto hops = next_hops(setup.bridges.size());
    for (auto& hop : hops) hop->mtu = mtu;
    maps_.write_bridges(setup.bridges, hops);
    splicer_.set_route_mtus(std::vector<std::uint32_t>(hops.size(), mtu));
}

std::optional<Verdict> KernelBalancer::counted(const splice_balancer_counters& before) const {
    const splice_balancer_counters after = maps_.counters();
    std::optional<Verdict> verdict;
    for (std::size_t i = 0; i < kVerdictCount; ++i) {
        if (after.common.verdicts[i] == before.common.verdicts[i]) continue;
        if (verdict || after.common.verdicts[i] != before.common.verdicts[i] + 1)
            throw std::runtime_error("one packet was counted more than once");
        verdict = static_cast<Verdict>(i);
    }
    return verdict;
}

Outcome KernelBalancer::handle(Instant now, Bytes packet, std::size_t vlan_tags) {
    const splice_balancer_counters before = maps_.counters();
    PacketBytes in = frame_around(packet, vlan_tags);
    frame_.assign(in.size() + 256, std::byte{0});
    bpf_test_run_opts options{};
    options.sz = sizeof(options);
    options.data_in = in.data();
    options.data_size_in = static_cast<std::uint32_t>(in.size());
    options.data_out = frame_.data();
    options.data_size_out = static_cast<std::uint32_t>(frame_.size());
    options.repeat = 1;
    if (bpf_prog_test_run_opts(maps_.program(), &options) != 0) throw std::runtime_error("BPF_PROG_TEST_RUN");
    frame_.resize(options.data_size_out);
    action_ = options.retval;

    std::vector<PacketBytes> asked = asked_.take();
    for (const PacketBytes& copy : asked_.take_copies()) splicer_.look_at(copy);
    const auto verdict = counted(before);
    in_kernel_ = verdict.has_value();
    Outcome outcome;
    if (verdict) {
        if (!asked.empty()) throw std::runtime_error("decided, and asked all the same");
        outcome.verdict = *verdict;
        const std::size_t header = kEthernetHeader + 4 * vlan_tags;
        if (action_ == XDP_TX)
            outcome.sent.emplace_back(frame_.begin() + static_cast<long>(header), frame_.end());
        return outcome;
    }
    for (PacketBytes& each : asked) {
        SentPackets out;
        outcome.verdict = splicer_.handle_packet(now, each, true, out);
        outcome.sent = std::move(out.sent);
        if (verdict_kind(outcome.verdict) == SPLICE_KIND_forward) outcome.sent.push_back(each);
    }
    return outcome;
}

Outcome KernelBalancer::expire(Instant now) {
    SentPackets out;
    splicer_.expire(now, out);
    return {SPLICE_CONTINUE, std::move(out.sent)};
}

// --- The portable side

Outcome PortableBalancer::handle(Instant now, Bytes packet) {
    SentPackets out;
    PacketBytes bytes(packet.begin(), packet.end());
    Outcome outcome;
    outcome.verdict = splicer_.handle_packet(now, bytes, true, out);
    outcome.sent = std::move(out.sent);
    if (verdict_kind(outcome.verdict) == SPLICE_KIND_forward) outcome.sent.push_back(std::move(bytes));
    return outcome;
}

Outcome PortableBalancer::expire(Instant now) {
    SentPackets out;
    splicer_.expire(now, out);
    return {SPLICE_CONTINUE, std::move(out.sent)};
}

}  // namespace splice::testing
