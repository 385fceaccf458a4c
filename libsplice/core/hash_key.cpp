#include "libsplice/core/hash_key.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>

#include "libsplice/base/quoted.hpp"
#include "libsplice/base/text.hpp"
#include "libsplice/core/http_key.hpp"
#include "libsplice/core/tls_hello.hpp"
#include "libsplice/datapath/proxy_header.h"

namespace splice {
namespace {

constexpr std::array kFallbackNames{
#define X(name, text) std::string_view{#name},
    SPLICE_FALLBACKS(X)
#undef X
};
constexpr std::array kFallbackSentences{
#define X(name, text) std::string_view{text},
    SPLICE_FALLBACKS(X)
#undef X
};

constexpr std::uint16_t kDepthMax = 255;
constexpr std::uint16_t kLengthMax = 65535;
constexpr std::size_t kNameMax = 255;  // bytes of a header's or parameter's name

struct KindWord {
    std::string_view word;
    KeyKind kind;
    bool named;    // takes "(NAME)"
    bool is_uri;   // takes depth and len
    bool is_part;  // may be joined with others
};
constexpr std::array kKindWords{
    KindWord{"source", KeyKind::source, false, false, false},
    KindWord{"host", KeyKind::host, false, false, true},
    KindWord{"uri", KeyKind::uri, false, true, true},
    KindWord{"path", KeyKind::path, false, true, true},
    KindWord{"url_param", KeyKind::url_param, true, false, true},
    KindWord{"hdr", KeyKind::hdr, true, false, true},
    KindWord{"sni", KeyKind::sni, false, false, false},
};

const KindWord& kind_word(KeyKind kind) noexcept {
    return *std::ranges::find(kKindWords, kind, &KindWord::kind);
}

constexpr std::string_view kExpectedKey =
    "expected uri, path, host, url_param(NAME) or hdr(NAME), or several of them joined by '+', then depth N, "
    "len N, query(...), normalise or decode if wanted; or sni or source";
constexpr std::string_view kExpectedQuery = "query(...) takes sort, include=NAME and exclude=NAME";

bool is_letter_or_digit(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// The words and marks of a rule, read from the left.
class Words {
  public:
    explicit Words(std::string_view text) noexcept : rest_(text) { skip_blanks(); }

    [[nodiscard]] bool at_end() const noexcept { return rest_.empty(); }
    // The mark is next, and is taken.
    bool take(char mark) noexcept {
        if (!rest_.starts_with(mark)) return false;
        rest_.remove_prefix(1);
        skip_blanks();
        return true;
    }
    // Up to the next blank or mark: empty where one is next.
    std::string_view take_word() noexcept {
        const auto word = rest_.substr(0, rest_.find_first_of(" \t+(),"));
        rest_.remove_prefix(word.size());
        skip_blanks();
        return word;
    }
    // What stands between "(" and the next ")", both of which are taken; nothing where ")" is missing.
    std::optional<std::string_view> take_parenthesis() noexcept {
        const auto close = rest_.find(')');
        if (close == std::string_view::npos) return {};
        const auto inside = without_blanks(rest_.substr(1, close - 1));
        rest_.remove_prefix(close + 1);
        skip_blanks();
        return inside;
    }
    [[nodiscard]] bool opens() const noexcept { return rest_.starts_with('('); }
    [[nodiscard]] std::string_view rest() const noexcept { return rest_; }

  private:
    void skip_blanks() noexcept {
        while (!rest_.empty() && is_blank(rest_.front())) rest_.remove_prefix(1);
    }
    std::string_view rest_;
};

std::optional<std::uint16_t> parse_number(std::string_view word, std::uint16_t max) noexcept {
    std::uint16_t number = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
    if (error != std::errc{} || end != word.data() + word.size() || number == 0 || number > max) return {};
    return number;
}

// A field name is a token (RFC 9110 section 5.6.2).
bool is_field_name(std::string_view name) noexcept {
    constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
    return std::ranges::all_of(name, [&](char c) { return is_letter_or_digit(c) || kMarks.contains(c); });
}

// What can stand before "=" in a query, byte for byte.
bool is_parameter_name(std::string_view name) noexcept {
    return std::ranges::all_of(
        name, [](char c) { return c > ' ' && c < '\x7f' && c != '&' && c != '=' && c != '#'; });
}

// What stands in the parentheses of url_param or hdr. The error, or nothing.
std::optional<std::string> judge_name(const KindWord& kind, std::string_view name, KeyPart& part) {
    const std::string word(kind.word);
    if (name.empty()) return "hash key " + word + " needs a name, as in " + word + "(id)";
    if (name.size() > kNameMax) return "the name in hash key " + word + " is longer than 255 bytes";
    part.name = name;
    if (kind.kind == KeyKind::hdr) {
        if (!is_field_name(name)) return "hash key hdr: " + quoted(name) + " can not be the name of a header";
        std::ranges::transform(part.name, part.name.begin(), to_lower);
    } else if (!is_parameter_name(name)) {
        return "hash key url_param: " + quoted(name) + " can not be the name of a query parameter";
    }
    return {};
}

// "hdr(x-tenant)", "uri".
std::expected<KeyPart, std::string> parse_part(Words& words, std::string_view whole) {
    const auto word = words.take_word();
    const auto kind = std::ranges::find(kKindWords, word, &KindWord::word);
    if (kind == kKindWords.end())
        return std::unexpected("unknown hash key " + quoted(whole) + "; " + std::string(kExpectedKey));
    KeyPart part{kind->kind, {}};
    if (!words.opens()) {
        if (!kind->named) return part;
        return std::unexpected("hash key " + std::string(word) + " needs a name, as in " + std::string(word) +
                               "(id)");
    }
    const auto name = words.take_parenthesis();
    if (!name) return std::unexpected("hash key " + quoted(whole) + " lacks its closing parenthesis");
    if (!kind->named)
        return std::unexpected("hash key " + std::string(word) + " takes no name in parentheses");
    if (auto error = judge_name(*kind, *name, part)) return std::unexpected(*std::move(error));
    return part;
}

// The error, or nothing.
std::optional<std::string> judge_parts(const std::vector<KeyPart>& parts) {
    std::size_t uris = 0;
    std::size_t fields = 0;
    for (const KeyPart& part : parts) {
        const KindWord& kind = kind_word(part.kind);
        if (!kind.is_part && parts.size() > 1)
            return "hash key " + std::string(kind.word) + " can not be joined with others";
        if (kind.is_uri) ++uris;
        if (part.kind == KeyKind::hdr || part.kind == KeyKind::host) ++fields;
        if (std::ranges::count(parts, part) > 1)
            return "hash key " + std::string(kind.word) + " stands there twice";
    }
    if (uris > 1) return "a hash key takes uri or path once; expected one of them";
    if (parts.size() > kKeyPartsMax)
        return "a hash key joins at most " + std::to_string(kKeyPartsMax) + " parts";
    if (fields > kKeyFieldsMax)
        return "a hash key takes at most " + std::to_string(kKeyFieldsMax) + " headers";
    return {};
}

// A pattern of parameter names. The error, or nothing.
std::optional<std::string> take_pattern(std::string_view word, std::string_view pattern, UriForm& form) {
    const std::string option(word);
    if (pattern.empty()) return option + " needs a name, as in " + option + "=utm_*";
    if (pattern.size() > kNameMax) return option + ": a name is longer than 255 bytes";
    if (!is_parameter_name(pattern) || pattern.find_first_of("(),") != std::string_view::npos)
        return option + ": " + quoted(pattern) + " can not be the name of a query parameter";
    if (form.include.size() + form.exclude.size() == kKeyPatternsMax)
        return "query(...) takes at most " + std::to_string(kKeyPatternsMax) + " names";
    (word == "include" ? form.include : form.exclude).emplace_back(pattern);
    return {};
}

// "sort,include=id,exclude=utm_*". The error, or nothing.
std::optional<std::string> parse_query(std::string_view inside, UriForm& form) {
    for (bool more = true; more;) {
        const auto comma = inside.find(',');
        more = comma != std::string_view::npos;
        const auto option = without_blanks(inside.substr(0, comma));
        inside.remove_prefix(more ? comma + 1 : inside.size());
        const auto equals = option.find('=');
        const auto word = without_blanks(option.substr(0, equals));
        const bool has_value = equals != std::string_view::npos;
        if (word == "sort" && !has_value) {
            if (form.sort) return "sort stands there twice";
            form.sort = true;
        } else if ((word == "include" || word == "exclude")) {
            if (auto error = take_pattern(
                    word, has_value ? without_blanks(option.substr(equals + 1)) : std::string_view{}, form))
                return error;
        } else {
            return quoted(option) + " is unknown here; " + std::string(kExpectedQuery);
        }
    }
    return {};
}

// Where the words after the parts lead to.
struct Options {
    std::string key;  // "host+uri"
    bool has_uri = false;
    bool has_query = false;  // a URI with its query
    bool has_text = false;   // something that is percent-encoded
};

std::string refuse_option(const Options& options, const std::string& why) {
    return "hash key " + options.key + why;
}

// "depth 2". The error, or nothing.
std::optional<std::string> parse_cut(const Options& options, std::string_view word, Words& words,
                                     HashKeyRule& rule) {
    const std::string name(word);
    if (!options.has_uri)
        return refuse_option(options, " has no " + name + "; only keys with uri or path have");
    const bool is_depth = word == "depth";
    std::uint16_t& cut = is_depth ? rule.depth : rule.length;
    if (cut != 0) return refuse_option(options, ": " + name + " stands there twice");
    const auto number = parse_number(words.take_word(), is_depth ? kDepthMax : kLengthMax);
    if (!number)
        return refuse_option(options, is_depth ? ": depth needs a number from 1 to 255"
                                               : ": len needs a number from 1 to 65535");
    cut = *number;
    return {};
}

std::optional<std::string> parse_query_option(const Options& options, Words& words, HashKeyRule& rule) {
    if (!options.has_query) return refuse_option(options, " has no query; only keys with uri have");
    if (rule.form.changes_query()) return refuse_option(options, ": query(...) stands there twice");
    if (!words.opens())
        return refuse_option(options, ": query needs what to do, as in query(sort,exclude=utm_*)");
    const auto inside = words.take_parenthesis();
    if (!inside) return refuse_option(options, ": query( lacks its closing parenthesis");
    if (auto error = parse_query(*inside, rule.form)) return refuse_option(options, ": query: " + *error);
    return {};
}

std::optional<std::string> parse_form_option(const Options& options, std::string_view word, bool& set) {
    if (!options.has_text)
        return refuse_option(options,
                             " has no " + std::string(word) + "; only keys with uri, path or url_param have");
    if (set) return refuse_option(options, ": " + std::string(word) + " stands there twice");
    set = true;
    return {};
}

// "depth 2 len 64 query(sort) normalise" in any order. The error, or nothing.
std::optional<std::string> parse_options(const Options& options, Words& words, HashKeyRule& rule) {
    while (!words.at_end()) {
        const auto before = words.rest();
        const auto word = words.take_word();
        std::optional<std::string> error;
        if (word == "depth" || word == "len")
            error = parse_cut(options, word, words, rule);
        else if (word == "query")
            error = parse_query_option(options, words, rule);
        else if (word == "normalise" || word == "normalize")
            error = parse_form_option(options, "normalise", rule.form.normalise);
        else if (word == "decode")
            error = parse_form_option(options, word, rule.form.decode);
        else if (options.has_uri)
            error = refuse_option(options, ": " + quoted(word.empty() ? before : word) +
                                               " is unknown here; expected depth N, len N, query(...), "
                                               "normalise or decode");
        else
            error =
                refuse_option(options, ": " + quoted(word.empty() ? before : word) + " is one word too many");
        if (error) return error;
    }
    return {};
}

Options options_of(const HashKeyRule& rule) {
    Options options{.key = rule.parts_text()};
    for (const KeyPart& part : rule.all_parts()) {
        options.has_uri = options.has_uri || kind_word(part.kind).is_uri;
        options.has_query = options.has_query || part.kind == KeyKind::uri;
        options.has_text = options.has_uri || options.has_text || part.kind == KeyKind::url_param;
    }
    return options;
}

std::string part_text(KeyKind kind, std::string_view name) {
    std::string text(kind_word(kind).word);
    if (kind_word(kind).named) text.append("(").append(name).append(")");
    return text;
}

std::string query_text(const UriForm& form) {
    std::string text;
    const auto add = [&text](std::string_view option, std::string_view value) {
        text.append(text.empty() ? "" : ",").append(option).append(value);
    };
    if (form.sort) add("sort", {});
    for (const std::string& pattern : form.include) add("include=", pattern);
    for (const std::string& pattern : form.exclude) add("exclude=", pattern);
    return text;
}

}  // namespace

bool key_fits(Protocol protocol, KeyKind kind) noexcept {
    if (kind == KeyKind::source) return true;
    return protocol == (kind == KeyKind::sni ? Protocol::tls : Protocol::http);
}

std::string_view fallback_name(Fallback fallback) noexcept {
    return kFallbackNames[static_cast<std::size_t>(fallback)];
}

std::string_view fallback_sentence(Fallback fallback) noexcept {
    return kFallbackSentences[static_cast<std::size_t>(fallback)];
}

std::expected<HashKeyRule, std::string> HashKeyRule::parse(std::string_view text) {
    Words words(text);
    std::vector<KeyPart> parts;
    do {
        auto part = parse_part(words, text);
        if (!part) return std::unexpected(std::move(part.error()));
        parts.push_back(*std::move(part));
    } while (words.take('+'));
    if (auto error = judge_parts(parts)) return std::unexpected(*std::move(error));

    HashKeyRule rule;
    if (parts.size() == 1) {
        rule.kind = parts[0].kind;
        rule.name = std::move(parts[0].name);
    } else {
        rule.kind = KeyKind::joined;
        rule.parts = std::move(parts);
    }
    if (auto error = parse_options(options_of(rule), words, rule)) return std::unexpected(*std::move(error));
    return rule;
}

std::vector<KeyPart> HashKeyRule::all_parts() const {
    if (kind == KeyKind::joined) return parts;
    return {KeyPart{kind, name}};
}

std::string HashKeyRule::parts_text() const {
    std::string text;
    for (const KeyPart& part : all_parts())
        text.append(text.empty() ? "" : "+").append(part_text(part.kind, part.name));
    return text;
}

std::vector<std::string> HashKeyRule::headers() const {
    std::vector<std::string> names;
    for (KeyPart& part : all_parts()) {
        if (part.kind == KeyKind::hdr) names.push_back(std::move(part.name));
    }
    return names;
}

std::string HashKeyRule::to_string() const {
    std::string text = parts_text();
    if (form.changes_query()) text += " query(" + query_text(form) + ")";
    if (form.normalise) text += " normalise";
    if (form.decode) text += " decode";
    if (depth != 0) text += " depth " + std::to_string(depth);
    if (length != 0) text += " len " + std::to_string(length);
    return text;
}

splice_key_rule kernel_key_rule(const HashKeyRule& rule) noexcept {
    splice_key_rule kernel{};
    kernel.kind = rule.kind == KeyKind::source ? SPLICE_KEY_SOURCE
                  : rule.kind == KeyKind::uri  ? SPLICE_KEY_URI
                  : rule.kind == KeyKind::path ? SPLICE_KEY_PATH
                                               : SPLICE_KEY_USER_SPACE;
    kernel.length = rule.length;
    kernel.depth = static_cast<__u8>(rule.depth);
    // Where the form has nothing to change the target stands in the key as it is.
    if (rule.form.changes_query()) kernel.asks |= SPLICE_ASKS_ABOUT_QUERY;
    if (rule.form.normalise) kernel.asks |= SPLICE_ASKS_ABOUT_PERCENT | SPLICE_ASKS_ABOUT_DOTS;
    if (rule.form.decode) kernel.asks |= SPLICE_ASKS_ABOUT_PERCENT;
    return kernel;
}

KeyAnswer first_payload_key(Protocol protocol, const HashKeyRule& rule, Bytes stream, std::string& scratch,
                            FirstPayloadScan& scan) {
    if (rule.kind == KeyKind::source) return NoKey{Fallback::key_is_source};
    if (rule.kind == KeyKind::sni) {
        return protocol == Protocol::tls ? tls_sni(stream, scratch) : NoKey{Fallback::not_tls};
    }
    return protocol == Protocol::http ? http_key(rule, stream, scratch, scan.http)
                                      : NoKey{Fallback::not_http};
}

KeyAnswer first_payload_key(Protocol protocol, const HashKeyRule& rule, Bytes stream, std::string& scratch) {
    FirstPayloadScan scan;
    return first_payload_key(protocol, rule, stream, scratch, scan);
}

KeyAnswer key_behind_proxy_header(Protocol protocol, const HashKeyRule& rule, Bytes stream,
                                  std::string& scratch, FirstPayloadScan& scan) {
    const bool by_source = rule.kind == KeyKind::source;
    if (scan.proxy.length == 0) {
        splice_proxy_header header{};
        switch (splice_proxy_read(stream.data(), stream.data() + stream.size(),
                                  static_cast<__u32>(stream.size()), &header)) {
            case SPLICE_PROXY_NEED_MORE:
                return NeedMore{};
            case SPLICE_PROXY_WRONG:
                return NoKey{Fallback::bad_proxy_header};
            case SPLICE_PROXY_LOCAL:
                if (by_source) return NoKey{Fallback::proxy_local};
                break;
            case SPLICE_PROXY_UNKNOWN:
                if (by_source) return NoKey{Fallback::proxy_unknown};
                break;
            case SPLICE_PROXY_ADDRESS:
                scan.proxy.source = header.source;
                break;
        }
        scan.proxy.length = header.length;
    }
    return first_payload_key(protocol, rule, stream.subspan(scan.proxy.length), scratch, scan);
}

}  // namespace splice
