#include "libsplice/core/joiner.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <optional>
#include <string>
#include <unordered_map>

#include "libsplice/core/splicer.hpp"
#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/lane.h"
#include "libsplice/datapath/refusal.h"
#include "tests/support/lib/machines.hpp"

using namespace splice;
using namespace splice::testing;

namespace {

const std::string kGet = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
constexpr std::uint32_t kBackendIsn = 0x70000000;
constexpr std::uint32_t kBackendTsval = 0x80000010;

// A bridge of one family, the client that speaks to it as the balancer would pass it on, and its backend.
struct Rig {
    explicit Rig(int family_ = 4) : Rig(joiner_setup(family_), family_) {}
    Rig(JoinerSetup setup, int family_, BridgeFlows* carried = nullptr)
        : splicer(std::make_shared<const SplicerSetup>(setup.number ? laned_setup(family_)
                                                                    : splicer_setup(family_))),
          bridge(std::make_shared<const JoinerSetup>(std::move(setup)), carried),
          client(family_),
          family(family_) {
        REQUIRE(client.connect(splicer, at(0)) == SPLICE_answer_syn_ack);
        hop.interface = 7;
        hop.address_length = 6;
        hop.address[5] = 9;
    }

    // As the balancer forwards it: to the bridge, marked.
    [[nodiscard]] Segment marked(Segment segment) const {
        segment.destination = topology(family).bridges[0];
        segment.dscp = 1;
        return segment;
    }
    Verdict from_balancer(const Segment& segment, double seconds = 0.0) {
        out = {};
        packet = marked(segment).build();
        return bridge.handle_from_balancer(at(seconds), packet, true, hop, out);
    }
    [[nodiscard]] Segment from_backend_segment(std::uint8_t flags, std::string payload = "") const {
        Segment segment;
        segment.source = topology(family).backend;
        segment.destination = topology(family).client;
        segment.source_port = 8080;
        segment.destination_port = client.base.source_port;
        segment.seq = kBackendIsn + 1;
        segment.ack = client.base.seq + 1;
        segment.flags = flags;
        segment.payload = std::move(payload);
        if (client.base.timestamps) segment.timestamps = Timestamps{kBackendTsval, 777'010};
        return segment;
    }
    Verdict from_backend(const Segment& segment, double seconds = 0.0) {
        out = {};
        packet = segment.build();
        return bridge.handle_from_backend(at(seconds), packet, true, out);
    }
    [[nodiscard]] Segment syn_ack() const {
        Segment segment = from_backend_segment(SPLICE_SYN | SPLICE_ACK);
        segment.seq = kBackendIsn;
        segment.mss = 1460;
        segment.sack_permitted = true;
        segment.window_scale = 10;
        return segment;
    }
    void establish() {
        REQUIRE(from_balancer(client.segment(kGet)) == SPLICE_open_replay);
        REQUIRE(from_backend(syn_ack()) == SPLICE_learn_backend_isn);
    }
    [[nodiscard]] std::uint64_t count(Verdict verdict) const {
        return bridge.counters().verdicts.of(verdict);
    }
    void expire(double seconds) {
        out = {};
        bridge.expire(at(seconds), out);
    }

    Splicer splicer;
    Joiner bridge;
    Client client;
    int family;
    Hop hop;
    SentPackets out;
    PacketBytes packet;
};

}  // namespace

TEST_CASE("a first payload with a valid cookie replays the client's handshake") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        CHECK(rig.from_balancer(rig.client.segment(kGet)) == SPLICE_open_replay);
        REQUIRE(rig.out.sent.size() == 1);
        const Parsed syn = parse(rig.out.sent[0]);
        CHECK(syn.checksums_right);
        CHECK(syn.source == topology(family).client);
        CHECK(syn.destination == topology(family).backend);
        CHECK(syn.packet.tcp_flags == SPLICE_SYN);
        CHECK(syn.packet.seq == rig.client.base.seq);
        const int mss = family == 4 ? 1460 : 1440;
        CHECK(syn.options.mss == mss);
        CHECK(syn.options.window_scale == 8);
        CHECK(syn.options.sack_permitted);
        CHECK(syn.options.tsval == 777'010);
        CHECK(syn.options.tsecr == 0);
        CHECK(syn.dscp == 0);
        CHECK(rig.bridge.counters().flows_opening == 1);
    }
}

TEST_CASE("the backend's SYN-ACK stops here and lets the first payload go, translated") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        rig.from_balancer(rig.client.segment(kGet));
        CHECK(rig.from_backend(rig.syn_ack()) == SPLICE_learn_backend_isn);
        REQUIRE(rig.out.sent.size() == 1);
        const Parsed get = parse(rig.out.sent[0]);
        CHECK(get.checksums_right);
        CHECK(get.destination == topology(family).backend);
        CHECK(splice_ntohs(get.packet.ends.destination_port) == 8080);
        CHECK(get.packet.seq == rig.client.base.seq + 1);
        CHECK(get.packet.ack == kBackendIsn + 1);
        CHECK(get.options.tsecr == kBackendTsval);
        CHECK(get.payload == kGet);
        CHECK(get.dscp == 0);
        CHECK(rig.bridge.counters().flows_opening == 0);
        CHECK(rig.bridge.counters().held_bytes == 0);
    }
}

TEST_CASE("responses go out in the VIP's name and in the cookie's numbers") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        rig.establish();
        Segment response = rig.from_backend_segment(SPLICE_ACK | SPLICE_PSH, "HTTP/1.1 200 OK\r\n\r\n");
        response.ack = rig.client.base.seq + 1 + static_cast<std::uint32_t>(kGet.size());
        response.window = 100;
        CHECK(rig.from_backend(response) == SPLICE_toward_client);
        const Parsed sent = parse(rig.packet);
        CHECK(sent.checksums_right);
        CHECK(sent.source == topology(family).vip);
        CHECK(splice_ntohs(sent.packet.ends.source_port) == 80);
        CHECK(sent.packet.seq == rig.client.cookie + 1);
        CHECK(sent.packet.ack == response.ack);
        CHECK(sent.options.tsval == rig.client.server_tsval);
        CHECK(sent.options.tsecr == 777'010);
        CHECK(sent.packet.window == 800);  // 100 << 10 in units of 1 << 7

        Segment ack = rig.client.segment("", 28, SPLICE_ACK);
        ack.ack = rig.client.cookie + 20;
        ack.sack = {{rig.client.cookie + 100, rig.client.cookie + 200}};
        CHECK(rig.from_balancer(ack) == SPLICE_deliver);
        CHECK(parse(rig.packet).packet.ack == kBackendIsn + 20);
        CHECK(parse(rig.packet).checksums_right);
    }
}

TEST_CASE("a bridge with a number begins its lane, and the backend sees echoes of its own clock alone") {
    for (const int family : {4, 6}) {
        JoinerSetup setup = joiner_setup(family);
        setup.number = 7;
        Rig rig(std::move(setup), family);
        REQUIRE(rig.from_balancer(rig.client.segment(kGet)) == SPLICE_open_replay);
        REQUIRE(rig.from_backend(rig.syn_ack()) == SPLICE_learn_backend_isn);
        // The first payload echoes the SYN-ACK's clock.
        REQUIRE(rig.out.sent.size() == 1);
        CHECK(parse(rig.out.sent[0]).options.tsecr == kBackendTsval);
        // So does what was on its way, some of it from another SYN-ACK.
        Segment second = rig.client.segment("more", static_cast<std::uint32_t>(kGet.size()));
        second.timestamps->echo_reply += 1500;
        REQUIRE(rig.from_balancer(second) == SPLICE_deliver);
        CHECK(parse(rig.packet).options.tsecr == kBackendTsval);
        // What the client hears names bridge 7.
        Segment answer = rig.from_backend_segment(SPLICE_ACK | SPLICE_PSH, "hello");
        answer.timestamps->value = kBackendTsval + 30;
        REQUIRE(rig.from_backend(answer) == SPLICE_toward_client);
        const std::uint32_t heard = parse(rig.packet).options.tsval;
        const std::uint32_t hash = lane_hash_of(rig.client.segment(""));
        CHECK(splice_lane_of(hash, heard, at(0).unix_ms()) == 7);
        // And its echo is the backend's own number again.
        Segment third = rig.client.segment("more", static_cast<std::uint32_t>(kGet.size()) + 4);
        third.timestamps->echo_reply = heard;
        REQUIRE(rig.from_balancer(third) == SPLICE_deliver);
        CHECK(parse(rig.packet).options.tsecr == kBackendTsval + 30);
    }
}

