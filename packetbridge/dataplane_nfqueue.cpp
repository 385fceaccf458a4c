#include "packetbridge/dataplane_nfqueue.hpp"

#include <algorithm>
#include <optional>
#include <vector>

#include "libsplice/engine/queued_machine.hpp"
#include "libsplice/ops/trace.hpp"
#include "packetbridge/connection_ends.hpp"

namespace splice {
namespace {

constexpr const char* kOwner = "BRIDGE";  // of the rules

// The loop's queues, in the order in which it is given them.
enum Door : std::size_t { kFromBalancer = 0, kFromBackend = 1 };

void add_once(std::vector<Endpoint>& ends, const Endpoint& end) {
    if (std::ranges::find(ends, end) == ends.end()) ends.push_back(end);
}

// Packets of the family that are marked for any service, to an address of ours, before connection tracking.
NetfilterMatch from_balancer(const JoinerSetup& setup, int family) {
    NetfilterMatch match{.hook = NetfilterHook::prerouting, .queue = kFromBalancerQueue};
    for (const IpAddress& address : setup.addresses)
        if (address.family() == family) match.destinations.push_back({address, 0});
    for (const JoinerService& service : setup.services)
        if (service.vip.address.family() == family)
            match.dscps.push_back(splice_carriage_dscp(service.carriage));
    return match;
}

// What backends send, as it leaves. With bypass: they serve others too, who must not lose it with us.
NetfilterMatch from_backends(const JoinerSetup& setup) {
    NetfilterMatch match{.hook = NetfilterHook::postrouting, .queue = kFromBackendQueue, .bypass = true};
    for (const JoinerService& service : setup.services) add_once(match.sources, service.backend);
    return match;
}

// Errors about what clients send to a backend come from whoever could not send it on: the backend's host, a
// router before it, or this host, where the link to the backend is narrower than the uplink.
NetfilterMatch icmp_errors_of(NetfilterMatch match) {
    match.kind = NetfilterMatch::Kind::icmp_error;
    match.sources.clear();
    return match;
}

std::vector<NetfilterMatch> matches_for(const JoinerSetup& setup) {
    std::vector<NetfilterMatch> matches;
    for (const int family : {4, 6}) {
        const NetfilterMatch match = from_balancer(setup, family);
        if (!match.dscps.empty() && !match.destinations.empty()) matches.push_back(match);
    }
    if (!setup.services.empty()) matches.push_back(from_backends(setup));
    const std::size_t of_tcp = matches.size();
    for (std::size_t i = 0; i < of_tcp; ++i) matches.push_back(icmp_errors_of(matches[i]));
    return matches;
}

class NfqueueBridge final : public BridgeDataPlane, private PacketMachine {
  public:
    NfqueueBridge(std::shared_ptr<const JoinerSetup> setup, NetfilterTool netfilter, ConnectionLog& log)
        : setup_(std::move(setup)),
          log_(log),
          ends_(log, "translate", setup_),
          joiner_(setup_),
          queued_(kOwner, netfilter) {
        joiner_.tell_sampled(ends_);
    }

    SystemResult<void> start() override {
        // Whole super-packets: one edit serves 64 KiB.
        return queued_.start(
            {{.number = kFromBalancerQueue, .gso = true}, {.number = kFromBackendQueue, .gso = true}}, *this,
            matches_for(*setup_));
    }

    SystemResult<void> replace_setup(std::shared_ptr<const JoinerSetup> setup) override {
        auto replaced = queued_.replace(
            matches_for(*setup), [&] { joiner_.swap_setup(setup); }, [&] { joiner_.swap_setup(setup_); });
        if (!replaced) return replaced;
        queued_.run([&] {
            joiner_.end_unserved_flows();
            ends_.replace_setup(setup);
        });
        setup_ = std::move(setup);
        return {};
    }

    std::size_t end_flows() override {
        std::size_t count = 0;
        queued_.run_sending([&](Actions& out) { count = joiner_.reset_flows(out); });
        return count;
    }

    HostFactList facts() override { return {queued_.fact()}; }

    BridgeStatistics statistics() const override {
        const JoinerCounters& machine = joiner_.counters();
        BridgeStatistics all;
        all.add(machine.verdicts);
        all.read(machine.held_lost);
        all.add(cut_short_);
        all.read(queued_.loop().sender());
        all.flows = machine.flows;
        all.flows_opening = machine.flows_opening;
        all.flows_expired = machine.flows_expired;
        all.held_bytes = machine.held_bytes;
        all.queue_overruns = queued_.loop().overruns();
        all.connection_log = &log_.counters();
        return all;
    }

    std::vector<ServiceConnections> connections() override {
        std::vector<ServiceConnections> counts;
        queued_.run([&] {
            TranslatedCount count(joiner_.setup());
            joiner_.for_each_established(
                [&](const auto&, const splice_bridge_flow& flow) { count.add(flow); });
            counts = std::move(count).take();
        });
        return counts;
    }

  private:
    Disposition handle(std::size_t queue, Instant now, QueuedPacket& packet, Actions& out) override {
        const PacketTrace trace(packet.bytes);
        const Verdict verdict = judge(queue, now, packet, out);
        trace.say(verdict);
        switch (verdict_kind(verdict)) {
            case SPLICE_KIND_pass:
                return Disposition::accept;
            case SPLICE_KIND_forward:
                return Disposition::accept_edited;
            case SPLICE_KIND_consume:
            case SPLICE_KIND_drop:
                break;
        }
        return Disposition::drop;
    }

    Verdict judge(std::size_t queue, Instant now, QueuedPacket& packet, Actions& out) {
        if (packet.truncated) {
            // What the backend sends to others than our clients (a cache on this host) is none of our
            // business.
            const bool ours = queue == kFromBalancer || joiner_.is_spliced_answer(packet.bytes);
            const Verdict verdict = ours ? SPLICE_drop_super_packet : SPLICE_pass_not_spliced;
            cut_short_.add(verdict);
            return verdict;
        }
        // A super-packet's checksums are made when it is cut, whatever stands there now.
        if (queue == kFromBackend)
            return joiner_.handle_from_backend(now, packet.bytes,
                                               packet.checksum_finished || packet.super_packet, out);
        return joiner_.handle_from_balancer(now, packet.bytes, packet.checksum_finished, packet.hop, out);
    }

    void expire(Instant now, Actions& out) override { joiner_.expire(now, out); }
    [[nodiscard]] std::optional<Duration> next_deadline() const override { return joiner_.next_deadline(); }

    std::shared_ptr<const JoinerSetup> setup_;
    ConnectionLog& log_;
    ConnectionEnds ends_;
    Joiner joiner_;
    VerdictCounters cut_short_;  // packets that the machine never saw
    QueuedMachine queued_;       // ends first
};

}  // namespace

std::unique_ptr<BridgeDataPlane> make_nfqueue_bridge(std::shared_ptr<const JoinerSetup> setup,
                                                     NetfilterTool netfilter, ConnectionLog& log) {
    return std::make_unique<NfqueueBridge>(std::move(setup), netfilter, log);
}

}  // namespace splice
