// What a configuration comes to before anything is done with it: what the machine will work by, and what is
// different from what runs, service by service. Making a plan changes nothing; Balancer::apply() carries it
// out.
#pragma once

#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "balancer/config.hpp"
#include "balancer/control/bridge_index.hpp"
#include "balancer/setup.hpp"
#include "libsplice/core/service_numbers.hpp"
#include "libsplice/core/splicer.hpp"

namespace splice {

// One service that is not as it was.
struct ServiceChange {
    std::string service;
    bool removed = false;
    std::vector<std::string>
        what;          // "bridge b4 added", "algorithm rendezvous -> maglev", "MSS 1460 -> 1260 ..."
    double moved = 0;  // the share of its keys, 0 to 1, whose first choice is another bridge

    // A line for the log.
    [[nodiscard]] std::string to_string() const;
};

struct Plan {
    BalancerConfig config;
    std::shared_ptr<const SplicerSetup> setup;
    BridgeIndex bridges;  // the numbers that the setup has given out, and
    ServiceNumbers services;
    std::vector<ServiceChange> changes;  // in the configuration's order, those that are gone last; without
                                         // the bridges' states, of which Drains tells
};

// What serves now; at a start nothing does.
struct Running {
    const BalancerConfig* config = nullptr;
    std::shared_ptr<const SplicerSetup> setup;
    BridgeIndex bridges;
    ServiceNumbers services;
};

// What a plan has to fit.
struct PlanHost {
    std::uint32_t mtu = 1500;                       // the uplink's
    std::shared_ptr<const RouteMtus> route_mtus{};  // null: not known yet
    splice_own_addresses own{};                     // what checks come from
    Duration now{};                                 // monotonic
    const HealthReport* health = nullptr;           // what the checks say; null: nothing yet
    std::shared_ptr<const PrefixSet> denied{};      // null: nobody
};

// The error is a sentence.
std::expected<Plan, std::string> make_plan(const BalancerConfig& wanted, const splice_secret& secret,
                                           const Running& running, const PlanHost& host);

// What sets the two apart, as ServiceChange::what. Neither names nor states of bridges are compared.
std::vector<std::string> differences(const ServiceConfig& was, const ServiceConfig& is);

// The share of keys, 0 to 1, whose first choice differs. Both index the same bridges.
[[nodiscard]] double moved_share(const Placement& was, const Placement& is);

}  // namespace splice
