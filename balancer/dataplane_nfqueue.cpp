#include "balancer/dataplane_nfqueue.hpp"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "balancer/bridge_routes.hpp"
#include "balancer/connection_choices.hpp"
#include "libsplice/engine/clock.hpp"
#include "libsplice/engine/icmp_errors.hpp"
#include "libsplice/engine/queued_machine.hpp"
#include "libsplice/ops/trace.hpp"

namespace splice {
namespace {

constexpr const char* kOwner = "BALANCER";  // of the rules

// From services to the address that their checks come from; to which ports, the machine looks itself. None
// where no service of the family is checked.
std::optional<NetfilterMatch> answers_to_checks(const SplicerSetup& setup, int family) {
    NetfilterMatch match{.hook = NetfilterHook::prerouting, .queue = kBalancerQueue};
    for (const SplicerService& service : setup.services) {
        const auto own = setup.checked_from(service);
        if (!own || own->family() != family) continue;
        match.sources.push_back(service.vip);
        match.destinations = {{*own, 0}};
    }
    if (match.sources.empty()) return std::nullopt;
    return match;
}

// Exactly what is ours: TCP to each VIP and port, answers to checks, and ICMP errors to each VIP. Any
// interface, because bounces and a bridge on this host need not come in by the uplink.
std::vector<NetfilterMatch> matches_for(const SplicerSetup& setup) {
    NetfilterMatch tcp{.hook = NetfilterHook::prerouting, .queue = kBalancerQueue};
    for (const SplicerService& service : setup.services) tcp.destinations.push_back(service.vip);
    NetfilterMatch icmp{
        .hook = NetfilterHook::prerouting, .kind = NetfilterMatch::Kind::icmp_error, .queue = kBalancerQueue};
    for (const Endpoint& vip : tcp.destinations) {
        const Endpoint host{vip.address, 0};
        if (std::ranges::find(icmp.destinations, host) == icmp.destinations.end())
            icmp.destinations.push_back(host);
    }
    std::vector<NetfilterMatch> matches{tcp, icmp};
    for (const int family : {4, 6}) {
        if (auto answers = answers_to_checks(setup, family)) matches.push_back(std::move(*answers));
    }
    return matches;
}

class NfqueueDataPlane final : public DataPlane, private PacketMachine {
  public:
    NfqueueDataPlane(std::shared_ptr<const SplicerSetup> setup, const EngineSettings& settings)
        : setup_(std::move(setup)),
          health_changed_(settings.health_changed),
          connection_log_(settings.connection_log),
          splicer_(setup_),
          checks_(settings.seed),
          queued_(kOwner, settings.netfilter) {}

    SystemResult<void> start() override {
        auto routes = BridgeRoutes::open();
        if (!routes) return std::unexpected(routes.error());
        routes_ = std::move(*routes);
        checks_.replace_setup(read_clock().monotonic, setup_);
        std::vector<std::unique_ptr<PacketSource>> more;
        more.push_back(routes_->notices());
        if (auto hears = add_icmp_errors(more, SPLICE_PROBE_PORT_FIRST); !hears) return hears;
        return queued_.start({{.number = kBalancerQueue}}, *this, matches_for(*setup_), std::move(more));
    }

    SystemResult<void> replace_setup(std::shared_ptr<const SplicerSetup> setup) override {
        const auto was = setup_;
        auto replaced = queued_.replace(matches_for(*setup), [&] { take(setup); }, [&] { take(was); });
        if (replaced) before_ = was;
        return replaced;
    }

    SystemResult<void> restore_setup() override { return replace_setup(before_); }

    void set_full(const std::vector<FullBridge>& full) override {
        queued_.run([&] { splicer_.set_full(full); });
    }

    std::size_t settle() override {
        std::size_t reset = 0;
        queued_.run([&] { reset = splicer_.end_unserved_flows(); });
        before_.reset();
        return reset;
    }

    HostFactList facts() override { return {queued_.fact()}; }

    BalancerStatistics statistics() const override {
        BalancerStatistics all;
        all.read(splicer_.counters());
        all.guesses = splicer_.guess_counts();
        all.add(checks_.verdicts());
        all.read(queued_.loop().sender());
        all.bridges_unreachable = routes_->unreachable();
        all.queue_overruns = queued_.loop().overruns();
        if (connection_log_) all.connection_log = &connection_log_->counters();
        return all;
    }

