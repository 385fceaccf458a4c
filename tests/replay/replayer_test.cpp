// Captures that no healthy network records, built by libtins packet by packet.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "libsplice/datapath/carriage.h"
#include "tests/replay/recorder.hpp"
#include "tests/replay/tape.hpp"
#include "tools/replay/ladder.hpp"
#include "tools/replay/report.hpp"

namespace splice::replay {
namespace {

std::vector<std::string> key_lines(const Tape& tape) {
    KeyReport keys;
    Lines lines;
    tape.play({&keys});
    keys.print(lines);
    return lines.all;
}

bool contains(const std::vector<std::string>& list, std::string_view text) {
    return std::ranges::find(list, text) != list.end();
}

}  // namespace

TEST_CASE("without the SYN the handshake is made up from the SYN-ACK") {
    Tape tape;
    tape.add(syn_ack()).add(client()).add(client(kRequest)).add(server("answer"));
    Recorder told;
    tape.play({&told});
    CHECK(contains(told.notes, "the capture lacks the SYN: made up"));
    REQUIRE(told.choices.size() == 1);
    CHECK(told.choices[0].key == "/a");
    REQUIRE(told.sent_to("client").size() == 2);
    CHECK(testing::parse(told.sent_to("client")[1].bytes).payload == "answer");
}

TEST_CASE("without any handshake a segment that begins a request makes one up") {
    Tape tape;
    tape.add(client(kRequest)).add(server("answer"));
    Recorder told;
    tape.play({&told});
    CHECK(contains(told.notes, "the capture lacks the handshake: made up"));
    REQUIRE(told.choices.size() == 1);
    const auto backend = told.sent_to("backend");
    REQUIRE(backend.size() == 2);
    const testing::Parsed request = testing::parse(backend[1].bytes);
    CHECK(request.packet.ack == kServerIsn + 1);
    CHECK(request.options.tsecr == 200);
    CHECK(request.payload == kRequest);
}

TEST_CASE("a connection that is captured from its middle is an orphan, whatever it says later") {
    Tape tape;
    tape.add(client("in the middle of a body", 1000))
        .add(server("more"))
        .add(client(kRequest, 1023))
        .add(server("answer", 4));
    Recorder told;
    tape.play({&told});
    CHECK(told.verdicts == std::vector<std::string>{"balancer hold_orphan", "b1 pass_not_spliced",
                                                    "balancer hold_orphan", "b1 pass_not_spliced"});
    CHECK(told.sent.empty());
    CHECK(key_lines(tape) == std::vector<std::string>{"192.0.2.1\t40000\t198.51.100.10\t80\t-\t-\t-"});
}

TEST_CASE("a capture of one direction is enough: the server's numbers are read from the client's") {
    Tape tape;
    tape.add(syn()).add(client()).add(client(kRequest)).add(client({}, 28));
    Recorder told;
    tape.play({&told});
    const auto backend = told.sent_to("backend");
    REQUIRE(backend.size() == 3);
    CHECK(testing::parse(backend[0].bytes).packet.seq == kClientIsn);
    CHECK(testing::parse(backend[1].bytes).packet.ack == kServerIsn + 1);
    CHECK(testing::parse(backend[2].bytes).packet.ack == kServerIsn + 1);
}

TEST_CASE("a gap in the first payload ends by first_payload_wait, in the capture's time") {
    Tape tape;
    tape.add(syn()).add(syn_ack()).add(client()).add(client("GET /a HT"));
    tape.wait(40ms).add(client("\r\nHost: x\r\n\r\n", 15));
    tape.wait(30ms).add(client("more", 28));
    Recorder told;
    tape.play({&told});
    REQUIRE(told.choices.size() == 1);
    CHECK(told.choices[0].kind == "source");
    CHECK(told.choices[0].fallback == Fallback::wait_expired);
    const auto keys = key_lines(tape);
    REQUIRE(keys.size() == 1);
    CHECK(keys[0].contains("\tsource\t192.0.2.1\t"));
}

TEST_CASE("segments of a first payload in any order give the key of the whole") {
    const std::string head = kRequest.substr(0, 6), middle = kRequest.substr(6, 9),
                      rest = kRequest.substr(15);
    std::vector<Segment> pieces = {client(middle, 6), client(rest, 15)};
    for (int turn = 0; turn < 2; ++turn) {
        Tape tape;
        tape.add(syn()).add(syn_ack()).add(client()).add(client(head)).add(pieces[0]).add(pieces[1]);
        CHECK(key_lines(tape)[0].contains("\turi\t/a\t"));
        std::swap(pieces[0], pieces[1]);
    }
}

TEST_CASE("a first payload whose later segment came first is chosen by its key, and the report says so") {
    const std::string head = kRequest.substr(0, 6), rest = kRequest.substr(6);
    Tape in_order, overtaken;
    in_order.add(syn()).add(syn_ack()).add(client()).add(client(head)).add(client(rest, 6));
    overtaken.add(syn()).add(syn_ack()).add(client()).add(client(rest, 6)).add(client(head));
    CHECK(key_lines(overtaken) == key_lines(in_order));
    Recorder told;
    overtaken.play({&told});
    REQUIRE(told.choices.size() == 1);
    CHECK(told.choices[0].key == "/a");
    CHECK(!told.choices[0].fallback);
    CHECK(contains(told.notes, "balancer takes up what had overtaken the first segment"));
    CHECK(!contains(told.notes, "balancer first_payload_wait is over"));
}

TEST_CASE(
    "the key of a request behind a PROXY header is the request's, also where the header is a segment of its "
    "own") {
    const std::string version_1 = "PROXY TCP4 203.0.113.7 198.51.100.10 56324 80\r\n";
    const std::string version_2(
        "\x0d\x0a\x0d\x0a\x00\x0d\x0aQUIT\x0a\x21\x11\x00\x0c\xcb\x00\x71\x07\xc6\x33\x64\x0a\xdc\x04\x00"
        "\x50",
        28);
    for (const std::string& header : {version_1, version_2}) {
        Tape whole, apart;
        whole.add(syn()).add(syn_ack()).add(client()).add(client(header + kRequest));
        apart.add(syn()).add(syn_ack()).add(client()).add(client(header));
        apart.add(client(kRequest, static_cast<std::uint32_t>(header.size())));
        const auto lines = key_lines(whole);
        REQUIRE(lines.size() == 1);
        CHECK(lines[0].contains("\turi\t/a\t"));
        CHECK(key_lines(apart) == lines);
    }
}

TEST_CASE("what overtook a whole first payload follows it, and nothing is said to have expired") {
    Tape tape;
    tape.add(syn()).add(syn_ack()).add(client()).add(client("more", 28)).add(client(kRequest));
    Recorder told;
    tape.play({&told});
    REQUIRE(told.choices.size() == 1);
    CHECK(told.choices[0].key == "/a");
    CHECK(!contains(told.notes, "balancer first_payload_wait is over"));
    CHECK(testing::parse(told.sent_to("backend").back().bytes).payload == "more");
}

TEST_CASE("a packet whose payload was cut is followed with zeros in its place, and says so") {
    Tape tape;
    tape.add(syn()).add(syn_ack()).add(client()).add(client(kRequest));
    PacketBytes answer = server(std::string(1000, 'x')).build();
    tape.add(answer, 96).add(client({}, 28));
    Recorder told;
    Lines lines;
    LineReport report(lines);
    tape.play({&told, &report});
    const testing::Parsed left = testing::parse(told.sent_to("client").back().bytes);
    CHECK(left.checksums_right);
    CHECK(left.payload.size() == 1000);
    CHECK(left.payload[999] == '\0');
    REQUIRE(lines.all.size() == 6);
    CHECK(lines.all[4].contains("truncated: 96 of 1052 bytes captured"));
}

TEST_CASE("a packet whose headers were cut is drop_truncated") {
    for (const std::size_t captured : {1U, 19U, 20U, 39U, 51U}) {
        CAPTURE(captured);
        Tape tape;
        tape.add(client(kRequest).build(), captured);
        Recorder told;
        tape.play({&told});
        REQUIRE(told.verdicts.size() == 1);
        CHECK(told.verdicts[0] == "balancer drop_truncated");
    }
}

TEST_CASE("a checksum that a card was to finish is finished, one that broke on the way stays broken") {
    PacketBytes request = client(kRequest).build();
    Tape unfinished;
    splice_packet packet{};
    REQUIRE(splice_parse_ip(request.data(), request.data() + request.size(), &packet) == SPLICE_CONTINUE);
    PacketBytes partial = request;
    splice_store16(partial.data() + packet.l4_offset + 16,
                   splice_sum_fold(splice_sum_pseudo_header(&packet, splice_l4_length(&packet))));
    unfinished.add(syn()).add(syn_ack()).add(client()).add(partial);
    CHECK(key_lines(unfinished)[0].contains("\turi\t/a\t"));

    Tape broken;
    request.back() ^= std::byte{1};
    broken.add(syn()).add(syn_ack()).add(client()).add(request);
    Recorder told;
    broken.play({&told});
    CHECK(told.verdicts.back() == "balancer drop_bad_tcp_checksum");
}

TEST_CASE("a checksum of 0 was left to the card, whatever the family") {
    for (const bool six : {false, true}) {
        CAPTURE(six);
        Tape tape;
        for (Segment segment : {syn(), syn_ack(), client(), client(kRequest)}) {
            if (six) {
                const bool to_server = segment.destination_port == 80;
                segment.source = to_server ? "2001:db8::1" : "2001:db8::80";
                segment.destination = to_server ? "2001:db8::80" : "2001:db8::1";
            }
            PacketBytes bytes = segment.build();
            splice_store16(bytes.data() + (six ? 40 : 20) + 16, 0);
            tape.add(bytes);
        }
        CHECK(key_lines(tape)[0].contains("\turi\t/a\t"));
    }
}

TEST_CASE("wrong checksums are ignored when that is asked for, and counted") {
    PacketBytes request = client(kRequest).build();
    request[10] ^= std::byte{1};     // of the IP header
    request.back() ^= std::byte{1};  // covered by TCP's
    Tape tape;
    tape.add(syn()).add(syn_ack()).add(client()).add(request);
    const PacketBytes answer = server(std::string(1200, 'x')).build();
    PacketBytes too_big = testing::icmp_too_big("203.0.113.1", "198.51.100.10", answer, 40, 1300);
    too_big[20 + 2] ^= std::byte{1};
    tape.add(answer).add(too_big);
    Recorder judged;
    ChecksumReport told_of_judged;
    tape.play({&judged, &told_of_judged});
    CHECK(contains(judged.verdicts, "balancer drop_bad_ip_checksum"));
    CHECK(told_of_judged.remark().starts_with("packets dropped for a wrong checksum: 1 "));

    tape.checksums = Checksums::ignored;
    Recorder ignored;
    ChecksumReport told_of_ignored;
    Lines lines;
    LineReport report(lines);
    tape.play({&ignored, &told_of_ignored, &report});
    REQUIRE(ignored.choices.size() == 1);
    CHECK(ignored.choices[0].key == "/a");
    CHECK(ignored.verdicts.back().ends_with("deliver_icmp"));
    CHECK(told_of_ignored.remark() == "packets with a wrong checksum, which was ignored: 2");
    CHECK(std::ranges::count_if(lines.all, [](const std::string& line) {
              return line.contains("| wrong checksum ignored; ");
          }) == 2);
    for (const Travelled& packet : ignored.sent) CHECK(testing::parse(packet.bytes).checksums_right);
}

TEST_CASE("SACK edges are mapped to the cookie and come back to the backend as captured") {
    Tape tape;
    Segment gap = client({}, 28);
    gap.sack = {{kServerIsn + 1001, kServerIsn + 2001}};
    tape.add(syn()).add(syn_ack()).add(client()).add(client(kRequest)).add(gap);
    Recorder told;
    tape.play({&told});
    const PacketBytes heard = told.sent_to("backend").back().bytes;
    const testing::Parsed parsed = testing::parse(heard);
    REQUIRE(parsed.options.sack_blocks == 1);
    const std::byte* edges = heard.data() + parsed.packet.l4_offset + parsed.options.sack_offset + 2;
    CHECK(splice_load_be32(edges) == kServerIsn + 1001);
    CHECK(splice_load_be32(edges + 4) == kServerIsn + 2001);
    const testing::Parsed forwarded = testing::parse(told.arrived.back().bytes);
    CHECK(forwarded.packet.ack != kServerIsn + 1);
}

TEST_CASE("an ICMP error about the server's packets reaches the backend in its own numbers") {
    Tape tape;
    const PacketBytes answer = server(std::string(1200, 'x')).build();
    tape.add(syn()).add(syn_ack()).add(client()).add(client(kRequest)).add(answer);
    tape.add(testing::icmp_too_big("203.0.113.1", "198.51.100.10", answer, 40, 1300));
    Recorder told;
    tape.play({&told});
    CHECK(told.verdicts[told.verdicts.size() - 2] == "balancer forward_icmp");
    CHECK(told.verdicts.back().ends_with("deliver_icmp"));
    const PacketBytes heard = told.sent_to("backend").back().bytes;
    splice_packet outer{}, quoted{};
    const std::byte* end = heard.data() + heard.size();
    REQUIRE(splice_parse_ip(heard.data(), end, &outer) == SPLICE_CONTINUE);
    REQUIRE(splice_parse_icmp_error(heard.data(), end, &outer, &quoted) == SPLICE_CONTINUE);
    CHECK(quoted.seq == kServerIsn + 1);
}

TEST_CASE("a SYN-ACK that answers another SYN is the backend's answer all the same") {
    Tape tape;
    Segment other = syn_ack();
    other.ack += 1000;
    tape.add(syn()).add(other).add(client()).add(client(kRequest)).add(server("answer"));
    Recorder told;
    tape.play({&told});
    CHECK(std::ranges::count_if(told.verdicts, [](const std::string& verdict) {
              return verdict.ends_with("learn_backend_isn");
          }) == 1);
    CHECK(testing::parse(told.sent_to("client").back().bytes).payload == "answer");
}

TEST_CASE(
    "of two SYN-ACKs with different numbers the one that the client acknowledges counts, whichever came "
    "last") {
    constexpr std::uint32_t kOther = 0x77777777;
    Segment other = syn_ack();
    other.seq = kOther;
    other.window_scale = 3;
    std::vector<Segment> both = {other, syn_ack()};
    for (int turn = 0; turn < 2; ++turn) {
        CAPTURE(turn);
        Tape tape;
        tape.add(syn())
            .add(both[0])
            .add(both[1])
            .add(client())
            .add(client(kRequest))
            .add(other)
            .add(server("answer"));
        Recorder told;
        tape.play({&told});
        REQUIRE(told.choices.size() == 1);
        CHECK(told.choices[0].key == "/a");
        CHECK(testing::parse(told.sent_to("backend").back().bytes).packet.ack == kServerIsn + 1);
        CHECK(testing::parse(told.sent_to("client").back().bytes).payload == "answer");
        std::swap(both[0], both[1]);
    }
    // A server that has spoken before the client's first ACK that was captured.
    Tape late;
    Segment request = client(kRequest);
    request.ack = kServerIsn + 1 + 6;
    late.add(syn()).add(both[0]).add(both[1]).add(request);
    Recorder told;
    late.play({&told});
    const std::uint32_t cookie = testing::parse(told.sent_to("client").front().bytes).packet.seq;
    CHECK(testing::parse(told.arrived.back().bytes).packet.ack == cookie + 7);
}

TEST_CASE("any order and any cut of a first payload tells what a server speaks") {
    const std::string hello("\x16\x03\x01\x00\x05hello", 10);
    struct Stream {
        std::string bytes;
        const char* kind;
    };
    for (const auto& [bytes, kind] : {Stream{"\r\n\r\n" + kRequest, "uri"}, Stream{kRequest, "uri"},
                                      Stream{"PURGE /a HTTP/1.1\r\nHost: x\r\n\r\n", "uri"}}) {
        CAPTURE(bytes);
        for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
            CAPTURE(cut);
            Tape tape;
            tape.add(syn()).add(syn_ack()).add(client());
            tape.add(client(bytes.substr(0, cut)))
                .add(client(bytes.substr(cut), static_cast<std::uint32_t>(cut)));
            CHECK(key_lines(tape)[0].contains(std::string("\t") + kind + "\t/a\t"));
        }
        // Five later segments first; the last of them comes so late that the key still chooses.
        Tape later;
        later.add(syn()).add(syn_ack()).add(client());
        for (std::uint32_t at = 5; at > 0; --at) {
            const std::size_t end = at == 5 ? std::string::npos : 4;
            later.add(client(bytes.substr(std::size_t{4} * at, end), 4 * at));
        }
        later.add(client(bytes.substr(0, 4)));
        CHECK(key_lines(later)[0].contains(std::string("\t") + kind + "\t/a\t"));
    }
    Tape tls;
    tls.add(syn())
        .add(syn_ack())
        .add(client())
        .add(client(hello.substr(1), 1))
        .add(client(hello.substr(0, 1)));
    Recorder told;
    tls.play({&told});
    REQUIRE(told.choices.size() == 1);
    CHECK(told.choices[0].fallback != Fallback::key_is_source);
    // Data on the SYN begins the stream.
    Segment fast_open = syn();
    fast_open.payload = kRequest;
    Tape opened;
    opened.add(fast_open).add(syn_ack()).add(client()).add(client(kRequest));
    CHECK(key_lines(opened)[0].contains("\turi\t/a\t"));
}

