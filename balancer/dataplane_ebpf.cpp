#include "balancer/dataplane_ebpf.hpp"

#include <algorithm>
#include <functional>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "balancer/bridge_routes.hpp"
#include "balancer/connection_choices.hpp"
#include "balancer/kernel_path.hpp"
#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/packet.h"
#include "libsplice/engine/bpf_flow_store.hpp"
#include "libsplice/engine/bpf_ring.hpp"
#include "libsplice/engine/clock.hpp"
#include "libsplice/engine/icmp_errors.hpp"
#include "libsplice/engine/loopback_tap.hpp"
#include "libsplice/engine/packet_loop.hpp"
#include "libsplice/ops/trace.hpp"

namespace splice {
namespace {

// A flood fills a table in less than a second: how many flows have begun is looked at so often.
constexpr Duration kLookEach = std::chrono::milliseconds(100);

class EbpfDataPlane final : public DataPlane, private PacketMachine {
  public:
    EbpfDataPlane(std::shared_ptr<const SplicerSetup> setup, const EngineSettings& settings)
        : setup_(std::move(setup)), settings_(settings), checks_(settings.seed) {}

    SystemResult<void> start() override {
        auto routes = BridgeRoutes::open();
        if (!routes) return std::unexpected(routes.error());
        routes_ = std::move(*routes);
        auto path = KernelPath::load({.uplinks = settings_.uplinks,
                                      .bpffs = settings_.bpffs,
                                      .xdp_mode = settings_.xdp_mode,
                                      .keep = settings_.keep,
                                      .max_flows = setup_->max_flows});
        if (!path) return std::unexpected(path.error());
        path_.emplace(std::move(*path));
        if (auto written = path_->maps().write_setup(*setup_); !written) return written;
        path_->take_over_flows(*setup_);
        flows_.emplace(path_->maps().flows(), path_->maps().sources(), path_->maps().service_flows());
        splicer_.emplace(setup_, *flows_);
        splicer_->share_opening_times(path_->maps().opening_times());
        splicer_->share_counts(path_->maps().guesses(), path_->maps().rates());
        splicer_->swap_setup(setup_);
        checks_.replace_setup(read_clock().monotonic, setup_);
        if (auto opened = open_loop(); !opened) return opened;
        if (auto attached = path_->attach(); !attached) return attached;
        // How packets go back is known only now.
        refresh_routes(read_clock(), *setup_);
        loop_->start();
        return {};
    }

    SystemResult<void> replace_setup(std::shared_ptr<const SplicerSetup> setup) override {
        SystemResult<void> written = path_->maps().prepare_denied(setup->denied);
        if (!written) return written;
        loop_->run([&] {
            // Bridges first: a service's new table may name new ones.
            refresh_routes(read_clock(), *setup);
            path_->maps().read_openings(*splicer_);  // by the states of the old setup
            written = path_->maps().write_setup(*setup);
            if (!written) return refresh_routes(read_clock(), *setup_);
            splicer_->swap_setup(setup);
            checks_.replace_setup(read_clock().monotonic, setup);
            path_->maps().write_states(splicer_->loads());
            before_ = std::exchange(setup_, setup);
        });
        return written;
    }

    SystemResult<void> restore_setup() override {
        loop_->run([&] {
            path_->maps().restore_setup(*before_);
            splicer_->swap_setup(before_);
            checks_.replace_setup(read_clock().monotonic, before_);
            path_->maps().write_states(splicer_->loads());
            setup_ = std::exchange(before_, nullptr);
            refresh_routes(read_clock(), *setup_);
        });
        return {};
    }

    void set_full(const std::vector<FullBridge>& full) override {
        loop_->run([&] {
            splicer_->set_full(full);
            path_->maps().write_states(splicer_->loads());
        });
    }

    std::size_t settle() override {
        std::size_t reset = 0;
        loop_->run([&] { reset = splicer_->end_unserved_flows(); });
        before_.reset();
        path_->settle();
        return reset;
    }

    bool goes_on() const override { return path_ && path_->goes_on(); }
    void hand_over() override {
        if (path_) path_->hand_over();
    }

