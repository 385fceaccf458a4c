// The API's answers as people read them. Pure; every line ends with a line feed.
#pragma once

#include <string>
#include <vector>

#include "tools/splicectl/json_values.hpp"

namespace splice::control {

// Of GET /status; `not_ready`: what GET /readyz said where it was not 200, else empty.
[[nodiscard]] std::string status_view(const Json& status, const std::string& not_ready,
                                      const std::string& from);
// Of GET /check: a table, then a line for each trouble of a bridge.
[[nodiscard]] std::string check_view(const Json& check);
// Of GET /loadbalancers.
[[nodiscard]] std::string services_view(const Json& load_balancers);
// The same, of its bridges.
[[nodiscard]] std::string bridges_view(const Json& load_balancers);
// Of GET /explain.
[[nodiscard]] std::string explain_view(const Json& explanation);
// Of GET /flows.
[[nodiscard]] std::string flows_view(const std::vector<Json>& flows);
// Of a bridge as PATCH returned it: one line.
[[nodiscard]] std::string change_view(const std::string& service, const Json& backend);

// Why a bridge takes no new connections, or what else there is to say of it: "drain", "ill: no answer from
// it"; empty: nothing. `bridge`: of /status (its health an object) or of /loadbalancers (a string).
[[nodiscard]] std::string attention(const Json& bridge);

}  // namespace splice::control
