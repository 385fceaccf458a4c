// The key of an HTTP/1 head, written once more from core/http_key.hpp's first page and RFC 9112, for heads
// that are plainly right or plainly wrong; of others it says nothing.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libsplice/core/http_key.hpp"

namespace splice::fuzz {

inline char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}
inline std::string lower(std::string_view text) {
    std::string is(text);
    std::ranges::transform(is, is.begin(), [](char c) { return lower(c); });
    return is;
}

inline bool is_token(std::string_view text) {
    constexpr std::string_view kToken =
        "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    return !text.empty() && std::ranges::all_of(text, [&](char c) { return kToken.contains(c); });
}
inline bool is_blank(char c) {
    return c == ' ' || c == '\t';
}
inline bool is_control(char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

struct RequestLine {
    std::string_view method, target;
};

// RFC 9112 section 3, CRLF excluded.
inline std::optional<RequestLine> read_request_line(std::string_view line) {
    const auto first = line.find(' '), last = line.rfind(' ');
    if (first == std::string_view::npos || first == last) return {};
    const RequestLine is{line.substr(0, first), line.substr(first + 1, last - first - 1)};
    const auto version = line.substr(last + 1);
    if (!is_token(is.method) || is.method.size() > kMethodMax || is.target.empty()) return {};
    if (version != "HTTP/1.0" && version != "HTTP/1.1") return {};
    if (std::ranges::any_of(is.target, [](char c) { return c == ' ' || is_control(c); })) return {};
    return is;
}

// A line that no server takes for HTTP/1: it does not begin with a method, or the last word is no version of
// HTTP and the first is not GET. Of lines between right and wrong (several spaces, other versions) this page
// says nothing.
inline bool is_plainly_wrong(std::string_view line) {
    if (line.contains('\n') || line.contains('\r')) return false;
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    const auto method = line.substr(0, line.find_first_of(" \t"));
    if (line.empty()) return false;
    if (!is_token(method) || method.size() > kMethodMax) return true;
    return method != "GET" && !lower(line).contains("http/");
}

// The URI and the authority of a target; the table of http_key.hpp.
struct Resource {
    std::string uri;
    std::optional<std::string> authority;
    std::string_view default_port = "80";
};

inline Resource read_target(const RequestLine& line) {
    const std::string target(line.target);
    if (target[0] == '/') return {target, {}, "80"};
    if (line.method == "CONNECT") return {target, target, ""};
    const auto mark = target.find("://");
    const auto is_scheme_byte = [](char c) {
        return std::string_view("abcdefghijklmnopqrstuvwxyz0123456789+-.").contains(lower(c));
    };
    const std::string scheme = target.substr(0, std::min(mark, target.size()));
    if (mark == std::string::npos || scheme.empty() || !std::ranges::all_of(scheme, is_scheme_byte) ||
        lower(scheme[0]) < 'a' || lower(scheme[0]) > 'z')
        return {target, {}, "80"};
    const auto authority_end = std::min(target.find_first_of("/?#", mark + 3), target.size());
    Resource is{target.substr(authority_end), target.substr(mark + 3, authority_end - mark - 3),
                lower(scheme) == "https" ? "443" : "80"};
    if (is.uri.empty())
        is.uri = line.method == "OPTIONS" ? "*" : "/";
    else if (is.uri[0] != '/')
        is.uri = "/" + is.uri;
    return is;
}

// Empty: no host.
inline std::string host_of(std::string authority, std::string_view default_port) {
    if (const auto at = authority.rfind('@'); at != std::string::npos) authority.erase(0, at + 1);
    std::string port;
    const auto colon = authority.rfind(':'), bracket = authority.rfind(']');
    if (colon != std::string::npos && (bracket == std::string::npos || bracket < colon)) {
        port = authority.substr(colon + 1);
        authority.resize(colon);
    }
    if (!authority.empty() && authority.back() == '.') authority.pop_back();
    if (authority.empty()) return {};
    return lower(authority) + (port.empty() || port == default_port ? "" : ":" + port);
}

inline std::string cut(std::string uri, const HashKeyRule& rule) {
    if (rule.length != 0 && uri.size() > rule.length) uri.resize(rule.length);
    std::size_t slashes = 0;
    for (std::size_t i = 0; rule.depth != 0 && i < uri.size(); ++i) {
        if (uri[i] == '/' && ++slashes > rule.depth) uri.resize(i);
    }
    return uri;
}

// RFC 3986 section 5.2.4, letter by letter.
inline std::string without_dots(std::string in) {
    std::string out;
    while (!in.empty()) {
        if (in.starts_with("/./")) {
            in.erase(0, 2);
        } else if (in == "/.") {
            in = "/";
        } else if (in.starts_with("/../") || in == "/..") {
            in = in == "/.." ? "/" : in.substr(3);
            out.resize(out.find_last_of('/') == std::string::npos ? 0 : out.find_last_of('/'));
        } else {
            const auto end = std::min(in.find('/', 1), in.size());
            out += in.substr(0, end);
            in.erase(0, end);
        }
    }
    return out;
}

inline std::string in_form(const UriForm& form, const std::string& text) {
    if (!form.normalise && !form.decode) return text;
    constexpr std::string_view kUnreserved =
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._~";
    constexpr std::string_view kHex = "0123456789ABCDEFabcdef";
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%' || i + 2 >= text.size() || !kHex.contains(text[i + 1]) ||
            !kHex.contains(text[i + 2])) {
            out += text[i];
            continue;
        }
        std::string digits = text.substr(i + 1, 2);
        std::ranges::transform(digits, digits.begin(),
                               [](char c) { return c >= 'a' ? static_cast<char>(c - 32) : c; });
        const auto byte = static_cast<char>(std::stoi(digits, nullptr, 16));
        if (form.decode || kUnreserved.contains(byte))
            out += byte;
        else
            out += "%" + digits;
        i += 2;
    }
    return out;
}

