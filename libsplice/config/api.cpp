#include "libsplice/config/api.hpp"

#include <utility>

namespace splice {

std::expected<ApiAccess, std::string> api_access(const CommonConfig& config) {
    ApiAccess access;
    if (!config.api) return access;
    if (!config.api_token_file.empty()) {
        auto token = read_token_file(config.api_token_file);
        if (!token) return std::unexpected(token.error());
        access.token = std::move(*token);
    }
    if (auto refused = why_not_open(*config.api, access)) return std::unexpected(*refused);
    return access;
}

std::expected<std::optional<ApiServer>, std::string> start_api_server(const CommonConfig& config,
                                                                      ApiRoutes routes) {
    if (!config.api) return std::nullopt;
    auto access = api_access(config);
    if (!access) return std::unexpected(access.error());
    auto server = ApiServer::start(*config.api, std::move(routes), std::move(*access));
    if (!server) return std::unexpected(server.error().text);
    return std::move(*server);
}

}  // namespace splice
