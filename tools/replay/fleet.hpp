// Who is driven by a capture: balancers with their bridges, found by the service that a packet names.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "libsplice/core/joiner.hpp"
#include "libsplice/core/splicer.hpp"

namespace splice::replay {

// The secret where no configuration brings one: the same input gives the same output everywhere.
inline constexpr splice_secret kSecret{{{0x0706050403020100, 0x0f0e0d0c0b0a0908, {}}, {}}, 1, 1, {}};

// One balancer and its bridges. Bridge i is SplicerSetup::bridges[i].
struct Fleet {
    Fleet(std::shared_ptr<const SplicerSetup> balancer_rules,
          std::vector<std::shared_ptr<const JoinerSetup>> rules_of_bridges);

    [[nodiscard]] const SplicerService* service(const splice_address& vip, std::uint16_t port) const noexcept;
    // The bridge whose address that is.
    [[nodiscard]] std::optional<std::uint16_t> bridge_at(const splice_address& address) const noexcept;
    // Where bridge `bridge` delivers the service's connections; the VIP itself when it does not know it.
    [[nodiscard]] Endpoint backend(std::uint16_t bridge, const Endpoint& vip) const noexcept;

    std::shared_ptr<const SplicerSetup> setup;
    std::vector<std::shared_ptr<const JoinerSetup>> joiner_setup;
    Splicer balancer;
    std::vector<std::unique_ptr<Joiner>> bridges;
    // When the replay looks at a machine's timers next: the balancer's first, then the bridges'.
    std::vector<Duration> scheduled;
};

// What a service's clients say first.
struct Speech {
    Protocol protocol = Protocol::tcp;
    ProxyProtocol proxy_protocol = ProxyProtocol::off;
    friend bool operator==(const Speech&, const Speech&) = default;
};

// Every service of the replay. Fleets live as long as this does, where they are.
class Fleets {
  public:
    // All services of one configuration. `delivery` is what the bridges' own configuration says: the same for
    // every bridge but for its addresses; without it each bridge delivers to its own address and the VIP's
    // port.
    static Fleets configured(const std::shared_ptr<const SplicerSetup>& balancer,
                             const std::shared_ptr<const JoinerSetup>& delivery);
    Fleets() = default;
    // --any-vip: makes a service of the endpoint, with a balancer and bridges b1, b2, b3 of its own.
    void add_service(const Endpoint& vip, Speech speech);

    // The fleet that serves the endpoint (port in network order), or null.
    [[nodiscard]] Fleet* of(const splice_address& vip, std::uint16_t port);

  private:
    struct Slot {
        Speech speech;
        Fleet* fleet = nullptr;  // made at first use
    };
    Fleet* make(const Endpoint& vip, Speech speech);

    std::unordered_map<splice_flow_key, Slot, FlowKeyHash, FlowKeyEqual> services_;
    std::vector<std::unique_ptr<Fleet>> fleets_;
    std::shared_ptr<const Placement> placement_;  // of --any-vip's bridges, for all of them
};

}  // namespace splice::replay
