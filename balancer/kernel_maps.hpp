// The balancer's kernel program and its maps, filled from the same setup as the Splicer. Knows nothing of
// interfaces: where the program runs is kernel_path's business, or a test's.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "balancer/service_table.hpp"
#include "libsplice/bpf/balancer_maps.h"
#include "libsplice/core/splicer.hpp"
#include "libsplice/engine/flow_take_over.hpp"
#include "libsplice/engine/kernel_program.hpp"
#include "libsplice/engine/next_hop.hpp"

namespace splice {

// Of an earlier process, to go on with.
struct InheritedMaps {
    int layout = SPLICE_BALANCER_LAYOUT;  // of `flows`; `bridges` are of ours or none
    std::optional<Descriptor> flows;
    std::optional<Descriptor> bridges;
};

// An interface that the program runs on.
struct Uplink {
    std::uint32_t interface = 0;
    EthernetAddress address{};
    std::vector<EthernetAddress> upper{};  // of devices above it; at most SPLICE_MAX_UPPER_MACS count
    bool transmits =
        true;  // XDP_TX reaches where packets come from; else they are redirected to the interface
};

class KernelMaps {
  public:
    // The program is verified and its maps are there. Inherited flows of another capacity or layout are to be
    // taken over. Errors: the kernel refuses the program.
    static SystemResult<KernelMaps> load(std::size_t max_flows, InheritedMaps inherited);
    // Settings, clock and what is known here of the maps are again as load() left them; the maps' own entries
    // are the caller's to take away. For tests, many of which share one program: the verifier takes half a
    // second for it.
    SystemResult<void> begin_anew();

    // 1 to SPLICE_MAX_UPLINKS; the first is where what is for a bridge on this host comes in.
    void write_uplinks(std::vector<Uplink> uplinks);
    [[nodiscard]] const std::vector<Uplink>& uplinks() const noexcept { return uplinks_; }
    // All services change from old to new at once. Errors: the kernel has no memory for a table; then nothing
    // has changed.
    SystemResult<void> write_setup(const SplicerSetup& setup);
    // Back to `before`, the setup before the last write_setup(): its tables stand in the other slots still.
    void restore_setup(const SplicerSetup& before) noexcept;
    // By bridge number. Without a next hop the last one known stays; where there never was one, user space
    // sends.
    void write_bridges(std::span<const SplicerBridge> bridges, std::span<const std::optional<NextHop>> hops);
    // Openings that the program chose for since the last call, by the services of the last write_setup().
    // Adds them to the splicer's loads and counters.
    void read_openings(Splicer& splicer);
    // What the program has seen of bridges since the last call, without their traffic. It reads memory alone.
    std::vector<SignedBridge> take_signs();
    // Their traffic since the last call of this: a system call for each.
    std::vector<SignedBridge> take_traffic();
    // The states that it chooses by from here on.
    void write_states(const BridgeLoads& loads) noexcept;
    void write_hot_keys(const HotTable& keys) noexcept;
    // Again now and then, for it may be set.
    void renew_clock() noexcept { program_.renew_clock(); }
    // Copies inherited flows that could not be gone on with where they are; nothing when there are none. The
    // rules are those that write_setup() was given.
    std::optional<TakenOver> take_over_flows(const SplicerSetup& setup);
    // Once the earlier program runs no more: what it has begun and changed since.
    void take_over_changes();