TEST_CASE("a bridge with a number lets the clock of a SYN-ACK that proves nothing go on") {
    JoinerSetup setup = joiner_setup(4);
    setup.number = 7;
    Rig rig(std::move(setup), 4);
    Segment first = rig.client.segment(kGet);
    first.timestamps->echo_reply += 500'000'000;
    REQUIRE(rig.from_balancer(first) == SPLICE_open_replay);
    REQUIRE(rig.from_backend(rig.syn_ack()) == SPLICE_learn_backend_isn);
    REQUIRE(rig.from_backend(rig.from_backend_segment(SPLICE_ACK, "hello")) == SPLICE_toward_client);
    CHECK(parse(rig.packet).options.tsval == first.timestamps->echo_reply);
}

TEST_CASE("a client without timestamps, SACK or scaling gets none replayed") {
    Rig rig;
    Client plain(4, 41000);
    plain.base.timestamps.reset();
    Segment syn = plain.base;
    syn.flags = SPLICE_SYN;
    SentPackets out;
    PacketBytes bytes = syn.build();
    REQUIRE(rig.splicer.handle_packet(at(0), bytes, true, out) == SPLICE_answer_syn_ack);
    plain.cookie = parse(out.sent.at(0)).packet.seq;
    CHECK(rig.from_balancer(plain.segment(kGet)) == SPLICE_open_replay);
    const Parsed replay = parse(rig.out.sent.at(0));
    CHECK(replay.options.mss == 536);
    CHECK(replay.options.window_scale == SPLICE_NO_WINDOW_SCALE);
    CHECK_FALSE(replay.options.sack_permitted);
    CHECK(replay.options.timestamps_offset == 0);

    rig.client = plain;
    Segment syn_ack = rig.from_backend_segment(SPLICE_SYN | SPLICE_ACK);
    syn_ack.seq = kBackendIsn;
    CHECK(rig.from_backend(syn_ack) == SPLICE_learn_backend_isn);
    Segment response = rig.from_backend_segment(SPLICE_ACK, "x");
    response.window = 4321;
    CHECK(rig.from_backend(response) == SPLICE_toward_client);
    CHECK(parse(rig.packet).packet.window == 4321);
}

TEST_CASE("what comes while the handshake is replayed waits, and goes in order") {
    Rig rig;
    CHECK(rig.from_balancer(rig.client.segment(kGet.substr(0, 10))) == SPLICE_open_replay);
    CHECK(rig.from_balancer(rig.client.segment(kGet.substr(20), 20)) == SPLICE_open_hold);
    CHECK(rig.from_balancer(rig.client.segment(kGet.substr(10, 10), 10)) == SPLICE_open_hold);
    CHECK(rig.from_backend(rig.syn_ack()) == SPLICE_learn_backend_isn);
    std::string delivered;
    for (const PacketBytes& packet : rig.out.sent) delivered += parse(packet).payload;
    CHECK(delivered == kGet);
}

TEST_CASE("a client that repeats its first payload has the SYN replayed again") {
    Rig rig;
    rig.from_balancer(rig.client.segment(kGet));
    CHECK(rig.from_balancer(rig.client.segment(kGet), 0.2) == SPLICE_open_replay_again);
    CHECK(parse(rig.out.sent.at(0)).packet.tcp_flags == SPLICE_SYN);
    CHECK(rig.from_backend(rig.syn_ack()) == SPLICE_learn_backend_isn);
    CHECK(rig.out.sent.size() == 1);
}

TEST_CASE("a segment that overtakes the first payload waits for it") {
    Rig rig;
    CHECK(rig.from_balancer(rig.client.segment(kGet.substr(10), 10)) == SPLICE_hold_unknown);
    CHECK(rig.out.sent.empty());
    CHECK(rig.from_balancer(rig.client.segment(kGet.substr(0, 10)), 0.001) == SPLICE_open_replay);
    CHECK(rig.from_backend(rig.syn_ack()) == SPLICE_learn_backend_isn);
    CHECK(rig.out.sent.size() == 2);
    rig.expire(1.0);
    CHECK(rig.out.sent.empty());
    CHECK(rig.bridge.counters().held_bytes == 0);
}

// What is of no connection here goes back as it came, for the VIP, with the bridge's name.
void check_bounce(const Rig& rig, const Segment& segment) {
    REQUIRE(rig.out.bounced.size() == 1);
    CHECK(rig.out.sent.empty());
    const PacketBytes& bytes = rig.out.bounced[0];
    const Parsed bounced = parse(bytes);
    CHECK(bounced.checksums_right);
    CHECK(bounced.source == topology(rig.family).client);
    CHECK(bounced.destination == segment.destination);
    CHECK(bounced.dscp == SPLICE_CARRIAGE_BOUNCE);
    CHECK(bounced.packet.seq == segment.seq);
    CHECK(bounced.packet.ack == segment.ack);
    CHECK(bounced.payload == segment.payload);
    const splice_refusal refusal =
        splice_read_refusal(bytes.data(), bytes.data() + bytes.size(), &bounced.packet, &kSecret);
    const IpAddress here = *IpAddress::parse(topology(rig.family).bridges[0]);
    CHECK(splice_refusal_is_of(&refusal, &here.raw()));
}

TEST_CASE("a segment of no connection here goes back to the balancer, when its client insists") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        Segment stray = rig.client.segment("data", 5000);
        CHECK(rig.from_balancer(stray) == SPLICE_hold_unknown);
        CHECK(rig.from_balancer(stray, 0.01) == SPLICE_drop_duplicate_payload);
        CHECK(rig.from_balancer(stray, 0.2) == SPLICE_hold_unknown);
        CHECK(rig.out.bounced.empty());
        CHECK(rig.from_balancer(stray, 0.6) == SPLICE_bounce_not_mine);
        check_bounce(rig, stray);
        CHECK(rig.count(SPLICE_bounce_not_mine) == 1);
        CHECK(rig.from_balancer(rig.client.segment("", 5000, SPLICE_RST)) == SPLICE_drop_bad_cookie);
    }
}

TEST_CASE(
    "what echoes a bridge's clock has been answered, and goes back at once where it has no connection") {
    for (const int family : {4, 6}) {
        JoinerSetup setup = joiner_setup(family);
        setup.number = 1;
        Rig rig(setup, family);
        Segment stray = rig.client.segment("", 5000, SPLICE_ACK);
        REQUIRE(stray.timestamps);
        const std::uint32_t hash = lane_hash_of(stray);
        // Its own number's or another's: an old echo of the one names the other.
        for (const std::uint32_t number : {1U, 7U, 1018U}) {
            stray.timestamps->echo_reply = splice_lane_begin(hash, number, at(0).unix_ms()) + 5;
            CHECK(rig.from_balancer(stray) == SPLICE_bounce_not_mine);
            check_bounce(rig, stray);
        }
        // Where an old connection is, another bridge's clock tells that this one is not it.
        rig.from_balancer(rig.client.segment(kGet));
        REQUIRE(rig.from_backend(rig.syn_ack()) == SPLICE_learn_backend_isn);
        stray.seq += 0x40000000;
        stray.ack += 0x40000000;
        for (const std::uint32_t number : {7U, 1U}) {
            stray.timestamps->echo_reply = splice_lane_begin(hash, number, at(0).unix_ms()) + 5;
            CHECK(rig.from_balancer(stray) == (number == 7 ? SPLICE_bounce_not_mine : SPLICE_hold_unknown));
        }
    }
}

