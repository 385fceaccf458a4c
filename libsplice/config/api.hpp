// The API that a configuration asks for.
#pragma once

#include <expected>
#include <optional>
#include <string>

#include "libsplice/config/common.hpp"
#include "libsplice/ops/api_server.hpp"

namespace splice {

// Who may use the API, as it is configured: the token file is read. The error is one line.
std::expected<ApiAccess, std::string> api_access(const CommonConfig& config);
// The API's server, as it is configured; nothing: it is off. The error is one line.
std::expected<std::optional<ApiServer>, std::string> start_api_server(const CommonConfig& config,
                                                                      ApiRoutes routes);

}  // namespace splice
