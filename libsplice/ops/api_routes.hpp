// What an API answers: pages and calls by method and path. ApiServer carries them over HTTP.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace splice {

struct ApiRequest {
    std::string method;                                      // "GET"; HEAD is answered as GET
    std::string path;                                        // without the query, as it was sent
    std::vector<std::pair<std::string, std::string>> query;  // decoded, in the order of the request
    std::vector<std::string> variables;                      // what stands for {...} in the route's path
    std::string body;
    std::string accept;

    // The first value of that name.
    [[nodiscard]] std::optional<std::string> parameter(std::string_view name) const;
};

struct ApiReply {
    unsigned status = 200;
    std::string content_type = "text/plain; charset=utf-8";
    std::string body{};
    std::vector<std::pair<std::string, std::string>> headers{};
};

// A refusal of an API: {"error": "a sentence", "field": "port"}. An empty field is left out.
ApiReply api_error(unsigned status, const std::string& sentence, const std::string& field = {});

// Gives the reply, once, in any thread; after the server's end it does nothing.
using ApiAnswer = std::function<void(ApiReply)>;

enum class ApiRight : std::uint8_t {
    open,    // anybody who reaches the server: whether the process lives
    read,    // beyond this host it takes the token
    change,  // it takes the token, where there is one
};

struct ApiRoute {
    std::string method;
    std::string path;  // "/loadbalancer/{uuid}": a part in braces is any part that is not empty
    ApiRight right = ApiRight::read;
    // Called in the server's thread; may read what is atomic or locked, and must not wait for others.
    std::function<void(const ApiRequest&, ApiAnswer)> handle;
};

class ApiRoutes {
  public:
    void add(ApiRoute route) { routes_.push_back(std::move(route)); }
    // A page: GET, answered at once.
    void page(std::string path, std::function<ApiReply(const ApiRequest&)> reply,
              ApiRight right = ApiRight::read);

    struct Found {
        const ApiRoute* route = nullptr;
        std::vector<std::string> variables;
        std::string allowed;  // no route: the methods that the path has, as in Allow; empty: no such path
    };
    [[nodiscard]] Found find(std::string_view method, std::string_view path) const;

  private:
    std::vector<ApiRoute> routes_;
};

// "a=1&b=%20c" as names and values, decoded; nothing where an escape is wrong.
std::optional<std::vector<std::pair<std::string, std::string>>> parse_query(std::string_view text);

// What both executables answer: /healthz (the process lives), /readyz (it serves: 200, or 503 with a line for
// each of the reasons why it does not), /metrics (Prometheus) and /status (JSON).
struct OperatorPages {
    std::function<std::vector<std::string>()> not_ready;  // reasons
    std::function<std::string()> metrics;
    std::function<std::string()> status;
};
ApiRoutes operator_routes(OperatorPages pages);

}  // namespace splice
