#include "balancer/dataplane.hpp"

#include "balancer/dataplane_ebpf.hpp"
#include "balancer/dataplane_nfqueue.hpp"

namespace splice {

void ChoiceStatistics::add(const splice_choice_counts& more) noexcept {
    for (std::size_t i = 0; i < SPLICE_CHOICES; i++) ranks[i] += more.ranks[i];
    for (std::size_t i = 0; i < SPLICE_CHOICE_WHYS; i++) whys[i] += more.whys[i];
}

namespace {

// `from`: the kernel program's, or the machine's counters.
template <class Latency>
void add_latency(splice_latency& to, const Latency& from) noexcept {
    for (std::size_t i = 0; i < SPLICE_LATENCY_BUCKETS; i++) to.buckets[i] += from.buckets[i];
    to.sum_us += from.sum_us;
}

template <class Latencies>
void add_both(splice_latencies& to, const Latencies& from) noexcept {
    add_latency(to.first_payload, from.first_payload);
    add_latency(to.answer, from.answer);
}

}  // namespace

void BalancerStatistics::add_latencies(std::size_t mark, const splice_latencies& more) noexcept {
    add_both(latencies[mark], more);
}

void BalancerStatistics::read(const SplicerCounters& machine) noexcept {
    add(machine.verdicts);
    for (std::size_t i = 0; i < kFallbackCount; i++) fallbacks[i] = machine.fallbacks[i];
    for (std::size_t mark = 0; mark < SPLICE_CARRIAGE_MARKS; mark++) {
        for (std::size_t i = 0; i < SPLICE_CHOICES; i++)
            choices[mark].ranks[i] = machine.choices[mark].ranks[i];
        for (std::size_t i = 0; i < SPLICE_CHOICE_WHYS; i++)
            choices[mark].whys[i] = machine.choices[mark].whys[i];
        add_both(latencies[mark], machine.latencies[mark]);
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
