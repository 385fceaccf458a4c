#include "libsplice/core/prober.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <set>

#include "libsplice/datapath/balancer_rules.h"
#include "libsplice/datapath/bridge_rules.h"
#include "tests/support/lib/machines.hpp"
#include "tests/unit/datapath/raw_packet.hpp"

using namespace splice;
using namespace splice::testing;

namespace {

Octets octets_of(const PacketBytes& bytes) {
    Octets octets(bytes.size());
    std::memcpy(octets.data(), bytes.data(), bytes.size());
    return octets;
}

PacketBytes bytes_of(const Octets& octets) {
    PacketBytes bytes(octets.size());
    std::memcpy(bytes.data(), octets.data(), octets.size());
    return bytes;
}

// A prober, and a bridge with its server, which speaks as the test says.
struct Rig {
    explicit Rig(int family_ = 4) : family(family_) {
        order.id = 7;
        order.rule = std::make_shared<const ProbeRule>();
        order.vip = {*IpAddress::parse(topology(family).vip), 80};
        order.own = *IpAddress::parse(own());
        order.bridge = *IpAddress::parse(topology(family).bridges[1]);
        order.carriage = splice_carriage_by_dscp(5);
        order.timeout = 1s;
    }
    [[nodiscard]] const char* own() const { return family == 4 ? "192.0.2.99" : "2001:db8::99"; }

    void rule(ProbeRule to) { order.rule = std::make_shared<const ProbeRule>(std::move(to)); }
    void kind(ProbeKind to) {
        ProbeRule rule = *order.rule;
        rule.kind = to;
        this->rule(rule);
    }
    // The opening that was sent.
    Parsed begin(double seconds = 0) {
        out = {};
        REQUIRE(prober.begin(at(seconds), kSecret, order, out));
        REQUIRE(out.sent.size() == 1);
        opening_bytes = out.sent[0];
        opening = parse(opening_bytes);
        return opening;
    }
    // From the server: `offset` bytes into its stream, acknowledging the opening.
    [[nodiscard]] Segment answer(std::string payload, std::uint32_t offset = 0,
                                 std::uint8_t flags = SPLICE_ACK) const {
        Segment segment;
        segment.source = topology(family).vip;
        segment.destination = own();
        segment.source_port = 80;
        segment.destination_port = splice_ntohs(opening.packet.ends.source_port);
        segment.seq = opening.packet.ack + offset;
        segment.ack = opening.packet.seq + opening.packet.payload_length +
                      ((opening.packet.tcp_flags & SPLICE_FIN) ? 1 : 0);
        segment.flags = flags;
        segment.timestamps = Timestamps{4711, opening.options.tsval};
        segment.payload = std::move(payload);
        return segment;
    }
    bool handle(const Segment& segment, double seconds = 0.001) { return handle(segment.build(), seconds); }
    bool handle(const PacketBytes& bytes, double seconds = 0.001) {
        out = {};
        splice_packet packet{};
        REQUIRE(splice_parse_ip(bytes.data(), bytes.data() + bytes.size(), &packet) == SPLICE_CONTINUE);
        return prober.handle(at(seconds), packet, bytes, out);
    }
    // The opening as a bridge with that secret sends it back.
    [[nodiscard]] PacketBytes bounce(const splice_secret& secret) const {
        PacketBytes bytes = out.sent[0];
        splice_packet packet = parse(bytes).packet;
        std::byte* const data = bytes.data();
        const std::uint16_t mark =
            splice_refusal_mark(&secret, &packet, &order.vip.address.raw(), &order.bridge.raw());
        REQUIRE(splice_carry_back(data, data + bytes.size(), &packet, &order.vip.address.raw()) ==
                SPLICE_CONTINUE);
        splice_write_refusal(data, data + bytes.size(), &packet, mark);
        return bytes;
    }
    bool handle_bounced(const PacketBytes& bytes) {
        return prober.handle_bounced(parse(bytes).packet, bytes, kSecret);
    }
    // An ICMP error from there about the opening; one about its length tells of 1300 bytes.
    [[nodiscard]] PacketBytes icmp(const std::string& from, std::uint8_t type, std::uint8_t code) const {
        const RawPacket error{.family = family, .source = from, .destination = own()};
        PacketBytes bytes = bytes_of(error.build_icmp(type, code, octets_of(opening_bytes)));
        const std::size_t mtu_at = family == 4 ? 20 + 6 : 40 + 6;
        bytes[mtu_at] = std::byte{1300 >> 8};
        bytes[mtu_at + 1] = std::byte{1300 & 255};
        return bytes;
    }
    bool handle_icmp(const PacketBytes& bytes) {
        splice_packet packet{};
        REQUIRE(splice_parse_ip(bytes.data(), bytes.data() + bytes.size(), &packet) == SPLICE_CONTINUE);
        return prober.handle_icmp(packet, bytes);
    }
    void expire(double seconds) {
        out = {};
        prober.expire(at(seconds), out);
    }
    // "passed", "wrong: status 500, ...", or "" while it runs.
    std::string result() {
        const auto results = prober.take_results();
        if (results.empty()) return "";
        REQUIRE(results.size() == 1);
        CHECK(results[0].id == 7);
        return std::string(to_string(results[0].end)) +
               (results[0].words.empty() ? "" : ": " + results[0].words);
    }
    // The only packet that was sent.
    [[nodiscard]] Parsed sent() const {
        REQUIRE(out.sent.size() == 1);
        return parse(out.sent[0]);
    }

