#include "balancer/dataplane_nfqueue.hpp"

#include <optional>
#include <vector>

#include "libsplice/engine/netfilter_rules.hpp"
#include "libsplice/ops/packet_loop.hpp"
#include "libsplice/ops/trace.hpp"

namespace splice {
namespace {

constexpr const char* kChainOwner = "BALANCER";

NetfilterMatch toward_vip(const IpAddress& vip, NetfilterMatch::Kind kind) {
    NetfilterMatch match;
    match.hook = NetfilterHook::prerouting;
    match.destination = vip;
    match.kind = kind;
    match.queue = kBalancerQueue;
    return match;
}

// Exactly what is ours: TCP to each VIP and port, and ICMP errors to each VIP. Any interface, because bounces
// need not come in by the uplink.
std::vector<NetfilterMatch> matches_for(const SplicerRules& rules) {
    std::vector<NetfilterMatch> matches;
    std::vector<IpAddress> vips;
    for (const SplicerService& service : rules.services) {
        NetfilterMatch& match =
            matches.emplace_back(toward_vip(service.vip.address, NetfilterMatch::Kind::tcp));
        match.destination_port = service.vip.port;
        if (std::ranges::find(vips, service.vip.address) == vips.end()) vips.push_back(service.vip.address);
    }
    for (const IpAddress& vip : vips) matches.push_back(toward_vip(vip, NetfilterMatch::Kind::icmp_error));
    return matches;
}

class NfqueueDataPlane final : public DataPlane, private PacketMachine {
  public:
    explicit NfqueueDataPlane(std::shared_ptr<const SplicerRules> rules)
        : rules_(std::move(rules)), splicer_(rules_) {}

    SystemResult<void> start() override {
        // The queue first: another balancer that runs here keeps its rules.
        auto loop = PacketLoop::open({{.number = kBalancerQueue}}, *this);
        if (!loop) return std::unexpected(loop.error());
        loop_ = std::move(*loop);
        loop_->start();
        auto installed = NetfilterRules::install(kChainOwner, matches_for(*rules_));
        if (!installed) return std::unexpected(installed.error());
        netfilter_ = std::move(*installed);
        return {};
    }

    SystemResult<void> replace_rules(std::shared_ptr<const SplicerRules> rules) override {
        // The machine first: a new VIP's packets must find it ready, or the host would answer them.
        loop_->run([&] { splicer_.replace_rules(rules); });
        if (auto replaced = netfilter_->replace(matches_for(*rules)); !replaced) {
            loop_->run([&] { splicer_.replace_rules(rules_); });
            return replaced;
        }
        rules_ = std::move(rules);
        return {};
    }

    BalancerStatistics statistics() const override {
        const SplicerCounters& machine = splicer_.counters();
        const RawSenderCounters& sender = loop_->sender();
        BalancerStatistics all;
        for (std::size_t i = 0; i < kVerdictCount; i++)
            all.verdicts[i] = machine.verdicts.of(static_cast<Verdict>(i));
        for (std::size_t i = 0; i < kFallbackCount; i++) all.fallbacks[i] = machine.fallbacks[i];
        all.flows = machine.flows;
        all.flows_pending = machine.flows_pending;
        all.flows_expired = machine.flows_expired;
        all.first_payload_bytes = machine.held_bytes;
        all.sent_packets = sender.packets;
        all.sent_bytes = sender.bytes;
        all.send_failures = sender.failures;
        all.send_too_big = sender.too_big;
        all.queue_overruns = loop_->overruns();
        return all;
    }

  private:
    Disposition handle(std::size_t /*queue*/, Instant now, QueuedPacket& packet, Actions& out) override {
        const PacketTrace trace(packet.bytes);
        const Verdict verdict = splicer_.handle_packet(now, packet.bytes, packet.checksum_finished, out);
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
    void expire(Instant now, Actions& out) override { splicer_.expire(now, out); }
    [[nodiscard]] std::optional<Duration> next_deadline() const override { return splicer_.next_deadline(); }

    std::shared_ptr<const SplicerRules> rules_;
    Splicer splicer_;
    std::optional<PacketLoop> loop_;
    std::optional<NetfilterRules> netfilter_;  // gone before the loop: nothing is queued that nobody takes
};

}  // namespace

std::unique_ptr<DataPlane> make_nfqueue_dataplane(std::shared_ptr<const SplicerRules> rules,
                                                  const EngineSettings&) {
    return std::make_unique<NfqueueDataPlane>(std::move(rules));
}

}  // namespace splice
