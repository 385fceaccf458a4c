#include "libsplice/core/uri_form.hpp"

#include <algorithm>
#include <optional>

namespace splice {
namespace {

std::optional<unsigned> hex_digit(char c) noexcept {
    if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
    if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A' + 10);
    if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a' + 10);
    return {};
}

// The byte of the percent-encoding that `text` begins with (RFC 3986 section 2.1); nothing when it is none.
std::optional<char> encoded_byte(std::string_view text) noexcept {
    if (text.size() < 3 || text[0] != '%') return {};
    const auto high = hex_digit(text[1]);
    const auto low = hex_digit(text[2]);
    if (!high || !low) return {};
    return static_cast<char>(*high * 16 + *low);
}

// RFC 3986 section 2.3.
bool is_unreserved(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

void append_encoded(char byte, std::string& out) {
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    const auto value = static_cast<unsigned char>(byte);
    out += '%';
    out += kDigits[value >> 4];
    out += kDigits[value & 15];
}

// A parameter in the text that all of them were written to.
struct Parameter {
    std::size_t begin;
    std::size_t name_end;
    std::size_t end;
};

}  // namespace

void UriForm::append_text(std::string_view text, std::string& out) const {
    if (!normalise && !decode) {
        out += text;
        return;
    }
    while (!text.empty()) {
        const auto plain = std::min(text.find('%'), text.size());
        out += text.substr(0, plain);
        text.remove_prefix(plain);
        if (text.empty()) return;
        const auto byte = encoded_byte(text);
        if (!byte) {
            out += '%';
            text.remove_prefix(1);
            continue;
        }
        if (decode || is_unreserved(*byte))
            out += *byte;
        else
            append_encoded(*byte, out);
        text.remove_prefix(3);
    }
}

void UriForm::append_uri(std::string_view uri, bool path_only, std::string& out) const {
    if (as_it_stands()) {
        out += path_only ? uri.substr(0, uri.find_first_of("?#")) : uri;
        return;
    }
    uri = uri.substr(0, uri.find('#'));
    const auto path_end = std::min(uri.find('?'), uri.size());
    const auto begin = out.size();
    append_text(uri.substr(0, path_end), out);
    if (normalise && uri.starts_with('/')) remove_dot_segments(out, begin);
    if (path_only || path_end == uri.size()) return;
    const auto query = uri.substr(path_end + 1);
    if (changes_query()) return append_query(query, out);
    out += '?';
    append_text(query, out);
}

void UriForm::append_query(std::string_view query, std::string& out) const {
    std::string texts;
    std::vector<Parameter> kept;
    while (!query.empty()) {
        const auto parameter = query.substr(0, query.find('&'));
        query.remove_prefix(std::min(parameter.size() + 1, query.size()));
        if (parameter.empty()) continue;
        const auto name_size = std::min(parameter.find('='), parameter.size());
        Parameter one{texts.size(), 0, 0};
        append_text(parameter.substr(0, name_size), texts);
        one.name_end = texts.size();
        append_text(parameter.substr(name_size), texts);
        one.end = texts.size();
        if (keeps(std::string_view(texts).substr(one.begin, one.name_end - one.begin))) kept.push_back(one);
    }
    const std::string_view all = texts;
    if (sort) {
        const auto name_of = [all](const Parameter& parameter) {
            return all.substr(parameter.begin, parameter.name_end - parameter.begin);
        };
        std::ranges::sort(kept, [&](const Parameter& one, const Parameter& other) {
            const int order = name_of(one).compare(name_of(other));
            return order != 0 ? order < 0 : one.begin < other.begin;
        });
    }
    char before = '?';
    for (const Parameter& parameter : kept) {
        out += before;
        out += all.substr(parameter.begin, parameter.end - parameter.begin);
        before = '&';
    }
}

bool UriForm::keeps(std::string_view name) const noexcept {
    const auto fits = [name](const std::string& pattern) { return matches_pattern(name, pattern); };
    return (include.empty() || std::ranges::any_of(include, fits)) && std::ranges::none_of(exclude, fits);
}

bool matches_pattern(std::string_view name, std::string_view pattern) noexcept {
    std::size_t at = 0;
    std::size_t star = std::string_view::npos;  // the last "*" of the pattern that was passed
    std::size_t resume = 0;                     // where its text ends in the name, for now
    std::size_t i = 0;
    while (i < name.size()) {
        if (at < pattern.size() && pattern[at] == '*') {
            star = at++;
            resume = i;
        } else if (at < pattern.size() && pattern[at] == name[i]) {
            ++at;
            ++i;
        } else if (star != std::string_view::npos) {
            at = star + 1;
            i = ++resume;
        } else {
            return false;
        }
    }
    return pattern.find_first_not_of('*', at) == std::string_view::npos;
}

void remove_dot_segments(std::string& text, std::size_t begin) {
    std::size_t end = begin;  // of what is kept; it never overtakes what is read
    for (std::size_t at = begin; at < text.size();) {
        const auto next = std::min(text.find('/', at + 1), text.size());
        const auto segment = std::string_view(text).substr(at + 1, next - at - 1);
        const bool last = next == text.size();
        const bool up = segment == "..";
        if (up && end > begin) end = text.rfind('/', end - 1);
        if (!up && segment != ".") {
            std::copy(text.begin() + static_cast<std::ptrdiff_t>(at),
                      text.begin() + static_cast<std::ptrdiff_t>(next),
                      text.begin() + static_cast<std::ptrdiff_t>(end));
            end += next - at;
        } else if (last) {
            text[end++] = '/';
        }
        at = next;
    }
    text.resize(end);
}

}  // namespace splice