TEST_CASE("what echoes no bridge's clock may have overtaken its first payload, and waits") {
    for (const int family : {4, 6}) {
        JoinerSetup setup = joiner_setup(family);
        setup.number = 1;
        Rig rig(setup, family);
        Segment stray = rig.client.segment("", 5000, SPLICE_ACK);
        const std::uint32_t hash = lane_hash_of(stray);
        stray.timestamps->echo_reply = splice_clock_of_syn_ack(hash, 0x1d08, at(0).unix_ms());
        CHECK(rig.from_balancer(stray) == SPLICE_hold_unknown);
        stray.timestamps.reset();
        stray.seq += 1;
        CHECK(rig.from_balancer(stray) == SPLICE_hold_unknown);
    }
}

TEST_CASE("a forged cookie opens nothing") {
    Rig rig;
    Segment forged = rig.client.segment(kGet);
    forged.ack ^= 0x100;
    CHECK(rig.from_balancer(forged) == SPLICE_hold_unknown);
    CHECK(rig.bridge.flows() == 0);
    rig.expire(2.0);
    CHECK(rig.out.sent.empty());
    CHECK(rig.bridge.counters().held_bytes == 0);
}

TEST_CASE("ACKs of more than one number show a connection that was answered once, and is not here any more") {
    Rig rig;
    CHECK(rig.from_balancer(rig.client.segment("", 5000, SPLICE_ACK)) == SPLICE_hold_unknown);
    CHECK(rig.from_balancer(rig.client.segment("", 5000, SPLICE_ACK), 0.1) == SPLICE_drop_duplicate_payload);
    CHECK(rig.out.sent.empty());
    Segment more = rig.client.segment("", 5000, SPLICE_ACK);
    more.ack += 1460;
    CHECK(rig.from_balancer(more, 0.1) == SPLICE_bounce_not_mine);
    check_bounce(rig, more);
}

TEST_CASE(
    "a later segment whose first payload is lost waits for its repetition, a tail loss probe included") {
    Rig rig;
    const Segment later = rig.client.segment(kGet.substr(10), 10);
    CHECK(rig.from_balancer(later) == SPLICE_hold_unknown);
    CHECK(rig.from_balancer(later, 0.1) == SPLICE_hold_unknown);
    CHECK(rig.from_balancer(rig.client.segment(kGet.substr(0, 10)), 0.4) == SPLICE_open_replay);
    CHECK(rig.count(SPLICE_bounce_not_mine) == 0);
    CHECK(rig.from_backend(rig.syn_ack()) == SPLICE_learn_backend_isn);
    CHECK(rig.out.sent.size() == 2);
}

TEST_CASE("a later segment of the next connection is not given to the last one's socket") {
    Rig rig;
    rig.from_balancer(rig.client.segment(kGet));
    rig.from_backend(rig.syn_ack());
    Segment alien = rig.client.segment("body", 28);
    alien.ack += 0x40000000;
    CHECK(rig.from_balancer(alien) == SPLICE_hold_unknown);
    alien.flags = SPLICE_ACK;
    alien.payload.clear();
    CHECK(rig.from_balancer(alien, 0.01) == SPLICE_drop_duplicate_payload);
    CHECK(rig.from_balancer(rig.client.segment("body", 28), 0.1) == SPLICE_deliver);
}

TEST_CASE("damaged numbers are not remembered, so the connection's own are no aliens") {
    Rig rig;
    rig.from_balancer(rig.client.segment(kGet));
    rig.from_backend(rig.syn_ack());
    Segment whole = rig.client.segment("", 28, SPLICE_ACK);
    whole.destination = topology(4).bridges[0];
    whole.dscp = 1;
    PacketBytes damaged = whole.build();
    damaged[20 + 8] ^= std::byte{0x40};  // the ACK's high byte
    SentPackets out;
    CHECK(rig.bridge.handle_from_balancer(at(1), damaged, true, Hop{}, out) == SPLICE_drop_bad_tcp_checksum);
    CHECK(rig.from_balancer(rig.client.segment("body", 28), 2) == SPLICE_deliver);
}

TEST_CASE("a connection whose numbers took a great step goes on when the backend's numbers say so") {
    Rig rig;
    rig.establish();
    // The backend sent as much as a large window holds.
    Segment data = rig.from_backend_segment(SPLICE_ACK, "x");
    data.seq += 0x02000000;
    CHECK(rig.from_backend(data, 1) == SPLICE_toward_client);
    Segment acknowledgement = rig.client.segment("", 28, SPLICE_ACK);
    for (const std::uint32_t ahead : {1460U, 0x01000000U, 0x01800000U, 0x02000000U}) {
        acknowledgement.ack = rig.client.cookie + 1 + ahead;
        CHECK(rig.from_balancer(acknowledgement, 1.1) == SPLICE_deliver);
    }
    // The client sent much that took another way, and the backend has got it.
    Segment taken = rig.from_backend_segment(SPLICE_ACK);
    taken.ack += 0x04000000;
    CHECK(rig.from_backend(taken, 2) == SPLICE_toward_client);
    Segment more = rig.client.segment("more", 0x04000000);
    more.ack = acknowledgement.ack;
    CHECK(rig.from_balancer(more, 3) == SPLICE_deliver);
}

TEST_CASE("strangers who insist on numbers of their own are the backend's to judge, and teach nothing") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        rig.establish();
        Segment forged = rig.client.segment("", 28, SPLICE_ACK);
        for (int round = 0; round < 3; ++round) {
            forged.seq += 0x03000000;
            forged.ack += 0x05000000;
            CHECK(rig.from_balancer(forged, round + 1) == SPLICE_hold_unknown);
            forged.ack += 1460;
            CHECK(rig.from_balancer(forged, round + 1.1) == SPLICE_deliver);
            // The connection's own segments are no aliens.
            CHECK(rig.from_balancer(rig.client.segment("body", 28), round + 1.2) == SPLICE_deliver);
            // The backend's socket does not believe them: it says again where it is.
            CHECK(rig.from_backend(rig.from_backend_segment(SPLICE_ACK), round + 1.3) ==
                  SPLICE_toward_client);
            Segment reset = rig.from_backend_segment(SPLICE_RST);
            reset.seq = forged.ack;
            CHECK(rig.from_backend(reset, round + 1.4) == SPLICE_toward_client);
            CHECK(rig.from_balancer(rig.client.segment("body", 28), round + 1.5) == SPLICE_deliver);
        }
    }
}

TEST_CASE("forged segments near a flow's numbers move them no farther than the backend's allow") {
    Rig rig;
    rig.establish();
    Segment forged = rig.client.segment("", 28, SPLICE_ACK);
    for (int i = 0; i < 1000; ++i) {
        forged.ack += 0x00ffffff;
        (void)rig.from_balancer(forged, 1);
    }
    CHECK(rig.from_balancer(rig.client.segment("body", 28), 2) == SPLICE_deliver);
}

TEST_CASE("one flow's waiting segments have a bound") {
    Rig rig;
    for (std::uint32_t i = 0; i < kOvertakersPerFlow; ++i)
        REQUIRE(rig.from_balancer(rig.client.segment("x", 100 + i)) == SPLICE_hold_unknown);
    CHECK(rig.from_balancer(rig.client.segment("x", 100 + kOvertakersPerFlow)) == SPLICE_drop_hold_full);
    rig.expire(2);
    CHECK(rig.bridge.counters().held_lost.of(HeldLoss::expired) == kOvertakersPerFlow);
}

