#include "libsplice/base/api_address.hpp"

namespace splice {

std::expected<ApiAddress, std::string> ApiAddress::parse(std::string_view text) {
    constexpr std::string_view kSocket = "unix:";
    if (text.starts_with(kSocket)) {
        const std::string_view path = text.substr(kSocket.size());
        if (path.empty() || path.size() > kSocketPathMax)
            return std::unexpected("expected unix:PATH, the path of a socket, of at most " +
                                   std::to_string(kSocketPathMax) + " bytes");
        return ApiAddress(std::string(path));
    }
    const auto endpoint = Endpoint::parse(text);
    if (!endpoint)
        return std::unexpected("expected ADDRESS:PORT, as 127.0.0.1:10001 or [::1]:10001, or unix:PATH");
    return ApiAddress(*endpoint);
}

}  // namespace splice