TEST_CASE("behind a PROXY header the key is the stream's, and the address of key source is the header's") {
    const std::string v1 = "PROXY TCP4 203.0.113.7 198.51.100.10 56324 80\r\n";
    const std::string v2("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\7\xc6\x33\x64\x0a\1\2\0\x50", 28);
    for (const std::string& header : {v1, v2, std::string("PROXY UNKNOWN\r\n")}) {
        CAPTURE(header);
        const std::string bytes = header + kRequest;
        for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
            CAPTURE(cut);
            Tape tape;
            tape.add(syn()).add(syn_ack()).add(client());
            tape.add(client(bytes.substr(0, cut)))
                .add(client(bytes.substr(cut), static_cast<std::uint32_t>(cut)));
            CHECK(key_lines(tape)[0].contains("\turi\t/a\t"));
        }
        // Without the SYN, and captured from one side alone.
        Tape middle;
        middle.add(client(bytes));
        CHECK(key_lines(middle)[0].contains("\turi\t/a\t"));
    }
    for (const std::string& header : {v1, v2}) {
        Tape mail;
        mail.add(syn()).add(syn_ack()).add(client()).add(client(header)).add(server("220 ready\r\n"));
        CHECK(key_lines(mail)[0].contains("\tsource\t203.0.113.7\t"));
    }
}