    [[nodiscard]] int program() const { return program_.program("balancer_xdp"); }
    [[nodiscard]] int redirect_probe() const { return program_.program("redirect_probe"); }
    [[nodiscard]] int flows() const { return program_.map("flows"); }
    [[nodiscard]] splice_source_flows& sources() const noexcept { return kernel().sources; }
    [[nodiscard]] int bridges() const { return program_.map("bridges"); }
    [[nodiscard]] int services() const { return program_.map("services"); }
    [[nodiscard]] int asked() const { return program_.map("asked"); }
    [[nodiscard]] int told() const { return program_.map("told"); }
    // Of all processors together, since load().
    [[nodiscard]] splice_balancer_counters counters() const;
    // Of the service with that mark, all processors together.
    [[nodiscard]] splice_latencies latencies(std::size_t mark) const;
    // Where the program notes when it opens connections.
    [[nodiscard]] splice_opening_times& opening_times() const noexcept { return kernel().opened; }
    [[nodiscard]] splice_guesses& guesses() const noexcept { return kernel().guesses; }
    [[nodiscard]] splice_source_rates& rates() const noexcept { return kernel().rates; }
    [[nodiscard]] splice_service_flows& service_flows() const noexcept { return kernel().service_flows; }
    // Makes the deny list that write_setup() puts into its place: a long one takes a second.
    SystemResult<void> prepare_denied(std::shared_ptr<const PrefixSet> prefixes);

  private:
    static void write_uplink(const Uplink& uplink, splice_uplink& written);
    explicit KernelMaps(KernelProgram program) noexcept : program_(std::move(program)) {}
    SystemResult<void> inherit(std::size_t max_flows, InheritedMaps inherited);
    SystemResult<void> start_clock();
    SystemResult<void> write_table(std::uint32_t slot, std::span<const splice_placement_row> rows);
    SystemResult<void> write_denied(const std::shared_ptr<const PrefixSet>& prefixes);
    SystemResult<void> write_name(const SplicerService& service);
    // Which bridge each lane leads to.
    void write_lanes(const SplicerSetup& setup) noexcept;
    void write_services(std::span<const ServiceTableRow> services);
    void write_sample(const SplicerSetup& setup) noexcept;
    [[nodiscard]] splice_openings sum_of_openings(std::uint32_t state) const;
    void forget_openings(const SplicerSetup& setup, std::uint32_t states);
    [[nodiscard]] splice_balancer_settings& kernel() const noexcept {
        return program_.settings<splice_balancer_settings>();
    }

    KernelProgram program_;
    std::optional<Descriptor> old_flows_;  // of another capacity or layout: to be copied
    int old_layout_ = SPLICE_BALANCER_LAYOUT;
    std::optional<FlowTakeOver<splice_flow_entry>> take_over_;
    std::vector<Uplink> uplinks_{Uplink{}};
    std::vector<splice_openings> openings_ = std::vector<splice_openings>(SPLICE_STATES);  // when read last
    struct FirstChoices {
        std::uint64_t weighed = 0;  // when read last
        std::int64_t left = 0;  // openings that are not told apart yet: two maps are read one after the other
    };
    std::array<FirstChoices, SPLICE_CARRIAGE_MARKS> first_choices_{};
    // Where the signs of a service's bridge stand in the settings, and how many there were when they were
    // read.
    struct SignPlace {
        std::uint16_t service = 0;
        std::uint16_t bridge = 0;
        std::uint32_t place = 0;
        splice_signs seen{};
        splice_traffic sent{};
    };
    [[nodiscard]] splice_traffic read_traffic(std::uint32_t place) const;
    void place_signs(const SplicerSetup& setup);
    std::vector<SignPlace> sign_places_;
    std::vector<SignedBridge> left_over_;        // seen by places that a new setup has given to others
    std::shared_ptr<const PrefixSet> denied_;    // in use; null: nobody
    std::shared_ptr<const PrefixSet> prepared_;  // what is in prepared_map_
    Descriptor prepared_map_;
    std::vector<std::uint16_t> turned_;  // the services whose slots the last write_setup() has turned
    // By slot: what was written there. It lives as long as the slot may be compared with another.
    std::vector<std::shared_ptr<const Placement>> tables_ =
        std::vector<std::shared_ptr<const Placement>>(2UZ * SPLICE_SERVICE_NUMBERS);
    std::vector<std::uint8_t> generation_ = std::vector<std::uint8_t>(SPLICE_SERVICE_NUMBERS);  // by service
};

// The names of services in a map, by number; as many as are given out.
std::vector<std::string> read_service_names(int map);

// The bridges of a map, by number, without those unused at its end.
std::vector<IpAddress> read_bridges(int map);

}  // namespace splice
