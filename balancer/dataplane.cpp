#include "balancer/dataplane.hpp"

#include "balancer/dataplane_ebpf.hpp"
#include "balancer/dataplane_nfqueue.hpp"

namespace splice {

void BalancerStatistics::read(const SplicerCounters& machine) noexcept {
    add(machine.verdicts);
    for (std::size_t i = 0; i < kFallbackCount; i++) fallbacks[i] = machine.fallbacks[i];
    read(machine.held_lost);
    flows = machine.flows;
    flows_pending = machine.flows_pending;
    flows_expired = machine.flows_expired;
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
