#include "packetbridge/dataplane.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "libsplice/ops/log.hpp"
#include "packetbridge/adoption_checks.hpp"
#include "packetbridge/dataplane_by_service.hpp"
#include "packetbridge/dataplane_ebpf.hpp"
#include "packetbridge/dataplane_nfqueue.hpp"
#include "packetbridge/setup.hpp"

namespace splice {
namespace {

void find_adoption_obstacles(const PacketbridgeConfig& config, Tell tell, BridgeObstacles& obstacles) {
    ServiceNumbers numbers;
    const auto setup = build_setup(config, splice_secret{}, numbers);
    const AdoptionFindings findings =
        judge_adoption(read_adoption_facts(*setup, uplinks_of(config.common)), *setup);
    obstacles.adopt = findings.of_host();
    if (!obstacles.adopt) {
        if (const auto loaded = try_bridge_programs(Mode::adopt); !loaded)
            obstacles.adopt = loaded.error().text;
    }
    if (!findings.backends.empty()) obstacles.adopt_some = findings.backends.front().why;
    if (tell == Tell::warnings && !obstacles.adopt)
        for (const std::string& warning : findings.warnings) log_warning(warning);
}

std::optional<std::string> translation_obstacle() {
    if (const auto loaded = try_bridge_programs(Mode::translate); !loaded) return loaded.error().text;
    return std::nullopt;
}

}  // namespace

std::string pin_folder_of(const CommonConfig& config) {
    return fmt::format("{}/packetbridge-{}", config.bpffs, config.interface);
}

std::string beside_folder_of(const std::string& pin_folder) {
    return pin_folder + "-adopt";
}

void BridgeStatistics::add(const BridgeStatistics& other) noexcept {
    DataPlaneStatistics::add(static_cast<const DataPlaneStatistics&>(other));
    flows_opening += other.flows_opening;
    held_bytes += other.held_bytes;
}

TranslatedCount::TranslatedCount(const JoinerSetup& setup) {
    for (const JoinerService& service : setup.services) {
        counts_.push_back({.vip = service.vip, .backend = service.backend});
        numbers_.push_back(service.number);
    }
}

void TranslatedCount::add(const splice_bridge_flow& flow) noexcept {
    if (flow.state != SPLICE_BRIDGE_ESTABLISHED || splice_bridge_is_closing(&flow)) return;
    const auto found = std::ranges::find(numbers_, flow.service);
    if (found != numbers_.end()) ++counts_[static_cast<std::size_t>(found - numbers_.begin())].open;
}

BridgeObstacles find_bridge_obstacles(const PacketbridgeConfig& config, Tell tell) {
    BridgeObstacles obstacles;
    if (config.common.engine == EngineChoice::nfqueue) return obstacles;
    if (config.mode != Mode::translate) find_adoption_obstacles(config, tell, obstacles);
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
        // Each service by itself, where the kernel has both modes.
        const bool by_service = mode == Mode::automatic && !obstacles.translate;
        const auto& against = obstacles.adopt || by_service ? obstacles.adopt : obstacles.adopt_some;
        if (!against) {
            if (by_service && obstacles.adopt_some)
                reason = "auto: each service by itself; no adoption, for " + *obstacles.adopt_some;
            return BridgeEngineDecision{"ebpf", reason, Mode::adopt, by_service};
        }
        if (mode == Mode::adopt) return std::unexpected("mode adopt: " + *against);
        reason = "auto: no adoption, for " + *against;
    }
    if (!obstacles.translate) return BridgeEngineDecision{"ebpf", reason, Mode::translate};
    if (engine == EngineChoice::ebpf) return std::unexpected("engine ebpf: " + *obstacles.translate);
    return BridgeEngineDecision{"nfqueue", "auto: no ebpf, for " + *obstacles.translate, Mode::translate};
}

std::unique_ptr<BridgeDataPlane> make_bridge_dataplane(const BridgeEngineDecision& decision,
                                                       const PacketbridgeConfig& config,
                                                       std::shared_ptr<const JoinerSetup> setup,
                                                       ConnectionLog& connection_log) {
    if (decision.name == "nfqueue")
        return make_nfqueue_bridge(std::move(setup), config.common.netfilter, connection_log);
    const EbpfBridgeSettings settings{
        .mode = decision.mode,
        .by_service = decision.by_service,
        .uplinks = uplinks_of(config.common),
        .pin_folder = pin_folder_of(config.common),
        .keep = config.common.keep,
        .marks = config.common.marks,
        .tc = config.tc,
        .connection_log = &connection_log,
    };
    if (decision.by_service) return make_bridge_by_service(settings, std::move(setup));
    return make_ebpf_bridge(settings, std::move(setup));
}

}  // namespace splice
