// The balancer's machine (docs/design.md): packets to a service's VIP:port in, verdicts and packets
// out. No system call, no clock, no lock: one instance a thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/limits.hpp"
#include "libsplice/base/time.hpp"
#include "libsplice/base/verdict.hpp"
#include "libsplice/core/actions.hpp"
#include "libsplice/core/bridge_loads.hpp"
#include "libsplice/core/bridge_totals.hpp"
#include "libsplice/core/flow_counts.hpp"
#include "libsplice/core/flow_store.hpp"
#include "libsplice/core/hash_key.hpp"
#include "libsplice/core/held_loss.hpp"
#include "libsplice/core/placement/placement.hpp"
#include "libsplice/core/prefix_set.hpp"
#include "libsplice/core/service_check.hpp"
#include "libsplice/core/watch.hpp"
#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/choice.h"
#include "libsplice/datapath/cookie.h"
#include "libsplice/datapath/flow.h"
#include "libsplice/datapath/guesses.h"
#include "libsplice/datapath/lane.h"
#include "libsplice/datapath/latency.h"
#include "libsplice/datapath/probe.h"

namespace splice {

// What a service's placement is made of while bridges of it start slowly.
struct SlowStart {
    std::shared_ptr<const Placement> whole;    // as if they had all their rows
    std::shared_ptr<const Placement> without;  // as if they were not there
    std::shared_ptr<const Placement> now;
    std::vector<ReturningBridge> returning;
};

// One service as the machine needs it; config builds it and it does not change afterwards.
struct SplicerService {
    std::string name;
    std::uint16_t number = 1;  // its own, in flow entries: ServiceNumbers gives them out
    Endpoint vip;
    splice_carriage carriage = splice_carriage_by_dscp(1);
    Protocol protocol = Protocol::http;
    HashKeyRule key;
    ProxyProtocol proxy_protocol = ProxyProtocol::off;
    std::shared_ptr<const Placement> placement;  // choices index SplicerSetup::bridges
    std::optional<SlowStart> slow_start;
    std::vector<std::uint16_t> bridges;  // of the configuration, in its order; those too that are not placed
    std::vector<std::uint16_t> down;     // of them, those whose flows are reset
    std::vector<std::uint16_t> gone;     // those whose answered flows are reset; the others are stranded
    std::vector<std::uint16_t> silent;   // those whose flows are stranded that are not answered
    std::optional<ServiceCheck> check;   // nothing: its bridges are not checked
    std::uint32_t subset = 0;            // key sni: a name has so many bridges; 0: one
    splice_choice_rule choice{};         // weighs: what may move an opening from its first choice
    double bounded_load = 0;             // 0: none
    std::uint32_t hot_keys = 0;          // so many keys may be hot; 0: none
    std::optional<ShadowRule> shadow;
    std::shared_ptr<ServiceWatch> watch;  // where there are hot keys or a shadow
    std::vector<LoadedBridge> members;    // that may be chosen; only where choice.weighs
    std::uint16_t mss = 1460;
    std::uint8_t window_scale = kWindowScale;
    bool keyed_clock = false;         // SYN-ACKs' clock carries the cookie's proof (datapath/lane.h)
    bool lanes = false;               // timestamps name bridges; only with keyed_clock
    std::uint32_t proves_from_s = 0;  // monotonic; from then on first payloads must echo that clock
    splice_rate_limit rate{};         // new connections a second and source
    std::uint32_t max_flows = 0;      // entries; 0: as many as the table has room for
    Duration first_payload_wait = kFirstPayloadWait;
    std::size_t first_payload_max = kFirstPayloadMax;