    // The loop's thread writes the same maps.
    HostFactList facts() override {
        HostFactList facts = path_->facts();
        for (HostFact& fact : facts) {
            fact.put_right = [this, put_right = std::move(fact.put_right)] {
                SystemResult<void> done;
                loop_->run([&] {
                    done = put_right();
                    refresh_routes(read_clock(), *setup_);
                });
                return done;
            };
        }
        return facts;
    }

    BalancerStatistics statistics() const override {
        const splice_balancer_counters kernel = path_->maps().counters();
        BalancerStatistics all;
        all.read(splicer_->counters());
        all.guesses = splicer_->guess_counts();
        all.add(kernel.common.verdicts);
        for (std::size_t mark = 0; mark < SPLICE_CARRIAGE_MARKS; ++mark)
            all.choices[mark].add(kernel.choices[mark]);
        for (std::size_t mark = 1; mark < SPLICE_CARRIAGE_MARKS; ++mark)
            all.add_latencies(mark, path_->maps().latencies(mark));
        all.add(checks_.verdicts());
        all.read(loop_->sender());
        all.fallbacks[static_cast<std::size_t>(Fallback::key_is_source)] += kernel.chosen_by_source;
        all.begun_without_timestamps += kernel.begun_without_timestamps;
        all.lanes_disagree += kernel.lanes_disagree;
        all.bridges_unreachable = routes_->unreachable();
        all.queue_overruns = kernel.common.verdicts[SPLICE_drop_ask_overrun];
        all.untold = kernel.common.untold;
        if (settings_.connection_log) all.connection_log = &settings_.connection_log->counters();
        return all;
    }

    std::shared_ptr<const RouteMtus> route_mtus() const override {
        return routes_ ? routes_->known_mtus() : nullptr;
    }

    FlowCounts flow_counts() override {
        FlowCounts counts;
        loop_->run([&] { counts = splicer_->flow_counts(); });
        return counts;
    }

    std::expected<FlowPage, std::string> flow_page(const FlowFilter& wanted, std::size_t limit,
                                                   std::string_view after) override {
        return read_flow_page(*flows_, wanted, limit, after);
    }

    BridgeTotals bridge_totals() override {
        BridgeTotals totals;
        loop_->run([&] {
            take_signs(read_clock());
            totals_.add(path_->maps().take_traffic());
            totals = totals_;
        });
        return totals;
    }

    HealthReport health() override {
        HealthReport report;
        loop_->run([&] { report = checks_.report(); });
        return report;
    }

    HealthNews take_health_news() override {
        HealthNews news;
        loop_->run([&] { news = {.report = checks_.report(), .changes = checks_.take_changes()}; });
        return news;
    }

    std::string description() const override { return path_->description(); }

  private:
    SystemResult<void> open_loop() {
        auto ring = BpfRing::open(path_->maps().asked(), read_asked);
        if (!ring) return std::unexpected(ring.error());
        std::vector<std::unique_ptr<PacketSource>> sources;
        sources.push_back(std::move(*ring));
        auto told = BpfRing::open(path_->maps().told(), [](Bytes record, QueuedPacket&) { return record; });
        if (!told) return std::unexpected(told.error());
        sources.push_back(std::move(*told));
        sources.push_back(routes_->notices());
        // A bridge on this host answers and bounces there, and the program hangs on the uplink alone.
        auto tap = LoopbackTap::open(SPLICE_PROBE_PORT_FIRST);
        if (!tap) return std::unexpected(tap.error());
        sources.push_back(std::move(*tap));
        if (auto hears = add_icmp_errors(sources, SPLICE_PROBE_PORT_FIRST); !hears) return hears;
        auto loop = PacketLoop::open(std::move(sources), *this);
        if (!loop) return std::unexpected(loop.error());
        loop_ = std::move(*loop);
        return {};
    }

    // Of open_loop()'s.
    static constexpr std::size_t kToldSource = 1;
    static constexpr std::size_t kLoopbackSource = 3;

