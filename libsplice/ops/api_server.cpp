#include "libsplice/engine/fcntl.hpp"  // first: see there

#include "libsplice/ops/api_server.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <cstring>
#include <list>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <utility>

#include "libsplice/ops/api_endpoint.hpp"
#include "libsplice/ops/log.hpp"

namespace splice {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;
using Protocol = asio::generic::stream_protocol;
using Socket = Protocol::socket;

constexpr int kMaxConnections = 32;
constexpr std::uint32_t kMaxHeader = 8 * 1024;
constexpr std::uint64_t kMaxBody = 64UL * 1024;
constexpr auto kRequestTime = std::chrono::seconds(2);  // from the connection or the last answer on
constexpr auto kWorkTime = std::chrono::seconds(30);    // until a change is made
constexpr auto kAnswerTime = std::chrono::seconds(10);
constexpr auto kAcceptPause = std::chrono::milliseconds(100);  // after an accept that failed
constexpr mode_t kSocketMode = 0660;

using Request = http::request<http::string_body>;
using Response = http::response<http::string_body>;

std::string text_of(beast::string_view text) {
    return {text.data(), text.size()};
}

std::string lower(std::string text) {
    std::ranges::transform(text, text.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return text;
}

// All bytes are looked at, wherever they differ: the time tells nobody how much of a guess was right.
bool same_secret(std::string_view one, std::string_view other) {
    unsigned differ = one.size() == other.size() ? 0 : 1;
    for (std::size_t i = 0; i < one.size(); ++i)
        differ |= static_cast<unsigned char>(one[i]) ^
                  static_cast<unsigned char>(other.empty() ? 0 : other[i % other.size()]);
    return differ == 0;
}

// "127.0.0.1:10001", "[::1]", "localhost:80".
bool is_own_name(std::string_view host) {
    const bool v6 = host.starts_with('[');
    const std::size_t end = v6 ? host.find(']') : host.find(':');
    const std::string_view name =
        v6 ? host.substr(1, end == std::string_view::npos ? end : end - 1) : host.substr(0, end);
    return lower(std::string(name)) == "localhost" || IpAddress::parse(name).has_value();
}

// Who is at the other end.
struct Caller {
    bool of_socket = false;
    uid_t user = 0;  // of a Unix socket
};

// What the server lets through to a route.
class Gatekeeper {
  public:
    Gatekeeper(ApiRoutes routes, ApiAccess access, bool local)
        : routes_(std::move(routes)), access_(std::move(access)), local_(local) {}

    // Either the route that answers, with the request for it, or a refusal.
    struct Passed {
        const ApiRoute* route = nullptr;
        ApiRequest request;
        ApiReply refusal;
    };
    [[nodiscard]] Passed pass(const Request& request, const Caller& caller) const {
        Passed passed;
        const std::string target = text_of(request.target());
        const std::size_t mark = target.find('?');
        passed.request.path = target.substr(0, mark);
        passed.request.method = text_of(request.method_string());
        ApiRoutes::Found found = routes_.find(passed.request.method, passed.request.path);
        if (!found.route) {
            passed.refusal = found.allowed.empty() ? api_error(404, "not found; GET / lists what there is")
                                                   : api_error(405, "here only " + found.allowed);
            if (!found.allowed.empty()) passed.refusal.headers.emplace_back("Allow", found.allowed);
            return passed;
        }
        if (auto refusal = check(*found.route, request, caller)) {
            passed.refusal = std::move(*refusal);
            return passed;
        }
        auto query = parse_query(mark == std::string::npos ? std::string_view()
                                                           : std::string_view(target).substr(mark + 1));
        if (!query) {
            passed.refusal =
                api_error(400, "the query has an escape that is not % and two hexadecimal digits");
            return passed;
        }
        passed.request.query = std::move(*query);
        passed.request.variables = std::move(found.variables);
        passed.request.body = request.body();
        passed.request.accept = text_of(request[http::field::accept]);
        passed.route = found.route;
        return passed;
    }

  private:
    [[nodiscard]] std::optional<ApiReply> check(const ApiRoute& route, const Request& request,
                                                const Caller& caller) const {
        if (route.right == ApiRight::open) return {};
        if (access_.token.empty()) {
            const std::string host = text_of(request[http::field::host]);
            if (!caller.of_socket && !host.empty() && !is_own_name(host))
                return api_error(421,
                                 "the Host is " + host +
                                     ": expected an address or localhost, for names of others may lead here; "
                                     "with api.token_file any name will do");
        } else if (route.right == ApiRight::change || !local_) {
            constexpr std::string_view kScheme = "bearer ";
            const std::string given = text_of(request[http::field::authorization]);
            const bool bearer = lower(given.substr(0, kScheme.size())) == kScheme;
            if (!bearer || !same_secret(given.substr(kScheme.size()), access_.token)) {
                ApiReply refusal =
                    api_error(401, "expected Authorization: Bearer and the token of api.token_file");
                refusal.headers.emplace_back("WWW-Authenticate", "Bearer");
                return refusal;
            }
        }
        if (route.right != ApiRight::change) return {};
        if (caller.of_socket && caller.user != 0 && caller.user != geteuid())
            return api_error(403, "changes over this socket are for root and the balancer's own user");
        const std::string type = lower(text_of(request[http::field::content_type]));
        const std::string plain = type.substr(0, type.find_first_of("; "));
        if (route.method != "DELETE" && plain != "application/json")
            return api_error(415, "expected Content-Type: application/json");
        return {};
    }

    ApiRoutes routes_;
    ApiAccess access_;
    bool local_;
};

Response make_response(ApiReply reply, unsigned version, bool keep_alive, bool head) {
    Response response(static_cast<http::status>(reply.status), version);
    response.set(http::field::server, "splicelb");
    response.set(http::field::cache_control, "no-store");
    response.set("X-Content-Type-Options", "nosniff");
    for (const auto& [name, value] : reply.headers) response.set(name, value);
    response.keep_alive(keep_alive);
    if (reply.status == 204) return response;
    response.set(http::field::content_type, reply.content_type);
    const std::size_t length = reply.body.size();
    if (!head) response.body() = std::move(reply.body);
    response.content_length(length);
    return response;
}

// What HTTP itself is wrong with; nothing: the connection is gone or slow, and closing it says enough.
std::optional<ApiReply> reply_to(error_code error) {
    if (error == http::error::body_limit)
        return api_error(413, "the body is too large: expected at most 64 KiB");
    if (error == http::error::header_limit || error == http::error::buffer_overflow)
        return api_error(431, "the header is too large: expected at most 8 KiB");
    if (error == http::error::partial_message || error == http::error::end_of_stream) return {};
    if (error.category() == make_error_code(http::error::bad_method).category())
        return api_error(400, "no HTTP/1 request: " + error.message());
    return {};
}

class Session;

// What all connections share; outlives them.
struct Sessions {
    int open = 0;
    std::list<Session*> reading;  // those whose next request is not complete, the longest wait first
    // Those whose request a route has in hand.
    std::uint64_t last = 0;
    std::unordered_map<std::uint64_t, std::shared_ptr<Session>> working;
};

// The way of an answer, from any thread, to a server that may be gone.
struct Mail {
    std::mutex mutex;
    asio::io_context* context = nullptr;  // null: the server is gone
    std::function<void(std::uint64_t, ApiReply)> deliver;
};

// One connection; lives as long as an operation on it is pending.
class Session : public std::enable_shared_from_this<Session> {
  public:
    Session(Socket socket, const Gatekeeper& gate, Sessions& all, std::shared_ptr<Mail> mail, Caller caller)
        : stream_(std::move(socket)),
          timer_(stream_.get_executor()),
          gate_(gate),
          all_(all),
          mail_(std::move(mail)),
          caller_(caller) {
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

    // The route's reply; later ones are nobody's.
    void reply(ApiReply reply) {
        timer_.cancel();
        const Request& request = parser_->get();
        write(make_response(std::move(reply), request.version(), request.keep_alive(),
                            request.method() == http::verb::head));
    }

  private:
    void stop_reading() noexcept {
        if (place_) all_.reading.erase(*place_);
        place_.reset();
    }

    void on_read(error_code error) {
        stop_reading();
        if (error) {
            if (auto refusal = reply_to(error)) write(make_response(std::move(*refusal), 11, false, false));
            return;
        }
        Gatekeeper::Passed passed = gate_.pass(parser_->get(), caller_);
        if (!passed.route) return reply(std::move(passed.refusal));
        const std::uint64_t id = ++all_.last;
        all_.working.emplace(id, shared_from_this());
        stream_.expires_never();
        timer_.expires_after(kWorkTime);
        timer_.async_wait([mail = mail_, id](error_code cancelled) {
            if (!cancelled)
                mail->deliver(id, api_error(503, "no answer within 30 s; whether it is done, GET tells"));
        });
        try {
            passed.route->handle(passed.request, [mail = mail_, id](ApiReply reply) {
                const std::lock_guard lock(mail->mutex);
                if (!mail->context) return;
                asio::post(*mail->context, [mail, id, reply = std::move(reply)]() mutable {
                    mail->deliver(id, std::move(reply));
                });
            });
        } catch (const std::exception& failed) {
            log_error(std::string("API: ") + failed.what());
            mail_->deliver(id, api_error(500, "a fault of this program's, which its log names"));
        }
    }

    void write(Response response) {
        response_ = std::move(response);
        stream_.expires_after(kAnswerTime);
        http::async_write(stream_, response_, [self = shared_from_this()](error_code failed, std::size_t) {
            self->on_write(failed);
        });
    }

    void on_write(error_code error) {
        if (error) return;
        if (response_.keep_alive()) return read();
        error_code ignored;
        stream_.socket().shutdown(Socket::shutdown_send, ignored);
        drain();
    }

    // What the client still sends is read and forgotten for a while: closing at once would reset the
    // connection, and take the answer away with it.
    void drain() {
        if (++drained_ > kMaxDrained) return;
        stream_.expires_after(kRequestTime);
        stream_.async_read_some(asio::buffer(scrap_),
                                [self = shared_from_this()](error_code error, std::size_t) {
                                    if (!error) self->drain();
                                });
    }

    static constexpr int kMaxDrained = 256;

    beast::basic_stream<Protocol> stream_;
    asio::steady_timer timer_;
    const Gatekeeper& gate_;
    Sessions& all_;
    std::shared_ptr<Mail> mail_;
    Caller caller_;
    std::optional<std::list<Session*>::iterator> place_;  // in all_.reading
    beast::flat_buffer buffer_{kMaxHeader + kMaxBody};
    std::optional<http::request_parser<http::string_body>> parser_;
    Response response_;
    std::array<char, 4096> scrap_{};
    int drained_ = 0;
};

Caller caller_of(Socket& socket, bool of_socket) {
    Caller caller{.of_socket = of_socket};
    if (!of_socket) return caller;
    ucred credentials{};
    socklen_t size = sizeof(credentials);
    caller.user = getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0
                      ? credentials.uid
                      : static_cast<uid_t>(-1);
    return caller;
}

// A socket's file that nobody listens at any more, as kill -9 leaves it.
void remove_stale_socket(const std::string& path) {
    struct stat status{};
    if (lstat(path.c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) return;
    asio::io_context context;
    asio::local::stream_protocol::socket probe(context);
    error_code error;
    probe.connect(asio::local::stream_protocol::endpoint(path), error);
    if (error == asio::error::connection_refused) unlink(path.c_str());
}

}  // namespace

struct ApiServer::Impl {
    Impl(const ApiAddress& address, ApiRoutes routes, ApiAccess access)
        : listen(address), gate(std::move(routes), std::move(access), address.is_local()) {
        mail->context = &context;
        mail->deliver = [this](std::uint64_t id, ApiReply reply) {
            const auto found = sessions.working.find(id);
            if (found == sessions.working.end()) return;
            const auto session = found->second;
            sessions.working.erase(found);
            session->reply(std::move(reply));
        };
    }
    ~Impl() {
        {
            const std::lock_guard lock(mail->mutex);
            mail->context = nullptr;
        }
        context.stop();
        if (thread.joinable()) thread.join();
        sessions.working.clear();
        if (bound && listen.is_socket()) unlink(listen.path.c_str());
    }

    error_code open() {
        error_code error;
        if (listen.is_socket()) remove_stale_socket(listen.path);
        const Protocol::endpoint endpoint = to_asio(listen);
        acceptor.open(endpoint.protocol(), error);
        if (!error && !listen.is_socket()) acceptor.set_option(asio::socket_base::reuse_address(true), error);
        if (!error) acceptor.bind(endpoint, error);
        if (error) return error;
        bound = true;
        if (listen.is_socket() && chmod(listen.path.c_str(), kSocketMode) != 0)
            return {errno, boost::system::system_category()};
        acceptor.listen(kMaxConnections, error);
        return error;
    }

    void accept() {
        acceptor.async_accept([this](error_code error, Socket socket) {
            if (error == asio::error::operation_aborted) return;
            if (error) return accept_later();
            if (has_room()) {
                const Caller caller = caller_of(socket, listen.is_socket());
                std::make_shared<Session>(std::move(socket), gate, sessions, mail, caller)->read();
            }
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
            } catch (const std::exception& error) {  // costs its connection, no more
                log_error(std::string("API: ") + error.what());
            }
        }
    }

    ApiAddress listen;
    Gatekeeper gate;
    Sessions sessions;  // before the context: each leaves it when that goes
    std::shared_ptr<Mail> mail = std::make_shared<Mail>();
    asio::io_context context{1};
    asio::basic_socket_acceptor<Protocol> acceptor{context};
    asio::steady_timer pause{context};
    bool bound = false;
    std::thread thread;
};

std::optional<std::string> why_not_open(const ApiAddress& listen, const ApiAccess& access) {
    if (listen.is_local() || !access.token.empty()) return std::nullopt;
    return "the API would listen on " + listen.to_string() +
           ", beyond loopback, where whoever reaches it may do anything: name a file with a token as "
           "api.token_file, or listen on 127.0.0.1 or a Unix socket";
}

SystemResult<ApiServer> ApiServer::start(const ApiAddress& listen, ApiRoutes routes, ApiAccess access) {
    if (const auto refused = why_not_open(listen, access))
        return std::unexpected(SystemError{*refused, EACCES});
    auto impl = std::make_unique<Impl>(listen, std::move(routes), std::move(access));
    if (const error_code error = impl->open()) {
        const bool in_use = error.value() == EADDRINUSE;
        return system_error(
            "listen for the API on " + listen.to_string(), error.value(),
            in_use ? "another process has it; choose another address with --api or api.listen, "
                     "or --api off"
                   : "choose an address of this host, or unix: and a path in a folder that is there, "
                     "with --api or api.listen, or --api off");
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
