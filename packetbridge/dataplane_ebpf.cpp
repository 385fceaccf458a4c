#include "packetbridge/dataplane_ebpf.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "libsplice/datapath/packet.h"
#include "libsplice/datapath/verify.h"
#include "libsplice/engine/attached_program.hpp"
#include "libsplice/engine/bpf_ring.hpp"
#include "libsplice/engine/clock.hpp"
#include "libsplice/engine/packet_loop.hpp"
#include "libsplice/engine/sysctl.hpp"
#include "libsplice/engine/tc_program.hpp"
#include "libsplice/ops/log.hpp"
#include "libsplice/ops/trace.hpp"
#include "packetbridge/adopted_ends.hpp"
#include "packetbridge/adopted_sockets.hpp"
#include "packetbridge/adoption_checks.hpp"
#include "packetbridge/bridge_hooks.hpp"
#include "packetbridge/bridge_programs.hpp"
#include "packetbridge/connection_ends.hpp"
#include "packetbridge/kernel_flows.hpp"

namespace splice {
namespace {

// How often the clock is renewed and a part of the flows looked at.
constexpr Duration kHousekeeping = std::chrono::seconds(1);
// An accepted socket inherits the mark of the segment that opened it (ip-sysctl.rst).
constexpr const char* kFwmarkAccept = "net/ipv4/tcp_fwmark_accept";

// The queue of what the kernel asked: a checksum may be unfinished, which the record does not say.
Bytes read_judged(Bytes record, QueuedPacket& packet) {
    const Bytes bytes = read_asked(record, packet);
    splice_packet judged{};
    const std::byte* data = bytes.data();
    packet.checksum_finished = splice_parse_ip(data, data + bytes.size(), &judged) != SPLICE_CONTINUE ||
                               judged.protocol != SPLICE_PROTOCOL_TCP ||
                               !splice_tcp_checksum_is_unfinished(data, &judged);
    return bytes;
}

class OneModeBridge final : public EbpfBridge, private PacketMachine {
  public:
    OneModeBridge(const EbpfBridgeSettings& settings, std::shared_ptr<const JoinerSetup> setup)
        : settings_(settings),
          setup_(std::move(setup)),
          ends_(*settings.connection_log, settings.mode == Mode::adopt ? "adopt" : "translate", setup_),
          hooks_(choose_tc_attach(settings.tc), settings.uplinks, settings.pin_folder) {}

    ~OneModeBridge() override {
        loop_.reset();
        if (goes_on()) {
            hooks_.keep();
            if (fwmark_accept_) fwmark_accept_->keep();
        } else if (programs_) {
            programs_->unpin();
        }
    }

    SystemResult<void> start() override {
        const auto interface = find_interface(settings_.uplinks.front());
        if (!interface) return std::unexpected(interface.error());
        const auto earlier = attached_tc_program(*interface, TcSide::ingress);
        took_over_ = earlier.has_value();
        if (auto made = make_programs(earlier); !made) return made;
        programs_->write_uplink(interface->index);
        if (settings_.beside) {
            if (auto set = set_beside(*settings_.beside); !set) return set;
        }
        if (auto made = make_machine(); !made) return made;
        if (auto made = make_loop(); !made) return made;
        if (auto attached = attach(*setup_); !attached) return attached;
        programs_->take_over_changes();
        follow_sample();
        return {};
    }

    SystemResult<void> replace_setup(std::shared_ptr<const JoinerSetup> setup) override {
        // The programs first: they pass what the setup does not name yet, and what was attached for a setup
        // that are refused does no harm.
        if (auto attached = attach(*setup); !attached) return attached;
        SystemResult<void> done;
        loop_->run([&] {
            if (done = programs_->write(*setup); !done) {
                (void)programs_->write(*setup_);
                return;
            }
            joiner_->replace_setup(setup);
            setup_ = std::move(setup);
            if (sockets_) sockets_->replace_setup(setup_);
            if (flows_) (void)flows_->sweep_all(read_clock().seconds(), setup_->timeouts, unwanted());
            ends_.replace_setup(setup_);
        });
        if (done) follow_sample();
        return done;
    }