    int family;
    ProbeOrder order;
    Prober prober{1};
    SentPackets out;
    PacketBytes opening_bytes;
    Parsed opening;
};

constexpr int kRst = SPLICE_RST | SPLICE_ACK;

}  // namespace

TEST_CASE(
    "a probe opens with a cookie that a bridge accepts, marked, toward its bridge, from a port of its own") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        const Parsed opening = rig.begin();
        CHECK(opening.checksums_right);
        CHECK(opening.source == rig.own());
        CHECK(opening.destination == topology(family).bridges[1]);
        CHECK(opening.dscp == 5);
        CHECK(splice_is_probe_port(opening.packet.ends.source_port));
        CHECK(opening.payload.starts_with("GET / HTTP/1.1\r\n"));
        CHECK(opening.options.tsecr == at(0).tsval());
        splice_packet as_client = opening.packet;
        as_client.ends.destination = rig.order.vip.address.raw();
        splice_negotiated negotiated{};
        CHECK(splice_cookie_check_segment(&kSecret, &as_client, static_cast<std::uint64_t>(at(0).unix_s),
                                          &negotiated));
        CHECK(negotiated.window_scale == SPLICE_NO_WINDOW_SCALE);
    }
}

TEST_CASE("an answer in order is acknowledged until it can be judged, then the connection is reset") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        const Parsed opening = rig.begin();
        CHECK(rig.handle(rig.answer("")));
        CHECK(rig.out.sent.empty());
        CHECK(rig.handle(rig.answer("HTTP/1.1 ")));
        const Parsed ack = rig.sent();
        CHECK(ack.packet.tcp_flags == SPLICE_ACK);
        CHECK(ack.packet.seq == opening.packet.seq + opening.packet.payload_length);
        CHECK(ack.packet.ack == opening.packet.ack + 9);
        CHECK(ack.options.tsecr == 4711);
        CHECK(ack.destination == topology(family).bridges[1]);
        CHECK(rig.result().empty());
        CHECK(rig.handle(rig.answer("200 OK\r\n", 9)));
        CHECK(rig.sent().packet.tcp_flags == kRst);
        CHECK(rig.sent().packet.seq == ack.packet.seq);
        CHECK(rig.result() == "passed");
        CHECK(rig.prober.running() == 0);
        CHECK_FALSE(rig.prober.next_deadline());
    }
}

TEST_CASE("what comes out of order is asked for again, what comes twice counts once") {
    Rig rig;
    rig.begin();
    CHECK(rig.handle(rig.answer("200 OK", 9)));
    CHECK(rig.sent().packet.ack == rig.opening.packet.ack);
    CHECK(rig.handle(rig.answer("HTTP/1")));
    CHECK(rig.handle(rig.answer("HTTP/1.1 ")));
    CHECK(rig.sent().packet.ack == rig.opening.packet.ack + 9);
    CHECK(rig.handle(rig.answer("HTTP/1.1 ")));
    CHECK(rig.sent().packet.ack == rig.opening.packet.ack + 9);
    CHECK(rig.handle(rig.answer("500 Oh", 9)));
    CHECK(rig.result() == "wrong: status 500, expected 200-399");
}