TEST_CASE("data on the SYN that the captured server took is missing here: nothing is chosen") {
    Segment fast_open = syn();
    fast_open.payload = kRequest;
    Segment taken = syn_ack();
    taken.ack += static_cast<std::uint32_t>(kRequest.size());
    Tape tape;
    tape.add(fast_open).add(taken).add(client({}, 28)).add(client("more", 28)).add(server("answer"));
    Recorder told;
    tape.play({&told});
    CHECK(told.choices.empty());
    CHECK(contains(told.verdicts, "balancer hold_orphan"));
}

TEST_CASE("a greeting waits for the client's first ACK, which opens a service by source") {
    Tape tape;
    tape.add(syn()).add(syn_ack()).add(server("220 ready\r\n")).add(client()).add(client("EHLO x\r\n"));
    Recorder told;
    tape.play({&told});
    CHECK(contains(told.notes, "waits until the backend has its connection"));
    CHECK(contains(told.verdicts, "balancer forward_first_ack"));
    CHECK(testing::parse(told.sent_to("client").back().bytes).payload == "220 ready\r\n");
}

TEST_CASE("a stream that is neither TLS nor HTTP is served by its source") {
    for (const char* bytes : {"EHLO client\r\n", "SSH-2.0-x\r\n", "\x16\x02", "\r\n"}) {
        CAPTURE(bytes);
        Tape tape;
        tape.add(syn()).add(syn_ack()).add(client()).add(client(bytes));
        Recorder told;
        tape.play({&told});
        REQUIRE(told.choices.size() == 1);
        CHECK(told.choices[0].fallback == Fallback::key_is_source);
    }
}

