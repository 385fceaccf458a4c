#include "libsplice/core/http_key.hpp"

#include <doctest/doctest.h>

#include "tests/unit/core/key_answer.hpp"

using namespace splice;
using splice::test::ExactCopy;
using splice::test::to_text;

namespace {

std::string key(std::string_view rule, std::string_view stream) {
    const auto parsed = HashKeyRule::parse(rule);
    REQUIRE_MESSAGE(parsed.has_value(), rule);
    const ExactCopy copy(stream);
    std::string scratch = "left over from the last call";
    return to_text(http_key(*parsed, copy.bytes(), scratch));
}

std::string request(std::string_view target, std::string_view headers = "Host: example.com\r\n") {
    return "GET " + std::string(target) + " HTTP/1.1\r\n" + std::string(headers) + "\r\n";
}

// The whole stream gives `answer`, its first `until` bytes do, and what is shorter gives need_more.
void check_told_at(std::string_view rule, std::string_view stream, std::string_view answer,
                   std::size_t until) {
    for (std::size_t size = 0; size <= stream.size(); ++size) {
        CAPTURE(stream.substr(0, size));
        CHECK(key(rule, stream.substr(0, size)) == (size < until ? "need_more" : answer));
    }
}

}  // namespace

TEST_CASE("the URI is told at the CRLF of the request line and not before") {
    const std::string line = "GET /a/b?c=d HTTP/1.1\r\n";
    check_told_at("uri", line + "Host: h\r\n\r\nbody", "key:/a/b?c=d", line.size());
    check_told_at("path", line + "Host: h\r\n\r\nbody", "key:/a/b", line.size());
    check_told_at("url_param(c)", line + "Host: h\r\n\r\nbody", "key:d", line.size());
}

TEST_CASE("a header is told by the byte behind its CRLF, which says that the value is not folded") {
    const std::string until_host = "GET /a HTTP/1.1\r\nAccept: */*\r\nHost: h\r\n";
    check_told_at("hdr(host)", until_host + "X: y\r\n\r\n", "key:h", until_host.size() + 1);
    check_told_at("host+uri", until_host + "X: y\r\n\r\n", "key:h/a", until_host.size() + 1);
}

TEST_CASE("a missing header is told by the end of the head") {
    const std::string head = "GET /a HTTP/1.1\r\nAccept: */*\r\n\r\n";
    check_told_at("hdr(x-tenant)", head + "X-Tenant: in the body", "no_header", head.size());
    check_told_at("host+uri", head, "no_host", head.size());
}

TEST_CASE("any token is a method, whoever registered it") {
    for (const char* method :
         {"GET", "POST", "HEAD", "PURGE", "M-SEARCH", "MKCOLA", "get", "X_Y", "UPDATEREDIRECTREF"}) {
        CAPTURE(method);
        CHECK(key("uri", std::string(method) + " /a HTTP/1.0\r\n") == "key:/a");
    }
}

TEST_CASE("a target stands in the key byte for byte") {
    CHECK(key("uri", request("/%7Ea/./b//c/../d?x=%20&y#z")) == "key:/%7Ea/./b//c/../d?x=%20&y#z");
    CHECK(key("uri", request("/\xce\xb4?\xff")) == "key:/\xce\xb4?\xff");
    CHECK(key("path", request("/a?b?c")) == "key:/a");
    CHECK(key("uri", request("//evil.example/a")) == "key://evil.example/a");
}

TEST_CASE("path and parameters end at the fragment, which the URI keeps") {
    CHECK(key("path", request("/a#b")) == "key:/a");
    CHECK(key("path", request("/a#f?q=1")) == "key:/a");
    CHECK(key("path", request("/a?q#f")) == "key:/a");
    CHECK(key("path", request("/#")) == "key:/");
    CHECK(key("path depth 1", request("/a#/b/c")) == "key:/a");
    CHECK(key("path", request("http://example.com#f?q")) == "key:/");
    CHECK(key("url_param(id)", request("/a?id=1#f")) == "key:1");
    CHECK(key("url_param(id)", request("/a?id=#f")) == "key:");
    CHECK(key("url_param(id)", request("/a#f?id=1")) == "no_param");
    CHECK(key("url_param(id)", request("/a?x#&id=1")) == "no_param");
    CHECK(key("uri", request("/a#f?q=1")) == "key:/a#f?q=1");
    CHECK(key("host+uri", request("/a#f?q=1")) == "key:example.com/a#f?q=1");
}

