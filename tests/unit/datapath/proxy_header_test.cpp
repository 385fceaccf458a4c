#include "libsplice/datapath/proxy_header.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "libsplice/base/address.hpp"
#include "tests/unit/datapath/raw_packet.hpp"

using namespace splice::testing;

namespace {

const std::string kSignature("\r\n\r\n\0\r\nQUIT\n", 12);

std::string v2(char command, char family, const std::string& rest) {
    return kSignature + command + family + static_cast<char>(rest.size() >> 8) +
           static_cast<char>(rest.size()) + rest;
}
std::string ipv4_addresses() {
    return {'\xc0', 0, 2, 1, '\xc6', '\x33', 'd', 10, '\x30', '\x39', 0, 80};
}
std::string ipv6_addresses() {
    std::string text(36, '\0');
    text.replace(0, 4, std::string("\x20\x01\x0d\xb8", 4));
    text[15] = 1;
    return text;
}

// "192.0.2.1 44": the client and the header's length; of a header without a client the answer and the length;
// "more", "wrong".
std::string read(const std::string& stream) {
    // A heap copy without slack, so that a sanitizer sees a byte too many.
    const Octets bytes(stream.begin(), stream.end());
    splice_proxy_header header{};
    const auto answer = splice_proxy_read(bytes.data(), bytes.data() + bytes.size(),
                                          static_cast<__u32>(bytes.size()), &header);
    const std::string length = " " + std::to_string(header.length);
    switch (answer) {
        case SPLICE_PROXY_NEED_MORE:
            return "more";
        case SPLICE_PROXY_ADDRESS:
            return splice::IpAddress(header.source).to_string() + length;
        case SPLICE_PROXY_UNKNOWN:
            return "unknown" + length;
        case SPLICE_PROXY_LOCAL:
            return "local" + length;
        default:
            return "wrong";
    }
}

// Of a line of version 1, with the request behind it: the client.
std::string client_in(const std::string& line) {
    const std::string answer = read(line + "\r\nGET / HTTP/1.1\r\n\r\n");
    const std::string length = " " + std::to_string(line.size() + 2);
    if (answer == "wrong" || answer == "more") return answer;
    REQUIRE(answer.ends_with(length));
    return answer.substr(0, answer.size() - length.size());
}

std::string tcp6(const std::string& source) {
    return client_in("PROXY TCP6 " + source + " 2001:db8:1::10 56324 80");
}

}  // namespace

