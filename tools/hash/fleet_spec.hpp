// The fleet of an experiment: what chooses, and among whom.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "balancer/config.hpp"
#include "libsplice/core/hash_key.hpp"
#include "libsplice/core/placement/placement.hpp"

namespace splice::hash {

struct FleetSpec {
    Protocol protocol = Protocol::http;
    HashKeyRule key;
    Algorithm algorithm = Algorithm::rendezvous;
    std::uint32_t rows = kTableRows;
    std::uint32_t subset = 0;  // key sni: a name has so many bridges; 0: one
    // PlacementMember::bridge is the index into this vector. A weight of 0 takes nothing.
    std::vector<PlacementMember> bridges;

    // The error is a sentence.
    [[nodiscard]] std::expected<Placement, std::string> place() const;
    [[nodiscard]] std::expected<std::size_t, std::string> find(std::string_view name) const;
    // What the bridge is due by its weight: 0 to 1.
    [[nodiscard]] double due(std::size_t bridge) const noexcept;
};

// NAME=ADDRESS[:PORT][,weight=N]. The error is a sentence.
[[nodiscard]] std::expected<PlacementMember, std::string> parse_member(std::string_view text);
// Adds it, with its index as its number.
[[nodiscard]] std::expected<void, std::string> add_member(FleetSpec& fleet, PlacementMember member);
// The balancer's service, placed as the balancer places it.
[[nodiscard]] FleetSpec fleet_of(const ServiceConfig& service);

}  // namespace splice::hash
