// What GET /flows tells: connections of the table, filtered, a page at a time.
#pragma once

#include <expected>
#include <functional>
#include <string>

#include "balancer/control/shown.hpp"
#include "libsplice/core/flow_page.hpp"
#include "libsplice/ops/api_routes.hpp"

namespace splice {

using ReadFlows = std::function<std::expected<FlowPage, std::string>(const FlowFilter&, std::size_t limit,
                                                                     const std::string& after)>;

// Parameters: service, bridge, client, limit, after.
ApiReply list_flows(const Snapshot& snapshot, const ApiRequest& request, const ReadFlows& read);

}  // namespace splice
