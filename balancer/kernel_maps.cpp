#include "balancer/kernel_maps.hpp"

#include <bpf/bpf.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <ctime>
#include <utility>

#include "balancer/earlier_layout.hpp"
#include "balancer_xdp.skel.h"
#include "libsplice/engine/bpf_prefixes.hpp"

namespace splice {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;  // nanoseconds

SystemResult<KernelProgram> open_program() {
    std::size_t size = 0;
    const void* const bytes = balancer_xdp__elf_bytes(&size);
    return KernelProgram::open("balancer", {static_cast<const std::byte*>(bytes), size});
}

// What the kernel decides of a service's key, and what it leaves to user space.
splice_key_rule kernel_rule(const SplicerService& service) noexcept {
    splice_key_rule rule = kernel_key_rule(service.key);
    const bool needs_http = rule.kind == SPLICE_KEY_URI || rule.kind == SPLICE_KEY_PATH;
    // A ketama ring is found by CRC-32, not by row.
    if (service.placement->algorithm() == Algorithm::ketama ||
        (needs_http && service.protocol != Protocol::http))
        rule.kind = SPLICE_KEY_USER_SPACE;
    return rule;
}

// The half of the states that belongs to one of the two service tables.
std::uint32_t states_of_table(std::uint32_t service_table) noexcept {
    return (service_table & 1U) * (SPLICE_STATES / 2);
}

splice_service_entry entry_of(const SplicerService& service, std::uint32_t table,
                              std::uint32_t states) noexcept {
    splice_service_entry entry{};
    entry.terms = {.mss = service.mss,
                   .window = kSynAckWindow,
                   .window_scale = service.window_scale,
                   .zero = {},
                   .tsval = 0};
    entry.rule = kernel_rule(service);
    entry.rows = static_cast<std::uint32_t>(service.placement->rows().size());
    entry.table = table;
    entry.number = service.number;
    entry.carriage = service.carriage;
    entry.choice = service.choice;
    entry.choice.states += states;
    entry.samples = service.watch ? 1 : 0;
    entry.ramp = service.shadow && !service.shadow->in_table ? service.shadow->ramp : 0;
    entry.chooses_by_source = service.chooses_without_payload() ? 1 : 0;
    entry.accepts_proxy_header = service.proxy_protocol == ProxyProtocol::accept ? 1 : 0;
    entry.keyed_clock = service.keyed_clock ? 1 : 0;
    entry.lanes = service.lanes ? 1 : 0;
    entry.proves_from_s = service.proves_from_s;
    entry.rate = service.rate;
    return entry;
}

std::uint64_t coarse_clock_ns() noexcept {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * kSecond + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

SystemResult<KernelMaps> KernelMaps::load(std::size_t max_flows, InheritedMaps inherited) {
    auto program = open_program();
    if (!program) return std::unexpected(program.error());
    KernelMaps maps(std::move(*program));
    if (auto inherits = maps.inherit(max_flows, std::move(inherited)); !inherits)
        return std::unexpected(inherits.error());
    if (auto loaded = maps.program_.load(sizeof(splice_balancer_settings)); !loaded)
        return std::unexpected(loaded.error());
    if (auto started = maps.start_clock(); !started) return std::unexpected(started.error());
    return maps;
}

SystemResult<void> KernelMaps::begin_anew() {
    *this = KernelMaps(std::move(program_));
    kernel() = {};
    program_.renew_clock();
    return start_clock();
}

SystemResult<void> KernelMaps::inherit(std::size_t max_flows, InheritedMaps inherited) {
    const auto capacity = static_cast<std::uint32_t>(max_flows);
    program_.object().set_capacity("flows", capacity);
    if (inherited.flows) {
        if (inherited.layout != SPLICE_BALANCER_LAYOUT ||
            capacity_of_map(inherited.flows->get()) != capacity) {
            old_flows_ = std::move(inherited.flows);
            old_layout_ = inherited.layout;
        } else if (auto reused = program_.object().reuse_map("flows", inherited.flows->get()); !reused) {
            return reused;
        }
    }
    if (inherited.bridges) return program_.object().reuse_map("bridges", inherited.bridges->get());
    return {};
}

std::optional<TakenOver> KernelMaps::take_over_flows(const SplicerSetup& setup) {
    if (!old_flows_) return std::nullopt;
    Descriptor earlier = std::move(*old_flows_);
    old_flows_.reset();
    if (!is_readable_layout(old_layout_)) return TakenOver{.unread = count_map_entries(earlier.get())};
    take_over_.emplace(std::move(earlier), conversion_from(old_layout_, setup));
    return take_over_->copy(flows());
}

void KernelMaps::take_over_changes() {
    if (take_over_) (void)take_over_->copy_changes(flows());
    take_over_.reset();
}

void KernelMaps::write_uplinks(std::vector<Uplink> uplinks) {
    static_assert(kMaxUplinks == SPLICE_MAX_UPLINKS);
    uplinks_ = std::move(uplinks);
    // A redirect reaches what XDP_TX reaches, so where one uplink needs it all take it.
    kernel().redirects = std::ranges::all_of(uplinks_, &Uplink::transmits) ? 0 : 1;
    kernel().several_uplinks = uplinks_.size() > 1 ? 1 : 0;
    for (std::size_t i = 0; i < SPLICE_MAX_UPLINKS; ++i)
        write_uplink(i < uplinks_.size() ? uplinks_[i] : Uplink{}, kernel().uplinks[i]);
}

// The program reads it meanwhile.
void KernelMaps::write_uplink(const Uplink& uplink, splice_uplink& written) {
    std::atomic_ref(written.interface).store(uplink.interface, std::memory_order_relaxed);
    std::atomic_ref(written.mac).store(mac_of(uplink.address), std::memory_order_relaxed);
    for (std::size_t i = 0; i < SPLICE_MAX_UPPER_MACS; ++i) {
        const std::uint64_t mac = i < uplink.upper.size() ? mac_of(uplink.upper[i]) : 0;
        std::atomic_ref(written.upper_macs[i]).store(mac, std::memory_order_relaxed);
    }
}

// The coarse clock shows the moment of the last jiffy: read the same before and behind, it is the jiffy's
// that the program has read. So the program's clock is never before this host's others, and behind by two
// jiffies at most.
SystemResult<void> KernelMaps::start_clock() {
    // Any packet will do.
    std::array<std::byte, 64> frame{};
    bpf_test_run_opts options{};
    options.sz = sizeof(options);
    options.data_in = frame.data();
    options.data_size_in = frame.size();
    options.repeat = 1;
    std::uint64_t jiffy_ns = 0;
    do {
        jiffy_ns = coarse_clock_ns();
        if (bpf_prog_test_run_opts(program_.program("start_clock"), &options) != 0)
            return system_error("start the clock of the kernel program", errno);
    } while (coarse_clock_ns() != jiffy_ns);
    timespec tick{};
    clock_getres(CLOCK_MONOTONIC_COARSE, &tick);  // a jiffy
    const auto tick_ns = static_cast<std::uint64_t>(tick.tv_nsec);
    kernel().monotonic_s = jiffy_ns / kSecond;
    kernel().jiffies -= jiffy_ns % kSecond / tick_ns;
    kernel().seconds_per_jiffy = (tick_ns << SPLICE_SECONDS_SHIFT) / kSecond;
    kernel().ms_per_jiffy = (tick_ns << SPLICE_MS_SHIFT) / 1'000'000;
    return {};
}

SystemResult<void> KernelMaps::write_setup(const SplicerSetup& setup) {
    if (auto written = write_denied(setup.denied); !written) return written;
    std::vector<ServiceTableRow> services;
    const std::uint32_t states = states_of_table(kernel().service_table ^ 1U);
    forget_openings(setup, states);
    turned_.clear();
    std::vector<std::uint16_t> turns;
    for (const SplicerService& service : setup.services) {
        // Two slots a service: one in use, one to write the next table into. A table that is there already
        // stays.
        std::uint32_t slot = 2U * service.number + generation_[service.number];
        if (tables_[slot] != service.placement) {
            slot ^= 1U;
            turns.push_back(service.number);
            if (auto written = write_table(slot, service.placement->rows()); !written) return written;
            tables_[slot] = service.placement;
        }
        if (auto named = write_name(service); !named) return named;
        services.push_back({service.vip, entry_of(service, slot, states)});
    }
    for (const std::uint16_t number : turns) generation_[number] ^= 1U;
    turned_ = std::move(turns);
    kernel().own = setup.own;
    place_signs(setup);
    write_lanes(setup);
    write_services(services);
    write_sample(setup);
    program_.write_secret(setup.secret);
    return {};
}

// Until the first states are written each first choice takes what it is offered.
void KernelMaps::forget_openings(const SplicerSetup& setup, std::uint32_t states) {
    for (const SplicerService& service : setup.services) {
        for (const LoadedBridge& each : service.members) {
            const std::uint32_t state = (states + service.choice.states + each.bridge) & (SPLICE_STATES - 1);
            kernel().states[state] = {};
            openings_[state] = sum_of_openings(state);
        }
    }
}

splice_openings KernelMaps::sum_of_openings(std::uint32_t state) const {
    static_assert(sizeof(splice_openings) == sizeof(std::uint64_t));
    splice_openings sum{};
    for (const std::uint64_t word :
         read_processors(program_.map("openings"), state, sizeof(splice_openings))) {
        const auto one = std::bit_cast<splice_openings>(word);
        sum.offered += one.offered;
        sum.taken += one.taken;
    }
    return sum;
}

void KernelMaps::read_openings(Splicer& splicer) {
    BridgeLoads& loads = splicer.loads();
    const std::uint32_t base = states_of_table(kernel().service_table);
    const splice_balancer_counters all = counters();
    for (const LoadedService& service : loads.services()) {
        FirstChoices& first = first_choices_[service.mark % SPLICE_CARRIAGE_MARKS];
        for (const LoadedBridge& each : service.bridges) {
            const std::uint32_t state = (base + service.states + each.bridge) & (SPLICE_STATES - 1);
            const splice_openings now = sum_of_openings(state);
            const splice_openings before = std::exchange(openings_[state], now);
            const splice_openings since{.offered = now.offered - before.offered,
                                        .taken = now.taken - before.taken};
            loads.add(service.states + each.bridge, since);
            first.left += since.taken;
        }
        std::uint64_t weighed = 0;
        for (const std::uint64_t count : all.choices[service.mark % SPLICE_CARRIAGE_MARKS].whys)
            weighed += count;
        first.left -= static_cast<std::int64_t>(weighed - std::exchange(first.weighed, weighed));
        if (first.left <= 0) continue;
        splicer.add_first_choices(service.mark, static_cast<std::uint64_t>(std::exchange(first.left, 0)));
    }
}

void KernelMaps::write_states(const BridgeLoads& loads) noexcept {
    const std::uint32_t base = states_of_table(kernel().service_table);
    for (const LoadedService& service : loads.services()) {
        for (const LoadedBridge& each : service.bridges) {
            const std::uint32_t state = service.states + each.bridge;
            kernel().states[(base + state) & (SPLICE_STATES - 1)] = loads.states()[state];
        }
    }
}

void KernelMaps::write_hot_keys(const HotTable& keys) noexcept {
    kernel().hot = keys.table();
}

// Counts that a setup before has left in a place are where the next begins.
void KernelMaps::place_signs(const SplicerSetup& setup) {
    left_over_ = take_signs();
    std::ranges::move(take_traffic(), std::back_inserter(left_over_));
    std::ranges::fill(kernel().signs_of, SPLICE_NO_SIGNS);
    sign_places_.clear();
    std::uint32_t next = 0;
    for (const SplicerService& service : setup.services) {
        std::uint32_t room = 0;
        for (const std::uint16_t bridge : service.bridges) room = std::max<std::uint32_t>(room, bridge + 1U);
        if (next + room > SPLICE_SIGNS) continue;
        for (const std::uint16_t bridge : service.bridges) {
            const std::uint32_t place = next + bridge;
            sign_places_.push_back(
                {service.number, bridge, place, kernel().signs[place], read_traffic(place)});
        }
        std::atomic_ref(kernel().signs_of[service.number % SPLICE_SERVICE_NUMBERS])
            .store(next, std::memory_order_relaxed);
        next += room;
    }
}

std::vector<SignedBridge> KernelMaps::take_signs() {
    std::vector<SignedBridge> seen = std::exchange(left_over_, {});
    for (SignPlace& each : sign_places_) {
        const splice_signs now = kernel().signs[each.place];
        const splice_signs was = std::exchange(each.seen, now);
        const PassiveSigns signs{.openings = now.openings - was.openings,
                                 .answers = now.answers - was.answers,
                                 .refusals = now.refusals - was.refusals,
                                 .repeats = now.repeats - was.repeats};
        if (signs != PassiveSigns{})
            seen.push_back({.service = each.service, .bridge = each.bridge, .signs = signs});
    }
    return seen;
}

// Of all processors together.
splice_traffic KernelMaps::read_traffic(std::uint32_t place) const {
    static_assert(sizeof(splice_traffic) == 2 * sizeof(std::uint64_t));
    const std::vector<std::uint64_t> words =
        read_processors(program_.map("traffic"), place, sizeof(splice_traffic));
    splice_traffic sum{};
    for (std::size_t i = 0; i + 1 < words.size(); i += 2) {
        sum.packets += words[i];
        sum.bytes += words[i + 1];
    }
    return sum;
}

std::vector<SignedBridge> KernelMaps::take_traffic() {
    std::vector<SignedBridge> sent;
    for (SignPlace& each : sign_places_) {
        const splice_traffic now = read_traffic(each.place);
        const splice_traffic was = std::exchange(each.sent, now);
        if (now.packets != was.packets)
            sent.push_back({.service = each.service,
                            .bridge = each.bridge,
                            .packets = now.packets - was.packets,
                            .bytes = now.bytes - was.bytes});
    }
    return sent;
}

void KernelMaps::restore_setup(const SplicerSetup& before) noexcept {
    turn_slot(kernel().service_table, kernel().service_table ^ 1U);
    // Should that fail, the newer lists stay until the next reload.
    (void)write_denied(before.denied);
    write_lanes(before);
    write_sample(before);
    program_.restore_secret();
    for (const std::uint16_t number : turned_) generation_[number] ^= 1U;
    turned_.clear();
}

// The program reads it meanwhile.
void KernelMaps::write_sample(const SplicerSetup& setup) noexcept {
    std::atomic_ref(kernel().sample).store(setup.sample, std::memory_order_relaxed);
}

SystemResult<void> KernelMaps::write_table(std::uint32_t slot, std::span<const splice_placement_row> rows) {
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
    if (bpf_map_update_elem(program_.map("tables"), &slot, &descriptor, BPF_ANY) == 0) return {};
    return system_error("put a placement table into its place", errno);
}

SystemResult<void> KernelMaps::prepare_denied(std::shared_ptr<const PrefixSet> prefixes) {
    if (!prefixes || prefixes->size() == 0 || prefixes == denied_ || prefixes == prepared_) return {};
    auto made = make_bpf_prefixes(*prefixes);
    if (!made) return std::unexpected(made.error());
    prepared_ = std::move(prefixes);
    prepared_map_ = std::move(*made);
    return {};
}

// Without a moment in which nobody is denied: the heads let through to the lists until these are in place.
SystemResult<void> KernelMaps::write_denied(const std::shared_ptr<const PrefixSet>& prefixes) {
    if (prefixes == denied_) return {};
    if (auto prepared = prepare_denied(prefixes); !prepared) return prepared;
    const std::uint32_t only = 0;
    splice_denied_heads& heads = kernel().denied_heads;
    const bool nobody = !prefixes || prefixes->size() == 0;
    if (!nobody) {
        const splice_denied_heads& more = prefixes->heads();
        const auto widen = [](std::span<__u64> is, std::span<const __u64> by) {
            for (std::size_t i = 0; i < is.size(); ++i) is[i] |= by[i];
        };
        widen(heads.ipv4, more.ipv4);
        widen(heads.ipv6, more.ipv6);
        widen(heads.ipv6_short, more.ipv6_short);
        const int descriptor = prepared_map_.get();
        if (bpf_map_update_elem(program_.map("denied"), &only, &descriptor, BPF_ANY) != 0)
            return system_error("put the deny list into its place", errno);
    }
    if (nobody)
        std::memset(&heads, 0, sizeof(heads));
    else
        std::memcpy(&heads, &prefixes->heads(), sizeof(heads));
    if (nobody) (void)bpf_map_delete_elem(program_.map("denied"), &only);
    denied_ = prefixes;
    prepared_.reset();
    prepared_map_ = Descriptor();
    return {};
}

SystemResult<void> KernelMaps::write_name(const SplicerService& service) {
    splice_service_name name{};
    const std::uint32_t number = service.number;
    service.name.copy(name.text, sizeof(name.text) - 1);
    if (bpf_map_update_elem(services(), &number, &name, BPF_ANY) == 0) return {};
    return system_error("write the BPF map services", errno);
}

void KernelMaps::write_services(std::span<const ServiceTableRow> services) {
    const std::uint32_t other = kernel().service_table ^ 1U;
    write_service_table(services, kernel().services[other]);
    turn_slot(kernel().service_table, other);
}

void KernelMaps::write_bridges(std::span<const SplicerBridge> bridges,
                               std::span<const std::optional<NextHop>> hops) {
    const int map = program_.map("bridges");
    for (std::uint32_t i = 0; i < bridges.size() && i < SPLICE_MAX_BRIDGES; ++i) {
        splice_bridge_entry was{};
        (void)bpf_map_lookup_elem(map, &i, &was);
        splice_bridge_entry entry{};
        entry.address = bridges[i].address.raw();
        entry.number = bridges[i].number;
        if (i < hops.size() && hops[i] && hops[i]->ethernet) {
            const NextHop& hop = *hops[i];
            std::memcpy(entry.link, hop.neighbour.data(), hop.neighbour.size());
            std::memcpy(reinterpret_cast<std::byte*>(entry.link) + hop.neighbour.size(), hop.source.data(),
                        hop.source.size());
            // XDP_TX goes back to where the frame came from, which is known only of a single uplink.
            const bool back = uplinks_.size() == 1 && uplinks_.front().transmits &&
                              hop.interface == uplinks_.front().interface;
            entry.out = back ? SPLICE_OUT_BACK : hop.interface;
            entry.room = hop.mtu ? hop.mtu : SPLICE_ROOM_UNKNOWN;
        } else if (i < hops.size() && hops[i] && hops[i]->local) {
            const EthernetAddress& own = uplinks_.front().address;
            std::memcpy(entry.link, own.data(), own.size());
            entry.out = SPLICE_OUT_HERE;
            entry.room = SPLICE_ROOM_UNKNOWN;
        } else if (splice_address_equal(&was.address, &entry.address)) {
            // Better a neighbour that does not answer than a flood of packets into user space.
            std::memcpy(entry.link, was.link, sizeof(entry.link));
            entry.out = was.out;
            entry.room = was.room;
        }
        if (std::memcmp(&was, &entry, sizeof(entry)) != 0)
            (void)bpf_map_update_elem(map, &i, &entry, BPF_ANY);
    }
}

void KernelMaps::write_lanes(const SplicerSetup& setup) noexcept {
    std::vector<bool> asks(setup.bridges.size());
    for (const SplicerService& service : setup.services) {
        for (const auto* those : {&service.down, &service.gone})
            for (const std::uint16_t bridge : *those) asks[bridge] = true;
    }
    const Lanes lanes = lanes_of(setup);
    for (std::size_t family = 0; family < lanes.size(); ++family) {
        for (std::size_t lane = 0; lane < lanes[family].size(); ++lane) {
            const std::uint16_t bridge = lanes[family][lane];
            const unsigned word =
                bridge == SPLICE_NO_BRIDGE ? 0 : (bridge + 1U) | (asks[bridge] ? SPLICE_LANE_ASKS : 0U);
            std::atomic_ref(kernel().lanes[family][lane])
                .store(static_cast<std::uint16_t>(word), std::memory_order_relaxed);
        }
    }
}

splice_balancer_counters KernelMaps::counters() const {
    return program_.counters<splice_balancer_counters>(offsetof(splice_balancer_counters, budgets));
}

splice_latencies KernelMaps::latencies(std::size_t mark) const {
    constexpr std::size_t kWords = sizeof(splice_latencies) / sizeof(std::uint64_t);
    const auto words = read_processors(program_.map("latencies"), static_cast<std::uint32_t>(mark),
                                       sizeof(splice_latencies));
    std::array<std::uint64_t, kWords> sums{};
    for (std::size_t i = 0; i < words.size(); ++i) sums[i % kWords] += words[i];
    return std::bit_cast<splice_latencies>(sums);
}

std::vector<std::string> read_service_names(int map) {
    std::vector<std::string> names;
    for (const splice_service_name& name : read_bpf_array<splice_service_name>(map))
        names.emplace_back(name.text, strnlen(name.text, sizeof(name.text)));
    while (!names.empty() && names.back().empty()) names.pop_back();
    return names;
}

std::vector<IpAddress> read_bridges(int map) {
    std::vector<IpAddress> bridges;
    for (const splice_bridge_entry& entry : read_bpf_array<splice_bridge_entry>(map))
        bridges.emplace_back(entry.address);
    while (!bridges.empty() && bridges.back().is_unspecified()) bridges.pop_back();
    return bridges;
}

}  // namespace splice
