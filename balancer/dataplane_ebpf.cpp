#include "balancer/dataplane_ebpf.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <optional>
#include <vector>

#include "balancer/kernel_path.hpp"
#include "libsplice/engine/bpf_flow_store.hpp"
#include "libsplice/engine/bpf_ring.hpp"
#include "libsplice/engine/clock.hpp"
#include "libsplice/engine/next_hop.hpp"
#include "libsplice/ops/packet_loop.hpp"
#include "libsplice/ops/trace.hpp"

namespace splice {
namespace {

using namespace std::chrono_literals;

// Next hops are looked up again: this long after a notice, which seldom comes alone; while one is not known;
// always.
constexpr Duration kAfterNotice = 20ms;
constexpr Duration kWhileUnknown = 200ms;
constexpr Duration kNextHopPeriod = 5s;

// The kernel's notices about routes and neighbours, in the packet thread's loop.
class ChangeNotices final : public PacketSource {
  public:
    ChangeNotices(NextHops& hops, std::function<void()> changed)
        : hops_(hops), changed_(std::move(changed)) {}
    [[nodiscard]] int descriptor() const noexcept override { return hops_.descriptor(); }
    void receive(const Handler&, RawSender&) override {
        if (hops_.drain()) changed_();
    }
    [[nodiscard]] std::uint64_t overruns() const noexcept override { return 0; }

  private:
    NextHops& hops_;
    std::function<void()> changed_;
};

Bytes read_record(Bytes record, QueuedPacket&) {
    splice_asked_packet head{};
    std::memcpy(&head, record.data(), sizeof(head));
    return record.subspan(sizeof(head), head.length);
}

class EbpfDataPlane final : public DataPlane, private PacketMachine {
  public:
    EbpfDataPlane(std::shared_ptr<const SplicerRules> rules, const EngineSettings& settings)
        : rules_(std::move(rules)), settings_(settings) {}

    SystemResult<void> start() override {
        auto hops = NextHops::open();
        if (!hops) return std::unexpected(hops.error());
        hops_ = std::move(*hops);
        auto path = KernelPath::load({.interface = settings_.interface,
                                      .bpffs = settings_.bpffs,
                                      .xdp_mode = settings_.xdp_mode,
                                      .keep = settings_.keep,
                                      .max_flows = rules_->max_flows});
        if (!path) return std::unexpected(path.error());
        path_.emplace(std::move(*path));
        if (auto written = path_->maps().write_rules(*rules_); !written) return written;
        flows_.emplace(path_->maps().flows());
        splicer_.emplace(rules_, *flows_);
        // What an earlier process served and this one does not.
        splicer_->replace_rules(rules_);
        if (auto opened = open_loop(); !opened) return opened;
        if (auto attached = path_->attach(); !attached) return attached;
        // How packets go back is known only now.
        refresh_next_hops(read_clock());
        loop_->start();
        return {};
    }

    SystemResult<void> replace_rules(std::shared_ptr<const SplicerRules> rules) override {
        SystemResult<void> written;
        loop_->run([&] {
            // Bridges first: a service's new table may name new ones.
            write_bridges(*rules);
            written = path_->maps().write_rules(*rules);
            if (!written) return;
            splicer_->replace_rules(rules);
            rules_ = rules;
            next_refresh_ = {};
        });
        return written;
    }

    BalancerStatistics statistics() const override {
        const SplicerCounters& machine = splicer_->counters();
        const splice_balancer_counters kernel = path_->maps().counters();
        BalancerStatistics all;
        all.add(machine.verdicts);
        all.add(kernel.verdicts);
        all.read(loop_->sender());
        for (std::size_t i = 0; i < kFallbackCount; i++) all.fallbacks[i] = machine.fallbacks[i];
        all.fallbacks[static_cast<std::size_t>(Fallback::key_is_source)] += kernel.chosen_by_source;
        all.flows = machine.flows;
        all.flows_pending = machine.flows_pending;
        all.flows_expired = machine.flows_expired;
        all.first_payload_bytes = machine.held_bytes;
        all.queue_overruns = kernel.asked_overruns;
        return all;
    }

    std::string description() const override { return path_->description(); }

  private:
    SystemResult<void> open_loop() {
        auto ring = BpfRing::open(path_->maps().asked(), read_record);
        if (!ring) return std::unexpected(ring.error());
        std::vector<std::unique_ptr<PacketSource>> sources;
        sources.push_back(std::move(*ring));
        sources.push_back(std::make_unique<ChangeNotices>(*hops_, [this] {
            next_refresh_ = std::min(next_refresh_, read_clock().monotonic + kAfterNotice);
        }));
        auto loop = PacketLoop::open(std::move(sources), *this);
        if (!loop) return std::unexpected(loop.error());
        loop_ = std::move(*loop);
        return {};
    }

    Disposition handle(std::size_t, Instant now, QueuedPacket& packet, Actions& out) override {
        const PacketTrace trace(packet.bytes);
        const Verdict verdict = splicer_->handle_packet(now, packet.bytes, packet.checksum_finished, out);
        trace.say(verdict);
        // Nothing passes from here: what is none of ours passed in the kernel.
        return verdict_kind(verdict) == SPLICE_KIND_forward ? Disposition::accept_edited : Disposition::drop;
    }

    void expire(Instant now, Actions& out) override {
        splicer_->expire(now, out);
        path_->maps().write_wall_clock();
        if (now.monotonic >= next_refresh_) refresh_next_hops(now);
    }

    [[nodiscard]] std::optional<Duration> next_deadline() const override {
        return std::min(splicer_->next_deadline().value_or(next_refresh_), next_refresh_);
    }

    bool write_bridges(const SplicerRules& rules) {
        std::vector<IpAddress> addresses;
        addresses.reserve(rules.bridges.size());
        for (const SplicerBridge& bridge : rules.bridges) addresses.push_back(bridge.address);
        const auto hops = hops_->resolve(addresses);
        path_->maps().write_bridges(rules.bridges, hops);
        return std::ranges::all_of(hops, [](const auto& hop) { return hop.has_value(); });
    }

    void refresh_next_hops(Instant now) {
        next_refresh_ = now.monotonic + (write_bridges(*rules_) ? kNextHopPeriod : kWhileUnknown);
    }

    std::shared_ptr<const SplicerRules> rules_;
    EngineSettings settings_;
    std::optional<NextHops> hops_;
    std::optional<KernelPath> path_;
    std::optional<BpfFlowStore> flows_;
    std::optional<Splicer> splicer_;
    std::optional<PacketLoop> loop_;
    Duration next_refresh_{};
};

}  // namespace

std::unique_ptr<DataPlane> make_ebpf_dataplane(std::shared_ptr<const SplicerRules> rules,
                                               const EngineSettings& settings) {
    return std::make_unique<EbpfDataPlane>(std::move(rules), settings);
}

}  // namespace splice