TEST_CASE("a link's padding is no part of what is held and sent again") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        rig.client.base.timestamps.reset();
        REQUIRE(rig.client.connect(rig.splicer, at(0)) == SPLICE_answer_syn_ack);
        const auto padded = [&](const Segment& segment) {
            PacketBytes bytes = rig.marked(segment).build();
            bytes.resize(std::max<std::size_t>(bytes.size(), 46));
            return bytes;
        };
        // A FIN that overtakes, and a first payload of three bytes.
        for (const Segment& segment :
             {rig.client.segment("", 3, SPLICE_ACK | SPLICE_FIN), rig.client.segment("GET")}) {
            PacketBytes bytes = padded(segment);
            rig.out = {};
            (void)rig.bridge.handle_from_balancer(at(0), bytes, true, rig.hop, rig.out);
        }
        REQUIRE(rig.from_backend(rig.syn_ack()) == SPLICE_learn_backend_isn);
        REQUIRE(rig.out.sent.size() == 2);
        const std::size_t headers = family == 4 ? 40 : 60;
        CHECK(rig.out.sent[0].size() == headers + 3);
        CHECK(rig.out.sent[1].size() == headers);
        for (const PacketBytes& sent : rig.out.sent) CHECK(parse(sent).checksums_right);
    }
}

TEST_CASE("what overtook its first payload is bounced with the bridge's own mark, one hop older") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        CHECK(rig.from_balancer(rig.client.segment(kGet.substr(10), 10)) == SPLICE_hold_unknown);
        CHECK(rig.from_balancer(rig.client.segment(kGet.substr(0, 10))) == SPLICE_open_replay);
        Segment refusal = rig.from_backend_segment(SPLICE_RST | SPLICE_ACK);
        refusal.seq = 0;
        CHECK(rig.from_backend(refusal) == SPLICE_bounce_refused);
        REQUIRE(rig.out.bounced.size() == 2);
        const IpAddress here = *IpAddress::parse(topology(family).bridges[0]);
        for (const PacketBytes& bytes : rig.out.bounced) {
            splice_packet packet{};
            REQUIRE(splice_parse_ip(bytes.data(), bytes.data() + bytes.size(), &packet) == SPLICE_CONTINUE);
            const splice_refusal names =
                splice_read_refusal(bytes.data(), bytes.data() + bytes.size(), &packet, &kSecret);
            CHECK(splice_refusal_is_of(&names, &here.raw()));
            CHECK(packet.ttl == 63);
        }
    }
}

TEST_CASE("what a client that backs off repeats is counted, however late it comes again") {
    Rig rig;
    const Segment stray = rig.client.segment("data", 5000);
    for (const double seconds : {0.0, 6.4}) {
        CHECK(rig.from_balancer(stray, seconds) == SPLICE_hold_unknown);
        rig.expire(seconds + 2);
        CHECK(rig.bridge.counters().held_bytes == 0);
    }
    CHECK(rig.from_balancer(stray, 19.2) == SPLICE_bounce_not_mine);
    CHECK(rig.from_balancer(stray, 19.3) == SPLICE_hold_unknown);
}

TEST_CASE("a RST with numbers of another connection does not make the flow's own segments aliens") {
    Rig rig;
    rig.from_balancer(rig.client.segment(kGet));
    rig.from_backend(rig.syn_ack());
    CHECK(rig.from_balancer(rig.client.segment("", 0x40000000, SPLICE_RST), 1) == SPLICE_deliver);
    CHECK(rig.from_balancer(rig.client.segment("", 28, SPLICE_ACK), 1.1) == SPLICE_deliver);
}

TEST_CASE("a damaged segment of no connection is not kept, so it ends none that is about to begin") {
    Rig rig;
    PacketBytes damaged = rig.marked(rig.client.segment(kGet.substr(0, 10))).build();
    damaged[20 + 10] ^= std::byte{0x20};  // the ACK
    SentPackets out;
    CHECK(rig.bridge.handle_from_balancer(at(0), damaged, true, Hop{}, out) == SPLICE_drop_bad_tcp_checksum);
    CHECK(rig.from_balancer(rig.client.segment(kGet.substr(10), 10)) == SPLICE_hold_unknown);
    CHECK(rig.from_balancer(rig.client.segment(kGet.substr(0, 10)), 0.4) == SPLICE_open_replay);
}

TEST_CASE("a backend's answer with a wrong checksum teaches nothing") {
    Rig rig;
    rig.from_balancer(rig.client.segment(kGet));
    PacketBytes damaged = rig.syn_ack().build();
    damaged[24] ^= std::byte{1};  // the backend's ISN
    SentPackets out;
    CHECK(rig.bridge.handle_from_backend(at(0), damaged, true, out) == SPLICE_drop_bad_tcp_checksum);
    CHECK(rig.from_backend(rig.syn_ack()) == SPLICE_learn_backend_isn);
}

TEST_CASE("a RST that its receiver does not believe ends nothing") {
    Rig rig;
    rig.from_balancer(rig.client.segment(kGet));
    rig.from_backend(rig.syn_ack());
    CHECK(rig.from_balancer(rig.client.segment("", 5000, SPLICE_RST), 1) == SPLICE_deliver);
    CHECK(rig.from_balancer(rig.client.segment("", 28, SPLICE_ACK), 2) == SPLICE_deliver);
    rig.expire(899);
    CHECK(rig.bridge.flows() == 1);
}

TEST_CASE("a backend that refuses sends everything held back to the hop it came from") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        rig.from_balancer(rig.client.segment(kGet.substr(0, 10)));
        rig.from_balancer(rig.client.segment(kGet.substr(10), 10));
        Segment refusal = rig.from_backend_segment(SPLICE_RST | SPLICE_ACK);
        refusal.seq = 0;
        CHECK(rig.from_backend(refusal) == SPLICE_bounce_refused);
        REQUIRE(rig.out.bounced.size() == 2);
        CHECK(rig.out.hops[0].interface == 7);
        CHECK(rig.out.hops[0].address[5] == 9);
        for (const PacketBytes& packet : rig.out.bounced) {
            const Parsed bounced = parse(packet);
            CHECK(bounced.checksums_right);
            CHECK(bounced.destination == topology(family).vip);
            CHECK(bounced.source == topology(family).client);
            CHECK(bounced.dscp == 63);
        }
        CHECK(parse(rig.out.bounced[0]).payload + parse(rig.out.bounced[1]).payload == kGet);
        CHECK(rig.bridge.flows() == 0);
        CHECK(rig.bridge.counters().held_bytes == 0);
    }
}

TEST_CASE("a RST that does not answer the replayed SYN refuses nothing") {
    Rig rig;
    rig.from_balancer(rig.client.segment(kGet));
    Segment stray = rig.from_backend_segment(SPLICE_RST | SPLICE_ACK);
    stray.ack += 5;
    CHECK(rig.from_backend(stray) == SPLICE_drop_backend_early);
    CHECK(rig.bridge.flows() == 1);
}

TEST_CASE("a backend that answers from an old connection is reset and asked again") {
    Rig rig;
    rig.from_balancer(rig.client.segment(kGet));
    Segment challenge = rig.from_backend_segment(SPLICE_ACK);
    challenge.seq = 123;
    challenge.ack = 456;
    CHECK(rig.from_backend(challenge) == SPLICE_clear_old_backend);
    REQUIRE(rig.out.sent.size() == 2);
    const Parsed reset = parse(rig.out.sent[0]), syn = parse(rig.out.sent[1]);
    CHECK((reset.packet.tcp_flags & SPLICE_RST) != 0);
    CHECK(reset.packet.seq == 456);
    CHECK(reset.destination == topology(4).backend);
    CHECK(syn.packet.tcp_flags == SPLICE_SYN);
    CHECK(rig.from_backend(rig.syn_ack()) == SPLICE_learn_backend_isn);
}

TEST_CASE("the backend's SYN-ACK again is acknowledged in the client's place") {
    Rig rig;
    rig.establish();
    CHECK(rig.from_backend(rig.syn_ack()) == SPLICE_acknowledge_backend);
    const Parsed ack = parse(rig.out.sent.at(0));
    CHECK(ack.checksums_right);
    CHECK(ack.packet.tcp_flags == SPLICE_ACK);
    CHECK(ack.packet.seq == rig.client.base.seq + 1);
    CHECK(ack.packet.ack == kBackendIsn + 1);
    CHECK(ack.options.tsecr == kBackendTsval);
    CHECK(ack.destination == topology(4).backend);
}

