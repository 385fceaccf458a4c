#include "libsplice/core/http_key.hpp"

#include <algorithm>
#include <iterator>
#include <optional>

namespace splice {
namespace {

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

bool is_blank(char c) noexcept {
    return c == ' ' || c == '\t';
}
bool ends_line(char c) noexcept {
    return c == '\r' || c == '\n';
}
// RFC 9110 section 5.6.2.
bool is_token_byte(char c) noexcept {
    constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
    return is_letter(c) || (c >= '0' && c <= '9') || kMarks.contains(c);
}
bool is_target_byte(char c) noexcept {
    const auto byte = static_cast<unsigned char>(c);
    return byte > ' ' && byte != 0x7f;
}

using Stage = HeadScan::Stage;

// One byte more of the request line: where the reading stands after it. `broken` is the end.
Stage after_target(char c, std::string_view method) noexcept {
    if (c == ' ') return Stage::before_version;
    // A line without a version is HTTP/0.9, which knows GET only.
    if (!ends_line(c) || method != "GET") return Stage::broken;
    return c == '\n' ? Stage::old_line_done : Stage::old_line_feed;
}

Stage take_version_byte(HeadScan& scan, char c, std::size_t place) noexcept {
    constexpr std::string_view kBegin = "HTTP/1.";
    if (place < kBegin.size()) return c == kBegin[place] ? Stage::version : Stage::broken;
    if (c >= '0' && c <= '9') {
        const int minor = scan.minor_version * 10 + (c - '0');
        if (minor > kMinorVersionMax) return Stage::broken;
        scan.minor_version = static_cast<std::uint8_t>(minor);
        return Stage::version;
    }
    if (place == kBegin.size()) return Stage::broken;
    if (c == ' ') return Stage::after_version;
    if (!ends_line(c)) return Stage::broken;
    return c == '\n' ? Stage::fields : Stage::line_feed;
}

Stage take_line_byte(HeadScan& scan, std::string_view text, char c) noexcept {
    const std::uint32_t at = scan.next;
    switch (scan.stage) {
        case Stage::before_line:
            if (ends_line(c)) return Stage::before_line;
            scan.method_begin = at;
            return is_token_byte(c) ? Stage::method : Stage::broken;
        case Stage::method:
            if (is_token_byte(c)) return at - scan.method_begin < kMethodMax ? Stage::method : Stage::broken;
            scan.method_end = at;
            return c == ' ' ? Stage::before_target : Stage::broken;
        case Stage::before_target:
            if (c == ' ') return Stage::before_target;
            scan.target_begin = at;
            return is_target_byte(c) ? Stage::target : Stage::broken;
        case Stage::target:
            if (is_target_byte(c)) return Stage::target;
            scan.target_end = at;
            return after_target(c, scan.method(text));
        case Stage::before_version:
            if (c != 'H') return after_target(c, scan.method(text));
            scan.version_begin = at;
            return Stage::version;
        case Stage::version:
            return take_version_byte(scan, c, at - scan.version_begin);
        case Stage::after_version:
            if (c == ' ') return Stage::after_version;
            if (!ends_line(c)) return Stage::broken;
            return c == '\n' ? Stage::fields : Stage::line_feed;
        case Stage::line_feed:
            return c == '\n' ? Stage::fields : Stage::broken;
        case Stage::old_line_feed:
            return c == '\n' ? Stage::old_line_done : Stage::broken;
        default:
            return scan.stage;
    }
}

enum class Progress : std::uint8_t { need_more, broken, done };

Progress read_line(HeadScan& scan, std::string_view text) noexcept {
    while (scan.stage < Stage::broken && scan.next < text.size()) {
        scan.stage = take_line_byte(scan, text, text[scan.next]);
        if (scan.stage != Stage::broken) ++scan.next;
        if (scan.stage == Stage::fields) scan.field_begin = scan.next;
    }
    if (scan.stage == Stage::broken) return Progress::broken;
    return scan.stage < Stage::fields ? Progress::need_more : Progress::done;
}

bool is_field(std::string_view line, std::string_view name) noexcept {
    return line.size() > name.size() && line[name.size()] == ':' &&
           equal_in_any_case(line.substr(0, name.size()), name);
}

struct FieldSearch {
    Progress progress;
    std::string_view value;  // with its blanks and folds; empty where there is no such field
};

// Looks at nothing but line ends and names until the name fits: other fields are not this key's business.
FieldSearch find_field(HeadScan& scan, std::string_view text, std::string_view name) noexcept {
    if (scan.stage == Stage::old_line_done) return {Progress::done, {}};
    for (;;) {
        const auto end = text.find('\n', scan.next);
        if (end == std::string_view::npos) {
            scan.next = static_cast<std::uint32_t>(text.size());
            return {Progress::need_more, {}};
        }
        const auto line = text.substr(scan.field_begin, end - scan.field_begin);
        if (line.empty() || line == "\r") return {Progress::done, {}};
        if (is_field(line, name)) {
            scan.next = static_cast<std::uint32_t>(end);
            // Whether the value goes on in the next line is told by that line's first byte.
            if (end + 1 == text.size()) return {Progress::need_more, {}};
            if (!is_blank(text[end + 1])) return {Progress::done, line.substr(name.size() + 1)};
        } else {
            scan.field_begin = static_cast<std::uint32_t>(end + 1);
        }
        scan.next = static_cast<std::uint32_t>(end + 1);
    }
}

std::string_view without_blanks(std::string_view text) noexcept {
    while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
    return text;
}

// Takes the next line of a folded value, without its end and its blanks.
std::string_view take_piece(std::string_view& value) noexcept {
    const auto end = std::min(value.find('\n'), value.size());
    auto piece = value.substr(0, end);
    value.remove_prefix(std::min(end + 1, value.size()));
    if (piece.ends_with('\r')) piece.remove_suffix(1);
    return without_blanks(piece);
}

// The field's value, in the stream or, when it was folded, in `scratch`. Nothing where it has a NUL or a bare
// CR: RFC 9110 section 5.5 calls these dangerous, and nginx refuses the request.
std::optional<std::string_view> clean_value(std::string_view value, std::string& scratch) {
    const auto first = take_piece(value);
    std::string_view whole = first;
    if (!value.empty()) {
        scratch = first;
        while (!value.empty()) {
            const auto piece = take_piece(value);
            if (!scratch.empty() && !piece.empty()) scratch += ' ';
            scratch += piece;
        }
        whole = scratch;
    }
    constexpr std::string_view kDangerous("\0\r", 2);
    if (whole.find_first_of(kDangerous) != std::string_view::npos) return {};
    return whole;
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

KeyAnswer host_uri_key(const HashKeyRule& rule, const Target& target, std::string_view host_field,
                       std::string& scratch) {
    scratch.clear();
    if (!append_host(target.authority.value_or(Authority{host_field, "80"}), scratch)) {
        return NoKey{Fallback::no_host};
    }
    const auto host_size = scratch.size();
    if (target.slash_is_missing) scratch += '/';
    scratch += target.uri;
    const std::string_view whole = scratch;
    return Key{whole.substr(0, host_size + cut_uri(whole.substr(host_size), rule.depth, rule.length).size())};
}

KeyAnswer parameter_key(const HashKeyRule& rule, const Target& target) noexcept {
    const auto value = find_parameter(target.uri, rule.name);
    if (!value) return NoKey{Fallback::no_param};
    return Key{*value};
}

}  // namespace

KeyAnswer http_key(const HashKeyRule& rule, Bytes stream, std::string& scratch, HeadScan& scan) {
    const std::string_view text = as_text(stream);
    const auto line = read_line(scan, text);
    if (line == Progress::need_more) return NeedMore{};
    if (line == Progress::broken) {
        const bool preface = text.substr(scan.method_begin).starts_with(kHttp2Preface);
        return NoKey{preface ? Fallback::http2 : Fallback::not_http};
    }
    const Target target = take_apart(scan.method(text), scan.target(text));
    const Want want = wanted_by(rule);
    std::string_view value;
    std::string unfolded;
    if (!want.field.empty() && !(want.only_without_authority && target.authority)) {
        const auto field = find_field(scan, text, want.field);
        if (field.progress == Progress::need_more) return NeedMore{};
        const auto clean = clean_value(field.value, unfolded);
        if (!clean) return NoKey{Fallback::not_http};
        value = *clean;
    }
    switch (rule.kind) {
        case KeyKind::host_uri:
            return host_uri_key(rule, target, value, scratch);
        case KeyKind::hdr:
            if (value.empty()) return NoKey{Fallback::no_header};
            if (unfolded.empty()) return Key{value};
            scratch = std::move(unfolded);
            return Key{scratch};
        case KeyKind::url_param:
            return parameter_key(rule, target);
        default:
            return uri_key(rule, target, scratch);
    }
}

KeyAnswer http_key(const HashKeyRule& rule, Bytes stream, std::string& scratch) {
    HeadScan scan;
    return http_key(rule, stream, scratch, scan);
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
