// How a service's bridges are checked: what is asked, and what the answers mean.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "libsplice/core/health.hpp"
#include "libsplice/core/probe_rule.hpp"

namespace splice {

struct CheckedBridge {
    std::uint16_t bridge = 0;  // index into SplicerSetup::bridges
    bool candidate = true;     // false: it drains, so it is not placed whatever its health
    friend bool operator==(const CheckedBridge&, const CheckedBridge&) = default;
};

struct ServiceCheck {
    std::shared_ptr<const ProbeRule> probe;  // not null
    HealthRule health;
    std::vector<CheckedBridge> bridges;
};

}  // namespace splice