TEST_CASE("a bare ACK with a valid cookie opens too, and completes the backend's handshake") {
    Rig rig;
    CHECK(rig.from_balancer(rig.client.segment("", 0, SPLICE_ACK)) == SPLICE_open_replay);
    CHECK(rig.from_balancer(rig.client.segment("", 0, SPLICE_ACK)) == SPLICE_open_hold);
    CHECK(rig.from_backend(rig.syn_ack()) == SPLICE_learn_backend_isn);
    REQUIRE(rig.out.sent.size() == 1);
    CHECK(parse(rig.out.sent[0]).packet.tcp_flags == SPLICE_ACK);
    CHECK(parse(rig.out.sent[0]).packet.ack == kBackendIsn + 1);
}

TEST_CASE("a valid cookie on an old flow of the same ports opens anew") {
    Rig rig;
    rig.establish();
    Client again = rig.client;
    again.base.seq = 12345;
    REQUIRE(again.connect(rig.splicer, at(1)) == SPLICE_answer_syn_ack);
    CHECK(rig.from_balancer(again.segment(kGet), 1) == SPLICE_reopen_replay);
    CHECK(parse(rig.out.sent.at(0)).packet.seq == 12345);
    CHECK(rig.bridge.flows() == 1);
}

// The simulation's seed 30457.
TEST_CASE("a connection that begins where the port's last one ended opens anew") {
    Rig rig;
    rig.establish();
    rig.client.base.seq += static_cast<std::uint32_t>(kGet.size());
    REQUIRE(rig.client.connect(rig.splicer, at(0)) == SPLICE_answer_syn_ack);
    CHECK(rig.from_balancer(rig.client.segment(kGet)) == SPLICE_reopen_replay);
}

TEST_CASE("the first payload repeated on its own flow is delivered, not opened again") {
    Rig rig;
    rig.establish();
    CHECK(rig.from_balancer(rig.client.segment(kGet)) == SPLICE_deliver);
}

TEST_CASE("a marked SYN and other nonsense have their verdicts, the unmarked passes") {
    Rig rig;
    Segment syn = rig.client.base;
    syn.flags = SPLICE_SYN;
    CHECK(rig.from_balancer(syn) == SPLICE_drop_marked_syn);
    syn.flags = SPLICE_SYN | SPLICE_ACK;
    CHECK(rig.from_balancer(syn) == SPLICE_drop_bad_tcp_flags);
    Segment other_port = rig.client.segment(kGet);
    other_port.destination_port = 81;
    CHECK(rig.from_balancer(other_port) == SPLICE_pass_not_service);
    PacketBytes unmarked = rig.client.segment(kGet).build();
    CHECK(rig.bridge.handle_from_balancer(at(0), unmarked, true, rig.hop, rig.out) == SPLICE_pass_unmarked);
    PacketBytes damaged = rig.marked(rig.client.segment(kGet)).build();
    damaged.back() ^= std::byte{1};
    CHECK(rig.bridge.handle_from_balancer(at(0), damaged, true, rig.hop, rig.out) ==
          SPLICE_drop_bad_tcp_checksum);
    CHECK(rig.bridge.flows() == 0);
}

TEST_CASE("a backend's own connections pass untouched") {
    Rig rig;
    rig.establish();
    Segment other = rig.from_backend_segment(SPLICE_ACK, "hello");
    other.destination_port = 9;
    const PacketBytes before = other.build();
    CHECK(rig.from_backend(other) == SPLICE_pass_not_spliced);
    CHECK(rig.packet == before);
}

TEST_CASE("a client that asks the backend directly, from the ports of an ended flow, is not spliced") {
    Rig rig;
    rig.establish();
    Segment direct = rig.syn_ack();
    direct.ack = rig.client.base.seq + 1000;
    const PacketBytes before = direct.build();
    CHECK(rig.from_backend(direct) == SPLICE_pass_not_spliced);
    CHECK(rig.packet == before);
    CHECK(rig.out.sent.empty());
    CHECK(rig.bridge.flows() == 0);
}

TEST_CASE("a packet that lost its mark passes, and is counted when its connection is spliced here") {
    Rig rig;
    Segment unmarked = rig.client.segment("more", 28);
    unmarked.destination = topology(4).bridges[0];
    PacketBytes bytes = unmarked.build();
    const PacketBytes before = bytes;
    CHECK(rig.bridge.handle_from_balancer(at(0), bytes, true, rig.hop, rig.out) == SPLICE_pass_unmarked);
    rig.establish();
    CHECK(rig.bridge.handle_from_balancer(at(0), bytes, true, rig.hop, rig.out) ==
          SPLICE_pass_unmarked_known_flow);
    CHECK(bytes == before);
}

TEST_CASE("a first payload whose mark was lost, or is no service's, passes and is counted by name") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        Segment segment = rig.marked(rig.client.segment(kGet));
        const auto verdict = [&](std::uint8_t dscp) {
            segment.dscp = dscp;
            rig.packet = segment.build();
            return rig.bridge.handle_from_balancer(at(0), rig.packet, true, rig.hop, rig.out);
        };
        CHECK(verdict(0) == SPLICE_pass_mark_lost);
        CHECK(verdict(2) == SPLICE_pass_mark_of_no_service);
        segment.ack ^= 0x1000;
        CHECK(verdict(0) == SPLICE_pass_unmarked);
        segment.destination_port = 22;
        CHECK(verdict(2) == SPLICE_pass_unmarked);
    }
}

TEST_CASE("an ICMP error of the backend's host reaches the client in the cookie's numbers") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        rig.establish();
        // What the backend's host complains about is what was delivered to it.
        Segment delivered = rig.client.segment("more", 28);
        delivered.destination = topology(family).backend;
        delivered.destination_port = 8080;
        delivered.ack = kBackendIsn + 1;
        PacketBytes error =
            icmp_too_big(topology(family).backend, topology(family).client, delivered.build(), 1200, 1300);
        CHECK(rig.bridge.handle_from_backend(at(0), error, true, rig.out) == SPLICE_toward_client_icmp);
        const Parsed sent = parse(error);
        CHECK(sent.source == topology(family).vip);
        splice_packet quoted{};
        CHECK(splice_parse_icmp_error(error.data(), error.data() + error.size(), &sent.packet, &quoted) ==
              SPLICE_CONTINUE);
        CHECK(IpAddress(quoted.ends.destination).to_string() == topology(family).vip);
        CHECK(splice_ntohs(quoted.ends.destination_port) == 80);
        CHECK(quoted.ack == rig.client.cookie + 1);

        delivered.source_port = 1;
        error =
            icmp_too_big(topology(family).backend, topology(family).client, delivered.build(), 1200, 1300);
        CHECK(rig.bridge.handle_from_backend(at(0), error, true, rig.out) == SPLICE_pass_icmp_not_ours);
    }
}

TEST_CASE("an ICMP error reaches the backend in the backend's numbers") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        rig.establish();
        Segment response;
        response.source = topology(family).vip;
        response.destination = topology(family).client;
        response.source_port = 80;
        response.destination_port = 40000;
        response.seq = rig.client.cookie + 1;
        response.payload = std::string(1400, 'r');
        const std::string router = family == 4 ? "203.0.113.1" : "2001:db8:9::1";
        PacketBytes error = icmp_too_big(router, topology(family).bridges[0], response.build(),
                                         family == 4 ? 28 : 1200, 1300);
        // The balancer has marked it.
        if (family == 4) {
            error[10] = error[11] = std::byte{0};
            error[1] = std::byte{4};
            std::uint16_t check =
                static_cast<std::uint16_t>(~splice_sum_fold(splice_sum_bytes(0, error.data(), 20)));
            std::memcpy(&error[10], &check, 2);
        } else {
            error[1] = std::byte{0x40};
        }
        CHECK(rig.bridge.handle_from_balancer(at(0), error, true, rig.hop, rig.out) == SPLICE_deliver_icmp);
        const Parsed delivered = parse(error);
        CHECK(delivered.destination == topology(family).backend);
        splice_packet quoted{};
        CHECK(splice_parse_icmp_error(error.data(), error.data() + error.size(), &delivered.packet,
                                      &quoted) == SPLICE_CONTINUE);
        CHECK(IpAddress(quoted.ends.source).to_string() == topology(family).backend);
        CHECK(splice_ntohs(quoted.ends.source_port) == 8080);
        CHECK(quoted.seq == kBackendIsn + 1);
    }
}

