#include "libsplice/core/http_key.hpp"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <functional>
#include <iterator>
#include <limits>
#include <optional>

namespace splice {
namespace {

namespace http = boost::beast::http;
using boost::beast::error_code;
using BeastText = boost::beast::string_view;

// RFC 9113 section 3.4: "PRI * HTTP/2.0"; no line of HTTP/1 begins so.
constexpr std::string_view kHttp2Preface = "PRI * HTTP/2";

bool is_letter(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
char to_lower(char c) noexcept {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool equal_in_any_case(std::string_view a, std::string_view b) noexcept {
    return std::ranges::equal(a, b, {}, to_lower, to_lower);
}

struct Authority {
    std::string_view text;
    std::string_view default_port;
};

// A request target, taken apart as the header says.
struct Target {
    std::string_view uri;
    bool slash_is_missing = false;  // "http://host?query": the URI is "/" and `uri`
    std::optional<Authority> authority;
};

// RFC 3986 section 3.1.
bool is_scheme(std::string_view text) noexcept {
    return !text.empty() && is_letter(text.front()) && std::ranges::all_of(text, [](char c) {
        return is_letter(c) || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
    });
}

Target take_apart_absolute_form(std::string_view method, std::string_view scheme,
                                std::string_view rest) noexcept {
    const auto authority_end = std::min(rest.find_first_of("/?#"), rest.size());
    Target target;
    target.authority = {rest.substr(0, authority_end), equal_in_any_case(scheme, "https") ? "443" : "80"};
    target.uri = rest.substr(authority_end);
    if (target.uri.empty()) {
        target.uri = method == "OPTIONS" ? "*" : "/";  // RFC 9112 sections 3.2.4 and 3.2.1
    } else {
        target.slash_is_missing = target.uri.front() != '/';
    }
    return target;
}

Target take_apart(std::string_view method, std::string_view text) noexcept {
    if (text.front() == '/') return {.uri = text, .slash_is_missing = false, .authority = {}};
    if (method == "CONNECT")
        return {.uri = text, .slash_is_missing = false, .authority = Authority{text, ""}};
    const auto colon = text.find(':');
    if (colon != std::string_view::npos && text.substr(colon).starts_with("://") &&
        is_scheme(text.substr(0, colon))) {
        return take_apart_absolute_form(method, text.substr(0, colon), text.substr(colon + 3));
    }
    return {.uri = text, .slash_is_missing = false, .authority = {}};
}

// Appends the host by the header's rule; whether there is one.
bool append_host(const Authority& authority, std::string& out) {
    std::string_view host = authority.text;
    std::string_view port;
    if (const auto at = host.rfind('@'); at != std::string_view::npos) host.remove_prefix(at + 1);
    const auto colon = host.rfind(':');
    // The colons inside of an IPv6 literal's brackets are none of a port's.
    if (colon != std::string_view::npos && host.find(']', colon) == std::string_view::npos) {
        port = host.substr(colon + 1);
        host = host.substr(0, colon);
    }
    if (host.ends_with('.')) host.remove_suffix(1);
    if (host.empty()) return false;
    std::ranges::transform(host, std::back_inserter(out), to_lower);
    if (!port.empty() && port != authority.default_port) {
        out += ':';
        out += port;
    }
    return true;
}

std::optional<std::string_view> find_parameter(std::string_view uri, std::string_view name) noexcept {
    uri = uri.substr(0, uri.find('#'));
    const auto question_mark = uri.find('?');
    if (question_mark == std::string_view::npos) return {};
    std::string_view rest = uri.substr(question_mark + 1);
    for (;;) {
        const auto parameter = rest.substr(0, rest.find('&'));
        if (parameter.starts_with(name) && parameter.substr(name.size()).starts_with('=')) {
            return parameter.substr(name.size() + 1);
        }
        if (parameter.size() == rest.size()) return {};
        rest.remove_prefix(parameter.size() + 1);
    }
}

// What has to be read of the head. Without a field the request line is enough.
struct Want {
    std::string_view field;  // in lower case
    bool only_without_authority = false;
};

Want wanted_by(const HashKeyRule& rule) noexcept {
    switch (rule.kind) {
        case KeyKind::hdr:
            return {rule.name, false};
        case KeyKind::host_uri:
            return {"host", true};  // an authority in the target overrules it (RFC 9112 section 3.2.2)
        default:
            return {};
    }
}

// Beast's parser, stopped as soon as it has shown what is wanted. It allocates nothing on this way.
class RequestHead final : public http::basic_parser<true> {
  public:
    enum class Progress : std::uint8_t { need_more, malformed, done };

    explicit RequestHead(Want want) noexcept : want_(want) {
        header_limit(std::numeric_limits<std::uint32_t>::max());  // the caller's limit counts
        skip(true);                                               // the body is nobody's business here
    }

    Progress parse(std::string_view text) {
        text_ = text;
        error_code error;
        put(boost::asio::const_buffer(text.data(), text.size()), error);
        if (stopped_) return Progress::done;
        if (error == http::error::need_more) return Progress::need_more;
        return error ? Progress::malformed : Progress::done;
    }

    // Only when the request line is complete and good there are a method and a target.
    [[nodiscard]] bool has_line() const noexcept { return !method_.empty(); }
    [[nodiscard]] std::string_view method() const noexcept { return method_; }
    [[nodiscard]] const Target& target() const noexcept { return target_; }
    // The wanted field's value, in the parsed text or, when it was folded, in here.
    [[nodiscard]] std::string_view value() const noexcept { return value_; }
    [[nodiscard]] bool value_was_folded() const noexcept { return !unfolded_.empty(); }

  private:
    void stop(error_code& error) noexcept {
        stopped_ = true;
        error = make_error_code(boost::system::errc::operation_canceled);
    }

    void on_request_impl(http::verb /*verb*/, BeastText method, BeastText target, int /*version*/,
                         error_code& error) override {
        method_ = {method.data(), method.size()};
        target_ = take_apart(method_, {target.data(), target.size()});
        if (want_.field.empty() || (want_.only_without_authority && target_.authority)) stop(error);
    }

    void on_field_impl(http::field /*field*/, BeastText name, BeastText value, error_code& error) override {
        if (!equal_in_any_case({name.data(), name.size()}, want_.field)) return;
        value_ = {value.data(), value.size()};
        if (!value_.empty() && !stands_in_text(value_)) value_ = unfolded_ = value_;
        stop(error);
    }

    // Beast joins a folded value in a buffer on its own stack.
    [[nodiscard]] bool stands_in_text(std::string_view part) const noexcept {
        constexpr std::less_equal<> before;  // over pointers of different objects, unlike the operator
        return before(text_.data(), part.data()) && before(part.data(), text_.data() + text_.size());
    }

    void on_response_impl(int /*code*/, BeastText /*reason*/, int /*version*/,
                          error_code& /*error*/) override {}
    void on_header_impl(error_code& /*error*/) override {}
    void on_body_init_impl(const boost::optional<std::uint64_t>& /*length*/, error_code& /*error*/) override {
    }
    std::size_t on_body_impl(BeastText body, error_code& /*error*/) override { return body.size(); }
    void on_chunk_header_impl(std::uint64_t /*size*/, BeastText /*extensions*/,
                              error_code& /*error*/) override {}
    std::size_t on_chunk_body_impl(std::uint64_t /*remain*/, BeastText body, error_code& /*error*/) override {
        return body.size();
    }
    void on_finish_impl(error_code& /*error*/) override {}

    Want want_;
    std::string_view text_;
    std::string_view method_;
    Target target_;
    std::string_view value_;
    std::string unfolded_;
    bool stopped_ = false;
};

// Beast waits for a method's end however long it grows, and for eight bytes of a version before it looks at
// the first. This tells earlier that an incomplete line will be none.
bool incomplete_line_is_hopeless(std::string_view line) noexcept {
    const auto method_end = line.find(' ');
    if (std::min(method_end, line.size()) > kMethodMax) return true;
    if (method_end == std::string_view::npos) return false;
    const auto target_end = line.find(' ', method_end + 1);
    if (target_end == std::string_view::npos) return false;
    const auto version = line.substr(target_end + 1);
    return !std::string_view("HTTP/1.0\r\n").starts_with(version) &&
           !std::string_view("HTTP/1.1\r\n").starts_with(version);
}

// What the parser's answer means before a key is looked for; nothing when there is a good line and all that
// the rule wants.
std::optional<KeyAnswer> judge(const RequestHead& head, RequestHead::Progress progress,
                               std::string_view text) noexcept {
    const bool method_is_too_long = head.method().size() > kMethodMax;
    if (progress == RequestHead::Progress::malformed || method_is_too_long) return NoKey{Fallback::not_http};
    if (progress == RequestHead::Progress::done) return {};
    if (!head.has_line() && incomplete_line_is_hopeless(text)) return NoKey{Fallback::not_http};
    return NeedMore{};
}

KeyAnswer uri_key(const HashKeyRule& rule, const Target& target, std::string& scratch) {
    std::string_view uri = target.uri;
    if (target.slash_is_missing) {
        scratch.assign("/").append(uri);
        uri = scratch;
    }
    if (rule.kind == KeyKind::path) uri = uri.substr(0, uri.find_first_of("?#"));
    return Key{cut_uri(uri, rule.depth, rule.length)};
}

KeyAnswer host_uri_key(const HashKeyRule& rule, const RequestHead& head, std::string& scratch) {
    const Target& target = head.target();
    scratch.clear();
    if (!append_host(target.authority.value_or(Authority{head.value(), "80"}), scratch)) {
        return NoKey{Fallback::no_host};
    }
    const auto host_size = scratch.size();
    if (target.slash_is_missing) scratch += '/';
    scratch += target.uri;
    const std::string_view whole = scratch;
    return Key{whole.substr(0, host_size + cut_uri(whole.substr(host_size), rule.depth, rule.length).size())};
}

KeyAnswer header_key(const RequestHead& head, std::string& scratch) {
    if (head.value().empty()) return NoKey{Fallback::no_header};
    if (!head.value_was_folded()) return Key{head.value()};
    scratch = head.value();
    return Key{scratch};
}

KeyAnswer parameter_key(const HashKeyRule& rule, const Target& target) noexcept {
    const auto value = find_parameter(target.uri, rule.name);
    if (!value) return NoKey{Fallback::no_param};
    return Key{*value};
}

}  // namespace

KeyAnswer http_key(const HashKeyRule& rule, Bytes stream, std::string& scratch) {
    std::string_view text = as_text(stream);
    while (text.starts_with("\r\n")) text.remove_prefix(2);
    if (text.empty() || text == "\r") return NeedMore{};
    if (text.starts_with(kHttp2Preface)) return NoKey{Fallback::http2};

    RequestHead head(wanted_by(rule));
    const auto progress = head.parse(text);
    if (const auto answer = judge(head, progress, text)) return *answer;
    switch (rule.kind) {
        case KeyKind::host_uri:
            return host_uri_key(rule, head, scratch);
        case KeyKind::hdr:
            return header_key(head, scratch);
        case KeyKind::url_param:
            return parameter_key(rule, head.target());
        default:
            return uri_key(rule, head.target(), scratch);
    }
}

std::string_view cut_uri(std::string_view uri, std::uint16_t depth, std::uint16_t length) noexcept {
    if (length != 0) uri = uri.substr(0, length);
    if (depth == 0) return uri;
    std::size_t slash = uri.find('/');
    for (std::uint16_t passed = 0; passed < depth && slash != std::string_view::npos; ++passed) {
        slash = uri.find('/', slash + 1);
    }
    return uri.substr(0, slash);
}

}  // namespace splice
