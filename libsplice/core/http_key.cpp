#include "libsplice/core/http_key.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>

#include "libsplice/base/text.hpp"

namespace splice {
namespace {

// RFC 9113 section 3.4: "PRI * HTTP/2.0"; no line of HTTP/1 begins so.
constexpr std::string_view kHttp2Preface = "PRI * HTTP/2";

bool is_letter(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
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

// The fields that have to be read of the head, in lower case. Without one the request line is enough.
class Wanted {
  public:
    Wanted(const HashKeyRule& rule, bool has_authority) noexcept {
        add(rule.kind, rule.name, has_authority);
        for (const KeyPart& part : rule.parts) add(part.kind, part.name, has_authority);
    }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] std::string_view operator[](std::size_t number) const noexcept { return names_[number]; }

  private:
    void add(KeyKind kind, std::string_view name, bool has_authority) noexcept {
        if (kind == KeyKind::hdr) names_[size_++] = name;
        // An authority in the target overrules the field (RFC 9112 section 3.2.2).
        if (kind == KeyKind::host && !has_authority) names_[size_++] = "host";
    }
    std::array<std::string_view, HeadScan::kFields> names_;
    std::size_t size_ = 0;
};

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

// HTTP/2 looks so in its preface only. A line with that version asks as any other where a server takes it.
bool begins_preface(const HeadScan& scan, std::string_view text) noexcept {
    return scan.method(text) == "PRI" && scan.target(text) == "*";
}

Stage take_version_byte(HeadScan& scan, std::string_view text, char c, std::size_t place) noexcept {
    constexpr std::string_view kBegin = "http/1.";
    constexpr std::size_t kMajor = 5;
    if (place == kMajor && c >= '2' && c <= '9')
        return begins_preface(scan, text) ? Stage::broken : Stage::version;
    if (place < kBegin.size()) return to_lower(c) == kBegin[place] ? Stage::version : Stage::broken;
    if (c >= '0' && c <= '9') {
        const int minor = scan.minor_version * 10 + (c - '0');
        if (minor > kMinorVersionMax) return Stage::broken;
        scan.minor_version = static_cast<std::uint16_t>(minor);
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
            if (ends_line(c) || is_blank(c)) return Stage::before_line;
            scan.method_begin = at;
            return is_token_byte(c) ? Stage::method : Stage::broken;
        case Stage::method:
            if (is_token_byte(c)) return at - scan.method_begin < kMethodMax ? Stage::method : Stage::broken;
            scan.method_end = at;
            return is_blank(c) ? Stage::before_target : Stage::broken;
        case Stage::before_target:
            if (c == ' ') return Stage::before_target;
            scan.target_begin = at;
            return is_target_byte(c) ? Stage::target : Stage::broken;
        case Stage::target:
            if (is_target_byte(c)) return Stage::target;
            scan.target_end = at;
            return after_target(c, scan.method(text));
        case Stage::before_version:
            if (to_lower(c) != 'h') return after_target(c, scan.method(text));
            scan.version_begin = at;
            return Stage::version;
        case Stage::version:
            return take_version_byte(scan, text, c, at - scan.version_begin);
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

// The line from `begin` is the first of a field that is wanted and not found yet: its value is there. True:
// none is missing now.
bool take_field(HeadScan& scan, std::string_view line, const Wanted& wanted) noexcept {
    bool all = true;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        HeadScan::Value& value = scan.values[i];
        if (!value.found && is_field(line, wanted[i])) {
            value.begin = scan.field_begin + static_cast<std::uint32_t>(wanted[i].size() + 1);
            value.end = scan.field_begin + static_cast<std::uint32_t>(line.size());
            value.found = true;
        }
        all = all && value.found;
    }
    return all;
}

bool is_wanted(const HeadScan& scan, std::string_view line, const Wanted& wanted) noexcept {
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        if (!scan.values[i].found && is_field(line, wanted[i])) return true;
    }
    return false;
}

// Looks at nothing but line ends and names until a name fits: other fields are not this key's business.
Progress find_fields(HeadScan& scan, std::string_view text, const Wanted& wanted) noexcept {
    if (scan.stage == Stage::old_line_done || scan.stage == Stage::fields_done) return Progress::done;
    for (;;) {
        const auto end = text.find('\n', scan.next);
        if (end == std::string_view::npos) {
            scan.next = static_cast<std::uint32_t>(text.size());
            return Progress::need_more;
        }
        const auto line = text.substr(scan.field_begin, end - scan.field_begin);
        if (line.empty() || line == "\r") break;
        if (is_wanted(scan, line, wanted)) {
            scan.next = static_cast<std::uint32_t>(end);
            // Whether the value goes on in the next line is told by that line's first byte.
            if (end + 1 == text.size()) return Progress::need_more;
            if (!is_blank(text[end + 1])) {
                if (take_field(scan, line, wanted)) break;
                scan.field_begin = static_cast<std::uint32_t>(end + 1);
            }
        } else {
            scan.field_begin = static_cast<std::uint32_t>(end + 1);
        }
        scan.next = static_cast<std::uint32_t>(end + 1);
    }
    scan.stage = Stage::fields_done;
    return Progress::done;
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

// What the parts of a key are made from.
struct Request {
    const HashKeyRule& rule;
    const Target& target;
    std::array<std::string_view, HeadScan::kFields> fields;  // clean; in the order of the rule
    std::size_t next_field = 0;

    std::string_view take_field() noexcept { return fields[next_field++]; }
};

void append_uri(const Request& request, bool path_only, std::string& out) {
    const HashKeyRule& rule = request.rule;
    const auto begin = out.size();
    if (request.target.slash_is_missing) {
        std::string whole("/");
        whole += request.target.uri;
        rule.form.append_uri(whole, path_only, out);
    } else {
        rule.form.append_uri(request.target.uri, path_only, out);
    }
    const auto cut = cut_uri(std::string_view(out).substr(begin), rule.depth, rule.length);
    out.resize(begin + cut.size());
}

// Appends what the request has of the part. The answer: why it has nothing.
std::optional<Fallback> append_part(Request& request, KeyKind kind, std::string_view name, std::string& out) {
    switch (kind) {
        case KeyKind::host: {
            const auto authority =
                request.target.authority ? *request.target.authority : Authority{request.take_field(), "80"};
            if (append_host(authority, out)) return {};
            return Fallback::no_host;
        }
        case KeyKind::hdr: {
            const auto value = request.take_field();
            if (value.empty()) return Fallback::no_header;
            out += value;
            return {};
        }
        case KeyKind::url_param: {
            const auto value = find_parameter(request.target.uri, name);
            if (!value) return Fallback::no_param;
            request.rule.form.append_text(*value, out);
            return {};
        }
        default:
            append_uri(request, kind == KeyKind::path, out);
            return {};
    }
}

// A request without the host is not HTTP/1.1, so it has no key. Another part that it lacks is empty in its
// key; where all are missing there is none.
KeyAnswer joined_key(Request& request, std::string& scratch) {
    std::optional<Fallback> missing;
    bool any = false;
    for (const KeyPart& part : request.rule.parts) {
        const auto why = append_part(request, part.kind, part.name, scratch);
        if (why == Fallback::no_host) return NoKey{*why};
        if (why && !missing) missing = why;
        any = any || !why;
    }
    if (!any) return NoKey{*missing};
    return Key{scratch};
}

// A key that stands in the stream as one piece, without a copy; nothing when it does not.
std::optional<std::string_view> key_in_place(const Request& request) noexcept {
    const HashKeyRule& rule = request.rule;
    if (rule.kind == KeyKind::url_param && !rule.form.normalise && !rule.form.decode)
        return find_parameter(request.target.uri, rule.name);
    if ((rule.kind != KeyKind::uri && rule.kind != KeyKind::path) || !rule.form.as_it_stands() ||
        request.target.slash_is_missing)
        return {};
    std::string_view uri = request.target.uri;
    if (rule.kind == KeyKind::path) uri = uri.substr(0, uri.find_first_of("?#"));
    return cut_uri(uri, rule.depth, rule.length);
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
    const Wanted wanted(rule, target.authority.has_value());
    Request request{.rule = rule, .target = target, .fields = {}};
    std::array<std::string, HeadScan::kFields> unfolded;
    if (wanted.size() != 0) {
        if (find_fields(scan, text, wanted) == Progress::need_more) return NeedMore{};
        for (std::size_t i = 0; i < wanted.size(); ++i) {
            const HeadScan::Value& value = scan.values[i];
            const auto clean = clean_value(text.substr(value.begin, value.end - value.begin), unfolded[i]);
            if (!clean) return NoKey{Fallback::not_http};
            request.fields[i] = *clean;
        }
    }
    if (const auto key = key_in_place(request)) return Key{*key};
    scratch.clear();
    if (rule.kind == KeyKind::joined) return joined_key(request, scratch);
    if (const auto why = append_part(request, rule.kind, rule.name, scratch)) return NoKey{*why};
    return Key{scratch};
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