TEST_CASE("an absolute-form target loses scheme and authority") {
    CHECK(key("uri", request("http://example.com/a?b")) == "key:/a?b");
    CHECK(key("uri", request("HTTPS://user:pass@example.com:8443/a")) == "key:/a");
    CHECK(key("uri", request("http://example.com")) == "key:/");
    CHECK(key("path", request("http://example.com")) == "key:/");
    CHECK(key("uri", request("http://example.com?a=b")) == "key:/?a=b");
    CHECK(key("path", request("http://example.com?a=b")) == "key:/");
    CHECK(key("url_param(a)", request("http://example.com?a=b")) == "key:b");
    CHECK(key("uri depth 1", request("http://example.com/a/b")) == "key:/a");
    CHECK(key("uri", request("/http://example.com/a")) == "key:/http://example.com/a");
}

TEST_CASE("asterisk-form and authority-form are keys as they stand") {
    CHECK(key("uri", "OPTIONS * HTTP/1.1\r\n") == "key:*");
    CHECK(key("uri", "OPTIONS http://example.com HTTP/1.1\r\n") == "key:*");
    CHECK(key("uri", "OPTIONS http://example.com/ HTTP/1.1\r\n") == "key:/");
    CHECK(key("uri", "OPTIONS http://example.com?a HTTP/1.1\r\n") == "key:/?a");
    CHECK(key("uri", "CONNECT example.com:443 HTTP/1.1\r\n") == "key:example.com:443");
    CHECK(key("host+uri", "CONNECT Example.com:443 HTTP/1.1\r\n") == "key:example.com:443Example.com:443");
}

TEST_CASE("empty lines before the request line are skipped") {
    check_told_at("uri", "\r\n\r\nGET /a HTTP/1.1\r\n", "key:/a", 4 + 17);
    CHECK(key("uri", "\r\rGET /a HTTP/1.1\r\n") == "key:/a");
    CHECK(key("uri", "\nGET /a HTTP/1.1\r\n") == "key:/a");
    CHECK(key("host+uri", "\n\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n") == "key:h/a");
}

TEST_CASE(
    "blanks before the request line, a tab behind the method and http in any case are taken as Varnish "
    "does") {
    CHECK(key("uri", " \tGET /a HTTP/1.1\r\n") == "key:/a");
    CHECK(key("uri", " \r\n GET /a HTTP/1.1\r\n") == "key:/a");
    CHECK(key("uri", "GET\t /a HTTP/1.1\r\n") == "key:/a");
    CHECK(key("uri", "GET /a http/1.1\r\n") == "key:/a");
    CHECK(key("uri", "GET /a hTTp/1.0\r\n") == "key:/a");
}

TEST_CASE("several spaces, bare LFs and later versions of HTTP are taken as nginx and Apache take them") {
    CHECK(key("uri", "GET   /a   HTTP/1.1  \r\n") == "key:/a");
    check_told_at("uri", "GET /a HTTP/1.1\nHost: h\n\n", "key:/a", 16);
    CHECK(key("host+uri", "GET /a HTTP/1.1\nAccept: */*\nHost: h\n\n") == "key:h/a");
    CHECK(key("hdr(x)", "GET /a HTTP/1.1\nHost: h\n\nX: in the body\n") == "no_header");
    for (const char* version :
         {"1.0", "1.2", "1.9", "1.10", "1.99", "1.01", "1.100", "1.999", "2.0", "9.9"}) {
        CAPTURE(version);
        CHECK(key("uri", "GET /a HTTP/" + std::string(version) + "\r\n") == "key:/a");
    }
    for (const char* version : {"0.9", "1", "1.", "1.1000", "1.x", "01.1", "10.1", "3"}) {
        CAPTURE(version);
        CHECK(key("uri", "GET /a HTTP/" + std::string(version) + "\r\n") == "not_http");
    }
}

