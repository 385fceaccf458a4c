// Requests out of captured connections: streams in their order, HTTP/1 messages in them, and the lines for
// splice-hash.
#include "tools/replay/requests.hpp"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/replay/recorder.hpp"
#include "tests/replay/tape.hpp"
#include "tools/replay/http_messages.hpp"
#include "tools/replay/stream_order.hpp"

namespace splice::replay {
namespace {

using nlohmann::json;

// What a reader was told: its bytes, "<n>" for n that were lost.
struct Told final : StreamReader {
    void take(Bytes bytes) override { text += as_text(bytes); }
    void lost(std::uint32_t bytes) override { text += "<" + std::to_string(bytes) + ">"; }
    std::string text;
};

struct Stream {
    explicit Stream(std::uint32_t first = 1000) { order.begin(Seq(first)); }
    Stream& add(std::uint32_t seq, std::string_view text) {
        order.add(Seq(seq), as_bytes(text), told);
        return *this;
    }
    StreamOrder order;
    Told told;
};

// "head FIRST_LINE", "body N", "end", "broken"
struct Messages final : HttpMessages::Listener {
    HttpBody head(const HttpHead& head) override {
        log.push_back("head " + head.first_line);
        return next;
    }
    void body(std::uint64_t bytes) override {
        if (log.back().starts_with("body ")) {
            bytes += std::stoull(log.back().substr(5));
            log.pop_back();
        }
        log.push_back("body " + std::to_string(bytes));
    }
    void end() override { log.emplace_back("end"); }
    void broken() override { log.emplace_back("broken"); }

