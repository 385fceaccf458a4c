#include "libsplice/core/hash_key.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "libsplice/base/quoted.hpp"
#include "libsplice/core/http_key.hpp"
#include "libsplice/core/tls_hello.hpp"

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
    bool named;   // takes "(NAME)"
    bool is_uri;  // takes depth and len
};
constexpr std::array kKindWords{
    KindWord{"source", KeyKind::source, false, false},
    KindWord{"uri", KeyKind::uri, false, true},
    KindWord{"path", KeyKind::path, false, true},
    KindWord{"host+uri", KeyKind::host_uri, false, true},
    KindWord{"url_param", KeyKind::url_param, true, false},
    KindWord{"hdr", KeyKind::hdr, true, false},
    KindWord{"sni", KeyKind::sni, false, false},
};

const KindWord& kind_word(KeyKind kind) noexcept {
    return *std::ranges::find(kKindWords, kind, &KindWord::kind);
}

// The next word of `text`, which loses it; empty at the end.
std::string_view take_word(std::string_view& text) noexcept {
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(word.size());
    return word;
}

std::optional<std::uint16_t> parse_number(std::string_view word, std::uint16_t max) noexcept {
    std::uint16_t number = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
    if (error != std::errc{} || end != word.data() + word.size() || number == 0 || number > max) return {};
    return number;
}

bool is_letter_or_digit(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
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

char to_lower(char c) noexcept {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// "hdr(x-tenant)" into the word and the name; no value when the parentheses are wrong.
struct Head {
    std::string_view word;
    std::optional<std::string_view> name;
};
std::optional<Head> split_head(std::string_view text) noexcept {
    const auto open = text.find('(');
    if (open == std::string_view::npos) return Head{text, {}};
    if (text.back() != ')') return {};
    return Head{text.substr(0, open), text.substr(open + 1, text.size() - open - 2)};
}

// The error, or nothing.
std::optional<std::string> parse_name(const KindWord& kind, std::optional<std::string_view> name,
                                      HashKeyRule& rule) {
    const std::string word(kind.word);
    if (!kind.named) {
        if (!name) return {};
        return "hash key " + word + " takes no name in parentheses";
    }
    if (!name || name->empty()) return "hash key " + word + " needs a name, as in " + word + "(id)";
    if (name->size() > kNameMax) return "the name in hash key " + word + " is longer than 255 bytes";
    rule.name = *name;
    if (kind.kind == KeyKind::hdr) {
        if (!is_field_name(*name))
            return "hash key hdr: " + quoted(*name) + " can not be the name of a header";
        std::ranges::transform(rule.name, rule.name.begin(), to_lower);
    } else if (!is_parameter_name(*name)) {
        return "hash key url_param: " + quoted(*name) + " can not be the name of a query parameter";
    }
    return {};
}

// "depth 2 len 64" in either order. The error, or nothing.
std::optional<std::string> parse_cuts(const KindWord& kind, std::string_view text, HashKeyRule& rule) {
    for (auto word = take_word(text); !word.empty(); word = take_word(text)) {
        const bool is_depth = word == "depth";
        if (!is_depth && word != "len") {
            return "hash key " + std::string(kind.word) + ": " + quoted(word) +
                   (kind.is_uri ? " is unknown here; expected depth N or len N" : " is one word too many");
        }
        if (!kind.is_uri) {
            return "hash key " + std::string(kind.word) + " has no " + std::string(word) +
                   "; only uri, path and host+uri have";
        }
        std::uint16_t& cut = is_depth ? rule.depth : rule.length;
        if (cut != 0)
            return "hash key " + std::string(kind.word) + ": " + std::string(word) + " stands there twice";
        const auto number = parse_number(take_word(text), is_depth ? kDepthMax : kLengthMax);
        if (!number) {
            return "hash key " + std::string(kind.word) + ": " +
                   (is_depth ? "depth needs a number from 1 to 255" : "len needs a number from 1 to 65535");
        }
        cut = *number;
    }
    return {};
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
    constexpr auto kExpected =
        "expected uri, path or host+uri (each with depth N and len N if wanted), url_param(NAME), hdr(NAME), "
        "sni or "
        "source";
    const auto whole = text;
    const auto head = split_head(take_word(text));
    if (!head) return std::unexpected("hash key " + quoted(whole) + " lacks its closing parenthesis");
    const auto kind = std::ranges::find(kKindWords, head->word, &KindWord::word);
    if (kind == kKindWords.end())
        return std::unexpected("unknown hash key " + quoted(whole) + "; " + kExpected);

    HashKeyRule rule{.kind = kind->kind, .depth = 0, .length = 0, .name = {}};
    if (auto error = parse_name(*kind, head->name, rule)) return std::unexpected(*std::move(error));
    if (auto error = parse_cuts(*kind, text, rule)) return std::unexpected(*std::move(error));
    return rule;
}

std::string HashKeyRule::to_string() const {
    std::string text(kind_word(kind).word);
    if (kind_word(kind).named) text += "(" + name + ")";
    if (depth != 0) text += " depth " + std::to_string(depth);
    if (length != 0) text += " len " + std::to_string(length);
    return text;
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

}  // namespace splice