    Disposition handle(std::size_t source, Instant now, QueuedPacket& packet, Actions& out) override {
        if (source == kToldSource) {
            if (settings_.connection_log) log_choice(*settings_.connection_log, *setup_, packet.bytes);
            return Disposition::drop;
        }
        if (packet.id == SPLICE_ASKED_TO_LOOK) {
            splicer_->look_at(packet.bytes);
            return Disposition::drop;
        }
        const PacketTrace trace(packet.bytes);
        if (source > kLoopbackSource) {  // ICMP errors
            if (checks_.hear_error(now.monotonic, packet.bytes)) tell_health();
            return Disposition::drop;
        }
        if (const auto verdict = checks_.handle(now, packet.bytes, packet.checksum_finished, out)) {
            trace.say(*verdict);
            tell_health();
            return Disposition::drop;
        }
        if (source == kLoopbackSource && !is_bounced(packet.bytes)) return Disposition::drop;
        LoggedActions logged(out, settings_.connection_log, *setup_);
        const Verdict verdict = splicer_->handle_packet(now, packet.bytes, packet.checksum_finished, logged);
        trace.say(verdict);
        // Nothing passes from here: what is none of ours passed in the kernel.
        return verdict_kind(verdict) == SPLICE_KIND_forward ? Disposition::accept_edited : Disposition::drop;
    }

    // What a bridge on this host refused; the answers to checks that nobody waits for are the host's own.
    static bool is_bounced(Bytes bytes) noexcept {
        splice_packet packet{};
        return splice_parse_ip(bytes.data(), bytes.data() + bytes.size(), &packet) == SPLICE_CONTINUE &&
               splice_is_bounced(&packet);
    }

    void expire(Instant now, Actions& out) override {
        BridgeLoads& loads = splicer_->loads();
        const auto tick = loads.next_tick();
        const bool ticks = tick && *tick <= now.monotonic;
        if (ticks) path_->maps().read_openings(*splicer_);
        LoggedActions logged(out, settings_.connection_log, *setup_);
        splicer_->expire(now, logged);
        if (checks_.wants_signs(now.monotonic) || now.monotonic >= next_look_) take_signs(now);
        checks_.expire(now, out);
        tell_health();
        if (ticks) {
            path_->maps().write_states(loads);
            path_->maps().write_hot_keys(splicer_->hot_table());
        }
        path_->maps().renew_clock();
        if (now.monotonic >= routes_->next_refresh()) refresh_routes(now, *setup_);
    }

    [[nodiscard]] std::optional<Duration> next_deadline() const override {
        const Duration refresh = routes_->next_refresh();
        return std::min({splicer_->next_deadline().value_or(refresh),
                         checks_.next_deadline().value_or(refresh), refresh, next_look_});
    }

    void take_signs(Instant now) {
        std::vector<SignedBridge> seen = path_->maps().take_signs();
        std::ranges::move(splicer_->take_signs(), std::back_inserter(seen));
        totals_.add(seen);
        std::uint64_t begun = 0;
        for (const SignedBridge& each : seen) begun += each.signs.openings;
        flows_->note_begun(begun);
        next_look_ = now.monotonic + kLookEach;
        checks_.see(now.monotonic, seen);
    }

    void tell_health() {
        if (checks_.take_news() && settings_.health_changed) settings_.health_changed();
    }

    void refresh_routes(Instant now, const SplicerSetup& setup) {
        routes_->refresh(now, setup.bridges);
        path_->maps().write_bridges(setup.bridges, routes_->hops());
        splicer_->set_route_mtus(routes_->mtus());
    }

    std::shared_ptr<const SplicerSetup> setup_;
    std::shared_ptr<const SplicerSetup> before_;  // while a reload may go back to them
    EngineSettings settings_;
    std::unique_ptr<BridgeRoutes> routes_;
    std::optional<KernelPath> path_;
    std::optional<BpfFlowStore> flows_;
    Duration next_look_{};
    std::optional<Splicer> splicer_;
    HealthChecks checks_;
    BridgeTotals totals_;
    std::optional<PacketLoop> loop_;
};

}  // namespace

std::unique_ptr<DataPlane> make_ebpf_dataplane(std::shared_ptr<const SplicerSetup> setup,
                                               const EngineSettings& settings) {
    return std::make_unique<EbpfDataPlane>(std::move(setup), settings);
}

}  // namespace splice