    // Nothing that a client sends is needed to choose: a bare ACK begins its connection.
    [[nodiscard]] bool chooses_without_payload() const noexcept {
        return key.kind == KeyKind::source && proxy_protocol == ProxyProtocol::off;
    }
};

struct SplicerBridge {
    std::string name;
    IpAddress address;
    std::uint16_t number = 0;  // the fleet's, 1 to 1018; 0: it has none
};

// All that a reload swaps. Bridge indices are the caller's to keep: an index means one address for as long as
// flows may refer to it (BridgeIndex in balancer/ does that).
struct SplicerSetup {
    splice_secret secret{};
    // Random where strangers must not choose places; the first setup's holds.
    splice_source_key source_key = kKnownSourceKey;
    splice_guess_limits guess_limits{};
    std::shared_ptr<const PrefixSet> denied;  // whose new connections are dropped; null: nobody's
    splice_own_addresses own{};               // that checks come from
    std::vector<SplicerService> services;
    std::vector<SplicerBridge> bridges;
    splice_idle_timeouts timeouts{};
    std::size_t max_flows = kMaxFlows;
    std::size_t first_payload_memory = kFirstPayloadMemory;
    // Somebody else is about to serve: what no bridge takes is not answered, so that clients repeat it.
    bool stopping = false;
    std::uint64_t sample = 0;  // the share of connections that the connection log has (datapath/sample.h)

    // What the service's checks come from; nothing: it is not checked.
    [[nodiscard]] std::optional<IpAddress> checked_from(const SplicerService& service) const noexcept {
        const IpAddress address(service.vip.address.family() == 4 ? own.ipv4 : own.ipv6);
        if (!service.check || address.is_unspecified()) return std::nullopt;
        return address;
    }
};

// Of one service, where its rule weighs.
struct ChoiceCounters {
    std::array<std::atomic<std::uint64_t>, SPLICE_CHOICES> ranks{};
    std::array<std::atomic<std::uint64_t>, SPLICE_CHOICE_WHYS> whys{};
    void add(splice_choice choice) noexcept {
        ranks[choice.rank].fetch_add(1, std::memory_order_relaxed);
        whys[choice.why].fetch_add(1, std::memory_order_relaxed);
    }
};

struct LatencyCounter {
    std::array<std::atomic<std::uint64_t>, SPLICE_LATENCY_BUCKETS> buckets{};
    std::atomic<std::uint64_t> sum_us{};
    void add(std::uint32_t us) noexcept {
        buckets[splice_latency_bucket(us)].fetch_add(1, std::memory_order_relaxed);
        sum_us.fetch_add(us, std::memory_order_relaxed);
    }
};

// As splice_latencies, of one service.
struct LatencyCounters {
    LatencyCounter first_payload;
    LatencyCounter answer;
};

// Read by any thread while the machine runs.
struct SplicerCounters {
    VerdictCounters verdicts;
    HeldLossCounters held_lost;
    std::array<std::atomic<std::uint64_t>, kFallbackCount> fallbacks{};
    std::array<ChoiceCounters, SPLICE_CARRIAGE_MARKS> choices{};  // by the services' marks
    std::atomic<std::uint64_t> flows{};                           // entries now
    std::atomic<std::uint64_t> flows_pending{};                   // of them, waiting for their first payload
    std::atomic<std::uint64_t> held_bytes{};                      // for them
    std::atomic<std::uint64_t> flows_expired{};
    std::atomic<std::uint64_t> begun_without_timestamps{};  // connections; of services with a keyed clock
    std::atomic<std::uint64_t> lanes_disagree{};  // connections that echo another bridge's clock than theirs
    std::array<LatencyCounters, SPLICE_CARRIAGE_MARKS> latencies{};  // by the services' marks
};

// By family (IPv4, IPv6) and lane: the bridge of that number, or SPLICE_NO_BRIDGE. An old echo of bridge 1 is
// in lane 0; behind the last lane is one of nobody's, so that each has one above it.
using Lanes = std::array<std::array<std::uint16_t, SPLICE_LANE_MAX + 2>, 2>;
[[nodiscard]] Lanes lanes_of(const SplicerSetup& setup) noexcept;

// Gives each service that weighs its choices a place for its bridges' states. The error is a sentence.
std::expected<void, std::string> place_states(SplicerSetup& setup);

// First payloads without timestamps that acknowledged no cookie, and how often they used a budget up.
struct GuessCounts {
    std::uint64_t noted = 0;
    std::array<std::uint64_t, SPLICE_GUESS_SCOPES> exhausted{};
};

// A bridge of the service at that address that takes no new connections, while another choice of the key
// does.
struct FullBridge {
    Endpoint vip;
    std::uint16_t bridge = 0;  // index
    friend bool operator==(const FullBridge&, const FullBridge&) = default;
};

class Splicer {
  public:
    explicit Splicer(std::shared_ptr<const SplicerSetup> setup);
    // Over entries that others work on too; `flows` must outlive it.
    Splicer(std::shared_ptr<const SplicerSetup> setup, FlowStore& flows);
    ~Splicer();
    Splicer(const Splicer&) = delete;
    Splicer& operator=(const Splicer&) = delete;