// Of the few patterns that the fuzzer uses: a name, or its beginning and a star.
inline bool is_named(const std::string& name, const std::string& pattern) {
    return pattern.ends_with('*') ? name.starts_with(pattern.substr(0, pattern.size() - 1)) : name == pattern;
}

// uri_form.hpp once more.
inline std::string uri_in_form(const UriForm& form, std::string uri, bool path_only) {
    const bool as_it_stands = !form.normalise && !form.decode && !form.changes_query();
    if (as_it_stands) return path_only ? uri.substr(0, uri.find_first_of("?#")) : uri;
    uri.resize(std::min(uri.find('#'), uri.size()));
    const auto mark = uri.find('?');
    std::string out = in_form(form, uri.substr(0, mark));
    if (form.normalise && !uri.empty() && uri[0] == '/') out = without_dots(out);
    if (path_only || mark == std::string::npos) return out;
    if (!form.changes_query()) return out + "?" + in_form(form, uri.substr(mark + 1));
    std::vector<std::pair<std::string, std::string>> kept;
    std::string rest = uri.substr(mark + 1) + "&";
    for (; !rest.empty(); rest.erase(0, rest.find('&') + 1)) {
        const std::string parameter = rest.substr(0, rest.find('&'));
        if (parameter.empty()) continue;
        const auto equals = std::min(parameter.find('='), parameter.size());
        const std::string name = in_form(form, parameter.substr(0, equals));
        const auto fits = [&](const std::string& pattern) { return is_named(name, pattern); };
        if (!form.include.empty() && std::ranges::none_of(form.include, fits)) continue;
        if (std::ranges::any_of(form.exclude, fits)) continue;
        kept.emplace_back(name, name + in_form(form, parameter.substr(equals)));
    }
    std::multimap<std::string, std::string> sorted(kept.begin(), kept.end());  // equal ones keep their order
    if (form.sort) kept.assign(sorted.begin(), sorted.end());
    for (std::size_t i = 0; i < kept.size(); ++i) out += (i == 0 ? "?" : "&") + kept[i].second;
    return out;
}