TEST_CASE("two services on one backend do not take each other's client port") {
    JoinerSetup setup = joiner_setup(4);
    JoinerService second = setup.services[0];
    second.number = 2;
    second.carriage = splice_carriage_by_dscp(2);
    second.vip.port = 80;
    setup.services.push_back(second);
    Rig rig(setup, 4);
    rig.establish();
    Segment other = rig.client.segment(kGet);
    other.destination = topology(4).bridges[0];
    other.dscp = 2;
    // What begins a connection goes back, for the next choice; what does not ends here.
    other.seq += 0x1000;
    PacketBytes later = other.build();
    CHECK(rig.bridge.handle_from_balancer(at(0), later, true, rig.hop, rig.out) ==
          SPLICE_drop_backend_tuple_in_use);
    other.seq -= 0x1000;
    PacketBytes damaged = other.build();
    damaged.back() ^= std::byte{1};
    CHECK(rig.bridge.handle_from_balancer(at(0), damaged, true, rig.hop, rig.out) ==
          SPLICE_drop_bad_tcp_checksum);
    rig.out = {};
    PacketBytes first = other.build();
    CHECK(rig.bridge.handle_from_balancer(at(0), first, true, rig.hop, rig.out) ==
          SPLICE_bounce_tuple_in_use);
    REQUIRE(rig.out.bounced.size() == 1);
    const Parsed bounced = parse(rig.out.bounced[0]);
    CHECK(bounced.destination == topology(4).vip);
    CHECK(bounced.dscp == SPLICE_CARRIAGE_BOUNCE);
    CHECK(bounced.payload == kGet);
    CHECK(bounced.checksums_right);
}

TEST_CASE("a bridge that is leaving opens nothing: it goes back to the balancer, and what is open goes on") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        JoinerSetup setup = joiner_setup(family);
        Rig rig(setup, family);
        rig.establish();
        setup.leaving = true;
        rig.bridge.replace_setup(std::make_shared<const JoinerSetup>(setup));
        const auto length = static_cast<std::uint32_t>(kGet.size());
        CHECK(rig.from_balancer(rig.client.segment("more", length)) == SPLICE_deliver);
        // The first payload again is the open connection's own.
        CHECK(rig.from_balancer(rig.client.segment(kGet)) == SPLICE_deliver);

        Rig second(setup, family);
        CHECK(second.from_balancer(second.client.segment(kGet)) == SPLICE_bounce_leaving);
        REQUIRE(second.out.bounced.size() == 1);
        const Parsed bounced = parse(second.out.bounced[0]);
        CHECK(bounced.destination == topology(family).vip);
        CHECK(bounced.dscp == SPLICE_CARRIAGE_BOUNCE);
        CHECK(bounced.payload == kGet);
        CHECK(bounced.checksums_right);
        CHECK(second.bridge.flows() == 0);
    }
}

TEST_CASE("tables and holds are bounded by name") {
    JoinerSetup setup = joiner_setup(4);
    setup.max_flows = 1;
    Rig full(setup, 4);
    full.establish();
    Client second(4, 50000);
    REQUIRE(second.connect(full.splicer, at(0)) == SPLICE_answer_syn_ack);
    CHECK(full.from_balancer(second.segment(kGet)) == SPLICE_drop_flow_table_full);

    setup.hold_memory = 10;
    Rig tight(setup, 4);
    CHECK(tight.from_balancer(tight.client.segment(kGet)) == SPLICE_drop_hold_full);
}

TEST_CASE("flows expire: opening soon, closed soon, half-closed while nothing moves, open late") {
    Rig rig;
    rig.from_balancer(rig.client.segment(kGet));
    rig.expire(9);
    CHECK(rig.bridge.flows() == 1);
    rig.expire(10);
    CHECK(rig.bridge.flows() == 0);
    CHECK(rig.bridge.counters().flows_opening == 0);
    CHECK(rig.bridge.counters().held_bytes == 0);

    rig.establish();
    rig.expire(899);
    CHECK(rig.bridge.flows() == 1);
    // One side has ended: the other may take its time.
    CHECK(rig.from_backend(rig.from_backend_segment(SPLICE_ACK | SPLICE_FIN), 20) == SPLICE_toward_client);
    CHECK(rig.from_balancer(rig.client.segment("", 28, SPLICE_ACK), 70) == SPLICE_deliver);
    rig.expire(969);
    CHECK(rig.bridge.flows() == 1);
    CHECK(rig.from_balancer(rig.client.segment("", 28, SPLICE_ACK | SPLICE_FIN), 70) == SPLICE_deliver);
    rig.expire(129);
    CHECK(rig.bridge.flows() == 1);
    rig.expire(130);
    CHECK(rig.bridge.flows() == 0);

    rig.establish();
    CHECK(rig.from_backend(rig.from_backend_segment(SPLICE_RST), 0) == SPLICE_toward_client);
    rig.expire(59);
    CHECK(rig.bridge.flows() == 1);
    rig.expire(60);
    CHECK(rig.bridge.flows() == 0);
}

