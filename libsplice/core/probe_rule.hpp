// What a health check asks, and which answers pass. Bytes alone: who sends and hears them is the prober.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libsplice/base/address.hpp"

namespace splice {

// Both ends belong to it.
struct StatusRange {
    std::uint16_t first = 200;
    std::uint16_t last = 399;
    friend bool operator==(const StatusRange&, const StatusRange&) = default;
};

// "200, 300-399"
[[nodiscard]] std::string to_string(const std::vector<StatusRange>& ranges);

enum class ProbeKind : std::uint8_t {
    http,  // a request; the status, and the body where that is asked for
    tls,   // a ClientHello; a ServerHello is the answer
    tcp,   // what is sent is acknowledged
};
[[nodiscard]] std::string_view to_string(ProbeKind kind) noexcept;

struct ProbeRule {
    ProbeKind kind = ProbeKind::http;
    std::string method = "GET";  // http
    std::string path = "/";      // http
    std::string host;            // http; empty: the service's address, with its port unless that is 80
    std::vector<StatusRange> expect = std::vector<StatusRange>(1);  // http
    std::string body;  // http: it has these bytes; empty: whatever it has
    std::string sni;   // tls; empty: none is said
    std::string send;  // tcp; empty: nothing but the end of the stream
    friend bool operator==(const ProbeRule&, const ProbeRule&) = default;
};

// How much of an answer is looked at.
inline constexpr std::size_t kProbeAnswerMax = 64UZ * 1024;

// Who asks whom.
struct ProbeEnds {
    Endpoint own;
    Endpoint vip;
};

// The stream that the client of a check sends: a PROXY header where `proxy_header` says so, then the
// question. At least `least` bytes where its kind can be padded (http, tls), by something that servers pass
// over. `random`: 64 bytes' worth of a ClientHello's random and key share are drawn from it.
std::string probe_stream(const ProbeRule& rule, const ProbeEnds& ends, bool proxy_header,
                         std::uint64_t random, std::size_t least = 0);

struct ProbeAnswer {
    bool passed = false;
    std::string words;  // where it has not: what came, printable
};
// What the bytes that have come by now say; `ended`: no more will come. Nothing: they may still become an
// answer. Any bytes are judged; at kProbeAnswerMax bytes there is an answer. Not for tcp, which asks for
// none.
std::optional<ProbeAnswer> judge_answer(const ProbeRule& rule, std::string_view stream, bool ended);

}  // namespace splice
