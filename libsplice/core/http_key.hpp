// Keys out of the head of an HTTP/1 request (RFC 9112), parsed by Boost.Beast; http_key.cpp alone knows it.
//
// What is a request: Beast judges, and is strict. Refused as Fallback::not_http, as early as the bytes allow:
//   - HTTP/0.9, versions other than 1.0 and 1.1, other protocols (RTSP, ICE)
//   - lines that end in a bare LF or CR: RFC 9112 section 2.2 lets a server accept the LF, Beast does not
//   - a method that is no token, or longer than kMethodMax; any other token is one, in the registry or not
//   - controls and DEL in the target; bytes above 127 pass, for caches and browsers that do not encode them
// Empty lines (CRLF) before the request line are skipped (RFC 9112 section 2.2). Only what stands before the
// key is judged: a broken header after the request line does not take its URI away, as it does not in the
// kernel.
//
// The URI of each form of the request target (RFC 9112 section 3.2):
//   origin-form     /a?b                as it stands, byte for byte: nothing is decoded or normalised
//   absolute-form   http://h:80/a?b     /a?b: scheme and authority go. An empty path is "/", but "*" when the
//                                       method is OPTIONS and there is no query; the authority overrules Host
//   asterisk-form   *                   as it stands
//   authority-form  h:443               as it stands; also the host (CONNECT only)
//   none of them                        as it stands
// A fragment ("#" and what follows) has no place in a target. Servers take it, though: nginx drops it from
// the path and the arguments, and keeps it in $request_uri. So path and url_param end at "#" (RFC 3986
// section 3.3); uri and host+uri keep it.
//
// The host of host+uri: the authority of the target, else the first Host header; without user and "@"; ASCII
// letters lower-cased; without one trailing dot; without the port when it is empty or the default one (443
// after https://, none for CONNECT, else 80). Then the URI, cut. Without a host, or with an empty one:
// Fallback::no_host.
//
// hdr(name): the first header of that name, in any case, its whole value without the blanks around it; a
// folded value (obs-fold) is joined by single spaces. An empty value is none, as in HAProxy. Unlike there, a
// comma does not end it. url_param(name): of the part after the first "?", the value of the first "name="
// that follows "?" or "&", as it stands up to the next "&", "#" or the end. It may be empty, and then is a
// key: HAProxy's `balance url_param`.
#pragma once

#include <cstddef>

#include "libsplice/core/hash_key.hpp"

namespace splice {

// The longest registered method, UPDATEREDIRECTREF, has 17 bytes. Text that is no HTTP is told by it, too.
inline constexpr std::size_t kMethodMax = 32;

// uri, path and url_param need the request line only and answer as soon as its CRLF is there; hdr and
// host+uri as soon as the byte after their header's CRLF is there (it tells whether the value goes on), or
// the head's end. `rule` is of one of these kinds. The limit for the head is the stream's: whatever the
// caller collects.
[[nodiscard]] KeyAnswer http_key(const HashKeyRule& rule, Bytes stream, std::string& scratch);

// Cuts a URI as HAProxy's `balance uri` does: at most `length` bytes of it, and of these the part before
// slash depth + 1, slashes of a query included. 0 = all.
[[nodiscard]] std::string_view cut_uri(std::string_view uri, std::uint16_t depth,
                                       std::uint16_t length) noexcept;

}  // namespace splice