TEST_CASE("a backend without timestamps or scaling is understood as it is") {
    Rig rig;
    rig.from_balancer(rig.client.segment(kGet));
    Segment syn_ack = rig.syn_ack();
    syn_ack.timestamps.reset();
    syn_ack.window_scale.reset();
    CHECK(rig.from_backend(syn_ack) == SPLICE_learn_backend_isn);
    Segment response = rig.from_backend_segment(SPLICE_ACK, "x");
    response.timestamps.reset();
    response.window = 12800;
    CHECK(rig.from_backend(response) == SPLICE_toward_client);
    CHECK(parse(rig.packet).packet.window == 100);

    // Nor does it understand the client's windows, which are in units of 2^8.
    Segment acknowledgement = rig.client.segment("x", static_cast<std::uint32_t>(kGet.size()));
    acknowledgement.window = 200;
    CHECK(rig.from_balancer(acknowledgement) == SPLICE_deliver);
    CHECK(parse(rig.packet).packet.window == 51'200);
}

TEST_CASE(
    "what was held for a backend without scaling, and what acknowledges it again, tell the whole window") {
    Rig rig;
    Segment first = rig.client.segment(kGet);
    first.window = 200;
    rig.from_balancer(first);
    Segment syn_ack = rig.syn_ack();
    syn_ack.window_scale.reset();
    REQUIRE(rig.from_backend(syn_ack) == SPLICE_learn_backend_isn);
    REQUIRE(rig.out.sent.size() == 1);
    CHECK(parse(rig.out.sent[0]).packet.window == 51'200);
    CHECK(rig.from_backend(syn_ack) == SPLICE_acknowledge_backend);
    CHECK(parse(rig.out.sent.at(0)).packet.window == 51'200);
}

namespace {

// A kernel map, as far as the machine knows.
class CarriedFlows final : public BridgeFlows {
  public:
    bool put(const splice_flow_key& key, const splice_bridge_flow& flow) noexcept override {
        if (is_full) return false;
        flows.insert_or_assign(key, flow);
        return true;
    }
    [[nodiscard]] CarriedFlow find(const splice_flow_key& key) const noexcept override {
        const auto found = flows.find(key);
        if (found == flows.end()) return {};
        return found->second;
    }
    void erase(const splice_flow_key& key) noexcept override { flows.erase(key); }
    void for_each(const Visit& visit) const override {
        for (const auto& [key, flow] : flows) visit(key, flow);
    }

    std::unordered_map<splice_flow_key, splice_bridge_flow, FlowKeyHash, FlowKeyEqual> flows;
    bool is_full = false;
};

}  // namespace

TEST_CASE("an established connection is carried elsewhere, with what its packets need") {
    CarriedFlows carried;
    Rig rig(joiner_setup(4), 4, &carried);
    REQUIRE(rig.from_balancer(rig.client.segment(kGet)) == SPLICE_open_replay);
    REQUIRE(carried.flows.size() == 1);
    CHECK(carried.flows.begin()->second.state == SPLICE_BRIDGE_OPENING);
    REQUIRE(rig.from_backend(rig.syn_ack()) == SPLICE_learn_backend_isn);
    CHECK(rig.bridge.flows() == 0);
    const splice_bridge_flow& flow = carried.flows.begin()->second;
    CHECK(flow.state == SPLICE_BRIDGE_ESTABLISHED);
    CHECK(flow.translation.seq_shift == rig.client.cookie - kBackendIsn);
    CHECK(flow.translation.backend_window_scale == 10);
    CHECK(flow.client_next == rig.client.base.seq + 1 + static_cast<std::uint32_t>(kGet.size()));
    // What reaches the machine all the same is translated as ever.
    CHECK(rig.from_balancer(rig.client.segment("x", static_cast<std::uint32_t>(kGet.size()))) ==
          SPLICE_deliver);
    CHECK(rig.from_backend(rig.from_backend_segment(SPLICE_ACK, "x")) == SPLICE_toward_client);
    CHECK(rig.from_backend(rig.syn_ack()) == SPLICE_acknowledge_backend);
}

TEST_CASE("an opening that ends leaves nothing where it would have been carried") {
    CarriedFlows carried;
    Rig rig(joiner_setup(4), 4, &carried);
    REQUIRE(rig.from_balancer(rig.client.segment(kGet)) == SPLICE_open_replay);
    rig.expire(60);
    CHECK(carried.flows.empty());
    REQUIRE(rig.from_balancer(rig.client.segment(kGet), 0.5) == SPLICE_open_replay);
    Segment refusal = rig.from_backend_segment(SPLICE_RST | SPLICE_ACK);
    CHECK(rig.from_backend(refusal) == SPLICE_bounce_refused);
    CHECK(carried.flows.empty());
}

TEST_CASE("no room where it would be carried: the connection is not opened") {
    CarriedFlows carried;
    carried.is_full = true;
    Rig rig(joiner_setup(4), 4, &carried);
    CHECK(rig.from_balancer(rig.client.segment(kGet)) == SPLICE_drop_flow_table_full);
    CHECK(rig.bridge.flows() == 0);
}

TEST_CASE("a valid cookie on a carried connection opens anew in its place") {
    CarriedFlows carried;
    Rig rig(joiner_setup(4), 4, &carried);
    rig.establish();
    rig.client.base.seq = 0x12345678;
    REQUIRE(rig.client.connect(rig.splicer, at(0)) == SPLICE_answer_syn_ack);
    CHECK(rig.from_balancer(rig.client.segment(kGet)) == SPLICE_reopen_replay);
    CHECK(carried.flows.begin()->second.state == SPLICE_BRIDGE_OPENING);
    CHECK(carried.flows.begin()->second.client_isn == 0x12345678);
}

TEST_CASE("a segment that overtook its connection's opening elsewhere is delivered when it comes again") {
    CarriedFlows carried;
    Rig rig(joiner_setup(4), 4, &carried);
    REQUIRE(rig.from_balancer(rig.client.segment("later", 100)) == SPLICE_hold_unknown);
    splice_bridge_flow flow{};
    const JoinerService service = joiner_setup(4).services[0];
    flow.translation.vip = service.vip.address.raw();
    flow.translation.vip_port = splice_htons(80);
    flow.translation.backend = service.backend.address.raw();
    flow.translation.backend_port = splice_htons(8080);
    flow.state = SPLICE_BRIDGE_ESTABLISHED;
    flow.service = 1;
    const IpAddress client = *IpAddress::parse(topology(4).client);
    carried.put({client.raw(), service.backend.address.raw(), splice_htons(rig.client.base.source_port),
                 splice_htons(8080), 0},
                flow);
    CHECK(rig.from_balancer(rig.client.segment("later", 100), 0.3) == SPLICE_deliver);
    const auto delivered = parse(rig.packet);
    CHECK(delivered.destination == topology(4).backend);
    CHECK(delivered.payload == "later");
    CHECK(delivered.checksums_right);
    CHECK(rig.count(SPLICE_bounce_not_mine) == 0);
}

TEST_CASE("a backend's segment of which only the head is there is known by its connection") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        rig.establish();
        PacketBytes whole = rig.from_backend_segment(SPLICE_ACK, std::string(9000, 'x')).build();
        const Bytes head = Bytes(whole).first(100);
        CHECK(rig.bridge.is_spliced_answer(head));
        CHECK_FALSE(rig.bridge.is_spliced_answer(head.first(30)));
        Segment other = rig.from_backend_segment(SPLICE_ACK, std::string(9000, 'x'));
        other.destination_port = 1;
        whole = other.build();
        CHECK_FALSE(rig.bridge.is_spliced_answer(Bytes(whole).first(100)));
    }
}

namespace {

// The kernel's sockets of adopted connections.
class Sockets final : public BridgeFlows {
  public:
    bool put(const splice_flow_key&, const splice_bridge_flow&) noexcept override { return false; }
    [[nodiscard]] CarriedFlow find(const splice_flow_key&) const noexcept override {
        if (!there) return {};
        const JoinerService served = joiner_setup(4).services[0];
        AdoptedSocket socket;
        socket.translation.vip = served.vip.address.raw();
        socket.translation.vip_port = splice_htons(80);
        socket.translation.backend = served.backend.address.raw();
        socket.translation.backend_port = splice_htons(8080);
        socket.service = service;
        return socket;
    }
    void erase(const splice_flow_key&) noexcept override {}
    void for_each(const Visit&) const override {}

    bool there = true;
    std::uint16_t service = 1;
};

}  // namespace

TEST_CASE(
    "no number of an adopted socket is known, so its client insists before the socket judges a segment") {
    Sockets sockets;
    Rig rig(joiner_setup(4), 4, &sockets);
    const auto segment = rig.client.segment("later", 100);
    REQUIRE(rig.from_balancer(segment) == SPLICE_hold_unknown);
    REQUIRE(rig.from_balancer(segment, 0.3) == SPLICE_hold_unknown);
    CHECK(rig.from_balancer(segment, 0.7) == SPLICE_deliver);
    const auto delivered = parse(rig.out.sent.back());
    CHECK(delivered.destination == topology(4).backend);
    CHECK(delivered.payload == "later");
    CHECK(delivered.checksums_right);
    CHECK(rig.count(SPLICE_bounce_not_mine) == 0);
}

TEST_CASE(
    "an adopted socket of another service has the port, so a segment without a valid cookie is dropped") {
    Sockets sockets;
    sockets.service = 2;
    Rig rig(joiner_setup(4), 4, &sockets);
    CHECK(rig.from_balancer(rig.client.segment("later", 100)) == SPLICE_drop_backend_tuple_in_use);
}

TEST_CASE(
    "a bridge that stops resets each established connection at both ends, at the number that is expected "
    "there") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        for (const bool is_carried : {false, true}) {
            CAPTURE(is_carried);
            CarriedFlows carried;
            Rig rig(joiner_setup(family), family, is_carried ? &carried : nullptr);
            // One that opens still is nobody's yet.
            REQUIRE(rig.from_balancer(rig.client.segment(kGet)) == SPLICE_open_replay);
            CHECK(rig.bridge.reset_flows(rig.out) == 0);
            REQUIRE(rig.from_backend(rig.syn_ack()) == SPLICE_learn_backend_isn);
            REQUIRE(rig.from_backend(rig.from_backend_segment(SPLICE_ACK, "answer")) == SPLICE_toward_client);
            rig.out = {};
            // The kernel program is who notes what passes of a flow that is carried.
            if (is_carried) carried.flows.begin()->second.server_next = rig.client.cookie + 1 + 6;
            CHECK(rig.bridge.reset_flows(rig.out) == 1);
            REQUIRE(rig.out.sent.size() == 2);
            const Parsed backend = parse(rig.out.sent[0]), client = parse(rig.out.sent[1]);
            REQUIRE(rig.out.bounced.size() == 1);
            const Parsed word = parse(rig.out.bounced[0]);
            CHECK(word.packet.tcp_flags == SPLICE_RST);
            CHECK(word.source == topology(family).client);
            CHECK(word.destination == topology(family).vip);
            CHECK(word.dscp == SPLICE_CARRIAGE_BOUNCE);
            CHECK(word.checksums_right);
            const PacketBytes& bytes = rig.out.bounced[0];
            const splice_refusal refusal =
                splice_read_refusal(bytes.data(), bytes.data() + bytes.size(), &word.packet, &kSecret);
            CHECK(splice_refusal_is_of(&refusal, &IpAddress::parse(topology(family).bridges[0])->raw()));
            CHECK(backend.packet.tcp_flags == SPLICE_RST);
            CHECK(backend.source == topology(family).client);
            CHECK(backend.destination == topology(family).backend);
            CHECK(backend.packet.seq == rig.client.base.seq + 1 + static_cast<std::uint32_t>(kGet.size()));
            CHECK(backend.checksums_right);
            CHECK(client.packet.tcp_flags == SPLICE_RST);
            CHECK(client.source == topology(family).vip);
            CHECK(client.destination == topology(family).client);
            CHECK(client.packet.seq == rig.client.cookie + 1 + 6);
            CHECK(client.packet.ends.source_port == splice_htons(80));
            CHECK(client.checksums_right);
        }
    }
}

