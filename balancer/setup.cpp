#include "balancer/setup.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "libsplice/engine/randomness.hpp"

namespace splice {
namespace {

constexpr std::uint32_t kIpv4Headers = 40;  // IPv4 and TCP without options
constexpr std::uint32_t kIpv6Headers = 60;
constexpr std::uint32_t kLeastMss = 536;

std::uint32_t whole_seconds(Duration duration) noexcept {
    return static_cast<std::uint32_t>(std::chrono::ceil<std::chrono::seconds>(duration).count());
}

// Whether its health, as far as it is known, lets a bridge be placed.
bool places(const BridgeHealth* health) noexcept {
    return !health || health->placed;
}

std::vector<PlacementMember> members_of(const ServiceConfig& service, const ServiceHealth* health,
                                        std::span<const std::uint16_t> numbers) {
    std::vector<PlacementMember> members;
    for (std::size_t i = 0; i < service.bridges.size(); i++) {
        const BridgeConfig& bridge = service.bridges[i];
        if (!takes_connections(bridge) || !places(health_of(health, numbers[i]))) continue;
        members.push_back(placement_member(service, i, numbers[i]));
    }
    return members;
}

void set_choice(const ServiceConfig& config, const std::vector<PlacementMember>& members,
                SplicerService& service) {
    service.subset = config.subset;
    service.bounded_load = config.bounded_load;
    service.choice.warmup = static_cast<__u16>(std::min(std::lround(config.warmup * 65536), 65535L));
    service.choice.spread = static_cast<__u8>(config.hot_keys ? config.hot_keys->spread : 0);
    service.hot_keys = config.hot_keys ? config.hot_keys->top : 0;
    const bool bounded = std::ranges::any_of(
        config.bridges, [](const BridgeConfig& bridge) { return bridge.max_connections != 0; });
    service.choice.weighs =
        config.bounded_load > 0 || config.warmup > 0 || config.hot_keys || bounded ? 1 : 0;
    if (service.choice.weighs == 0) return;
    for (const PlacementMember& member : members)
        service.members.push_back({.bridge = member.bridge, .weight = member.weight});
}

std::shared_ptr<ServiceWatch> watch_of(const SplicerService& service,
                                       const std::vector<PlacementMember>& members) {
    if (!service.shadow && service.hot_keys == 0) return nullptr;
    std::size_t bridges = 0;
    for (const PlacementMember& member : members) bridges = std::max(bridges, member.bridge + 1UZ);
    return std::make_shared<ServiceWatch>(bridges);
}

// The service of that name which runs; null: there is none.
const SplicerService* running_service(const SplicerSetup* running, const std::string& name) {
    if (!running) return nullptr;
    const auto service = std::ranges::find(running->services, name, &SplicerService::name);
    return service == running->services.end() ? nullptr : &*service;
}

using SharedPlacement = std::shared_ptr<const Placement>;

// `before` where nothing changed, for a table takes time; else a new one. The error is a sentence.
std::expected<SharedPlacement, std::string> placement_after(const SharedPlacement& before,
                                                            Algorithm algorithm,
                                                            const std::vector<PlacementMember>& members,
                                                            std::uint32_t rows) {
    if (before && before->is_of(algorithm, members, rows)) return before;
    auto built = Placement::build(algorithm, members, rows, before.get());
    if (!built) return std::unexpected(built.error());
    return std::make_shared<const Placement>(std::move(*built));
}

// Those that start slowly.
std::vector<ReturningBridge> returning_bridges(const ServiceHealth* health,
                                               const std::vector<PlacementMember>& members) {
    std::vector<ReturningBridge> returning;
    for (const PlacementMember& member : members) {
        const BridgeHealth* known = health_of(health, member.bridge);
        if (!known || known->share >= 1) continue;
        returning.push_back(
            {.bridge = member.bridge,
             .share = static_cast<std::uint16_t>(std::clamp(std::lround(known->share * 65536), 1L, 65535L))});
    }
    return returning;
}

// The service's placement, with the rows that bridges which start slowly do not have yet.
std::expected<void, std::string> set_placement(const ServiceConfig& config, const ServiceHealth* health,
                                               const std::vector<PlacementMember>& members,
                                               const SplicerService* running, SplicerService& service) {
    const SlowStart* was = running && running->slow_start ? &*running->slow_start : nullptr;
    const SharedPlacement before = !running          ? nullptr
                                   : was             ? was->whole
                                   : running->shadow ? running->shadow->before
                                                     : running->placement;
    const auto place =
        [&](const SharedPlacement& earlier,
            const std::vector<PlacementMember>& of) -> std::expected<SharedPlacement, std::string> {
        auto placement = placement_after(earlier, config.algorithm, of, config.settings.table_rows);
        if (!placement) return std::unexpected(fmt::format("service {}: {}", config.name, placement.error()));
        return placement;
    };
    auto whole = place(before, members);
    if (!whole) return std::unexpected(whole.error());
    service.placement = *whole;
    auto returning = returning_bridges(health, members);
    if (returning.empty()) return {};
    std::vector<PlacementMember> others;
    std::ranges::copy_if(members, std::back_inserter(others), [&](const PlacementMember& member) {
        return std::ranges::find(returning, member.bridge, &ReturningBridge::bridge) == returning.end();
    });
    // Before they were back, the table was the one without them.
    auto without = place(was ? was->without : before, others);
    if (!without) return std::unexpected(without.error());
    const bool same = was && was->whole == *whole && was->without == *without && was->returning == returning;
    auto now =
        same ? was->now : std::make_shared<const Placement>((*whole)->with_returning(**without, returning));
    service.placement = now;
    service.slow_start = SlowStart{.whole = std::move(*whole),
                                   .without = std::move(*without),
                                   .now = std::move(now),
                                   .returning = std::move(returning)};
    return {};
}

// The shadow's placement, and the service's with the rows that are moved, where a table can say it.
std::expected<void, std::string> set_shadow(const ServiceConfig& config,
                                            const std::vector<PlacementMember>& members,
                                            const SplicerService* running, SplicerService& service) {
    if (!config.shadow) return {};
    const ShadowRule* was = running && running->shadow ? &*running->shadow : nullptr;
    auto placement =
        placement_after(was ? was->placement : nullptr, config.shadow->algorithm.value_or(config.algorithm),
                        members, config.settings.table_rows);
    if (!placement)
        return std::unexpected(fmt::format("service {}: shadow: {}", config.name, placement.error()));
    ShadowRule shadow{.key = config.shadow->key.value_or(config.key),
                      .placement = std::move(*placement),
                      .before = service.placement,
                      .ramp = static_cast<std::uint16_t>(std::min(std::lround(config.ramp * 65536), 65535L)),
                      .in_table = false};
    if (shadow.key == config.key) {
        const bool same = was && was->in_table && was->before == shadow.before &&
                          was->placement == shadow.placement && was->ramp == shadow.ramp;
        if (same) {
            service.placement = running->placement;
            shadow.in_table = true;
        } else if (auto mixed = service.placement->with_rows_of(*shadow.placement, shadow.ramp)) {
            service.placement = std::make_shared<const Placement>(std::move(*mixed));
            shadow.in_table = true;
        }
    }
    service.shadow = std::move(shadow);
    return {};
}

// What fits into the uplink and into the way to each of the bridges: a segment that does not is lost, or
// answered by an ICMP error that may not reach its sender.
std::uint32_t narrowest_mtu(const RunningHost& host, std::span<const std::uint16_t> numbers) noexcept {
    std::uint32_t narrowest = host.mtu;
    if (!host.route_mtus) return narrowest;
    for (const std::uint16_t number : numbers) {
        const std::uint32_t mtu = number < host.route_mtus->size() ? (*host.route_mtus)[number] : 0;
        if (mtu != 0) narrowest = std::min(narrowest, mtu);
    }
    return narrowest;
}

std::optional<ServiceCheck> check_of(const ServiceConfig& config, std::span<const std::uint16_t> numbers) {
    if (!config.health) return {};
    ServiceCheck check{.probe = std::make_shared<const ProbeRule>(config.health->probe),
                       .health = config.health->rule,
                       .bridges = {}};
    for (std::size_t i = 0; i < config.bridges.size(); i++) {
        if (config.bridges[i].state != BridgeState::down)
            check.bridges.push_back(
                {.bridge = numbers[i], .candidate = takes_connections(config.bridges[i])});
    }
    return check;
}

std::expected<SplicerService, std::string> build_service(const ServiceConfig& config, const RunningHost& host,
                                                         std::span<const std::uint16_t> numbers) {
    const ServiceHealth* health =
        host.health && config.health ? health_of(*host.health, config.name) : nullptr;
    const auto members = members_of(config, health, numbers);
    const SplicerService* running = running_service(host.running, config.name);
    SplicerService service;
    service.name = config.name;
    service.vip = config.vip;
    service.carriage = splice_carriage_by_dscp(config.dscp);
    service.protocol = config.protocol;
    service.key = config.key;
    service.proxy_protocol = config.proxy_protocol;
    if (auto placed = set_placement(config, health, members, running, service); !placed)
        return std::unexpected(placed.error());
    set_choice(config, members, service);
    if (auto shadowed = set_shadow(config, members, running, service); !shadowed)
        return std::unexpected(shadowed.error());
    service.watch = watch_of(service, members);
    service.bridges.assign(numbers.begin(), numbers.end());
    for (std::size_t i = 0; i < config.bridges.size(); i++) {
        const BridgeHealth* known = health_of(health, numbers[i]);
        if (config.bridges[i].state == BridgeState::down)
            service.down.push_back(numbers[i]);
        else if (known && known->ends_flows)
            service.gone.push_back(numbers[i]);
        else if (known && known->strands)
            service.silent.push_back(numbers[i]);
    }
    service.check = check_of(config, numbers);
    service.mss =
        config.settings.mss.value_or(mss_of_mtu(narrowest_mtu(host, numbers), config.vip.address.family()));
    service.window_scale = config.settings.window_scale;
    service.keyed_clock = config.timestamps != Timestamps::plain;
    service.lanes = has_lanes(config);
    // Who has a SYN-ACK of another clock has had its cookie's life to answer it by then.
    service.proves_from_s = running && running->lanes ? running->proves_from_s
                                                      : whole_seconds(host.now) + SPLICE_CLOCK_OLD_MS / 1000;
    service.rate = config.settings.new_connections;
    service.first_payload_wait = config.settings.first_payload_wait;
    service.first_payload_max = config.settings.first_payload_max;
    return service;
}

// `numbers`: number_bridges()'s.
std::vector<SplicerBridge> bridge_table(const BalancerConfig& config, const BridgeIndex& index,
                                        std::span<const std::uint16_t> numbers) {
    std::vector<SplicerBridge> table;
    for (const IpAddress& address : index.addresses()) table.emplace_back().address = address;
    std::size_t next = 0;
    for (const ServiceConfig& service : config.services) {
        for (const BridgeConfig& bridge : service.bridges) {
            SplicerBridge& entry = table[numbers[next++]];
            if (entry.name.empty()) entry.name = bridge.name;
            if (entry.number == 0) entry.number = bridge.number;
        }
    }
    return table;
}

// 0: no limit.
std::uint32_t share_of(std::size_t max_flows, double share) noexcept {
    if (share == 0 || share == 1) return 0;
    return std::max<std::uint32_t>(static_cast<std::uint32_t>(static_cast<double>(max_flows) * share), 1);
}

std::vector<std::string> names_of(const BalancerConfig& config) {
    std::vector<std::string> names;
    names.reserve(config.services.size());
    for (const ServiceConfig& service : config.services) names.push_back(service.name);
    return names;
}

}  // namespace

Duration longest_idle_timeout(const BalancerConfig& config) noexcept {
    Duration longest{};
    for (const ServiceConfig& service : config.services)
        longest = std::max(longest, service.settings.idle_timeout);
    return longest;
}

std::expected<std::vector<std::uint16_t>, std::string> number_bridges(const BalancerConfig& config,
                                                                      Duration now, BridgeIndex& bridges) {
    std::vector<IpAddress> addresses;
    for (const ServiceConfig& service : config.services) {
        for (const BridgeConfig& bridge : service.bridges) addresses.push_back(bridge.address);
    }
    return bridges.assign(addresses, now, longest_idle_timeout(config));
}

std::uint16_t mss_of_mtu(std::uint32_t mtu, int family) noexcept {
    const std::uint32_t headers = family == 4 ? kIpv4Headers : kIpv6Headers;
    return static_cast<std::uint16_t>(
        std::clamp(mtu > headers ? mtu - headers : 0, kLeastMss, 65'535 - headers));
}

std::expected<std::shared_ptr<const SplicerSetup>, std::string> build_setup(const BalancerConfig& config,
                                                                            const splice_secret& secret,
                                                                            const RunningHost& host,
                                                                            BridgeIndex& bridges,
                                                                            ServiceNumbers& services) {
    const Duration idle_timeout = longest_idle_timeout(config);
    const auto numbers = number_bridges(config, host.now, bridges);
    if (!numbers) return std::unexpected(numbers.error());

    auto setup = std::make_shared<SplicerSetup>();
    setup->secret = secret;
    setup->own = host.own;
    setup->bridges = bridge_table(config, bridges, *numbers);
    setup->timeouts = {.open_s = whole_seconds(idle_timeout),
                       .closing_s = whole_seconds(kClosingTimeout),
                       .half_closed_s = whole_seconds(std::max<Duration>(
                           kClosingTimeout, std::min<Duration>(kHalfClosedTimeout, idle_timeout)))};
    static const splice_source_key source_key = random_source_key();
    setup->source_key = source_key;
    setup->guess_limits = config.cookie_guesses;
    setup->denied = host.denied;
    setup->max_flows = config.common.max_flows;
    setup->sample = sample_share(config.common.connection_log);
    const std::vector<std::uint16_t> service_numbers = services.assign(names_of(config));
    std::span<const std::uint16_t> rest = *numbers;
    for (const ServiceConfig& service : config.services) {
        auto built = build_service(service, host, rest.first(service.bridges.size()));
        if (!built) return std::unexpected(built.error());
        built->number = service_numbers[setup->services.size()];
        built->max_flows = share_of(config.common.max_flows, service.settings.table_share);
        setup->services.push_back(std::move(*built));
        rest = rest.subspan(service.bridges.size());
    }
    if (auto placed = place_states(*setup); !placed) return std::unexpected(placed.error());
    return setup;
}

PlacementMember placement_member(const ServiceConfig& service, std::size_t place, std::uint16_t number) {
    const BridgeConfig& bridge = service.bridges[place];
    return {.name = bridge.name,
            .server = ketama_server(bridge, service.vip.port),
            .weight = bridge.weight,
            .bridge = number};
}

std::string ketama_server(const BridgeConfig& bridge, std::uint16_t port) {
    if (!bridge.server.empty()) return bridge.server;
    const std::string server = Endpoint{bridge.address, port}.to_string();
    return port == 80 ? server.substr(0, server.rfind(':')) : server;
}

}  // namespace splice
