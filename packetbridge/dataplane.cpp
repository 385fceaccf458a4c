#include "packetbridge/dataplane.hpp"

#include <fmt/format.h>

#include "libsplice/ops/log.hpp"
#include "packetbridge/adoption_checks.hpp"
#include "packetbridge/dataplane_ebpf.hpp"
#include "packetbridge/dataplane_nfqueue.hpp"
#include "packetbridge/setup.hpp"

namespace splice {
namespace {

std::optional<std::string> adoption_obstacle(const PacketbridgeConfig& config, Tell tell) {
    ServiceNumbers numbers;
    const auto setup = build_setup(config, splice_secret{}, numbers);
    const AdoptionFindings findings =
        judge_adoption(read_adoption_facts(*setup, uplinks_of(config.common)), *setup);
    if (!findings.obstacles.empty()) return findings.obstacles.front();
    if (const auto loaded = try_bridge_programs(Mode::adopt); !loaded) return loaded.error().text;
    if (tell == Tell::warnings)
        for (const std::string& warning : findings.warnings) log_warning(warning);
    return std::nullopt;
}

std::optional<std::string> translation_obstacle() {
    if (const auto loaded = try_bridge_programs(Mode::translate); !loaded) return loaded.error().text;
    return std::nullopt;
}

}  // namespace

std::string pin_folder_of(const CommonConfig& config) {
    return fmt::format("{}/packetbridge-{}", config.bpffs, config.interface);
}

BridgeObstacles find_bridge_obstacles(const PacketbridgeConfig& config, Tell tell) {
    BridgeObstacles obstacles;
    if (config.common.engine == EngineChoice::nfqueue) return obstacles;
    if (config.mode != Mode::translate) obstacles.adopt = adoption_obstacle(config, tell);
    if (config.mode != Mode::adopt) obstacles.translate = translation_obstacle();
    return obstacles;
}

std::expected<BridgeEngineDecision, std::string> choose_bridge_engine(EngineChoice engine, Mode mode,
                                                                      const BridgeObstacles& obstacles) {
    if (engine == EngineChoice::nfqueue) {
        if (mode == Mode::adopt)
            return std::unexpected(
                "mode adopt: the nfqueue engine can only translate; use --engine ebpf or --mode translate");
        return BridgeEngineDecision{"nfqueue", "as configured", Mode::translate};
    }
    const bool named = engine == EngineChoice::ebpf && mode != Mode::automatic;
    std::string reason = named ? "as configured" : "auto: the best that works here";
    if (mode != Mode::translate) {
        if (!obstacles.adopt) return BridgeEngineDecision{"ebpf", reason, Mode::adopt};
        if (mode == Mode::adopt) return std::unexpected("mode adopt: " + *obstacles.adopt);
        reason = "auto: no adoption, for " + *obstacles.adopt;
    }
    if (!obstacles.translate) return BridgeEngineDecision{"ebpf", reason, Mode::translate};
    if (engine == EngineChoice::ebpf) return std::unexpected("engine ebpf: " + *obstacles.translate);
    return BridgeEngineDecision{"nfqueue", "auto: no ebpf, for " + *obstacles.translate, Mode::translate};
}

std::unique_ptr<BridgeDataPlane> make_bridge_dataplane(const BridgeEngineDecision& decision,
                                                       const PacketbridgeConfig& config,
                                                       std::shared_ptr<const JoinerSetup> setup) {
    if (decision.name == "nfqueue") return make_nfqueue_bridge(std::move(setup), config.common.netfilter);
    const EbpfBridgeSettings settings{
        .mode = decision.mode,
        .uplinks = uplinks_of(config.common),
        .pin_folder = pin_folder_of(config.common),
        .keep = config.common.keep,
        .marks = config.common.marks,
        .tc = config.tc,
    };
    return make_ebpf_bridge(settings, std::move(setup));
}

}  // namespace splice