TEST_CASE("a line of version 1 names the client") {
    CHECK(client_in("PROXY TCP4 192.0.2.1 198.51.100.10 56324 80") == "192.0.2.1");
    CHECK(client_in("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535") == "255.255.255.255");
    CHECK(client_in("PROXY TCP4 0.0.0.0 10.0.0.1 0 1") == "0.0.0.0");
    CHECK(client_in("PROXY TCP6 2001:db8::1 2001:db8:1::10 56324 80") == "2001:db8::1");
    CHECK(client_in("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535") ==
          "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
}

TEST_CASE("each form of an IPv6 address in version 1 is the address that inet_pton reads") {
    CHECK(tcp6("::") == "::");
    CHECK(tcp6("::1") == "::1");
    CHECK(tcp6("1::") == "1::");
    CHECK(tcp6("1:2:3:4:5:6:7:8") == "1:2:3:4:5:6:7:8");
    CHECK(tcp6("2001:DB8:0:00:000::a") == "2001:db8::a");
    CHECK(tcp6("1:2:3::6:7:8") == "1:2:3::6:7:8");
    CHECK(tcp6("1::3:4:5:6:7:8") == "1:0:3:4:5:6:7:8");
    CHECK(tcp6("::ffff:192.0.2.1") == "192.0.2.1");
    CHECK(tcp6("64:ff9b::192.0.2.1") == "64:ff9b::c000:201");
    CHECK(tcp6("1:2:3:4:5:6:10.0.0.1") == "1:2:3:4:5:6:a00:1");
    for (const char* wrong : {"",
                              ":",
                              ":::",
                              "1",
                              "1:",
                              ":1",
                              "1:2:3:4:5:6:7",
                              "1:2:3:4:5:6:7:8:9",
                              "1:2:3:4:5:6:7::8",
                              "1::2::3",
                              "12345::",
                              "g::",
                              "1.2.3.4",
                              "::1.2.3",
                              "::1.2.3.4.5",
                              "::256.0.0.1",
                              "::01.2.3.4",
                              "1:2.:3.4.5",
                              "::1.2.3.4:5",
                              "1:2:3:4:5:6:7:1.2.3.4",
                              "::a.2.3.4",
                              "::1%eth0",
                              "[::1]",
                              "::1 "}) {
        CAPTURE(wrong);
        CHECK(tcp6(wrong) == "wrong");
    }
}

TEST_CASE("a line of version 1 that breaks a rule of its own is wrong") {
    for (const char* line : {"PROXY TCP4 192.0.2.1 198.51.100.10 56324",
                             "PROXY TCP4 192.0.2.1 198.51.100.10 56324 80 ",
                             "PROXY TCP4  192.0.2.1 198.51.100.10 56324 80",
                             "PROXY  TCP4 192.0.2.1 198.51.100.10 56324 80",
                             "PROXY TCP4 192.0.2.1 198.51.100.10 056324 80",
                             "PROXY TCP4 192.0.2.1 198.51.100.10 65536 80",
                             "PROXY TCP4 192.0.2.1 198.51.100.10 123456 80",
                             "PROXY TCP4 192.0.2.1 198.51.100.10 -1 80",
                             "PROXY TCP4 192.0.2.1 198.51.100.10 5a 80",
                             "PROXY TCP4 192.0.2.1 198.51.100.10  80",
                             "PROXY TCP4 192.0.2.01 198.51.100.10 1 80",
                             "PROXY TCP4 192.0.2.256 198.51.100.10 1 80",
                             "PROXY TCP4 192.0.2 198.51.100.10 1 80",
                             "PROXY TCP4 192.0.2.1.1 198.51.100.10 1 80",
                             "PROXY TCP4 192.0..1 198.51.100.10 1 80",
                             "PROXY TCP4 2001:db8::1 2001:db8::2 1 80",
                             "PROXY TCP4 192.0.2.1 2001:db8::2 1 80",
                             "PROXY TCP6 2001:db8::1 192.0.2.1 1 80",
                             "PROXY TCP5 192.0.2.1 198.51.100.10 1 80",
                             "PROXY UDP4 192.0.2.1 198.51.100.10 1 80",
                             "proxy TCP4 192.0.2.1 198.51.100.10 1 80",
                             "PROXY\tTCP4 192.0.2.1 198.51.100.10 1 80",
                             "PROXY TCP4 192.0.2.1 198.51.100.10 1 80\r",
                             "GET / HTTP/1.1",
                             "POST / HTTP/1.1",
                             "",
                             " PROXY UNKNOWN",
                             "PROXY UNKNOW"}) {
        CAPTURE(line);
        CHECK(client_in(line) == "wrong");
    }
    CHECK(read("PROXY TCP4 192.0.2.1 198.51.100.10 1 80\n") == "wrong");
}

TEST_CASE("UNKNOWN ends with its CRLF, whatever comes before that") {
    CHECK(read("PROXY UNKNOWN\r\nGET /") == "unknown 15");
    CHECK(read("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n") == "unknown 43");
    CHECK(read("PROXY UNKNOWN \r\r x\n\r\nGET /") == "unknown 21");
}

TEST_CASE("a line of version 1 has at most 107 bytes, its CRLF included") {
    const std::string head = "PROXY UNKNOWN ";
    CHECK(read(head + std::string(107 - head.size() - 2, 'x') + "\r\n") == "unknown 107");
    CHECK(read(head + std::string(107 - head.size() - 1, 'x') + "\r\n") == "wrong");
    CHECK(read(head + std::string(500, 'x')) == "wrong");
    CHECK(read(head + std::string(106 - head.size(), 'x')) == "more");
}

TEST_CASE("a header of version 2 names the client, and its length passes over TLVs") {
    CHECK(read(v2('\x21', '\x11', ipv4_addresses())) == "192.0.2.1 28");
    CHECK(read(v2('\x21', '\x21', ipv6_addresses()) + "GET /") == "2001:db8::1 52");
    CHECK(read(v2('\x21', '\x11', ipv4_addresses() + std::string("\x02\x00\x03a.b", 6)) + "GET /") ==
          "192.0.2.1 34");
    CHECK(read(v2('\x21', '\x21', ipv6_addresses() + std::string(1000, 'x'))) == "2001:db8::1 1052");
    std::string mapped = ipv6_addresses();
    mapped.replace(0, 16, std::string("\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\1", 16));
    CHECK(read(v2('\x21', '\x21', mapped)) == "192.0.2.1 52");
    CHECK(read(v2('\x21', '\x11', ipv4_addresses() + std::string(65523, 'x'))) == "192.0.2.1 65551");
}

TEST_CASE("LOCAL, and families that are not TCP over IP, are whole headers without a client") {
    CHECK(read(v2('\x20', '\0', "")) == "local 16");
    CHECK(read(v2('\x20', '\x11', ipv4_addresses())) == "local 28");
    CHECK(read(v2('\x20', '\x77', "xyz")) == "local 19");
    CHECK(read(v2('\x21', '\0', "")) == "unknown 16");
    CHECK(read(v2('\x21', '\0', "tlv")) == "unknown 19");
    CHECK(read(v2('\x21', '\x12', ipv4_addresses())) == "unknown 28");
    CHECK(read(v2('\x21', '\x10', ipv4_addresses())) == "unknown 28");
    CHECK(read(v2('\x21', '\x22', ipv6_addresses())) == "unknown 52");
    CHECK(read(v2('\x21', '\x31', std::string(216, 'u'))) == "unknown 232");
}

TEST_CASE("a header of version 2 that breaks a rule of its own is wrong") {
    CHECK(read(v2('\x21', '\x11', ipv4_addresses().substr(1))) == "wrong");
    CHECK(read(v2('\x21', '\x21', ipv6_addresses().substr(1))) == "wrong");
    CHECK(read(v2('\x21', '\x41', ipv6_addresses())) == "wrong");
    CHECK(read(v2('\x21', '\x13', ipv4_addresses())) == "wrong");
    CHECK(read(v2('\x22', '\x11', ipv4_addresses())) == "wrong");
    CHECK(read(v2('\x11', '\x11', ipv4_addresses())) == "wrong");
    CHECK(read(kSignature + '\x11') == "wrong");
    std::string spoilt = v2('\x21', '\x11', ipv4_addresses());
    for (std::size_t at = 0; at < kSignature.size(); ++at) {
        CAPTURE(at);
        std::string each = spoilt;
        each[at] = static_cast<char>(each[at] ^ 1);
        CHECK(read(each) == "wrong");
        CHECK(read(each.substr(0, at + 1)) == "wrong");
    }
}

TEST_CASE("a header that has not come whole needs more, wherever it is cut, and then gives one answer") {
    const std::vector<std::string> headers{
        "PROXY TCP4 192.0.2.1 198.51.100.10 56324 80\r\n",
        "PROXY TCP6 2001:db8::ffff:192.0.2.1 2001:db8::2 56324 80\r\n",
        "PROXY UNKNOWN 1 2\r\n",
        v2('\x21', '\x11', ipv4_addresses() + "tlvs"),
        v2('\x21', '\x21', ipv6_addresses()),
        v2('\x20', '\0', ""),
    };
    for (const std::string& header : headers) {
        CAPTURE(header);
        const std::string whole = read(header);
        CHECK(whole != "wrong");
        for (std::size_t size = 0; size < header.size(); ++size)
            CHECK(read(header.substr(0, size)) == "more");
        CHECK(read(header + "GET / HTTP/1.1\r\n\r\n") == whole);
    }
}

TEST_CASE("what a link pads is no part of a header") {
    const std::string header = "PROXY TCP4 192.0.2.1 198.51.100.10 56324 80\r\n";
    splice_proxy_header told{};
    CHECK(splice_proxy_read(header.data(), header.data() + header.size(), 20, &told) ==
          SPLICE_PROXY_NEED_MORE);
    const std::string second = v2('\x21', '\x11', ipv4_addresses());
    CHECK(splice_proxy_read(second.data(), second.data() + second.size(), 20, &told) ==
          SPLICE_PROXY_NEED_MORE);
}
