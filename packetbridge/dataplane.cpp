#include "packetbridge/dataplane.hpp"

#include "packetbridge/dataplane_nfqueue.hpp"

namespace splice {

std::expected<BridgeEngineDecision, std::string> choose_bridge_engine(EngineChoice engine, Mode mode) {
    if (engine == EngineChoice::ebpf)
        return std::unexpected("engine ebpf: not in this version; use --engine nfqueue or auto");
    if (mode == Mode::adopt)
        return std::unexpected(
            "mode adopt: the nfqueue engine can only translate; use --mode translate or auto");
    const bool automatic = engine == EngineChoice::automatic;
    return BridgeEngineDecision{"nfqueue",
                                automatic ? "auto: this version has no ebpf engine" : "as configured",
                                Mode::translate, make_nfqueue_bridge};
}

}  // namespace splice
