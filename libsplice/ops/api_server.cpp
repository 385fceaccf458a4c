#include "libsplice/engine/fcntl.hpp"  // first: see there

#include "libsplice/ops/api_server.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <cstring>
#include <list>
#include <optional>
#include <thread>
#include <utility>

#include "libsplice/ops/log.hpp"
#include "libsplice/ops/metrics.hpp"

namespace splice {
namespace {

constexpr unsigned kNotReady = 503;  // Service Unavailable (RFC 9110 section 15.6.4)

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr int kMaxConnections = 32;
constexpr std::uint32_t kMaxHeader = 8 * 1024;
constexpr std::uint64_t kMaxBody = 1024;                // a GET has none
constexpr auto kRequestTime = std::chrono::seconds(2);  // from the connection or the last answer on
constexpr auto kAnswerTime = std::chrono::seconds(10);
constexpr auto kAcceptPause = std::chrono::milliseconds(100);  // after an accept that failed

using Request = http::request<http::string_body>;
using Response = http::response<http::string_body>;

ApiReply reply_to(const ApiRoutes& routes, const Request& request) {
    std::string_view path(request.target().data(), request.target().size());
    path = path.substr(0, path.find('?'));
    const auto route = routes.find(path);
    if (route == routes.end()) return {.status = 404, .body = "not found; GET / lists what there is\n"};
    if (request.method() != http::verb::get && request.method() != http::verb::head)
        return {.status = 405, .body = "only GET and HEAD\n"};
    return route->second();
}

Response make_response(const ApiRoutes& routes, const Request& request) {
    ApiReply reply = reply_to(routes, request);
    Response response(static_cast<http::status>(reply.status), request.version());
    response.set(http::field::server, "splicelb");
    response.set(http::field::content_type, reply.content_type);
    response.set(http::field::cache_control, "no-store");
    if (reply.status == 405) response.set(http::field::allow, "GET, HEAD");
    response.keep_alive(request.keep_alive());
    const bool head = request.method() == http::verb::head;
    const std::size_t length = reply.body.size();
    if (!head) response.body() = std::move(reply.body);
    response.content_length(length);
    return response;
}

class Session;

// What all connections share; outlives them.
struct Sessions {
    int open = 0;
    std::list<Session*> reading;  // those whose next request is not complete, the longest wait first
};

// One connection; lives as long as an operation on it is pending.
class Session : public std::enable_shared_from_this<Session> {
  public:
    Session(tcp::socket socket, const ApiRoutes& routes, Sessions& all)
        : stream_(std::move(socket)), routes_(routes), all_(all) {
        all_.open++;
    }
    ~Session() {
        stop_reading();
        all_.open--;
    }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    void read() {
        parser_.emplace();
        parser_->header_limit(kMaxHeader);
        parser_->body_limit(kMaxBody);
        stream_.expires_after(kRequestTime);
        place_ = all_.reading.insert(all_.reading.end(), this);
        http::async_read(
            stream_, buffer_, *parser_,
            [self = shared_from_this()](error_code error, std::size_t) { self->on_read(error); });
    }

    // Its handlers see an error and let go of it.
    void close() {
        stop_reading();
        stream_.close();
    }

  private:
    void stop_reading() noexcept {
        if (place_) all_.reading.erase(*place_);
        place_.reset();
    }

    void on_read(error_code error) {
        stop_reading();
        if (error) return;  // gone, too slow or no HTTP: closing says enough
        response_ = make_response(routes_, parser_->get());
        stream_.expires_after(kAnswerTime);
        http::async_write(stream_, response_, [self = shared_from_this()](error_code failed, std::size_t) {
            self->on_write(failed);
        });
    }

    void on_write(error_code error) {
        if (error) return;
        if (response_.keep_alive()) return read();
        error_code ignored;
        stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    }

