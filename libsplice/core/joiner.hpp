// The bridge's machine: marked packets from the balancer in one door, the backend's packets in the other. It
// leaves connections that begin to Openings, and segments of no known connection to Strangers (core/joiner/).
// No system call, no clock, no lock: one instance a thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "libsplice/base/time.hpp"
#include "libsplice/base/verdict.hpp"
#include "libsplice/core/actions.hpp"
#include "libsplice/core/bridge_flows.hpp"
#include "libsplice/core/held_loss.hpp"
#include "libsplice/core/joiner/setup.hpp"
#include "libsplice/core/sampled_flows.hpp"

namespace splice {

struct JoinerCounters {
    VerdictCounters verdicts;
    HeldLossCounters held_lost;
    std::atomic<std::uint64_t> flows{};
    std::atomic<std::uint64_t> flows_opening{};
    std::atomic<std::uint64_t> held_bytes{};
    std::atomic<std::uint64_t> flows_expired{};
};

class Joiner {
  public:
    // `carried`: where connections live that something else carries once they are established; it must
    // outlive the machine. Without it the machine carries them itself.
    explicit Joiner(std::shared_ptr<const JoinerSetup> setup, BridgeFlows* carried = nullptr);
    ~Joiner();
    Joiner(const Joiner&) = delete;
    Joiner& operator=(const Joiner&) = delete;

    // Hears of the connections that are in the sample; outlives the machine. Before any packet.
    void tell_sampled(SampledFlows& sampled) noexcept;

    // A flow goes on as long as a service of the same mark, VIP and backend does.
    void replace_setup(std::shared_ptr<const JoinerSetup> setup);
    // The same in two halves, for a caller who may have to go back: a new setup by which packets are handled,
    // while each flow stays; and the end of those flows that no service has any more.
    void swap_setup(std::shared_ptr<const JoinerSetup> setup);
    void end_unserved_flows();
    // The bridge stops, and nobody will translate: a RST to both ends of each established connection, so that
    // neither waits for the other. An end that did not get all that was sent to it may answer with a
    // challenge (RFC 5961 section 3.2) that nobody hears. Their number. Flows stay where they are.
    std::size_t reset_flows(Actions& out);

    // Each established connection that is translated. `visit` changes nothing here.
    void for_each_established(const BridgeFlows::Visit& visit);

    // A packet that arrived for our address. Kind `forward`: edited in place, to be delivered to its new
    // destination. `hop` is where it came from. An unfinished TCP checksum is finished here first.
    Verdict handle_from_balancer(Instant now, MutableBytes packet, bool checksum_finished, const Hop& hop,
                                 Actions& out) noexcept;
    // A packet that a backend address:port is about to send. Kind `forward`: edited in place, to go on to the
    // client.
    Verdict handle_from_backend(Instant now, MutableBytes packet, bool checksum_finished,
                                Actions& out) noexcept;

    // Whether a segment that a backend sends is of a connection here. `head`: its first bytes, from the IP
    // header on.
    [[nodiscard]] bool is_spliced_answer(Bytes head) const noexcept;

    void expire(Instant now, Actions& out) noexcept;
    [[nodiscard]] std::optional<Duration> next_deadline() const noexcept;

    [[nodiscard]] const JoinerSetup& setup() const noexcept;
    [[nodiscard]] const JoinerCounters& counters() const noexcept { return counters_; }
    [[nodiscard]] std::size_t flows() const noexcept;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
    JoinerCounters counters_;
};

}  // namespace splice