    SystemResult<void> set_beside(const EbpfBridge& translating) override {
        return programs_->set_beside(translating.ingress(), translating.egress());
    }
    int ingress() const override { return programs_->ingress(); }
    int egress() const override { return programs_->egress(); }

    void settle() override { settled_ = true; }
    void hand_over() override { settings_.keep = true; }
    bool goes_on() const override { return settled_ ? settings_.keep : took_over_; }

    std::size_t end_flows() override {
        std::size_t count = 0;
        loop_->run_sending([&](Actions& out) { count = joiner_->reset_flows(out); });
        return count;
    }

    HostFactList facts() override {
        HostFactList facts;
        if (fwmark_accept_) facts.push_back(sysctl_fact(kFwmarkAccept, 1));
        if (settings_.hangs)
            for (HostFact& fact : hooks_.facts()) facts.push_back(std::move(fact));
        if (settings_.mode == Mode::adopt) facts.push_back(adoption_fact());
        return facts;
    }

    BridgeStatistics statistics() const override {
        const splice_bridge_counters kernel = programs_->counters();
        const JoinerCounters& machine = joiner_->counters();
        BridgeStatistics all;
        all.add(machine.verdicts);
        all.read(machine.held_lost);
        all.add(kernel.common.verdicts);
        all.read(loop_->sender());
        all.flows = flows_count_;
        all.flows_opening = machine.flows_opening;
        all.flows_expired = machine.flows_expired + expired_;
        all.held_bytes = machine.held_bytes;
        all.queue_overruns = kernel.common.verdicts[SPLICE_drop_ask_overrun];
        all.untold = kernel.common.untold;
        all.connection_log = &settings_.connection_log->counters();
        return all;
    }

    std::vector<ServiceConnections> connections() override {
        std::shared_ptr<const JoinerSetup> setup;
        loop_->run([&] { setup = setup_; });
        TranslatedCount translated(*setup);
        if (settings_.mode == Mode::translate) {
            for_each_bpf_entry<splice_flow_key, splice_bridge_flow>(
                programs_->flows(), [&](const auto&, const auto& flow) { translated.add(flow); });
            return std::move(translated).take();
        }
        std::vector<ServiceConnections> counts = std::move(translated).take();
        std::vector<Endpoint> backends;
        for (const ServiceConnections& each : counts) backends.push_back(each.backend);
        auto diag = SocketDiag::open();
        if (!diag) return {};
        const std::vector<std::uint64_t> open = diag->count_served(backends);
        for (std::size_t i = 0; i < counts.size(); ++i) {
            counts[i].open = open[i];
            const auto before = backends.begin() + static_cast<std::ptrdiff_t>(i);
            counts[i].shared = std::find(backends.begin(), before, backends[i]) != before;
        }
        return counts;
    }

  private:
    SystemResult<void> make_programs(const std::optional<AttachedProgram>& earlier) {
        auto pins = PinFolder::open(settings_.pin_folder);
        if (!pins) return std::unexpected(pins.error());
        if (pins->mounted()) log_info("mounted a bpffs at " + *pins->mounted());
        if (const auto why = pins->short_lived()) log_warning(*why);
        if (earlier && earlier->name.starts_with("bridge_tr") && !BridgePrograms::are_flows_pinned(*pins))
            log_warning(
                fmt::format("the program {} (id {}) of an earlier bridge is replaced on {}, but its flows "
                            "are not pinned in {}: "
                            "its translated connections end; start with the --bpffs that it was started with "
                            "to take them over",
                            earlier->name, earlier->id, settings_.uplinks.front(), settings_.pin_folder));
        auto programs =
            BridgePrograms::load(settings_.mode, setup_->max_flows, std::move(*pins), settings_.marks,
                                 earlier ? std::optional(earlier->id) : std::nullopt);
        if (!programs) return std::unexpected(programs.error());
        programs_ = std::move(*programs);
        return programs_->write(*setup_);
    }

