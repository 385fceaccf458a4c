// Keys out of the head of an HTTP/1 request (RFC 9112).
//
// A scanner of our own, where a library could stand. A library judges a whole head: Boost.Beast refuses a
// request for an odd Connection value or a DEL in a header that the key does not need, though servers serve
// it. And it begins anew when another segment has come. The scanner reads the request line and the one header
// that the rule names, and goes on from where it stopped. A fuzzer holds it to Beast wherever Beast takes a
// head.
//
// What is a request: what nginx, Varnish or Apache serves, any of them, since the cache judges in the end and
// the key needs only to be the same for the same object. tests/odd_requests has what they were asked and
// said. Refused as Fallback::not_http, at the first byte that shows it:
//   - a major version of 0, a minor one above kMinorVersionMax, other protocols (RTSP, ICE)
//   - HTTP/0.9 (no version) with a method other than GET
//   - a method that is no token, or longer than kMethodMax; any other token is one, in the registry or not
//   - controls and DEL in the target, a tab behind it, words after the version; bytes above 127 pass in the
//     target, for caches and browsers that do not encode them
//   - a NUL or a bare CR in the header that the rule wants. In others they do not matter
// Taken: HTTP/1.2 and on (RFC 9110 section 6.2), HTTP/2.0 in a line like this, "http" in any case, several
// spaces between the words and after the last, a tab behind the method, lines that end in a bare LF (RFC 9112
// section 2.2), and CRs, LFs, spaces and tabs before the request line. A header line that is broken is passed
// over: it never takes another header or the URI away.
//
// The URI of each form of the request target (RFC 9112 section 3.2):
//   origin-form     /a?b                as it stands, byte for byte, unless the rule has another form for it
//                                       (core/uri_form.hpp)
//   absolute-form   http://h:80/a?b     /a?b: scheme and authority go. An empty path is "/", but "*" when the
//                                       method is OPTIONS and there is no query; the authority overrules Host
//   asterisk-form   *                   as it stands
//   authority-form  h:443               as it stands; also the host (CONNECT only)
//   none of them                        as it stands
// A fragment ("#" and what follows) has no place in a target. Servers take it, though: nginx drops it from
// the path and the arguments, and keeps it in $request_uri. So path and url_param end at "#" (RFC 3986
// section 3.3); uri keeps it, unless the rule gives the URI another form.
//
// host: the authority of the target, else the first Host header; without user and "@"; ASCII
// letters lower-cased; without one trailing dot; without the port when it is empty or the default one (443
// after https://, none for CONNECT, else 80). Without a host, or with an empty one: Fallback::no_host.
//
// hdr(name): the first header of that name, in any case, its whole value without the blanks around it; a
// folded value (obs-fold) is joined by single spaces. An empty value is none, as in HAProxy. Unlike there, a
// comma does not end it. url_param(name): of the part after the first "?", the value of the first "name="
// that follows "?" or "&", as it stands up to the next "&", "#" or the end. It may be empty, and then is a
// key: HAProxy's `balance url_param`.
//
// Joined keys: the parts in the rule's order with nothing between them, as in nginx's `hash
// $host$request_uri`. Only a missing host takes the key away, for it belongs to every HTTP/1.1 request.
// Another missing part is empty, so that requests without an optional header still go by the rest; when all
// are missing, the first of them says why there is no key. depth and len cut the part that is uri or path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "libsplice/core/hash_key.hpp"

namespace splice {

// The longest registered method, UPDATEREDIRECTREF, has 17 bytes. Text that is no HTTP is told by it, too.
inline constexpr std::size_t kMethodMax = 32;

inline constexpr std::uint16_t kMinorVersionMax = 999;  // nginx's

// uri, path and url_param need the request line only and answer as soon as its LF is there; hdr and host as
// soon as the byte after their header's LF is there (it tells whether the value goes on), or the head's end.
// Each call gets the stream from its first byte, and the scan that the last call left. `rule` is of one of
// these kinds. The limit for the head is the stream's: whatever the caller collects.
[[nodiscard]] KeyAnswer http_key(const HashKeyRule& rule, Bytes stream, std::string& scratch, HeadScan& scan);
[[nodiscard]] KeyAnswer http_key(const HashKeyRule& rule, Bytes stream, std::string& scratch);

// Cuts a URI as HAProxy's `balance uri` does: at most `length` bytes of it, and of these the part before
// slash depth + 1, slashes of a query included. 0 = all.
[[nodiscard]] std::string_view cut_uri(std::string_view uri, std::uint16_t depth,
                                       std::uint16_t length) noexcept;

}  // namespace splice
