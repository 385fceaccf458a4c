// One request, as a log or a person tells it. What is not told is empty.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace splice {

// The text lives in the line that was parsed, or in the parser, until the next line.
struct ToldRequest {
    std::string_view method;      // empty: GET
    std::string_view target;      // as in the request line: "/a?b", "http://host/a"; empty: no HTTP request
    std::string_view host;        // the Host header or the server name
    std::string_view source;      // the client's address
    std::string_view connection;  // what all requests of a connection have, and no others
    std::optional<std::uint64_t> bytes;         // of the answer
    std::optional<double> time_s;               // since any moment that is the same for the whole log
    std::optional<std::uint32_t> ttl_s;         // how long the answer may be stored; 0: not at all
    std::uint32_t status = 0;                   // 0: not told
    std::optional<std::uint64_t> first_byte;    // of the object: where the part that was asked for begins
    std::optional<std::uint64_t> object_bytes;  // the whole object's size, where an answer of a part tells it
    std::span<const std::string_view> headers;  // values of the headers that were asked for, in their order;
                                                // may be fewer
};

}  // namespace splice