    void take_over_flows() {
        const auto earlier = programs_->take_over_flows(*setup_);
        const std::string line = earlier ? describe(earlier->flows, earlier->layout) : "";
        if (line.empty()) return;
        const TakenOver& flows = earlier->flows;
        if (flows.unserved + flows.refused + flows.unread == 0) return log_info(line);
        log_warning(line);
    }

    SystemResult<void> make_machine() {
        if (settings_.mode == Mode::translate) {
            take_over_flows();
            flows_.emplace(programs_->flows());
            flows_count_ = flows_->size();
            if (flows_->size() > 0) log_info(fmt::format("took over {} flows", flows_->size()));
            joiner_.emplace(setup_, &*flows_);
            flows_->tell_sampled(ends_);
            joiner_->tell_sampled(ends_);
            return {};
        }
        auto diag = SocketDiag::open();
        if (!diag) return std::unexpected(diag.error());
        sockets_.emplace(std::move(*diag), setup_);
        joiner_.emplace(setup_, &*sockets_);
        return {};
    }

    SystemResult<void> make_loop() {
        auto ring = BpfRing::open(programs_->ring(), read_judged);
        if (!ring) return std::unexpected(ring.error());
        std::vector<std::unique_ptr<PacketSource>> sources;
        sources.push_back(std::move(*ring));
        auto told = BpfRing::open(programs_->told(), [](Bytes record, QueuedPacket&) { return record; });
        if (!told) return std::unexpected(told.error());
        sources.push_back(std::move(*told));
        auto loop = PacketLoop::open(std::move(sources), *this);
        if (!loop) return std::unexpected(loop.error());
        loop_ = std::move(*loop);
        next_housekeeping_ = read_clock().monotonic + kHousekeeping;
        loop_->start();
        return {};
    }

    static constexpr std::size_t kToldSource = 1;  // of make_loop()'s

    // The ends of adopted connections are told by a program of their own, which runs while there is a sample.
    void follow_sample() {
        if (settings_.mode != Mode::adopt) return;
        if (setup_->sample == 0) return adopted_ends_.reset();
        if (adopted_ends_) return;
        auto attached = AdoptedEnds::attach(programs_->sampled(), programs_->told(), programs_->ring(),
                                            programs_->counters_map());
        if (!attached)
            return log_warning("the connection log has no lines of adopted connections: " +
                               attached.error().text);
        adopted_ends_.emplace(std::move(*attached));
    }

    SystemResult<void> attach(const JoinerSetup& setup) {
        const bool adopts = settings_.mode == Mode::adopt;
        if (adopts && needs_egress(setup) && !fwmark_accept_) {
            auto set = SysctlSetting::set(kFwmarkAccept, 1);
            if (!set) return std::unexpected(set.error());
            fwmark_accept_ = std::move(*set);
        }
        if (!settings_.hangs) return {};
        return hooks_.hang(programs_->ingress(),
                           !adopts || settings_.by_service || needs_egress(setup) || hooks_.has_egress()
                               ? std::optional(programs_->egress())
                               : std::nullopt);
    }

    // What adoption needs may go while connections are adopted: those of before go on, new ones do not come
    // about.
    HostFact adoption_fact() {
        return {
            .kind = "adoption",
            .words = "what adoption needs of this host",
            .observe = [this]() -> std::optional<std::string> {
                AdoptionFacts facts = read_changing_facts(*setup_, settings_.uplinks);
                facts.firewall = firewall_.look(read_clock().monotonic);
                const auto found = judge_adoption(facts, *setup_);
                const auto first = settings_.by_service ? found.of_host() : found.first_obstacle();
                return first ? std::optional("is no longer there: " + *first) : std::nullopt;
            },
            .put_right = []() -> SystemResult<void> {
                return std::unexpected(SystemError{
                    "new connections fail until it is as before; a restart with mode auto translates instead",
                    0});
            },
            .may_wait = true,
            .silent = true};
    }

