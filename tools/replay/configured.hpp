// The fleet that configuration files describe.
#pragma once

#include <expected>
#include <string>

#include "libsplice/config/error.hpp"
#include "tools/replay/fleet.hpp"

namespace splice::replay {

struct Configured {
    Fleets fleets;
    // What the replay did not take from the files; a sentence or nothing.
    std::string remark;
};

// `bridge_path` may be empty. The secret is the balancer's secret file when it can be read, else kSecret, and
// then the remark says so.
std::expected<Configured, ConfigFailure> load_configured(const std::string& path,
                                                         const std::string& bridge_path);

}  // namespace splice::replay
