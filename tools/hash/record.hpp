// One request, as a log tells it. What a log does not tell is empty.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace splice::hash {

// The text lives in the line that was parsed, or in the parser, until the next line.
struct Record {
    std::string_view method;      // empty: GET
    std::string_view target;      // as in the request line: "/a?b", "http://host/a"; empty: no HTTP request
    std::string_view host;        // the Host header or the server name
    std::string_view header;      // the value of the header that hdr(name) takes
    std::string_view source;      // the client's address
    std::string_view connection;  // what all requests of a connection have, and no others
    std::optional<std::uint64_t> bytes;  // of the answer
    std::optional<double> time_s;        // since any moment that is the same for the whole log
    std::optional<std::uint32_t> ttl_s;  // how long the answer may be stored; 0: not at all
    std::uint32_t status = 0;            // 0: not told
};

}  // namespace splice::hash