    // Who opens connections beside the machine, and sees their answers, notes when here; `times` must outlive
    // the machine. Before any packet.
    void share_opening_times(splice_opening_times& times) noexcept;

    // Who sees all packets first counts guesses for the machine, which sets the limits and keeps to them, and
    // keeps to the rates of new connections in its place; both must outlive it. Before any packet.
    void share_counts(splice_guesses& guesses, splice_source_rates& rates) noexcept;
    // By any thread.
    [[nodiscard]] GuessCounts guess_counts() const noexcept;

    // Flows go on; those of a service that is gone, or of a bridge index that is gone, end as orphans.
    void replace_setup(std::shared_ptr<const SplicerSetup> setup);
    // The same in two halves, for a caller who may have to go back: a new setup by which packets are handled,
    // while each flow stays; and the end of those flows that no service has any more, or whose bridge is
    // down or gone. The number of the latter: each is reset at its client's next packet.
    void swap_setup(std::shared_ptr<const SplicerSetup> setup);
    std::size_t end_unserved_flows();

    // What fits into the route to each bridge, in bytes from the IP header on, by bridge number; 0 or
    // missing: not known. What is larger is answered with an ICMP error.
    void set_route_mtus(std::vector<std::uint32_t> mtus) noexcept;

    // `packet` begins at the IP header. Where the kernel left its TCP checksum unfinished it is finished here
    // first, otherwise it is verified where something is decided by it. Kind `forward`: it was edited in
    // place and is to be sent by its destination address. Other kinds as verdicts.h says.
    Verdict handle_packet(Instant now, MutableBytes packet, bool checksum_finished, Actions& out) noexcept;

    // A first payload that somebody else has decided, for what is counted of openings: hot keys and the
    // shadow. Says nothing of it, and changes no flow.
    void look_at(Bytes packet) noexcept;

    // Decides pending flows whose wait is over and forgets idle ones. Call it at next_deadline() at the
    // latest.
    void expire(Instant now, Actions& out) noexcept;
    // When expire() has something to do; nothing = never.
    [[nodiscard]] std::optional<Duration> next_deadline() const noexcept;

    // By which its choices are weighed; whoever decides openings beside the machine adds them here, and
    // takes the states. advance() is expire()'s.
    [[nodiscard]] BridgeLoads& loads() noexcept;
    // All that are full; of services that weigh their choices. It holds over a change of the setup.
    void set_full(std::span<const FullBridge> full) noexcept;
    // Openings that somebody else has chosen for, and that simply went to their first choice; of the service
    // whose packets have the mark.
    void add_first_choices(std::uint8_t mark, std::uint64_t count) noexcept;
    // The keys that are hot now.
    [[nodiscard]] const HotTable& hot_table() const noexcept;

    // What was seen of the bridges of services that are checked, since the last call.
    [[nodiscard]] std::vector<SignedBridge> take_signs();

    [[nodiscard]] const SplicerCounters& counters() const noexcept { return counters_; }
    [[nodiscard]] std::size_t flows() const noexcept;
    // Connections by service and bridge; valid until the next call of anything else.
    [[nodiscard]] const FlowCounts& flow_counts() const noexcept;
    // Its entries, for those who look.
    [[nodiscard]] const FlowStore& flow_store() const noexcept;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
    SplicerCounters counters_;
};

}  // namespace splice