    [[nodiscard]] KernelFlows::Unwanted unwanted() const {
        return [this](const splice_bridge_flow& flow) { return !serves(*setup_, flow); };
    }

    Disposition handle(std::size_t source, Instant now, QueuedPacket& packet, Actions& out) override {
        if (source == kToldSource) {
            ends_.told(packet.bytes);
            return Disposition::drop;
        }
        const PacketTrace trace(packet.bytes);
        const Verdict verdict =
            packet.id == SPLICE_FROM_BACKEND
                ? joiner_->handle_from_backend(now, packet.bytes, packet.checksum_finished, out)
                : joiner_->handle_from_balancer(now, packet.bytes, packet.checksum_finished, packet.hop, out);
        trace.say(verdict);
        count_flows();
        switch (verdict_kind(verdict)) {
            case SPLICE_KIND_pass:
                return pass(packet);
            case SPLICE_KIND_forward:
                return Disposition::accept_edited;
            case SPLICE_KIND_consume:
            case SPLICE_KIND_drop:
                break;
        }
        return Disposition::drop;
    }

    // What the machine leaves alone goes on by a raw socket, so its checksum must be finished.
    static Disposition pass(QueuedPacket& packet) {
        splice_packet judged{};
        std::byte* data = packet.bytes.data();
        if (!packet.checksum_finished &&
            splice_parse_ip(data, data + packet.bytes.size(), &judged) == SPLICE_CONTINUE)
            splice_finish_tcp_checksum(data, &judged);
        return Disposition::accept;
    }

    void expire(Instant now, Actions& out) override {
        joiner_->expire(now, out);
        if (now.monotonic < next_housekeeping_) return;
        next_housekeeping_ = now.monotonic + kHousekeeping;
        programs_->renew_clock();
        if (flows_) expired_ += flows_->sweep(now.seconds(), setup_->timeouts, unwanted());
        count_flows();
    }

    [[nodiscard]] std::optional<Duration> next_deadline() const override {
        const auto machine = joiner_->next_deadline();
        return machine ? std::min(*machine, next_housekeeping_) : next_housekeeping_;
    }

    void count_flows() noexcept {
        if (flows_) flows_count_.store(flows_->size(), std::memory_order_relaxed);
    }

    EbpfBridgeSettings settings_;
    std::shared_ptr<const JoinerSetup> setup_;
    ConnectionEnds ends_;
    std::optional<BridgePrograms> programs_;
    std::optional<AdoptedEnds> adopted_ends_;
    std::optional<KernelFlows> flows_;       // translating
    std::optional<AdoptedSockets> sockets_;  // adopting
    std::optional<Joiner> joiner_;
    bool took_over_ = false;
    bool settled_ = false;
    Duration next_housekeeping_{};
    std::atomic<std::uint64_t> flows_count_{};
    std::atomic<std::uint64_t> expired_{};
    std::optional<PacketLoop> loop_;
    std::optional<SysctlSetting> fwmark_accept_;
    FirewallWatch firewall_;
    BridgeHooks hooks_;  // gone first
};

}  // namespace

SystemResult<void> try_bridge_programs(Mode mode) {
    auto programs = BridgePrograms::load(mode, 1, std::nullopt);
    if (!programs) return std::unexpected(programs.error());
    return {};
}

std::unique_ptr<EbpfBridge> make_ebpf_bridge(const EbpfBridgeSettings& settings,
                                             std::shared_ptr<const JoinerSetup> setup) {
    return std::make_unique<OneModeBridge>(settings, std::move(setup));
}

}  // namespace splice
