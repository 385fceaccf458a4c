// A small HTTP server for operators and Prometheus: GET on a few fixed paths, on a thread of its own.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/system_error.hpp"

namespace splice {

struct ApiReply {
    unsigned status = 200;
    std::string content_type = "text/plain; charset=utf-8";
    std::string body;
};

// Called in the server's thread; may read what is atomic or locked.
using ApiRoute = std::function<ApiReply()>;
// By path, query left out: "/metrics".
using ApiRoutes = std::map<std::string, ApiRoute, std::less<>>;

// What both executables answer: / with `index`, /healthz (the process lives), /readyz (it serves: 200, or 503
// with a line for each of the reasons why it does not), /metrics (Prometheus) and /status (JSON).
struct OperatorPages {
    std::string index;
    std::function<std::vector<std::string>()> not_ready;  // reasons
    std::function<std::string()> metrics;
    std::function<std::string()> status;
};
ApiRoutes operator_routes(OperatorPages pages);

// Serves as long as it lives. Bounded: connections, time and size of a request.
class ApiServer {
  public:
    // Errors: the address is in use or not this host's.
    static SystemResult<ApiServer> start(const Endpoint& listen, ApiRoutes routes);
    ApiServer(ApiServer&&) noexcept;
    ApiServer& operator=(ApiServer&&) noexcept;
    ~ApiServer();

  private:
    struct Impl;
    explicit ApiServer(std::unique_ptr<Impl> impl) noexcept;
    std::unique_ptr<Impl> impl_;
};

}  // namespace splice
