// What people call services and bridges, found in the answer of GET /loadbalancers.
#pragma once

#include <expected>
#include <string>
#include <vector>

#include "tools/splicectl/json_values.hpp"

namespace splice::control {

struct FoundBridge {
    std::string service, bridge;  // names
    std::string path;             // of the API: "/loadbalancer/UUID/backend/UUID"
};

// The bridge of that name in the service of that name; an empty service: the one that has such a bridge, or,
// with `all`, each. The error is a sentence that lists the candidates.
[[nodiscard]] std::expected<std::vector<FoundBridge>, std::string> find_bridges(const Json& load_balancers,
                                                                                const std::string& service,
                                                                                const std::string& bridge,
                                                                                bool all);

// Of that name. The error lists the names that there are.
[[nodiscard]] std::expected<Json, std::string> find_service(const Json& load_balancers,
                                                            const std::string& name);

// The name of the service that `url` asks: the only one; or the one whose VIP and port the URL names, as
// http://192.0.2.1/a and https://[2001:db8::1]:8443/ do. The error lists the names that there are.
[[nodiscard]] std::expected<std::string, std::string> service_of_url(const Json& load_balancers,
                                                                     const std::string& url);

}  // namespace splice::control