TEST_CASE("HTTP/0.9 has a URI and no header") {
    check_told_at("uri", "GET /a?b\r\nHost: h\r\n", "key:/a?b", 10);
    check_told_at("uri", "GET /a\nHost: h\n", "key:/a", 7);
    check_told_at("uri", "GET /a \r\n", "key:/a", 9);
    CHECK(key("host+uri", "GET /a\r\nHost: h\r\n\r\n") == "no_host");
    CHECK(key("hdr(host)", "GET /a\r\nHost: h\r\n\r\n") == "no_header");
    check_told_at("uri", "POST /a\r\n", "not_http", 8);
    check_told_at("uri", "GET /a\rb", "not_http", 8);
}

TEST_CASE("depth and len cut as HAProxy does: len first, then before slash depth + 1") {
    CHECK(cut_uri("/a/b/c", 0, 0) == "/a/b/c");
    CHECK(cut_uri("/a/b/c", 1, 0) == "/a");
    CHECK(cut_uri("/a/b/c", 2, 0) == "/a/b");
    CHECK(cut_uri("/a/b/c", 3, 0) == "/a/b/c");
    CHECK(cut_uri("/a/b/c", 255, 0) == "/a/b/c");
    CHECK(cut_uri("/a/b/", 2, 0) == "/a/b");
    CHECK(cut_uri("//a", 1, 0) == "/");
    CHECK(cut_uri("/a?b/c/d", 2, 0) == "/a?b/c");
    CHECK(cut_uri("/a/b/c", 0, 4) == "/a/b");
    CHECK(cut_uri("/a/b/c", 0, 6) == "/a/b/c");
    CHECK(cut_uri("/a/b/c", 0, 7) == "/a/b/c");
    CHECK(cut_uri("/a/b/c", 1, 4) == "/a");
    CHECK(cut_uri("/abcdef/b", 1, 4) == "/abc");
    CHECK(cut_uri("*", 1, 0) == "*");
}

TEST_CASE("host+uri is the host by its rule and then the URI, cut") {
    const auto with_host = [](std::string_view host) {
        return key("host+uri", request("/a", "Host: " + std::string(host) + "\r\n"));
    };
    CHECK(with_host("example.com") == "key:example.com/a");
    CHECK(with_host("EXAMPLE.Com") == "key:example.com/a");
    CHECK(with_host("example.com:80") == "key:example.com/a");
    CHECK(with_host("example.com:") == "key:example.com/a");
    CHECK(with_host("example.com.:80") == "key:example.com/a");
    CHECK(with_host("example.com:8080") == "key:example.com:8080/a");
    CHECK(with_host("example.com:443") == "key:example.com:443/a");
    CHECK(with_host("[2001:DB8::80]") == "key:[2001:db8::80]/a");
    CHECK(with_host("[2001:db8::1]:80") == "key:[2001:db8::1]/a");
    CHECK(with_host("") == "no_host");
    CHECK(with_host(":80") == "no_host");
    CHECK(key("host+uri depth 1", request("/a/b/c")) == "key:example.com/a");
    CHECK(key("host+uri len 3", request("/a/b/c")) == "key:example.com/a/");
    CHECK(key("host+uri", request("/a", "Host:\r\n Example.com\r\n")) == "key:example.com/a");
}

TEST_CASE("the authority of the target overrules the Host header, and does not wait for it") {
    CHECK(key("host+uri", "GET http://A.example/b HTTP/1.1\r\n") == "key:a.example/b");
    CHECK(key("host+uri", request("http://u@a.example:80?q")) == "key:a.example/?q");
    CHECK(key("host+uri", request("https://a.example:443/b")) == "key:a.example/b");
    CHECK(key("host+uri", request("https://a.example:80/b")) == "key:a.example:80/b");
    CHECK(key("host+uri", request("http:///b")) == "no_host");
    CHECK(key("hdr(host)", request("http://a.example/b")) == "key:example.com");
}