    HttpBody next = HttpBody::told;
    std::vector<std::string> log;
    HttpMessages messages{*this};
};

using Log = std::vector<std::string>;

std::vector<json> requests_of(const Tape& tape) {
    Lines lines;
    RequestReport report(lines);
    tape.play({&report});
    report.finish();
    std::vector<json> requests;
    for (const std::string& line : lines.all) requests.push_back(json::parse(line));
    return requests;
}

Tape connected() {
    Tape tape;
    tape.add(syn()).add(syn_ack()).add(client());
    return tape;
}

Segment with_flags(Segment segment, std::uint8_t flags) {
    segment.flags |= flags;
    return segment;
}

}  // namespace

TEST_CASE("segments in any order, some of them twice, give the stream") {
    Stream stream;
    stream.add(1000, "ab").add(1004, "ef").add(1006, "gh").add(1000, "abc").add(1003, "de").add(1006, "gh");
    CHECK(stream.told.text == "abcdefgh");
    CHECK(stream.order.next() == Seq(1008));
}

TEST_CASE("a stream goes on across the sequence numbers' wrap") {
    Stream stream(0xfffffffe);
    stream.add(1, "de").add(0xfffffffe, "abc");
    CHECK(stream.told.text == "abcde");
}

TEST_CASE("what waits for a gap is told at the end, with how much is missing") {
    Stream stream;
    stream.add(1000, "a").add(1009, "j").add(1004, "ef");
    stream.order.finish(stream.told);
    CHECK(stream.told.text == "a<3>ef<3>j");
}

TEST_CASE("a gap that too many segments are ahead of is given up") {
    Stream stream;
    for (std::uint32_t i = 0; i <= kMaxAheadSegments; ++i) stream.add(1002 + i, "x");
    CHECK(stream.told.text == "<2>" + std::string(kMaxAheadSegments + 1, 'x'));
}

TEST_CASE("messages follow one another, whatever the pieces they come in") {
    const std::string text =
        "\r\nPOST /a HTTP/1.1\r\ncontent-LENGTH: 3\r\n\r\nxyz"
        "POST /b HTTP/1.1\nTransfer-Encoding: gzip, "
        "Chunked\n\n4;ext=1\r\nabcd\r\nA\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n"
        "GET /c HTTP/1.1\r\n\r\n";
    const Log wanted = {"head POST /a HTTP/1.1", "body 3", "end", "head POST /b HTTP/1.1", "body 14", "end",
                        "head GET /c HTTP/1.1",  "end"};
    Messages whole;
    whole.messages.take(as_bytes(text));
    CHECK(whole.log == wanted);
    Messages bytewise;
    for (const char& c : text) bytewise.messages.take(as_bytes({&c, 1}));
    CHECK(bytewise.log == wanted);
}

TEST_CASE("a body without a length ends with the connection, if an answer's") {
    Messages answer;
    answer.next = HttpBody::until_closed;
    answer.messages.take(as_bytes("HTTP/1.0 200 OK\r\n\r\nabc"));
    answer.messages.lost(7);
    CHECK(answer.log == Log{"head HTTP/1.0 200 OK", "body 10"});
    answer.messages.close();
    CHECK(answer.log.back() == "end");
}

TEST_CASE("bytes that nobody captured count in a body and break a head") {
    Messages in_body;
    in_body.messages.take(as_bytes("PUT / HTTP/1.1\r\nContent-Length: 10\r\n\r\nab"));
    in_body.messages.lost(8);
    in_body.messages.take(as_bytes("GET / HTTP"));
    in_body.messages.lost(1);
    in_body.messages.take(as_bytes("GET / HTTP/1.1\r\n\r\n"));
    CHECK(in_body.log == Log{"head PUT / HTTP/1.1", "body 10", "end", "broken"});
}

TEST_CASE("a length, a chunk's size or a head that is none breaks the messages") {
    for (const std::string text : {"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                                   "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}) {
        Messages one;
        one.messages.take(as_bytes(text));
        CHECK(one.log == Log{"head GET / HTTP/1.1", "broken"});
    }
    Messages endless;
    endless.messages.take(as_bytes(std::string(kMaxHttpHead + 1, 'a')));
    CHECK(endless.log == Log{"broken"});
}

TEST_CASE("each request of a kept-alive connection is a line, with its answer") {
    const std::string first = "GET /a?b HTTP/1.1\r\nHost: H.example\r\nX-Tenant: t1\r\nX-Tenant: t2\r\n\r\n";
    const std::string second = "GET /c HTTP/1.1\r\nHost: H.example\r\n\r\n";
    const std::string answer =
        "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=60\r\nContent-Length: 5\r\n\r\nhello";
    const std::string without_body =
        "HTTP/1.1 304 Not Modified\r\nCache-Control: No-Store\r\nContent-Length: 5\r\n\r\n";
    Tape tape = connected();
    tape.add(client(first)).add(server(answer));
    tape.add(client(second, static_cast<std::uint32_t>(first.size())));
    tape.add(server(without_body, static_cast<std::uint32_t>(answer.size())));
    const auto requests = requests_of(tape);
    REQUIRE(requests.size() == 2);
    const json& one = requests[0];
    CHECK(one["client"] == "192.0.2.1");
    CHECK(one["client_port"] == 40000);
    CHECK(one["method"] == "GET");
    CHECK(one["uri"] == "/a?b");
    CHECK(one["host"] == "H.example");
    CHECK(one["http_x_tenant"] == "t1");
    CHECK(one["status"] == 200);
    CHECK(one["bytes"] == 5);
    CHECK(one["ttl"] == 60);
    CHECK(one["bridge"].is_string());
    const json& two = requests[1];
    CHECK(two["uri"] == "/c");
    CHECK(two["status"] == 304);
    CHECK(two["bytes"] == 0);
    CHECK(two["ttl"] == 0);
    CHECK(two["connection"] == one["connection"]);
    CHECK(two["bridge"] == one["bridge"]);
    CHECK(two["time"].get<double>() > one["time"].get<double>());
}

TEST_CASE("requests that were sent at once get their own answers; an interim answer is none") {
    const std::string first = "PUT /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nxy";
    const std::string second = "HEAD /b HTTP/1.1\r\n\r\n";
    const std::string third = "GET /c HTTP/1.1\r\n\r\n";
    Tape tape = connected();
    tape.add(client(first + second + third));
    tape.add(
        server("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\nz"
               "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
               "HTTP/1.0 404 Not Found\r\n\r\nuntil the end"));
    const auto requests = requests_of(tape);
    REQUIRE(requests.size() == 3);
    CHECK(requests[0]["status"] == 201);
    CHECK(requests[0]["bytes"] == 1);
    CHECK(requests[1]["method"] == "HEAD");
    CHECK(requests[1]["bytes"] == 0);
    CHECK(requests[2]["status"] == 404);
    CHECK(requests[2]["bytes"] == 13);
}

TEST_CASE("a connection that was upgraded is one request with all that the server says") {
    const std::string upgrade = "GET /chat HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    const std::string switched = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
    Tape tape = connected();
    tape.add(client(upgrade)).add(server(switched));
    tape.add(client("GET no request", static_cast<std::uint32_t>(upgrade.size())));
    tape.add(server("12345", static_cast<std::uint32_t>(switched.size())));
    const auto requests = requests_of(tape);
    REQUIRE(requests.size() == 1);
    CHECK(requests[0]["status"] == 101);
    CHECK(requests[0]["bytes"] == 5);
}

TEST_CASE("a request without an answer in the capture has no bytes") {
    Tape tape = connected();
    tape.add(client(kRequest));
    const auto requests = requests_of(tape);
    REQUIRE(requests.size() == 1);
    CHECK(requests[0]["uri"] == "/a");
    CHECK_FALSE(requests[0].contains("bytes"));
    CHECK_FALSE(requests[0].contains("status"));
}

TEST_CASE("behind a PROXY header the client is the address in it") {
    const std::string header = "PROXY TCP4 203.0.113.7 198.51.100.10 5000 80\r\n";
    Tape tape = connected();
    tape.add(client(header + kRequest)).add(server("HTTP/1.1 204 No Content\r\n\r\n"));
    const auto requests = requests_of(tape);
    REQUIRE(requests.size() == 1);
    CHECK(requests[0]["client"] == "203.0.113.7");
    CHECK_FALSE(requests[0].contains("client_port"));
    CHECK(requests[0]["uri"] == "/a");
}

TEST_CASE("what is no HTTP is one request of its client, with all bytes of the server") {
    Tape tape = connected();
    tape.add(client("\x01\x02nothing")).add(server("abc")).add(server("defg", 3));
    const auto requests = requests_of(tape);
    REQUIRE(requests.size() == 1);
    CHECK_FALSE(requests[0].contains("uri"));
    CHECK(requests[0]["bytes"] == 7);
}

TEST_CASE("a port that is used again is another connection") {
    Tape tape = connected();
    const std::string answer = "HTTP/1.1 200 OK\r\n\r\nabc";
    const auto request_end = static_cast<std::uint32_t>(kRequest.size());
    tape.add(client(kRequest)).add(with_flags(server(answer), SPLICE_FIN));
    tape.add(with_flags(client({}, request_end), SPLICE_FIN));
    Segment again = syn();
    again.seq = kClientIsn + 100'000;
    Segment request = client(kRequest, 100'000);
    Segment answered = syn_ack();
    answered.ack = again.seq + 1;
    tape.add(again).add(answered).add(request);
    const auto requests = requests_of(tape);
    REQUIRE(requests.size() == 2);
    CHECK(requests[0]["bytes"] == 3);
    CHECK(requests[0]["connection"] != requests[1]["connection"]);
}

TEST_CASE("a connection that was captured from its middle has no requests") {
    Tape tape;
    tape.add(client("of a body")).add(server("answer"));
    CHECK(requests_of(tape).empty());
}

}  // namespace splice::replay
