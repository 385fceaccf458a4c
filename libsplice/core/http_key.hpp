// Keys out of the head of an HTTP/1 request (RFC 9112), parsed by Boost.Beast; the only file that knows it.
#pragma once

#include "libsplice/core/hash_key.hpp"

namespace splice {

// uri and path need the request line only and answer as soon as its CRLF is there; host+uri, hdr and url_param
// as soon as what they need is complete. The request target is taken as the client wrote it, byte for byte, save
// that an absolute-form target (RFC 9112 section 3.2.2) loses scheme and authority, which then is the host;
// nginx's $request_uri does the same.
[[nodiscard]] KeyAnswer http_key(const HashKeyRule& rule, Bytes stream, std::string& scratch);

// Cuts a URI as HAProxy's `balance uri` does: at most `length` bytes, and the part before slash depth + 1.
[[nodiscard]] std::string_view cut_uri(std::string_view uri, std::uint16_t depth, std::uint16_t length) noexcept;

}  // namespace splice