TEST_CASE("a header is found in any case, its value trimmed, and the first one counts") {
    CHECK(key("hdr(X-Tenant)", request("/", "x-tenant: \t a b \t\r\nX-Tenant: c\r\n")) == "key:a b");
    CHECK(key("hdr(x-tenant)", request("/", "X-TENANT:a, b\r\n")) == "key:a, b");
    CHECK(key("hdr(x-tenant)", request("/", "X-Tenant2: a\r\nX-Tenan: b\r\n")) == "no_header");
    CHECK(key("hdr(x-tenant)", request("/", "X-Tenant: \r\nX-Tenant: c\r\n")) == "no_header");
    CHECK(key("hdr(x-tenant)", request("/", "X-Tenant: D\xc3\xbcsseldorf\r\n")) == "key:D\xc3\xbcsseldorf");
    CHECK(key("hdr(x-tenant)", request("/", "X-Tenant: a\r\n\tb\r\n  c\r\n")) == "key:a b c");
}

TEST_CASE("a query parameter is found as HAProxy does") {
    CHECK(key("url_param(id)", request("/?id=1&id=2")) == "key:1");
    CHECK(key("url_param(id)", request("/a?x=y&id=%20+z#f&g")) == "key:%20+z");
    CHECK(key("url_param(id)", request("/?id=a=b?c")) == "key:a=b?c");
    CHECK(key("url_param(id)", request("/?xid=1&idx=2&ID=3&id")) == "no_param");
    CHECK(key("url_param(id)", request("/?id&id=2")) == "key:2");
    CHECK(key("url_param(id)", request("/?id=")) == "key:");
    CHECK(key("url_param(id)", request("/?id=&a")) == "key:");
    CHECK(key("url_param(id)", request("/id=1")) == "no_param");
    CHECK(key("url_param(id)", request("/?")) == "no_param");
    CHECK(key("url_param(id)", request("/?&&id=1")) == "key:1");
}

TEST_CASE("what is no HTTP/1 is told at the first byte that shows it") {
    check_told_at("uri", "\x16\x03\x01\x02", "not_http", 1);
    check_told_at("uri", std::string_view("\0abc", 4), "not_http", 1);
    check_told_at("uri", "SSH-2.0-OpenSSH_9.2\r\n", "not_http", 20);
    check_told_at("uri", "GET \t/ HTTP/1.1\r\n", "not_http", 5);
    check_told_at("uri", "GET\r\n", "not_http", 4);
    check_told_at("uri", "GET \r\n", "not_http", 5);
    check_told_at("uri", "GET / HTTP/1.1\t\r\n", "not_http", 15);
    check_told_at("uri", "GET / HTTP/1.1 x\r\n", "not_http", 16);
    check_told_at("uri", "GET / HTTP/1.1\rHost: h\r\r", "not_http", 16);
    check_told_at("uri", "GET / HTTP/0.9\r\n", "not_http", 12);
    check_told_at("uri", "GET /a b HTTP/1.1\r\n", "not_http", 8);
    check_told_at("uri", "GET /a\x7f HTTP/1.1\r\n", "not_http", 7);
    check_told_at("uri", "HTTP/1.1 200 OK\r\n", "not_http", 5);
    check_told_at("uri", "OPTIONS / RTSP/1.0\r\n", "not_http", 11);
}

TEST_CASE("a method of 32 bytes is one and a longer one is none, complete or not") {
    const std::string method(kMethodMax, 'A');
    CHECK(key("uri", method) == "need_more");
    CHECK(key("uri", method + " / HTTP/1.1\r\n") == "key:/");
    CHECK(key("uri", method + "A") == "not_http");
    CHECK(key("uri", method + "A / HTTP/1.1\r\n") == "not_http");
}