// "need_more" is no value: nothing can be said.
struct Field {
    enum class Is { found, not_there, unsaid } is = Is::unsaid;
    std::string value{};
};

// The first field of that name in what follows the request line, if all before it is plain.
inline Field find_field(std::string_view head, std::string_view name) {
    for (;;) {
        const auto end = head.find("\r\n");
        if (end == std::string_view::npos) return {};
        const auto line = head.substr(0, end);
        head.remove_prefix(end + 2);
        if (line.empty()) return {Field::Is::not_there};
        const auto colon = line.find(':');
        if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) return {};
        auto value = line.substr(colon + 1);
        if (std::ranges::any_of(value, [](char c) { return is_control(c) && c != '\t'; })) return {};
        // Whether the value goes on in the next line is told by that one's first byte.
        if (head.empty() || is_blank(head[0])) return {};
        const std::string is = lower(line.substr(0, colon));
        while (!value.empty() && is_blank(value.front())) value.remove_prefix(1);
        while (!value.empty() && is_blank(value.back())) value.remove_suffix(1);
        // Of these Beast reads the value too, and may refuse it.
        for (const char* judged :
             {"content-length", "transfer-encoding", "connection", "proxy-connection", "upgrade"})
            if (is == judged) return {};
        if (is == name) return {Field::Is::found, std::string(value)};
    }
}

// As to_text() of the right answer; nothing when this page does not say.
inline std::optional<std::string> reference_http_key(const HashKeyRule& rule, std::string_view stream) {
    while (stream.starts_with("\r\n")) stream.remove_prefix(2);
    if (stream.starts_with("PRI * HTTP/2")) return "http2";
    const auto line_end = stream.find("\r\n");
    if (line_end == std::string_view::npos) return {};
    const auto line = read_request_line(stream.substr(0, line_end));
    if (!line)
        return is_plainly_wrong(stream.substr(0, line_end)) ? std::optional<std::string>("not_http")
                                                            : std::nullopt;
    const auto head = stream.substr(line_end + 2);
    const Resource resource = read_target(*line);

    // "" and a reason: the part is missing.
    struct Part {
        std::string bytes;
        std::string missing = {};
    };
    const auto part_of = [&](KeyKind kind, const std::string& name) -> std::optional<Part> {
        if (kind == KeyKind::uri || kind == KeyKind::path)
            return Part{cut(uri_in_form(rule.form, resource.uri, kind == KeyKind::path), rule)};
        if (kind == KeyKind::url_param) {
            const std::string uri = resource.uri.substr(0, resource.uri.find('#'));
            const auto query = uri.find('?');
            std::string rest = query == std::string::npos ? "" : uri.substr(query + 1) + "&";
            for (; !rest.empty(); rest.erase(0, rest.find('&') + 1)) {
                const std::string parameter = rest.substr(0, rest.find('&'));
                if (parameter.starts_with(name + "="))
                    return Part{in_form(rule.form, parameter.substr(name.size() + 1))};
            }
            return Part{"", "no_param"};
        }
        if (kind == KeyKind::hdr) {
            const Field field = find_field(head, name);
            if (field.is == Field::Is::unsaid) return {};
            return field.value.empty() ? Part{"", "no_header"} : Part{field.value};
        }
        std::string host;
        if (resource.authority) {
            host = host_of(*resource.authority, resource.default_port);
        } else {
            const Field field = find_field(head, "host");
            if (field.is == Field::Is::unsaid) return {};
            host = host_of(field.value, "80");
        }
        return host.empty() ? Part{"", "no_host"} : Part{host};
    };

    std::string key;
    std::string missing;
    bool any = false;
    for (const KeyPart& each : rule.all_parts()) {
        const auto part = part_of(each.kind, each.name);
        if (!part) return {};
        if (part->missing == "no_host") missing = "no_host", any = false;
        if (missing == "no_host") continue;
        if (part->missing.empty())
            any = true;
        else if (missing.empty())
            missing = part->missing;
        key += part->bytes;
    }
    return any ? "key:" + key : missing;
}

}  // namespace splice::fuzz
