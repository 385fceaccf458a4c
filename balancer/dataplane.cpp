#include "balancer/dataplane.hpp"

#include "balancer/dataplane_ebpf.hpp"
#include "balancer/dataplane_nfqueue.hpp"

namespace splice {

void ChoiceStatistics::add(const splice_choice_counts& more) noexcept {
    for (std::size_t i = 0; i < SPLICE_CHOICES; i++) ranks[i] += more.ranks[i];
    for (std::size_t i = 0; i < SPLICE_CHOICE_WHYS; i++) whys[i] += more.whys[i];
}

void BalancerStatistics::add_latencies(std::size_t mark, const splice_latencies& more) noexcept {
    const auto add = [](splice_latency& to, const splice_latency& from) {
        for (std::size_t i = 0; i < SPLICE_LATENCY_BUCKETS; i++) to.buckets[i] += from.buckets[i];
        to.sum_us += from.sum_us;
    };
    add(latencies[mark].first_payload, more.first_payload);
    add(latencies[mark].answer, more.answer);
}

void BalancerStatistics::read(const SplicerCounters& machine) noexcept {
    add(machine.verdicts);
    for (std::size_t i = 0; i < kFallbackCount; i++) fallbacks[i] = machine.fallbacks[i];
    for (std::size_t mark = 0; mark < SPLICE_CARRIAGE_MARKS; mark++) {
        for (std::size_t i = 0; i < SPLICE_CHOICES; i++)
            choices[mark].ranks[i] = machine.choices[mark].ranks[i];
        for (std::size_t i = 0; i < SPLICE_CHOICE_WHYS; i++)
            choices[mark].whys[i] = machine.choices[mark].whys[i];
    }
    const auto copy = [](splice_latency& to, const LatencyCounter& from) {
        for (std::size_t i = 0; i < SPLICE_LATENCY_BUCKETS; i++) to.buckets[i] = from.buckets[i];
        to.sum_us = from.sum_us;
    };
    for (std::size_t mark = 0; mark < SPLICE_CARRIAGE_MARKS; mark++) {
        copy(latencies[mark].first_payload, machine.latencies[mark].first_payload);
        copy(latencies[mark].answer, machine.latencies[mark].answer);
    }
    read(machine.held_lost);
    flows = machine.flows;
    flows_pending = machine.flows_pending;
    flows_expired = machine.flows_expired;
    begun_without_timestamps = machine.begun_without_timestamps;
    lanes_disagree = machine.lanes_disagree;
    first_payload_bytes = machine.held_bytes;
}

std::vector<EngineDecision> engines_for(EngineChoice choice) {
    switch (choice) {
        case EngineChoice::ebpf:
            return {{"ebpf", "as configured", make_ebpf_dataplane}};
        case EngineChoice::nfqueue:
            return {{"nfqueue", "as configured", make_nfqueue_dataplane}};
        case EngineChoice::automatic:
            break;
    }
    return {{"ebpf", "auto: the fastest, and it works here", make_ebpf_dataplane},
            {"nfqueue", "auto", make_nfqueue_dataplane}};
}

}  // namespace splice