TEST_CASE("time that goes back stands still") {
    Tape tape;
    tape.add(syn()).add(syn_ack()).add(client());
    tape.now -= 10s;
    tape.add(client(kRequest));
    CHECK(key_lines(tape)[0].contains("\turi\t/a\t"));
}

TEST_CASE("a cookie that is older than its life opens nothing, and its client is told") {
    Tape tape;
    tape.add(syn()).add(syn_ack()).add(client()).wait(200s).add(client(kRequest));
    Recorder told;
    tape.play({&told});
    CHECK(told.verdicts.back() == "balancer answer_expired_rst");
    CHECK((testing::parse(told.sent_to("client").back().bytes).packet.tcp_flags & SPLICE_RST) != 0);
}

TEST_CASE("UDP, fragments and garbage pass by with their verdicts") {
    PacketBytes udp = client("x").build();
    udp[9] = std::byte{17};
    udp[10] = udp[11] = std::byte{0};
    Tape tape;
    tape.add(udp).add(PacketBytes(60, std::byte{0xff})).add(PacketBytes{});
    Recorder told;
    tape.play({&told});
    CHECK(told.verdicts == std::vector<std::string>{"balancer pass_not_tcp", "balancer drop_bad_ip_header",
                                                    "balancer pass_not_ip"});
}