    beast::tcp_stream stream_;
    const ApiRoutes& routes_;
    Sessions& all_;
    std::optional<std::list<Session*>::iterator> place_;  // in all_.reading
    beast::flat_buffer buffer_{kMaxHeader + kMaxBody};
    std::optional<http::request_parser<http::string_body>> parser_;
    Response response_;
};

tcp::endpoint to_asio(const Endpoint& endpoint) {
    const splice_address& raw = endpoint.address.raw();
    if (endpoint.address.family() == 4) {
        asio::ip::address_v4::bytes_type bytes;
        std::memcpy(bytes.data(), raw.bytes + 12, bytes.size());
        return {asio::ip::address_v4(bytes), endpoint.port};
    }
    asio::ip::address_v6::bytes_type bytes;
    std::memcpy(bytes.data(), raw.bytes, bytes.size());
    return {asio::ip::address_v6(bytes), endpoint.port};
}

}  // namespace

ApiRoutes operator_routes(OperatorPages pages) {
    ApiRoutes routes;
    routes["/"] = [index = std::move(pages.index)] { return ApiReply{.body = index}; };
    routes["/healthz"] = [] { return ApiReply{.body = "ok\n"}; };
    routes["/readyz"] = [not_ready = std::move(pages.not_ready)] {
        const std::vector<std::string> reasons = not_ready();
        if (reasons.empty()) return ApiReply{.body = "ready\n"};
        ApiReply reply{.status = kNotReady, .body = {}};
        for (const std::string& reason : reasons) reply.body += reason + "\n";
        return reply;
    };
    routes["/metrics"] = [metrics = std::move(pages.metrics)] {
        return ApiReply{.content_type = std::string(MetricsPage::kContentType), .body = metrics()};
    };
    routes["/status"] = [status = std::move(pages.status)] {
        return ApiReply{.content_type = "application/json", .body = status()};
    };
    return routes;
}

struct ApiServer::Impl {
    explicit Impl(ApiRoutes all_routes) : routes(std::move(all_routes)) {}
    ~Impl() {
        context.stop();
        if (thread.joinable()) thread.join();
    }

    error_code listen(const tcp::endpoint& endpoint) {
        error_code error;
        acceptor.open(endpoint.protocol(), error);
        if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
        if (!error) acceptor.bind(endpoint, error);
        if (!error) acceptor.listen(kMaxConnections, error);
        return error;
    }

    void accept() {
        acceptor.async_accept([this](error_code error, tcp::socket socket) {
            if (error == asio::error::operation_aborted) return;
            if (error) return accept_later();
            if (has_room()) std::make_shared<Session>(std::move(socket), routes, sessions)->read();
            accept();
        });
    }

    // Connections that say nothing must not keep others out: the one that has waited longest makes room.
    bool has_room() {
        if (sessions.open < kMaxConnections) return true;
        if (sessions.reading.empty()) return false;
        sessions.reading.front()->close();
        return true;
    }

    // No descriptor left, most likely: asking again at once would burn a core.
    void accept_later() {
        pause.expires_after(kAcceptPause);
        pause.async_wait([this](error_code error) {
            if (!error) accept();
        });
    }

    void run() {
        for (;;) {
            try {
                context.run();
                return;
            } catch (const std::exception& error) {  // a route that failed costs its connection, no more
                log_error(std::string("API: ") + error.what());
            }
        }
    }

    ApiRoutes routes;
    Sessions sessions;  // before the context: each leaves it when that goes
    asio::io_context context{1};
    tcp::acceptor acceptor{context};
    asio::steady_timer pause{context};
    std::thread thread;
};

SystemResult<ApiServer> ApiServer::start(const Endpoint& listen, ApiRoutes routes) {
    auto impl = std::make_unique<Impl>(std::move(routes));
    if (const error_code error = impl->listen(to_asio(listen))) {
        const bool in_use = error.value() == EADDRINUSE;
        return system_error("listen for the API on " + listen.to_string(), error.value(),
                            in_use
                                ? "another process has it; choose another address with --api or api.listen, "
                                  "or --api off"
                                : "choose an address of this host with --api or api.listen, or --api off");
    }
    impl->accept();
    impl->thread = std::thread([&server = *impl] { server.run(); });
    return ApiServer(std::move(impl));
}

ApiServer::ApiServer(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
ApiServer::ApiServer(ApiServer&&) noexcept = default;
ApiServer& ApiServer::operator=(ApiServer&&) noexcept = default;
ApiServer::~ApiServer() = default;

}  // namespace splice
