// One text for URIs that name the same object: what a hash key takes of a URI, and how it writes that.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace splice {

// A URI stands in the key byte for byte unless one of these is set.
//
//   normalise  percent-encoding by RFC 3986 section 6.2.2: hexadecimal digits in upper case, unreserved
//              characters decoded, dot segments of the path removed ("/a/./b/../c" is "/a/c")
//   decode     every percent-encoded byte is decoded, once: "/a%2Fb" is "/a/b", as in nginx's $uri
//   query(...) parameters are the parts between "&"; a name ends at the first "=". Names are compared as
//              normalise and decode leave them, and in their case. `include`: only parameters of these names
//              stay; `exclude`: those of these names go, included or not. In a pattern "*" stands for any
//              text. `sort`: by name, byte for byte; parameters of one name keep their order, for servers
//              tell "a=1&a=2" from "a=2&a=1" (the order of URLSearchParams.sort(), WHATWG URL section 6.2).
//              Empty parameters go; where none is left, so does the "?"
//
// With any of them a fragment ("#" and what follows) goes: it is no part of a request.
struct UriForm {
    bool normalise = false;
    bool decode = false;
    bool sort = false;
    std::vector<std::string> include;  // patterns; none: all names
    std::vector<std::string> exclude;

    [[nodiscard]] bool changes_query() const noexcept { return sort || !include.empty() || !exclude.empty(); }
    [[nodiscard]] bool as_it_stands() const noexcept { return !normalise && !decode && !changes_query(); }

    // Appends the URI ("/a?b", or what a request has in its place) in this form; without the query when
    // `path_only`.
    void append_uri(std::string_view uri, bool path_only, std::string& out) const;
    // Appends a piece of text, such as a parameter's value, with its percent-encoding in this form.
    void append_text(std::string_view text, std::string& out) const;

    friend bool operator==(const UriForm&, const UriForm&) = default;

  private:
    void append_query(std::string_view query, std::string& out) const;
    [[nodiscard]] bool keeps(std::string_view name) const noexcept;
};

// Whether `name` is what the pattern says: "*" stands for any text, every other byte for itself.
[[nodiscard]] bool matches_pattern(std::string_view name, std::string_view pattern) noexcept;

// Removes "." and ".." from the absolute path that begins at `begin` (RFC 3986 section 5.2.4).
void remove_dot_segments(std::string& text, std::size_t begin);

}  // namespace splice