    std::shared_ptr<const RouteMtus> route_mtus() const override {
        return routes_ ? routes_->known_mtus() : nullptr;
    }

    FlowCounts flow_counts() override {
        FlowCounts counts;
        queued_.run([&] { counts = splicer_.flow_counts(); });
        return counts;
    }

    std::expected<FlowPage, std::string> flow_page(const FlowFilter& wanted, std::size_t limit,
                                                   std::string_view after) override {
        std::expected<FlowPage, std::string> page;
        queued_.run([&] { page = read_flow_page(splicer_.flow_store(), wanted, limit, after); });
        return page;
    }

    BridgeTotals bridge_totals() override {
        BridgeTotals totals;
        queued_.run([&] {
            take_signs(read_clock());
            totals = totals_;
        });
        return totals;
    }

    HealthReport health() override {
        HealthReport report;
        queued_.run([&] { report = checks_.report(); });
        return report;
    }

    HealthNews take_health_news() override {
        HealthNews news;
        queued_.run([&] { news = {.report = checks_.report(), .changes = checks_.take_changes()}; });
        return news;
    }

  private:
    static constexpr std::size_t kQueueSource = 0;  // of start()'s; the others with packets are ICMP errors

    void take_signs(Instant now) {
        const std::vector<SignedBridge> seen = splicer_.take_signs();
        totals_.add(seen);
        checks_.see(now.monotonic, seen);
    }
    void take(const std::shared_ptr<const SplicerSetup>& setup) {
        splicer_.swap_setup(setup);
        checks_.replace_setup(read_clock().monotonic, setup);
        setup_ = setup;
        routes_->ask_soon();
    }
    Disposition handle(std::size_t source, Instant now, QueuedPacket& packet, Actions& out) override {
        const PacketTrace trace(packet.bytes);
        if (source != kQueueSource) {
            if (checks_.hear_error(now.monotonic, packet.bytes)) tell_health();
            return Disposition::drop;
        }
        if (const auto verdict = checks_.handle(now, packet.bytes, packet.checksum_finished, out)) {
            trace.say(*verdict);
            tell_health();
            return Disposition::drop;
        }
        LoggedActions logged(out, connection_log_, *setup_);
        const Verdict verdict = splicer_.handle_packet(now, packet.bytes, packet.checksum_finished, logged);
        trace.say(verdict);
        switch (verdict_kind(verdict)) {
            case SPLICE_KIND_pass:
                return Disposition::accept;
            // Sent from here: an edited packet that were accepted would be this host's own, for the VIP was.
            case SPLICE_KIND_forward:
                out.send(packet.bytes);
                return Disposition::drop;
            case SPLICE_KIND_consume:
            case SPLICE_KIND_drop:
                break;
        }
        return Disposition::drop;
    }
    void expire(Instant now, Actions& out) override {
        LoggedActions logged(out, connection_log_, *setup_);
        splicer_.expire(now, logged);
        if (checks_.wants_signs(now.monotonic)) take_signs(now);
        checks_.expire(now, out);
        tell_health();
        if (now.monotonic < routes_->next_refresh()) return;
        routes_->refresh(now, setup_->bridges);
        splicer_.set_route_mtus(routes_->mtus());
    }
    [[nodiscard]] std::optional<Duration> next_deadline() const override {
        const Duration refresh = routes_->next_refresh();
        return std::min(
            {splicer_.next_deadline().value_or(refresh), checks_.next_deadline().value_or(refresh), refresh});
    }
    void tell_health() {
        if (checks_.take_news() && health_changed_) health_changed_();
    }

    std::shared_ptr<const SplicerSetup> setup_;   // the loop's thread, once it runs
    std::shared_ptr<const SplicerSetup> before_;  // while a reload may go back to them
    std::function<void()> health_changed_;
    ConnectionLog* connection_log_;
    Splicer splicer_;
    HealthChecks checks_;
    BridgeTotals totals_;
    std::unique_ptr<BridgeRoutes> routes_;
    QueuedMachine queued_;  // ends first
};

}  // namespace

std::unique_ptr<DataPlane> make_nfqueue_dataplane(std::shared_ptr<const SplicerSetup> setup,
                                                  const EngineSettings& settings) {
    return std::make_unique<NfqueueDataPlane>(std::move(setup), settings);
}

}  // namespace splice
