#include "tools/replay/fleet.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace splice::replay {
namespace {

constexpr splice_idle_timeouts kTimeouts{
    static_cast<std::uint32_t>(std::chrono::seconds(kIdleTimeout).count()),
    static_cast<std::uint32_t>(std::chrono::seconds(kClosingTimeout).count()),
    static_cast<std::uint32_t>(std::chrono::seconds(kHalfClosedTimeout).count())};

// Addresses of RFC 2544 and RFC 5180, which no capture of a real network has.
constexpr std::uint32_t kFirstBridgeIpv4 = 0xc6120001;   // 198.18.0.1
constexpr std::uint32_t kFirstBackendIpv4 = 0xc6130001;  // 198.19.0.1
constexpr std::string_view kBridgesIpv6 = "2001:2::";
constexpr std::string_view kBackendsIpv6 = "2001:2:0:1::";

IpAddress invented_address(int family, std::uint32_t first_ipv4, std::string_view ipv6, std::size_t index) {
    if (family == 4) return IpAddress::from_ipv4(first_ipv4 + static_cast<std::uint32_t>(index));
    return *IpAddress::parse(fmt::format("{}{:x}", ipv6, index + 1));
}

// --any-vip's bridges.
constexpr std::size_t kBridges = 3;
IpAddress bridge_address(int family, std::size_t bridge) {
    return invented_address(family, kFirstBridgeIpv4, kBridgesIpv6, bridge);
}

// Not the bridge's own: then the packets before and behind the bridge would be of one connection to whoever
// looks at them in one capture.
IpAddress backend_address(int family, std::size_t bridge) {
    return invented_address(family, kFirstBackendIpv4, kBackendsIpv6, bridge);
}

std::string bridge_name(std::size_t bridge) {
    return "b" + std::to_string(bridge + 1);
}

std::shared_ptr<const Placement> build_placement() {
    std::vector<PlacementMember> members;
    members.reserve(kBridges);
    for (std::size_t i = 0; i < kBridges; ++i)
        members.push_back({bridge_name(i), bridge_name(i), 1, static_cast<std::uint16_t>(i)});
    return std::make_shared<const Placement>(*Placement::build(Algorithm::rendezvous, members, kTableRows));
}

KeyKind natural_key(Protocol protocol) noexcept {
    switch (protocol) {
        case Protocol::http:
            return KeyKind::uri;
        case Protocol::tls:
            return KeyKind::sni;
        case Protocol::tcp:
            break;
    }
    return KeyKind::source;
}

constexpr std::uint16_t kMssIpv4 = 1460;
constexpr std::uint16_t kMssIpv6 = 1440;

// The name of an endpoint among services.
splice_flow_key service_key(const splice_address& vip, std::uint16_t port) noexcept {
    splice_flow_key key{};
    key.server = vip;
    key.server_port = port;
    return key;
}

// What a bridge runs by when no configuration of its own says otherwise.
JoinerSetup delivers_to_own_backend(const SplicerSetup& balancer, std::size_t bridge) {
    JoinerSetup setup;
    setup.secret = balancer.secret;
    setup.timeouts = balancer.timeouts;
    for (const SplicerService& service : balancer.services) {
        const Endpoint backend{backend_address(service.vip.address.family(), bridge), service.vip.port};
        setup.services.push_back(
            {service.number, service.carriage, service.vip, backend, service.window_scale});
    }
    return setup;
}

std::vector<std::shared_ptr<const JoinerSetup>> rules_of_bridges(const SplicerSetup& balancer,
                                                                 const JoinerSetup* delivery) {
    std::vector<std::shared_ptr<const JoinerSetup>> all;
    for (std::size_t i = 0; i < balancer.bridges.size(); ++i) {
        JoinerSetup setup = delivery ? *delivery : delivers_to_own_backend(balancer, i);
        setup.addresses = {balancer.bridges[i].address};
        all.push_back(std::make_shared<const JoinerSetup>(std::move(setup)));
    }
    return all;
}

}  // namespace

Fleet::Fleet(std::shared_ptr<const SplicerSetup> balancer_rules,
             std::vector<std::shared_ptr<const JoinerSetup>> rules_of_bridges)
    : setup(std::move(balancer_rules)),
      joiner_setup(std::move(rules_of_bridges)),
      balancer(setup),
      scheduled(1 + joiner_setup.size(), Duration::max()) {
    for (const auto& each : joiner_setup) bridges.push_back(std::make_unique<Joiner>(each));
}

const SplicerService* Fleet::service(const splice_address& vip, std::uint16_t port) const noexcept {
    for (const SplicerService& service : setup->services) {
        if (splice_htons(service.vip.port) == port && splice_address_equal(&service.vip.address.raw(), &vip))
            return &service;
    }
    return nullptr;
}

std::optional<std::uint16_t> Fleet::bridge_at(const splice_address& address) const noexcept {
    for (std::size_t i = 0; i < setup->bridges.size(); ++i) {
        if (splice_address_equal(&setup->bridges[i].address.raw(), &address))
            return static_cast<std::uint16_t>(i);
    }
    return std::nullopt;
}

Endpoint Fleet::backend(std::uint16_t bridge, const Endpoint& vip) const noexcept {
    if (bridge >= joiner_setup.size()) return vip;
    const auto& services = joiner_setup[bridge]->services;
    const auto found = std::ranges::find(services, vip, &JoinerService::vip);
    return found == services.end() ? vip : found->backend;
}

Fleets Fleets::configured(const std::shared_ptr<const SplicerSetup>& balancer,
                          const std::shared_ptr<const JoinerSetup>& delivery) {
    Fleets fleets;
    auto bridges = rules_of_bridges(*balancer, delivery.get());
    fleets.fleets_.push_back(std::make_unique<Fleet>(balancer, std::move(bridges)));
    for (const SplicerService& service : balancer->services) {
        const auto key = service_key(service.vip.address.raw(), splice_htons(service.vip.port));
        fleets.services_[key] = {{service.protocol, service.proxy_protocol}, fleets.fleets_.back().get()};
    }
    return fleets;
}

void Fleets::add_service(const Endpoint& vip, Speech speech) {
    services_.try_emplace(service_key(vip.address.raw(), splice_htons(vip.port)), Slot{speech, nullptr});
}

Fleet* Fleets::of(const splice_address& vip, std::uint16_t port) {
    const auto found = services_.find(service_key(vip, port));
    if (found == services_.end()) return nullptr;
    Slot& slot = found->second;
    if (!slot.fleet) slot.fleet = make({IpAddress(vip), splice_ntohs(port)}, slot.speech);
    return slot.fleet;
}

Fleet* Fleets::make(const Endpoint& vip, Speech speech) {
    if (!placement_) placement_ = build_placement();
    const int family = vip.address.family();
    SplicerSetup setup;
    setup.secret = kSecret;
    setup.timeouts = kTimeouts;
    for (std::size_t i = 0; i < kBridges; ++i)
        setup.bridges.push_back({bridge_name(i), bridge_address(family, i)});
    SplicerService service;
    service.name = vip.to_string();
    service.vip = vip;
    service.protocol = speech.protocol;
    service.proxy_protocol = speech.proxy_protocol;
    service.key.kind = natural_key(speech.protocol);
    service.placement = placement_;
    service.mss = family == 4 ? kMssIpv4 : kMssIpv6;
    setup.services.push_back(std::move(service));
    const auto shared = std::make_shared<const SplicerSetup>(std::move(setup));
    fleets_.push_back(std::make_unique<Fleet>(shared, rules_of_bridges(*shared, nullptr)));
    return fleets_.back().get();
}

}  // namespace splice::replay