namespace {

struct Ends final : SampledFlows {
    void opened(const splice_flow_key&) noexcept override { ++begun; }
    void ended(const splice_flow_key& key, const splice_bridge_flow& flow,
               splice_connection_end end) noexcept override {
        ends.push_back(
            {key.client_port, splice_bridge_flow_sent(&flow), splice_bridge_flow_received(&flow), end});
    }
    struct End {
        std::uint16_t client_port;
        std::uint64_t sent, received;
        splice_connection_end end;
    };
    int begun = 0;
    std::vector<End> ends;
};

struct SampledRig : Rig {
    explicit SampledRig(std::uint64_t share = SPLICE_SAMPLE_ALL) {
        bridge.tell_sampled(told);
        auto setup = joiner_setup();
        setup.sample = share;
        bridge.swap_setup(std::make_shared<const JoinerSetup>(setup));
        establish();
        CHECK(told.begun == (share == 0 ? 0 : 1));
    }
    // The answer, and whatever flags it has.
    void answer(std::uint8_t flags = 0) {
        REQUIRE(from_backend(from_backend_segment(SPLICE_ACK | flags, "answer")) == SPLICE_toward_client);
    }
    void close_by_client(std::uint8_t flags) {
        Segment last = client.segment("", static_cast<std::uint32_t>(kGet.size()), flags);
        REQUIRE(from_balancer(last) == SPLICE_deliver);
    }
    Ends told;
};

}  // namespace

TEST_CASE("a sampled connection's end is told once, when both sides have sent FIN, with the bytes of each") {
    SampledRig rig;
    rig.answer();
    rig.close_by_client(SPLICE_ACK | SPLICE_FIN);
    CHECK(rig.told.ends.empty());
    Segment fin = rig.from_backend_segment(SPLICE_ACK | SPLICE_FIN);
    fin.seq += 6;
    REQUIRE(rig.from_backend(fin) == SPLICE_toward_client);
    REQUIRE(rig.told.ends.size() == 1);
    CHECK(rig.told.ends[0].end == SPLICE_END_FIN);
    CHECK(rig.told.ends[0].sent == 6);
    CHECK(rig.told.ends[0].received == kGet.size());
    CHECK(rig.told.ends[0].client_port == splice_htons(rig.client.base.source_port));
    rig.close_by_client(SPLICE_ACK);
    rig.expire(10'000);
    CHECK(rig.told.ends.size() == 1);
}

TEST_CASE("a sampled connection ends by RST, idle, by another one on its ports, or with its service") {
    {
        SampledRig rig;
        rig.answer();
        rig.close_by_client(SPLICE_RST | SPLICE_ACK);
        REQUIRE(rig.told.ends.size() == 1);
        CHECK(rig.told.ends[0].end == SPLICE_END_RESET);
        CHECK(rig.told.ends[0].sent == 6);
    }
    {
        SampledRig rig;
        rig.answer();
        rig.expire(10'000);
        REQUIRE(rig.told.ends.size() == 1);
        CHECK(rig.told.ends[0].end == SPLICE_END_IDLE);
        CHECK(rig.told.ends[0].sent == 6);
    }
    {
        SampledRig rig;
        auto none = joiner_setup();
        none.services.clear();
        rig.bridge.replace_setup(std::make_shared<const JoinerSetup>(none));
        REQUIRE(rig.told.ends.size() == 1);
        CHECK(rig.told.ends[0].end == SPLICE_END_SERVICE_GONE);
    }
    {
        SampledRig rig;
        Client again = rig.client;
        again.base.seq += 1U << 26;
        REQUIRE(again.connect(rig.splicer, at(0)) == SPLICE_answer_syn_ack);
        CHECK(rig.from_balancer(again.segment(kGet)) == SPLICE_reopen_replay);
        REQUIRE(rig.told.ends.size() == 1);
        CHECK(rig.told.ends[0].end == SPLICE_END_REPLACED);
        CHECK(rig.told.ends[0].received == kGet.size());
    }
    {
        SampledRig rig;
        CHECK(rig.bridge.reset_flows(rig.out) == 1);
        REQUIRE(rig.told.ends.size() == 1);
        CHECK(rig.told.ends[0].end == SPLICE_END_RESET);
    }
}

TEST_CASE("without a sample nothing is told") {
    SampledRig rig(0);
    rig.answer(SPLICE_FIN);
    rig.close_by_client(SPLICE_ACK | SPLICE_FIN);
    rig.expire(10'000);
    CHECK(rig.told.ends.empty());
}

TEST_CASE("a flow counts bytes beyond 4 GiB in both directions, and stays at the most that it can tell") {
    splice_bridge_flow flow{};
    splice_bridge_flow_begin(&flow, 0xffff'fff0, 0x8000'0000);
    CHECK(splice_bridge_flow_sent(&flow) == 0);
    CHECK(splice_bridge_flow_received(&flow) == 0);
    constexpr std::uint64_t kStep = 1U << 30;
    for (std::uint64_t sent = kStep; sent <= 20 * kStep; sent += kStep) {
        splice_bridge_flow_advance(&flow, &flow.server_next, static_cast<std::uint32_t>(0x8000'0001 + sent),
                                   0x8000'0001, 1);
        CHECK(splice_bridge_flow_sent(&flow) == sent);
    }
    for (std::uint64_t received = kStep; received <= 9 * kStep; received += kStep)
        splice_bridge_flow_advance(&flow, &flow.client_next,
                                   static_cast<std::uint32_t>(0xffff'fff1 + received), 0xffff'fff1, 16);
    CHECK(splice_bridge_flow_received(&flow) == 9 * kStep);
    CHECK(splice_bridge_flow_sent(&flow) == 20 * kStep);
    flow.flags = SPLICE_BRIDGE_CLIENT_FIN | SPLICE_BRIDGE_BACKEND_FIN;
    CHECK(splice_bridge_flow_received(&flow) == 9 * kStep - 1);
    for (int i = 0; i < 1000; ++i)
        splice_bridge_flow_advance(&flow, &flow.server_next,
                                   flow.server_next + static_cast<std::uint32_t>(kStep), 0x8000'0001, 1);
    CHECK(splice_bridge_flow_sent(&flow) + 1 >= std::uint64_t{15} << 32);
    CHECK(splice_bridge_flow_received(&flow) == 9 * kStep - 1);
}
