// A small HTTP server for operators, Prometheus and programs that steer: on a thread of its own.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "libsplice/base/api_address.hpp"
#include "libsplice/base/system_error.hpp"
#include "libsplice/ops/api_routes.hpp"

namespace splice {

// Who may do what, beside the routes' own rights. Without a token a server on loopback answers only requests
// whose Host is an address or localhost (a page of a stranger's, whose name leads to 127.0.0.1, asks under
// that name), and changes are taken only as application/json, which such a page cannot send. On a Unix socket
// changes are root's and this process's own user's.
struct ApiAccess {
    std::string token{};  // empty: there is none
};

// Why nothing is to be served there, as a sentence: it is beyond loopback, and there is no token.
std::optional<std::string> why_not_open(const ApiAddress& listen, const ApiAccess& access);

// Serves as long as it lives. Bounded: connections, time and size of a request, time of an answer.
class ApiServer {
  public:
    // Errors: the address is in use, not this host's, or beyond loopback without a token.
    static SystemResult<ApiServer> start(const ApiAddress& listen, ApiRoutes routes, ApiAccess access = {});
    ApiServer(ApiServer&&) noexcept;
    ApiServer& operator=(ApiServer&&) noexcept;
    ~ApiServer();

  private:
    struct Impl;
    explicit ApiServer(std::unique_ptr<Impl> impl) noexcept;
    std::unique_ptr<Impl> impl_;
};

}  // namespace splice