TEST_CASE("an opening without an answer is repeated as a client does, and is silent in the end") {
    Rig rig;
    const Parsed opening = rig.begin();
    std::vector<double> repeated;
    for (double seconds = 0; seconds < 1; seconds += 0.01) {
        rig.expire(seconds);
        if (rig.out.sent.empty()) continue;
        repeated.push_back(seconds);
        CHECK(rig.sent().packet.seq == opening.packet.seq);
        CHECK(rig.sent().payload == opening.payload);
    }
    REQUIRE(repeated.size() == 2);
    CHECK(repeated[0] == doctest::Approx(0.2).epsilon(0.06));
    CHECK(repeated[1] == doctest::Approx(0.6).epsilon(0.03));
    rig.expire(1);
    CHECK(rig.out.sent.empty());
    CHECK(rig.result() == "silent");
}

TEST_CASE(
    "an opening that was acknowledged is not repeated; without an answer the probe is late and resets") {
    Rig rig;
    rig.begin();
    CHECK(rig.handle(rig.answer("")));
    for (double seconds = 0; seconds < 1; seconds += 0.05) {
        rig.expire(seconds);
        CHECK(rig.out.sent.empty());
    }
    rig.expire(1);
    CHECK(rig.sent().packet.tcp_flags == kRst);
    CHECK(rig.result() == "late");
}

TEST_CASE("a RST ends a probe only where its number can be the server's") {
    Rig rig;
    rig.begin();
    CHECK(rig.handle(rig.answer("", 1U << 20, SPLICE_RST)));
    CHECK(rig.result().empty());
    CHECK(rig.handle(rig.answer("", 0, SPLICE_RST)));
    CHECK(rig.out.sent.empty());
    CHECK(rig.result() == "reset");
}

TEST_CASE("an opening that comes back marked was refused by its bridge; a bounce of nothing is not") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        rig.begin();
        const PacketBytes bounced = rig.bounce(kSecret);
        CHECK(rig.handle_bounced(bounced));
        CHECK(rig.result() == "bounced");
        CHECK(rig.handle_bounced(bounced));
        CHECK(rig.result().empty());
        splice_packet other = parse(bounced).packet;
        other.ends.source_port = splice_htons(40000);
        CHECK_FALSE(rig.prober.handle_bounced(other, bounced, kSecret));
    }
}

TEST_CASE(
    "what a bridge sends back when the opening comes a third time, its cookie is none to it: by its secret, "
    "or its clock") {
    for (const int family : {4, 6}) {
        for (const bool other_secret : {false, true}) {
            Rig rig(family);
            rig.begin();
            splice_secret secret = kSecret;
            if (other_secret) secret.keys[0].k0 ^= 1;
            rig.expire(0.2);
            rig.expire(0.6);
            REQUIRE(rig.out.sent.size() == 1);
            CHECK(rig.handle_bounced(rig.bounce(secret)));
            CHECK(rig.result() == (other_secret ? "secret" : "clock"));
        }
    }
}

TEST_CASE("an ICMP error about a probe's opening ends it at once, in words, and says whose they are") {
    for (const int family : {4, 6}) {
        const char* const router = family == 4 ? "192.0.2.1" : "2001:db8::1";
        const std::string bridge = topology(family).bridges[1];
        struct Error {
            std::uint8_t type, code;
            std::string from;
            std::string result;
        };
        const std::string says = std::string(", says ") + router;
        const std::vector<Error> errors =
            family == 4 ? std::vector<Error>{{3, 1, router, "unreachable: host unreachable" + says},
                                             {3, 3, bridge,
                                              std::string("unreachable: port unreachable, says ") + bridge},
                                             {3, 13, router, "unreachable: prohibited by a firewall" + says},
                                             {3, 99, router, "unreachable: an ICMP error" + says},
                                             {11, 0, router, "unreachable: time to live exceeded" + says},
                                             {3, 4, router,
                                              std::string("too_big: larger than the way to it, where ") +
                                                  router + " takes 1300 bytes"}}
                        : std::vector<Error>{
                              {1, 0, router, "unreachable: no route" + says},
                              {1, 4, bridge, std::string("unreachable: port unreachable, says ") + bridge},
                              {1, 3, router, "unreachable: address unreachable" + says},
                              {3, 0, router, "unreachable: time to live exceeded" + says},
                              {2, 0, router,
                               std::string("too_big: larger than the way to it, where ") + router +
                                   " takes 1300 bytes"}};
        for (const Error& error : errors) {
            CAPTURE(error.result);
            Rig rig(family);
            rig.begin();
            CHECK(rig.handle_icmp(rig.icmp(error.from, error.type, error.code)));
            const auto results = rig.prober.take_results();
            REQUIRE(results.size() == 1);
            CHECK(std::string(to_string(results[0].end)) + ": " + results[0].words == error.result);
            CHECK(results[0].from_elsewhere == (error.from == router));
            CHECK(rig.prober.running() == 0);
        }
    }
}

