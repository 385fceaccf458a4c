#include "balancer/dataplane_nfqueue.hpp"

#include <optional>
#include <vector>

#include "libsplice/ops/queued_machine.hpp"
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
        return queued_.start({{.number = kBalancerQueue}}, *this, kChainOwner, matches_for(*rules_));
    }

    SystemResult<void> replace_rules(std::shared_ptr<const SplicerRules> rules) override {
        auto replaced = queued_.replace(
            matches_for(*rules), [&] { splicer_.replace_rules(rules); },
            [&] { splicer_.replace_rules(rules_); });
        if (replaced) rules_ = std::move(rules);
        return replaced;
    }

    BalancerStatistics statistics() const override {
        const SplicerCounters& machine = splicer_.counters();
        BalancerStatistics all;
        all.add(machine.verdicts);
        all.read(queued_.loop().sender());
        for (std::size_t i = 0; i < kFallbackCount; i++) all.fallbacks[i] = machine.fallbacks[i];
        all.flows = machine.flows;
        all.flows_pending = machine.flows_pending;
        all.flows_expired = machine.flows_expired;
        all.first_payload_bytes = machine.held_bytes;
        all.queue_overruns = queued_.loop().overruns();
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
    QueuedMachine queued_;  // ends first
};

}  // namespace

std::unique_ptr<DataPlane> make_nfqueue_dataplane(std::shared_ptr<const SplicerRules> rules,
                                                  const EngineSettings&) {
    return std::make_unique<NfqueueDataPlane>(std::move(rules));
}

}  // namespace splice
