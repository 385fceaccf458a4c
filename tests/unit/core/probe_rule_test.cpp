#include "libsplice/core/probe_rule.hpp"

#include <doctest/doctest.h>

#include "libsplice/core/hash_key.hpp"
#include "libsplice/datapath/proxy_header.h"

using namespace splice;

namespace {

const ProbeEnds kEnds{.own = {*IpAddress::parse("192.0.2.10"), 61440},
                      .vip = {*IpAddress::parse("192.0.2.100"), 80}};
const ProbeEnds kEnds6{.own = {*IpAddress::parse("2001:db8::10"), 61440},
                       .vip = {*IpAddress::parse("2001:db8::100"), 8080}};

ProbeRule rule_of(ProbeKind kind) {
    ProbeRule rule;
    rule.kind = kind;
    return rule;
}

// "passed", what was wrong, or "more".
std::string judged(const ProbeRule& rule, std::string_view stream, bool ended = false) {
    const auto answer = judge_answer(rule, stream, ended);
    if (!answer) return "more";
    return answer->passed ? "passed" : answer->words;
}

}  // namespace

TEST_CASE("an http probe asks as its rule says, and for the service's address where it names no host") {
    ProbeRule rule;
    CHECK(probe_stream(rule, kEnds, false, 1) ==
          "GET / HTTP/1.1\r\nHost: 192.0.2.100\r\nUser-Agent: SpliceLB-health\r\nConnection: close\r\n\r\n");
    CHECK(probe_stream(rule, kEnds6, false, 1).contains("\r\nHost: [2001:db8::100]:8080\r\n"));
    rule.method = "HEAD";
    rule.path = "/alive?now";
    rule.host = "www.example.com";
    CHECK(probe_stream(rule, kEnds, false, 1)
              .starts_with("HEAD /alive?now HTTP/1.1\r\nHost: www.example.com\r\n"));
}

TEST_CASE("a probe is padded to any size, and what reads a request or a ClientHello reads it the same") {
    ProbeRule tls = rule_of(ProbeKind::tls);
    tls.sni = "www.example.com";
    for (const std::size_t least : {0UZ, 100UZ, 115UZ, 300UZ, 536UZ, 1448UZ, 9000UZ}) {
        CAPTURE(least);
        const std::string http = probe_stream({}, kEnds, false, 1, least);
        CHECK(http.size() >= least);
        CHECK(http.size() <= std::max(least + 14, probe_stream({}, kEnds, false, 1).size()));
        CHECK(http.ends_with("\r\n\r\n"));
        CHECK(http.find("\r\n\r\n") == http.size() - 4);
        const std::string hello = probe_stream(tls, kEnds, false, 1, least);
        CHECK(hello.size() >= least);
        HashKeyRule sni;
        sni.kind = KeyKind::sni;
        std::string scratch;
        FirstPayloadScan scan;
        const KeyAnswer key = first_payload_key(Protocol::tls, sni, as_bytes(hello), scratch, scan);
        REQUIRE(std::holds_alternative<Key>(key));
        CHECK(std::get<Key>(key).bytes == "www.example.com");
    }
}

TEST_CASE("a PROXY header comes first where the service expects one, and is a right one") {
    for (const ProbeEnds& ends : {kEnds, kEnds6}) {
        const std::string stream = probe_stream(rule_of(ProbeKind::tcp), ends, true, 1);
        splice_proxy_header header{};
        CHECK(splice_proxy_read(stream.data(), stream.data() + stream.size(),
                                static_cast<std::uint32_t>(stream.size()), &header) == SPLICE_PROXY_ADDRESS);
        CHECK(header.length == stream.size());
        CHECK(IpAddress(header.source) == ends.own.address);
    }
    CHECK(probe_stream({}, kEnds, true, 1)
              .starts_with("PROXY TCP4 192.0.2.10 192.0.2.100 61440 80\r\nGET / HTTP/1.1\r\n"));
    CHECK(probe_stream({}, kEnds, true, 1, 1000).size() == 1000);
}

TEST_CASE("an http answer is judged by its status as soon as that is there") {
    const ProbeRule rule;
    for (const char* begins : {"", "H", "HTTP/1.", "HTTP/1.1 20"}) CHECK(judged(rule, begins) == "more");
    CHECK(judged(rule, "HTTP/1.1 200") == "passed");
    CHECK(judged(rule, "HTTP/1.0 399 Odd\r\n") == "passed");
    CHECK(judged(rule, "HTTP/1.1 503 Service Unavailable\r\n") == "status 503, expected 200-399");
    CHECK(judged(rule, "HTTP/1.1  00 ") == "no status but \"HTTP/1.1  00 \"");
    CHECK(judged(rule, "220 mail\r\n") == "no HTTP/1 but \"220 mail..\"");
    CHECK(judged(rule, "", true) == "closed without an answer");
    CHECK(judged(rule, "HTTP/1.1 2", true) == "closed within the status line");
    ProbeRule some;
    some.expect = {{200, 200}, {404, 410}};
    CHECK(judged(some, "HTTP/1.1 404 Not Found") == "passed");
    CHECK(judged(some, "HTTP/1.1 201 Created") == "status 201, expected 200, 404-410");
}

TEST_CASE("a body is looked for behind the head, until the server closes or too much has come") {
    ProbeRule rule;
    rule.body = "alive";
    const std::string head = "HTTP/1.1 200 OK\r\nX-State: alive\r\n\r\n";
    CHECK(judged(rule, head) == "more");
    CHECK(judged(rule, head + "it is ali") == "more");
    CHECK(judged(rule, head + "it is alive") == "passed");
    CHECK(judged(rule, head + "it is dead", true) == "status 200, but the body lacks \"alive\"");
    CHECK(judged(rule, head + std::string(kProbeAnswerMax, 'x')) ==
          "status 200, but the body lacks \"alive\"");
    CHECK(judged(rule, "HTTP/1.1 500 No\r\n") == "status 500, expected 200-399");
}

TEST_CASE("a tls answer is a ServerHello; an alert is told by its number") {
    using namespace std::string_literals;
    const ProbeRule rule = rule_of(ProbeKind::tls);
    const std::string hello = "\x16\x03\x03\x00\x7a\x02\x00"s;
    for (std::size_t length = 0; length < hello.size(); ++length)
        CHECK(judged(rule, std::string_view(hello).substr(0, length)) == "more");
    CHECK(judged(rule, hello) == "passed");
    CHECK(judged(rule, "\x15\x03\x03\x00\x02\x02\x70"s) == "TLS alert 112");
    CHECK(judged(rule, "HTTP/1.1 400 Bad Request") == "no ServerHello but \"HTTP/1.1 400 Bad Request\"");
    CHECK(judged(rule, hello.substr(0, 3), true) == "closed within the first record");
    CHECK(judged(rule, "", true) == "closed without an answer");
}