TEST_CASE("an ICMP error that does not know the opening's numbers, or comes after an answer, ends no probe") {
    for (const int family : {4, 6}) {
        const char* const router = family == 4 ? "192.0.2.1" : "2001:db8::1";
        const std::uint8_t type = family == 4 ? 3 : 1;
        Rig rig(family);
        rig.begin();
        const PacketBytes good = rig.icmp(router, type, 1);
        const std::size_t ip = family == 4 ? 20 : 40;
        const std::size_t tcp = ip + 8 + ip;  // of the quoted segment
        for (const std::size_t at : {ip + 8 + (family == 4 ? 15UZ : 23UZ),
                                     ip + 8 + (family == 4 ? 19UZ : 39UZ), tcp, tcp + 1, tcp + 3, tcp + 4}) {
            CAPTURE(at);
            PacketBytes wrong = good;
            wrong[at] ^= std::byte{0x40};
            CHECK_FALSE(rig.handle_icmp(wrong));
        }
        CHECK(rig.handle(rig.answer("")));
        CHECK_FALSE(rig.handle_icmp(good));
        CHECK(rig.result().empty());
    }
}

TEST_CASE(
    "a probe of a service with a keyed clock echoes that clock, and the answer's tells the bridge's number") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        rig.order.keyed_clock = true;
        const Parsed opening = rig.begin();
        splice_packet as_client = opening.packet;
        as_client.ends.destination = rig.order.vip.address.raw();
        splice_negotiated negotiated{};
        REQUIRE(splice_cookie_check_segment(&kSecret, &as_client, static_cast<std::uint64_t>(at(0).unix_s),
                                            &negotiated));
        CHECK(splice_balancer_clock_holds(&as_client, opening.options.tsecr, &kSecret, negotiated.proof,
                                          at(0).unix_ms()));
        const std::uint32_t hash = splice_lane_hash(&kSecret.lane, splice_flow_toward_server(&as_client));
        Segment answer = rig.answer("HTTP/1.1 200 OK\r\n");
        answer.timestamps->value =
            splice_bridge_first_tsval(hash, opening.options.tsecr, negotiated.proof, 7, at(0).unix_ms());
        CHECK(rig.handle(answer));
        auto results = rig.prober.take_results();
        REQUIRE(results.size() == 1);
        REQUIRE(results[0].number);
        CHECK(results[0].number->timestamps);
        CHECK(results[0].number->lane == 7);

        // A bridge without a number goes on with the clock that was echoed.
        const Parsed again = rig.begin();
        answer = rig.answer("HTTP/1.1 200 OK\r\n");
        answer.timestamps->value = again.options.tsecr;
        CHECK(rig.handle(answer));
        results = rig.prober.take_results();
        REQUIRE(results.size() == 1);
        CHECK(results[0].number->lane == SPLICE_NO_LANE);

        rig.begin();
        answer = rig.answer("HTTP/1.1 200 OK\r\n");
        answer.timestamps.reset();
        CHECK(rig.handle(answer));
        results = rig.prober.take_results();
        REQUIRE(results.size() == 1);
        CHECK_FALSE(results[0].number->timestamps);
    }
}

TEST_CASE("a tcp probe passes when what it sends is acknowledged; without anything to send it closes") {
    Rig rig;
    rig.kind(ProbeKind::tcp);
    const Parsed opening = rig.begin();
    CHECK(opening.packet.tcp_flags == (SPLICE_ACK | SPLICE_FIN));
    CHECK(opening.payload.empty());
    // A server that speaks first has not taken anything yet.
    Segment early = rig.answer("220 hello\r\n");
    early.ack -= 1;
    CHECK(rig.handle(early));
    CHECK(rig.sent().packet.ack == opening.packet.ack + 11);
    CHECK(rig.result().empty());
    CHECK(rig.handle(rig.answer("", 11)));
    CHECK(rig.sent().packet.tcp_flags == kRst);
    CHECK(rig.sent().packet.seq == opening.packet.seq + 1);
    CHECK(rig.result() == "passed");

    ProbeRule ping;
    ping.kind = ProbeKind::tcp;
    ping.send = "PING\r\n";
    rig.rule(ping);
    rig.order.proxy_header = true;
    CHECK(rig.begin().payload.ends_with(" 80\r\nPING\r\n"));
    CHECK(rig.handle(rig.answer("")));
    CHECK(rig.result() == "passed");
}

