// What the API shows: what runs, swapped whole at each change, and what only the data path knows.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "balancer/config.hpp"
#include "balancer/control/channel_words.hpp"
#include "balancer/control/desired.hpp"
#include "balancer/control/full_bridges.hpp"
#include "libsplice/core/bridge_totals.hpp"
#include "libsplice/core/channel_asks.hpp"
#include "libsplice/core/flow_counts.hpp"
#include "libsplice/core/health_checks.hpp"
#include "libsplice/core/splicer.hpp"

namespace splice {

struct BalancerState {
    BalancerConfig config;
    std::shared_ptr<const SplicerSetup> setup;
    std::shared_ptr<const Desired> desired = std::make_shared<const Desired>();
    std::string engine;
    std::string engine_reason;
};

// With the share of the keys that each bridge gets, by service and bridge, in the configuration's order.
struct Shown : BalancerState {
    explicit Shown(BalancerState state);
    std::vector<std::vector<double>> shares;
};

// What the channel tells.
struct ChannelNews {
    bool is_on = false;
    ChannelFingerprints own{};
    ChannelReport bridges{};
};

// One moment of all that is shown.
struct Snapshot {
    std::shared_ptr<const Shown> shown;
    FlowCounts counts;
    HealthReport health;
    BridgeTotals totals{};  // empty where they are not shown
    ChannelNews channel{};
    FullSet full{};
};

// The bridge's place in the configuration of its service, which is where its number stands in
// `running.bridges`; nothing: it is none of them any more.
[[nodiscard]] std::optional<std::size_t> place_of(const SplicerService& running, std::uint16_t bridge);

// What is shown of one service.
struct ServiceView {
    const ServiceConfig& service;
    const SplicerService& running;
    const FlowCounts& counts;
    const std::vector<double>& shares;  // in the order of the bridges
    const ServiceHealth* health;        // null: it is not checked
    const BridgeTotals& totals;
    const ChannelNews& channel;
    std::uint16_t channel_port;
    const FullSet& full;

    // Of the service's bridge at that place.
    [[nodiscard]] FlowCount flows(std::size_t place) const noexcept {
        return counts.of(running.number, running.bridges[place]);
    }
    [[nodiscard]] SignedBridge total(std::size_t place) const noexcept {
        return totals.of(running.number, running.bridges[place]);
    }
    // Whether it has as many connections as it may, so that new keys pass it over.
    [[nodiscard]] bool is_full(std::size_t place) const {
        return full.contains({service.name, service.bridges[place].name});
    }
    [[nodiscard]] ChannelSubject channel_subject(std::size_t place) const noexcept {
        const BridgeConfig& bridge = service.bridges[place];
        const auto state = channel.bridges.find(bridge.address);
        return {service, bridge, state == channel.bridges.end() ? nullptr : &state->second, channel.own,
                channel_port};
    }
    // Null: it is not checked.
    [[nodiscard]] const BridgeHealth* health_of(std::size_t place) const noexcept {
        return splice::health_of(health, running.bridges[place]);
    }
};
// Of the service at that place; lives as long as the snapshot.
[[nodiscard]] ServiceView view_of(const Snapshot& snapshot, std::size_t place);

// The share of the keys that each of the service's bridges gets as its first choice, in the order of the
// configuration; they sum up to 1 while any bridge takes flows.
std::vector<double> first_choice_shares(const SplicerService& service);

}  // namespace splice
