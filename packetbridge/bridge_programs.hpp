// The bridge's kernel programs and their maps, loaded and spoken to in our own terms.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "libsplice/base/verdict.hpp"
#include "libsplice/bpf/bridge_maps.h"
#include "libsplice/core/joiner.hpp"
#include "libsplice/engine/bpffs.hpp"
#include "libsplice/engine/flow_take_over.hpp"
#include "libsplice/engine/kernel_program.hpp"
#include "packetbridge/config.hpp"

namespace splice {

// The numbers of services that the flows of an earlier process bear, as names by number (VIP:port); empty
// when there was none. `folders` hold its pins.
std::vector<std::string> remembered_services(const std::vector<std::string>& folders);

class BridgePrograms {
  public:
    // `pins`: where flows and counters of an earlier process may be, which are gone on with when they fit;
    // flows of another capacity or layout are to be taken over. `attached`: the id of the program that has
    // its place still, whose flows they are. `marks`: of adopted connections, for as long as the programs
    // live.
    static SystemResult<BridgePrograms> load(Mode mode, std::size_t max_flows, std::optional<PinFolder> pins,
                                             const splice_mark_field& marks = kDefaultMarks,
                                             std::optional<std::uint32_t> attached = std::nullopt);

    // Whether load() would find flows of an earlier process there, of whatever layout.
    static bool are_flows_pinned(const PinFolder& pins);

    // Copies flows that could not be gone on with where they are: what became of them, and their layout;
    // nothing when there are none. `setup` is the one that write() was given.
    struct Earlier {
        TakenOver flows;
        int layout = 0;
    };
    std::optional<Earlier> take_over_flows(const JoinerSetup& setup);
    // Once the earlier programs run no more: what they have changed since. Pins of other layouts go.
    void take_over_changes();

    // Services by number, marks, backend ports, secret and clock. Packets in between see the old or the
    // new. Errors: more addresses of a family than the kernel's entry has room for.
    SystemResult<void> write(const JoinerSetup& setup);
    // Adopting: programs that translate take what is of no service here, from now on or (nothing) no more.
    // They outlive this.
    SystemResult<void> set_beside(std::optional<int> ingress, std::optional<int> egress);
    // The interface by which balancers send; one without an Ethernet address has none.
    void write_uplink(std::uint32_t interface);
    // The wall clock moves: to be called every second or so.
    void renew_clock() noexcept { program_.renew_clock(); }

    [[nodiscard]] int ingress() const;
    [[nodiscard]] int egress() const;
    [[nodiscard]] int ring() const { return program_.map("asked"); }
    [[nodiscard]] int told() const { return program_.map("told"); }
    // Of the adopting program, for who hears of the ends of connections.
    [[nodiscard]] int sampled() const { return program_.map("sampled"); }
    [[nodiscard]] int counters_map() const { return program_.map("counters"); }
    [[nodiscard]] int flows() const { return program_.map("flows"); }
    // Over all processors.
    [[nodiscard]] splice_bridge_counters counters() const;
    // The pins stay for a next process only if they are kept.
    void unpin() noexcept;

  private:
    void write_balancers(const splice_balancer_links& balancers) noexcept;
    [[nodiscard]] splice_bridge_settings& settings() const noexcept {
        return program_.settings<splice_bridge_settings>();
    }
    BridgePrograms(KernelProgram program, Mode mode, std::optional<PinFolder> pins) noexcept
        : program_(std::move(program)), mode_(mode), pins_(std::move(pins)) {}

    KernelProgram program_;
    Mode mode_;
    std::optional<PinFolder> pins_;
    std::optional<Descriptor> old_flows_;  // of another capacity or layout: to be copied
    int old_layout_ = SPLICE_BRIDGE_LAYOUT;
    std::optional<FlowTakeOver<splice_bridge_flow>> take_over_;
};

}  // namespace splice
