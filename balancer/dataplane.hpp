// What carries the packets: an engine behind one small interface, so that each engine is a pair of files
// beside the others (dataplane_nfqueue.*).
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "balancer/bridge_routes.hpp"
#include "libsplice/base/netfilter_tool.hpp"
#include "libsplice/base/system_error.hpp"
#include "libsplice/config/common.hpp"
#include "libsplice/core/bridge_totals.hpp"
#include "libsplice/core/flow_counts.hpp"
#include "libsplice/core/flow_page.hpp"
#include "libsplice/core/hash_key.hpp"
#include "libsplice/core/health_checks.hpp"
#include "libsplice/core/splicer.hpp"
#include "libsplice/engine/host_fact.hpp"
#include "libsplice/engine/interface.hpp"
#include "libsplice/engine/xdp_link.hpp"
#include "libsplice/ops/connection_log.hpp"
#include "libsplice/ops/data_plane_statistics.hpp"

namespace splice {

// What services that weigh their choices have chosen.
struct ChoiceStatistics : splice_choice_counts {
    void add(const splice_choice_counts& more) noexcept;
};

struct BalancerStatistics : DataPlaneStatistics {
    std::array<std::uint64_t, kFallbackCount> fallbacks{};
    std::uint64_t begun_without_timestamps = 0;  // connections; of services with a keyed clock
    GuessCounts guesses;
    std::uint64_t lanes_disagree = 0;  // connections that echo another bridge's clock than theirs
    std::array<ChoiceStatistics, SPLICE_CARRIAGE_MARKS> choices{};    // by the services' marks
    std::array<splice_latencies, SPLICE_CARRIAGE_MARKS> latencies{};  // likewise
    std::uint64_t flows_pending = 0;
    std::uint64_t first_payload_bytes = 0;
    std::uint64_t bridges_unreachable = 0;  // whose next hop is not known

    // What the machine of either engine counts.
    void read(const SplicerCounters& machine) noexcept;
    using DataPlaneStatistics::read;
    // A kernel program's, of the service with that mark.
    void add_latencies(std::size_t mark, const splice_latencies& more) noexcept;
};

struct HealthNews {
    HealthReport report;
    std::vector<HealthChange> changes;
};

// Carries packets from start() on; destruction detaches and gives the host back as it was.
class DataPlane {
  public:
    virtual ~DataPlane() = default;
    virtual SystemResult<void> start() = 0;
    // Takes the new setup as a whole, or leaves the old one as it is and says why. Every flow stays,
    // those of services that are gone too.
    virtual SystemResult<void> replace_setup(std::shared_ptr<const SplicerSetup> setup) = 0;
    // All bridges that are full, as Splicer::set_full() says. Any thread; waits for the packets' thread.
    virtual void set_full(const std::vector<FullBridge>& full) = 0;
    // Back to the setup before the last replace_setup(), which succeeded. Errors: the system refuses what it
    // had accepted before.
    virtual SystemResult<void> restore_setup() = 0;
    // Start or change are final: the flows that no service has any more end, and those whose bridge is down
    // are reset at their client's next packet: the number of these. A start that took over an earlier
    // process's data path and is given up before leaves it running.
    virtual std::size_t settle() = 0;
    // Whether packets are handled after destruction, too.
    [[nodiscard]] virtual bool goes_on() const { return false; }
    // From here on as with `keep`: what can go on without the process does.
    virtual void hand_over() {}
    // What the data path needs of the host, after start(). The facts refer to this.
    [[nodiscard]] virtual HostFactList facts() = 0;
    // Any thread.
    [[nodiscard]] virtual BalancerStatistics statistics() const = 0;
    // Connections by service and bridge. Any thread, after start(); waits for the packets' thread.
    [[nodiscard]] virtual FlowCounts flow_counts() = 0;
    // As read_flow_page(). Any thread, after start(); where the entries are the packets' thread's, it waits
    // for that.
    [[nodiscard]] virtual std::expected<FlowPage, std::string> flow_page(const FlowFilter& wanted,
                                                                         std::size_t limit,
                                                                         std::string_view after) = 0;
    // What each bridge was given since the start. Any thread, after start(); waits for the packets' thread.
    [[nodiscard]] virtual BridgeTotals bridge_totals() = 0;
    // The ways to the bridges, as BridgeRoutes::known_mtus() says; null while they are not looked up. Any
    // thread.
    [[nodiscard]] virtual std::shared_ptr<const RouteMtus> route_mtus() const = 0;
    // What the health checks say. Any thread, after start(); waits for the packets' thread.
    [[nodiscard]] virtual HealthReport health() = 0;
    // The same, and what has changed since the last call. For one caller.
    [[nodiscard]] virtual HealthNews take_health_news() = 0;
    // What start() chose, for the log; may be empty.
    [[nodiscard]] virtual std::string description() const { return {}; }
};

// What an engine needs to know of the host and the configuration besides the setup.
struct EngineSettings {
    std::vector<InterfaceInfo> uplinks;  // at least one
    std::string bpffs;
    bool keep = false;
    XdpMode xdp_mode = XdpMode::automatic;
    NetfilterTool netfilter = NetfilterTool::automatic;
    std::uint64_t seed = 0;                   // of the health checks' times and numbers
    std::function<void()> health_changed;     // take_health_news() has some; called in the packets' thread
    ConnectionLog* connection_log = nullptr;  // it outlives the data plane; null: there is none
};

// An engine and why it is tried: "nfqueue", "as configured".
struct EngineDecision {
    std::string_view name;
    std::string reason;
    std::unique_ptr<DataPlane> (*make)(std::shared_ptr<const SplicerSetup> setup,
                                       const EngineSettings& settings) = nullptr;
};

// Those that may be taken, the best first; the first that starts is it.
std::vector<EngineDecision> engines_for(EngineChoice choice);

}  // namespace splice