TEST_CASE("bytes of a key that would break the table are escaped") {
    CHECK(printable("/a\tb\\c\x80") == "/a\\x09b\\x5cc\\x80");
}

TEST_CASE("the ladder shows the cookie on the client's side and the backend's number on the other") {
    Tape tape;
    tape.add(syn()).add(syn_ack()).add(client()).add(client(kRequest)).add(server("<answer>"));
    Recorder told;
    Ladder ladder;
    tape.play({&told, &ladder});
    Lines lines;
    ladder.print(lines);
    const std::uint32_t cookie = testing::parse(told.sent_to("client").front().bytes).packet.seq;
    const auto find = [&](const std::string& text) {
        return std::ranges::any_of(lines.all, [&](const std::string& line) { return line.contains(text); });
    };
    CHECK(lines.all[0] == "192.0.2.1:40000 > 198.51.100.10:80");
    CHECK(find("|<- SA " + std::to_string(cookie)));
    CHECK(find("|<- SA " + std::to_string(kServerIsn)));
    CHECK(find("|<- A " + std::to_string(cookie + 1) + " ack"));
    const std::string svg = ladder.svg();
    CHECK(svg.starts_with("<svg "));
    CHECK(svg.ends_with("</svg>\n"));
    CHECK(svg.contains("SA " + std::to_string(cookie)));
    CHECK(svg.contains("192.0.2.1:40000 &gt; 198.51.100.10:80"));
}

}  // namespace splice::replay
