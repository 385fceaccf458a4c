// The fleet of an experiment: what chooses, and among whom.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "balancer/config.hpp"
#include "libsplice/core/hash_key.hpp"
#include "libsplice/core/placement/placement.hpp"

namespace splice::hash {

// What moves an opening away from its first choice (datapath/choice.h).
struct Weighing {
    double bounded_load = 0;   // times the mean; 0: no bound
    double warmup = 0;         // share of openings for the second choice
    std::uint32_t spread = 0;  // hot keys over so many first choices; 0: not
    std::size_t hot_keys = 64;
    [[nodiscard]] bool any() const noexcept { return bounded_load > 0 || warmup > 0 || spread > 0; }
};

// Another way to choose, which serves a share of the rows (`ramp`).
struct ShadowSpec {
    HashKeyRule key;
    Algorithm algorithm = Algorithm::rendezvous;
    double ramp = 0;  // 0: it serves none
};

struct FleetSpec {
    Protocol protocol = Protocol::http;
    HashKeyRule key;
    Algorithm algorithm = Algorithm::rendezvous;
    std::uint32_t rows = kTableRows;
    std::uint32_t subset = 0;  // key sni: a name has so many bridges; 0: one
    // PlacementMember::bridge is the index into this vector. A weight of 0 takes nothing.
    std::vector<PlacementMember> bridges;
    Weighing weighing = {};
    std::optional<ShadowSpec> shadow = {};

    // The error is a sentence.
    [[nodiscard]] std::expected<Placement, std::string> place() const;
    // As it would be if the shadow served all rows; there is a shadow.
    [[nodiscard]] FleetSpec as_shadow() const;
    [[nodiscard]] std::expected<std::size_t, std::string> find(std::string_view name) const;
    // What the bridge is due by its weight: 0 to 1.
    [[nodiscard]] double due(std::size_t bridge) const noexcept;
};

// NAME=ADDRESS[:PORT][,weight=N]. The error is a sentence.
[[nodiscard]] std::expected<PlacementMember, std::string> parse_member(std::string_view text);
// Adds it, with its index as its number.
[[nodiscard]] std::expected<void, std::string> add_member(FleetSpec& fleet, PlacementMember member);
// The balancer's service, placed as the balancer places it: a bridge that takes no connections has weight 0.
[[nodiscard]] FleetSpec fleet_of(const ServiceConfig& service);

}  // namespace splice::hash