TEST_CASE("a server's end before its answer is told") {
    Rig rig;
    rig.begin();
    CHECK(rig.handle(rig.answer("", 0, SPLICE_ACK | SPLICE_FIN)));
    CHECK(rig.sent().packet.ack == rig.opening.packet.ack + 1);
    CHECK(rig.result() == "wrong: closed without an answer");
}

TEST_CASE("what still comes after a probe is reset, and its port is the last to be given out again") {
    Rig rig;
    const Parsed first = rig.begin();
    CHECK(rig.handle(rig.answer("HTTP/1.1 200 OK\r\n")));
    CHECK(rig.result() == "passed");
    const Segment late = rig.answer("more", 17);
    CHECK(rig.handle(late));
    CHECK(rig.sent().packet.tcp_flags == SPLICE_RST);
    CHECK(rig.sent().packet.seq == late.ack);
    CHECK(rig.handle(rig.answer("", 0, SPLICE_RST)));
    CHECK(rig.out.sent.empty());
    std::set<std::uint16_t> ports{first.packet.ends.source_port};
    for (int i = 1; i < SPLICE_PROBE_PORTS; ++i) ports.insert(rig.begin().packet.ends.source_port);
    CHECK(ports.size() == SPLICE_PROBE_PORTS);
    CHECK(rig.begin().packet.ends.source_port == first.packet.ends.source_port);
}

TEST_CASE("no more probes run at once than there are ports") {
    Rig rig;
    for (int i = 0; i < SPLICE_PROBE_PORTS; ++i)
        REQUIRE(rig.prober.begin(at(0), kSecret, rig.order, rig.out));
    CHECK_FALSE(rig.prober.begin(at(0), kSecret, rig.order, rig.out));
    rig.expire(1);
    CHECK(rig.prober.take_results().size() == SPLICE_PROBE_PORTS);
    CHECK(rig.prober.begin(at(1), kSecret, rig.order, rig.out));
}

TEST_CASE("packets of other services, addresses and ports are none of a probe's") {
    Rig rig;
    rig.begin();
    for (const auto& change : std::vector<void (*)(Segment&)>{
             [](Segment& s) { s.source = "198.51.100.11"; }, [](Segment& s) { s.destination = "192.0.2.98"; },
             [](Segment& s) { s.source_port = 81; }, [](Segment& s) { s.destination_port = 40000; },
             [](Segment& s) { s.destination_port += 1; }}) {
        Segment other = rig.answer("HTTP/1.1 200 OK");
        change(other);
        CHECK_FALSE(rig.handle(other));
    }
    // Its own, but of no use.
    Segment strange = rig.answer("HTTP/1.1 200 OK");
    strange.ack += 1;
    CHECK(rig.handle(strange));
    strange.ack -= 2U << 20;
    CHECK(rig.handle(strange));
    CHECK(rig.result().empty());
}

TEST_CASE("a full segment is as long as the service's MSS allows, options included") {
    for (const ProbeKind kind : {ProbeKind::http, ProbeKind::tls}) {
        Rig rig;
        rig.kind(kind);
        rig.order.mss = 1460;
        rig.order.full_segment = true;
        (void)rig.begin();
        CHECK(rig.out.sent[0].size() == 1500);
    }
}

TEST_CASE("any segments from the service's address are survived, and leave at most one result a probe") {
    std::mt19937 random(3);
    Rig rig;
    for (int round = 0; round < 200; ++round) {
        rig.order.rule =
            std::make_shared<const ProbeRule>(ProbeRule{.kind = static_cast<ProbeKind>(round % 3),
                                                        .host = {},
                                                        .body = round % 2 ? "x" : "",
                                                        .sni = {},
                                                        .send = {}});
        rig.begin(round);
        for (int i = 0; i < 20; ++i) {
            Segment segment = rig.answer(std::string(random() % 30, static_cast<char>(random() % 256)));
            segment.seq += static_cast<std::uint32_t>(random() % 40) - 20;
            segment.ack += static_cast<std::uint32_t>(random() % 5) - 3;
            segment.flags = static_cast<std::uint8_t>(random() % 64);
            if (splice_bad_tcp_flags(segment.flags)) segment.flags = SPLICE_ACK;
            (void)rig.handle(segment, round);
        }
        rig.expire(round + 1.0);
        CHECK(rig.prober.take_results().size() == 1);
        CHECK(rig.prober.running() == 0);
    }
}
