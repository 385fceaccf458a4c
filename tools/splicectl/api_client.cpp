#include "libsplice/engine/fcntl.hpp"  // first: see there

#include "tools/splicectl/api_client.hpp"

#include <fmt/format.h>

#include <boost/asio/io_context.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>

#include "libsplice/ops/api_endpoint.hpp"
#include "tools/splicectl/limits.hpp"
#include "tools/splicectl/table.hpp"

namespace splice::control {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;
using Protocol = asio::generic::stream_protocol;
using Stream = beast::basic_stream<Protocol>;

std::string host_of(const ApiAddress& address) {
    return address.is_socket() ? "localhost" : address.endpoint.to_string();
}

// One question from the connection to the answer's end, each step started by the one before.
struct Exchange {
    asio::io_context context{1};
    Stream stream{context};
    http::request<http::string_body> request;
    http::response_parser<http::string_body> answer;
    beast::flat_buffer buffer;
    bool connected = false;
    error_code failure;

    void run(const Protocol::endpoint& to) {
        answer.body_limit(kMaxAnswer);
        stream.expires_after(kAnswerTime);  // for all of it
        stream.async_connect(to, [this](error_code error) {
            failure = error;
            if (error) return;
            connected = true;
            http::async_write(stream, request, [this](error_code unsent, std::size_t) {
                failure = unsent;
                if (!unsent) read();
            });
        });
        context.run();
    }
    void read() {
        http::async_read(stream, buffer, answer,
                         [this](error_code unread, std::size_t) { failure = unread; });
    }
};

std::string_view what_to_do(const Exchange& exchange, bool is_path) {
    if (exchange.failure == beast::error::timeout) return "the balancer's host or its API hangs";
    if (exchange.connected)
        return "it closed the connection: is this a balancer's API? A restart closes it, too; try again";
    return is_path
               ? "does the balancer run, with this path as its api.listen, and is it allowed to you? --api "
                 "names another"
               : "does the balancer run, with this as its api.listen? --api names another";
}

std::string first_line(std::string_view text) {
    constexpr std::size_t kMost = 300;
    return harmless(text.substr(0, std::min(text.find_first_of("\r\n"), kMost)));
}

}  // namespace

SystemResult<std::string> read_token(const std::string& path) {
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    std::string token(kMaxToken, '\0');
    if (!file || !(file.read(token.data(), static_cast<std::streamsize>(token.size())) || file.eof()))
        return system_error("read the token's file " + path, errno ? errno : EIO,
                            "--token-file names the balancer's api.token_file, or a copy");
    token.resize(static_cast<std::size_t>(file.gcount()));
    token.resize(std::min(token.find_first_of("\r\n"), token.size()));
    token.erase(token.find_last_not_of(" \t") + 1);
    if (token.empty())
        return std::unexpected(SystemError{"read the token's file " + path + ": its first line is empty"});
    for (const char c : token) {
        if (c <= ' ' || c > '~')
            return std::unexpected(
                SystemError{"read the token's file " + path + ": its first line has blanks or is not ASCII"});
    }
    return token;
}

SystemResult<ApiAnswer> ApiClient::ask(std::string_view method, const std::string& target,
                                       const std::string& body) const {
    Exchange exchange;
    auto& request = exchange.request;
    request.version(11);
    request.method_string({method.data(), method.size()});
    request.target(target);
    request.set(http::field::host, host_of(address_));
    request.set(http::field::user_agent, "splicectl/" SPLICELB_VERSION);
    request.set(http::field::accept, "application/json, text/plain;q=0.9");
    if (!token_.empty()) request.set(http::field::authorization, "Bearer " + token_);
    if (!body.empty()) request.set(http::field::content_type, "application/json");
    request.body() = body;
    request.keep_alive(false);
    if (method != "GET") request.content_length(body.size());
    exchange.run(to_asio(address_));
    if (exchange.failure) {
        const bool timed_out = exchange.failure == beast::error::timeout;
        return std::unexpected(
            SystemError{fmt::format("{} {} of {}: {}: {} ({})", method, target, address_.to_string(),
                                    exchange.connected ? "no answer" : "connect",
                                    timed_out ? fmt::format("nothing within {} s", kAnswerTime.count())
                                              : exchange.failure.message(),
                                    what_to_do(exchange, address_.is_socket())),
                        exchange.failure.value()});
    }
    return ApiAnswer{exchange.answer.get().result_int(), std::move(exchange.answer.get().body())};
}

SystemResult<Json> ApiClient::json(std::string_view method, const std::string& target,
                                   const Json& body) const {
    const auto answer = ask(method, target, body.is_null() ? std::string() : body.dump());
    if (!answer) return std::unexpected(answer.error());
    const std::string asked = fmt::format("{} {} of {}", method, target, address_.to_string());
    if (answer->status < 200 || answer->status > 299)
        return std::unexpected(SystemError{describe_refusal(asked, *answer)});
    Json parsed = Json::parse(answer->body, nullptr, false);
    if (parsed.is_discarded())
        return std::unexpected(SystemError{asked + ": no JSON, but: " + first_line(answer->body)});
    return parsed;
}

std::string describe_refusal(std::string_view asked, const ApiAnswer& answer) {
    constexpr unsigned kUnauthorized = 401, kNotFound = 404, kNotAllowed = 405;
    const Json parsed = Json::parse(answer.body, nullptr, false);
    const bool told = parsed.is_object() && parsed.contains("error") && parsed["error"].is_string();
    const std::string words = told ? parsed["error"].get<std::string>() : std::string();
    const std::string field = told ? text_at(parsed, "field") : std::string();
    // Most sentences name what they are about.
    const bool named = field.empty() || words.find(field) != std::string::npos;
    std::string text = fmt::format("{}: {}: {}{}{}", asked, answer.status, named ? "" : harmless(field),
                                   named ? "" : ": ", told ? harmless(words) : first_line(answer.body));
    if (answer.status == kUnauthorized)
        text += " (--token-file names the file with the balancer's token)";
    else if (!told && (answer.status == kNotFound || answer.status == kNotAllowed))
        text += " (is this a balancer's API, of this version?)";
    return text;
}

std::string make_target(std::string_view path,
                        const std::vector<std::pair<std::string_view, std::string>>& parameters) {
    std::string target(path);
    char separator = '?';
    for (const auto& [name, value] : parameters) {
        if (value.empty()) continue;
        target += separator;
        separator = '&';
        target += name;
        target += '=';
        for (const char c : value) {
            const bool unreserved = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                                    (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
            if (unreserved)
                target += c;
            else
                target += fmt::format("%{:02X}", static_cast<unsigned char>(c));
        }
    }
    return target;
}

}  // namespace splice::control
