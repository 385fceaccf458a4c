#include "libsplice/ops/data_plane_statistics.hpp"

#include <string>

namespace splice {

void DataPlaneStatistics::add(const DataPlaneStatistics& other) noexcept {
    for (std::size_t i = 0; i < kVerdictCount; i++) verdicts[i] += other.verdicts[i];
    for (std::size_t i = 0; i < kHeldLossCount; i++) held_lost[i] += other.held_lost[i];
    flows += other.flows;
    flows_expired += other.flows_expired;
    sent_packets += other.sent_packets;
    sent_bytes += other.sent_bytes;
    send_failures += other.send_failures;
    send_too_big += other.send_too_big;
    queue_overruns += other.queue_overruns;
    untold += other.untold;
}

void DataPlaneStatistics::add(const VerdictCounters& counters) noexcept {
    for (std::size_t i = 0; i < kVerdictCount; i++) verdicts[i] += counters.of(static_cast<Verdict>(i));
}

void DataPlaneStatistics::add(std::span<const __u64, kVerdictCount> counts) noexcept {
    for (std::size_t i = 0; i < kVerdictCount; i++) verdicts[i] += counts[i];
}

void DataPlaneStatistics::read(const RawSenderCounters& sender) noexcept {
    sent_packets = sender.packets;
    sent_bytes = sender.bytes;
    send_failures = sender.failures;
    send_too_big = sender.too_big;
}

void DataPlaneStatistics::read(const HeldLossCounters& lost) noexcept {
    for (std::size_t i = 0; i < kHeldLossCount; i++) held_lost[i] = lost.of(static_cast<HeldLoss>(i));
}

void write_statistics(MetricsPage& page, Program program, const DataPlaneStatistics& now) {
    const std::string prefix = program == Program::balancer ? "splicelb_balancer_" : "splicelb_bridge_";
    const auto counter = [&](const char* what, const char* help, std::uint64_t value,
                             const MetricLabels& labels = {}) {
        page.counter(prefix + what + "_total", help, value, labels);
    };
    for (std::size_t i = 0; i < kVerdictCount; i++) {
        const auto verdict = static_cast<Verdict>(i);
        // A count that should not be is shown all the same.
        if (!can_give(program, verdict) && now.verdicts[i] == 0) continue;
        counter("packets", "Packets by what became of them", now.verdicts[i],
                {{"verdict", std::string(verdict_name(verdict))}});
    }
    for (std::size_t i = 0; i < kHeldLossCount; i++)
        counter("held_lost", "Held packets that were never sent on, by why", now.held_lost[i],
                {{"reason", std::string(held_loss_name(static_cast<HeldLoss>(i)))}});
    counter("flows_expired", "Flows forgotten as idle", now.flows_expired);
    counter("sent_packets", "Packets sent by the raw socket", now.sent_packets);
    counter("sent_bytes", "Bytes sent by the raw socket", now.sent_bytes);
    counter("send_failures", "Packets that the kernel refused to send", now.send_failures);
    counter("send_too_big", "Packets above the route's MTU", now.send_too_big);
    counter("queue_overruns", "Packets dropped because a queue was full", now.queue_overruns);
    if (now.connection_log) write_connection_log_counters(page, prefix, *now.connection_log, now.untold);
}

}  // namespace splice
