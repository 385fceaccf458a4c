#include "packetbridge/dataplane_nfqueue.hpp"

#include <algorithm>
#include <optional>
#include <vector>

#include "libsplice/engine/queued_machine.hpp"
#include "libsplice/ops/trace.hpp"

namespace splice {
namespace {

constexpr const char* kChainOwner = "BRIDGE";

// The loop's queues, in the order in which it is given them.
enum Door : std::size_t { kFromBalancer = 0, kFromBackend = 1 };

// Marked packets to an address of ours, before connection tracking.
void add_from_balancer(std::vector<NetfilterMatch>& matches, const IpAddress& address,
                       splice_carriage carriage) {
    for (const auto kind : {NetfilterMatch::Kind::tcp, NetfilterMatch::Kind::icmp_error}) {
        NetfilterMatch& match = matches.emplace_back();
        match.hook = NetfilterHook::prerouting;
        match.destination = address;
        match.kind = kind;
        match.dscp = splice_carriage_dscp(carriage);
        match.queue = kFromBalancerQueue;
    }
}

// What a backend sends, as it leaves. With bypass: a backend serves others too, who must not lose it with us.
void add_from_backend(std::vector<NetfilterMatch>& matches, const Endpoint& backend) {
    NetfilterMatch match;
    match.hook = NetfilterHook::postrouting;
    match.source = backend.address;
    match.queue = kFromBackendQueue;
    match.bypass = true;
    match.kind = NetfilterMatch::Kind::icmp_error;
    matches.push_back(match);
    match.kind = NetfilterMatch::Kind::tcp;
    match.source_port = backend.port;
    matches.push_back(match);
}

std::vector<NetfilterMatch> matches_for(const JoinerSetup& setup) {
    std::vector<NetfilterMatch> matches;
    std::vector<Endpoint> backends;
    for (const JoinerService& service : setup.services) {
        for (const IpAddress& address : setup.addresses) {
            if (address.family() == service.vip.address.family())
                add_from_balancer(matches, address, service.carriage);
        }
        if (std::ranges::find(backends, service.backend) != backends.end()) continue;
        backends.push_back(service.backend);
        add_from_backend(matches, service.backend);
    }
    return matches;
}

class NfqueueBridge final : public BridgeDataPlane, private PacketMachine {
  public:
    explicit NfqueueBridge(std::shared_ptr<const JoinerSetup> setup)
        : setup_(std::move(setup)), joiner_(setup_) {}

    SystemResult<void> start() override {
        // Whole super-packets: one edit serves 64 KiB.
        return queued_.start(
            {{.number = kFromBalancerQueue, .gso = true}, {.number = kFromBackendQueue, .gso = true}}, *this,
            kChainOwner, matches_for(*setup_));
    }

    SystemResult<void> replace_setup(std::shared_ptr<const JoinerSetup> setup) override {
        auto replaced = queued_.replace(
            matches_for(*setup), [&] { joiner_.swap_setup(setup); }, [&] { joiner_.swap_setup(setup_); });
        if (!replaced) return replaced;
        queued_.run([&] { joiner_.end_unserved_flows(); });
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
        return all;
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
    Joiner joiner_;
    VerdictCounters cut_short_;  // packets that the machine never saw
    QueuedMachine queued_;       // ends first
};

}  // namespace

std::unique_ptr<BridgeDataPlane> make_nfqueue_bridge(std::shared_ptr<const JoinerSetup> setup) {
    return std::make_unique<NfqueueBridge>(std::move(setup));
}

}  // namespace splice
