#include "balancer/dataplane.hpp"

#include "balancer/dataplane_ebpf.hpp"
#include "balancer/dataplane_nfqueue.hpp"

namespace splice {

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
