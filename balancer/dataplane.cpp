#include "balancer/dataplane.hpp"

#include "balancer/dataplane_nfqueue.hpp"

namespace splice {

std::expected<EngineDecision, std::string> choose_engine(EngineChoice choice) {
    switch (choice) {
        case EngineChoice::ebpf:
            return std::unexpected("engine ebpf: not in this version; use --engine nfqueue or auto");
        case EngineChoice::nfqueue:
            return EngineDecision{"nfqueue", "as configured", make_nfqueue_dataplane};
        case EngineChoice::automatic:
            break;
    }
    return EngineDecision{"nfqueue", "auto: this version has no ebpf engine", make_nfqueue_dataplane};
}

}  // namespace splice