TEST_CASE("an HTTP/2 preface is told by its version") {
    check_told_at("uri", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http2", 12);
    check_told_at("hdr(host)", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http2", 12);
    CHECK(key("uri", "PRI * HTTP/1.1\r\n") == "key:*");
}

TEST_CASE("a header that the key does not need never matters, whatever stands before it") {
    for (const std::string_view odd :
         {"Connection: keep-alive;timeout=5", "Connection: close keep-alive",
          "Proxy-Connection: Keep-Alive;x",
          "X-A: a\x7f"
          "b",
          "Transfer-Encoding: chunked\r\nContent-Length: 1", "Content-Length: x", "Bro ken: x", "no colon",
          ": no name", " Host: folded", "Host : blank", "X: a\rb", "Upgrade: ,;"}) {
        CAPTURE(odd);
        const auto head = request("/a", std::string(odd) + "\r\nHost: h.example\r\nX-Tenant: t\r\n");
        CHECK(key("uri", head) == "key:/a");
        CHECK(key("hdr(host)", head) == "key:h.example");
        CHECK(key("host+uri", head) == "key:h.example/a");
        CHECK(key("hdr(x-tenant)", head) == "key:t");
        CHECK(key("hdr(x-none)", head) == "no_header");
    }
    CHECK(key("hdr(host)", request("/", std::string("X: \0\r\nHost: h\r\n", 15))) == "key:h");
}

TEST_CASE("a NUL or a bare CR in the wanted header is refused, other odd bytes are the value's") {
    CHECK(key("hdr(x)", request("/", std::string("X: a\0b\r\n", 8))) == "not_http");
    CHECK(key("hdr(x)", request("/", "X: a\rb\r\n")) == "not_http");
    CHECK(key("hdr(x)", request("/", "X: a\r\r\n")) == "not_http");
    CHECK(key("hdr(x)", request("/", "X: a\x7f\x01\r\n")) == "key:a\x7f\x01");
    CHECK(key("hdr(x)", request("/", "X: a\n \r\n\tb\n")) == "key:a b");
}

TEST_CASE("a scan that goes on byte by byte answers as one that begins anew, and reads each byte once") {
    const std::string head = "\r\nGET http:/a#b  HTTP/1.1\r\nA: b\r\n\tc\r\nX-T: d\r\n e\r\nHost: H\r\n\r\n";
    for (const char* text : {"uri", "path", "host+uri", "hdr(x-t)", "hdr(x-none)", "url_param(q)"}) {
        CAPTURE(text);
        const auto rule = HashKeyRule::parse(text).value();
        HeadScan scan;
        std::string scratch;
        for (std::size_t size = 0; size <= head.size(); ++size) {
            const auto part = std::string_view(head).substr(0, size);
            const auto answer = to_text(http_key(rule, as_bytes(part), scratch, scan));
            CHECK(answer == key(text, part));
            // The last byte of a wanted header's line is looked at again: the byte after it was lacking.
            if (answer == "need_more") CHECK(scan.next + 1 >= size);
        }
    }
}

TEST_CASE("an upload of any size is a request") {
    for (const char* length : {"0", "5", "99999999999"}) {
        CAPTURE(length);
        const auto head =
            "PUT /a HTTP/1.1\r\nContent-Length: " + std::string(length) + "\r\nHost: h\r\n\r\nhello";
        CHECK(key("host+uri", head) == "key:h/a");
        CHECK(key("hdr(x-tenant)", head) == "no_header");
    }
    CHECK(key("hdr(x)", "PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n") ==
          "no_header");
}

TEST_CASE("a URL of 8 KB and headers of 14 KB work, whole and cut anywhere") {
    const std::string url = "/" + std::string(8191, 'u');
    CHECK(key("uri", request(url)) == "key:" + url);
    const std::string many = [] {
        std::string lines;
        while (lines.size() < 14 * 1024) lines += "X-Filler: 0123456789abcdef\r\n";
        return lines;
    }();
    const auto head = request("/a", many + "X-Tenant: t\r\nA: b\r\n");
    CHECK(key("hdr(x-tenant)", head) == "key:t");
    for (std::size_t size = 0; size < many.size(); size += 97) {
        CHECK(key("hdr(x-tenant)", std::string_view(head).substr(0, size)) == "need_more");
    }
    const auto one = request("/a", "Cookie: " + std::string(14 * 1024, 'c') + "\r\nHost: h\r\n");
    CHECK(key("host+uri", one) == "key:h/a");
    CHECK(key("hdr(cookie)", one).size() == 4 + 14 * 1024);
}

TEST_CASE("joined keys are their parts in the rule's order, with nothing between them") {
    const std::string head = "GET /a?id=7 HTTP/1.1\r\nX-Tenant:  t1 \r\nHost: Example.com:80\r\nY: z\r\n\r\n";
    CHECK(key("hdr(x-tenant)+path", head) == "key:t1/a");
    CHECK(key("path+hdr(x-tenant)", head) == "key:/at1");
    CHECK(key("host+hdr(y)+url_param(id)+uri depth 1", head) == "key:example.comz7/a?id=7");
    CHECK(key("hdr(host)+host", head) == "key:Example.com:80example.com");
    CHECK(key("host", head) == "key:example.com");
    CHECK(key("host+path", "GET http://U@H.:80/x?y HTTP/1.1\r\nHost: other\r\n\r\n") == "key:h/x");
    CHECK(key("hdr(y)+hdr(x-tenant)+uri", "GET / HTTP/1.1\r\nX-Tenant: a\r\n b\r\nY: c\r\n\td\r\n\r\n") ==
          "key:c da b/");
}

TEST_CASE("a part that the request lacks is empty, but for the host") {
    const std::string head = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    CHECK(key("hdr(x)+path", head) == "key:/a");
    CHECK(key("url_param(id)+host", head) == "key:h");
    CHECK(key("hdr(x)+url_param(id)", head) == "no_header");
    CHECK(key("url_param(id)+hdr(x)", head) == "no_param");
    CHECK(key("hdr(x)+host+path", "GET /a HTTP/1.1\r\nX: y\r\n\r\n") == "no_host");
    CHECK(key("hdr(x)+url_param(id)", "GET /a?id= HTTP/1.1\r\n\r\n") == "key:");
}

TEST_CASE("a joined key is told when the last of its headers is, or the head's end") {
    const std::string until = "GET /a HTTP/1.1\r\nX: 1\r\nHost: h\r\n";
    check_told_at("host+hdr(x)+uri", until + "Z: y\r\n\r\n", "key:h1/a", until.size() + 1);
    const std::string head = "GET /a HTTP/1.1\r\nHost: h\r\nZ: 1\r\n\r\n";
    check_told_at("host+hdr(x)+uri", head, "key:h/a", head.size());
}

TEST_CASE("the scan of a joined key goes on where it stopped") {
    const auto rule = HashKeyRule::parse("hdr(y)+host+uri query(sort)").value();
    const std::string head = "GET /a?c&b HTTP/1.1\r\nX: 1\r\nHost: h\r\nY: 2\r\n 3\r\n\r\n";
    HeadScan scan;
    std::string scratch;
    for (std::size_t size = 0; size < head.size(); ++size) {
        const auto answer =
            to_text(http_key(rule, as_bytes(std::string_view(head).substr(0, size)), scratch, scan));
        CHECK(answer == (size < head.size() - 1 ? "need_more" : "key:2 3h/a?b&c"));
    }
    CHECK(to_text(http_key(rule, as_bytes(std::string_view(head)), scratch, scan)) == "key:2 3h/a?b&c");
}

TEST_CASE("the form of a URI comes before its cuts") {
    CHECK(key("uri query(sort) len 8", request("/a?z=1&b=2")) == "key:/a?b=2&z");
    CHECK(key("uri normalise depth 1", request("/x/../%61/b")) == "key:/a");
    CHECK(key("path normalise", request("/%7ea?b")) == "key:/~a");
    CHECK(key("url_param(id) decode", request("/?id=%41%2f")) == "key:A/");
    CHECK(key("uri query(exclude=utm_*)", request("http://h?utm_a=1&b")) == "key:/?b");
    CHECK(key("host+uri query(sort,include=id,exclude=utm_*)", request("/a?utm_x=1&id=3&x=2")) ==
          "key:example.com/a?id=3");
}
