#include "libsplice/ops/api_routes.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "libsplice/ops/metrics.hpp"

namespace splice {
namespace {

constexpr unsigned kNotReady = 503;  // Service Unavailable (RFC 9110 section 15.6.4)

// The next part of a path that begins with '/'; takes it away.
std::string_view take_part(std::string_view& path) {
    path.remove_prefix(1);
    const std::string_view part = path.substr(0, path.find('/'));
    path.remove_prefix(part.size());
    return part;
}

std::optional<std::vector<std::string>> match(std::string_view pattern, std::string_view path) {
    std::vector<std::string> variables;
    while (pattern.starts_with('/') && path.starts_with('/')) {
        const std::string_view wanted = take_part(pattern);
        const std::string_view part = take_part(path);
        if (!wanted.starts_with('{')) {
            if (wanted != part) return {};
        } else {
            if (part.empty()) return {};
            variables.emplace_back(part);
        }
    }
    if (!pattern.empty() || !path.empty()) return {};
    return variables;
}

std::optional<unsigned> hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return {};
}

// RFC 3986 section 2.1; '+' is a blank, as forms write it.
std::optional<std::string> decoded(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out += text[i] == '+' ? ' ' : text[i];
            continue;
        }
        if (i + 2 >= text.size()) return {};
        const auto high = hex_digit(text[i + 1]);
        const auto low = hex_digit(text[i + 2]);
        if (!high || !low) return {};
        out += static_cast<char>(*high << 4 | *low);
        i += 2;
    }
    return out;
}

}  // namespace

std::optional<std::string> ApiRequest::parameter(std::string_view name) const {
    for (const auto& [each, value] : query) {
        if (each == name) return value;
    }
    return {};
}

ApiReply api_error(unsigned status, const std::string& sentence, const std::string& field) {
    nlohmann::ordered_json body{{"error", sentence}};
    if (!field.empty()) body["field"] = field;
    return {.status = status,
            .content_type = "application/json",
            .body = body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n"};
}

std::optional<std::vector<std::pair<std::string, std::string>>> parse_query(std::string_view text) {
    std::vector<std::pair<std::string, std::string>> query;
    while (!text.empty()) {
        const std::string_view pair = text.substr(0, text.find('&'));
        text.remove_prefix(std::min(text.size(), pair.size() + 1));
        if (pair.empty()) continue;
        const std::size_t equals = pair.find('=');
        auto name = decoded(pair.substr(0, equals));
        auto value = decoded(equals == std::string_view::npos ? "" : pair.substr(equals + 1));
        if (!name || !value) return {};
        query.emplace_back(std::move(*name), std::move(*value));
    }
    return query;
}

void ApiRoutes::page(std::string path, std::function<ApiReply(const ApiRequest&)> reply, ApiRight right) {
    add({.method = "GET",
         .path = std::move(path),
         .right = right,
         .handle = [reply = std::move(reply)](const ApiRequest& request, const ApiAnswer& answer) {
             answer(reply(request));
         }});
}

ApiRoutes::Found ApiRoutes::find(std::string_view method, std::string_view path) const {
    if (method == "HEAD") method = "GET";
    Found found;
    for (const ApiRoute& route : routes_) {
        auto variables = match(route.path, path);
        if (!variables) continue;
        if (route.method == method)
            return {.route = &route, .variables = std::move(*variables), .allowed = {}};
        found.allowed += (found.allowed.empty() ? "" : ", ") + route.method;
        if (route.method == "GET") found.allowed += ", HEAD";
    }
    return found;
}

ApiRoutes operator_routes(OperatorPages pages) {
    ApiRoutes routes;
    routes.page("/healthz", [](const ApiRequest&) { return ApiReply{.body = "ok\n"}; }, ApiRight::open);
    routes.page(
        "/readyz",
        [not_ready = std::move(pages.not_ready)](const ApiRequest&) {
            const std::vector<std::string> reasons = not_ready();
            if (reasons.empty()) return ApiReply{.body = "ready\n"};
            ApiReply reply{.status = kNotReady};
            for (const std::string& reason : reasons) reply.body += reason + "\n";
            return reply;
        },
        ApiRight::open);
    routes.page("/metrics", [metrics = std::move(pages.metrics)](const ApiRequest&) {
        return ApiReply{.content_type = std::string(MetricsPage::kContentType), .body = metrics()};
    });
    routes.page("/status", [status = std::move(pages.status)](const ApiRequest&) {
        return ApiReply{.content_type = "application/json", .body = status()};
    });
    return routes;
}

}  // namespace splice
