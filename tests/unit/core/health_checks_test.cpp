#include "libsplice/core/health_checks.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "tests/support/lib/machines.hpp"

using namespace splice;
using namespace splice::testing;

namespace {

constexpr auto kOwn = "192.0.2.99";

SplicerSetup checked_setup(ProbeKind kind = ProbeKind::http) {
    SplicerSetup setup = splicer_setup();
    setup.own.ipv4 = IpAddress::parse(kOwn)->raw();
    ProbeRule probe;
    probe.kind = kind;
    setup.services[0].bridges = {0, 1, 2};
    setup.services[0].check = ServiceCheck{.probe = std::make_shared<const ProbeRule>(probe),
                                           .health = {},
                                           .bridges = {{0, true}, {1, true}, {2, true}}};
    return setup;
}

// The checks of one service, and bridges that answer as the test says.
struct Rig {
    explicit Rig(SplicerSetup setup_ = checked_setup()) { replace(std::move(setup_)); }

    void replace(SplicerSetup setup_) {
        setup = std::make_shared<const SplicerSetup>(std::move(setup_));
        checks.replace_setup(at(now).monotonic, setup);
    }
    void run_for(double seconds) {
        const double end = now + seconds;
        for (; now < end; now += 0.01) {
            SentPackets out;
            checks.expire(at(now), out);
            for (const PacketBytes& packet : out.sent) deliver(packet);
        }
    }
    // To a bridge, whose server answers.
    void deliver(const PacketBytes& packet) {
        const Parsed opening = parse(packet);
        const auto& bridges = topology(4).bridges;
        const auto place =
            static_cast<std::size_t>(std::ranges::find(bridges, opening.destination) - bridges.begin());
        if (opening.packet.tcp_flags & SPLICE_RST) return;
        ++asked[place];
        if (packet.size() > narrow_at[place]) return;
        const std::string& answer = answers[place];
        if (answer.empty()) return;
        if (answer == "bounce") {
            PacketBytes back = packet;
            splice_packet head = opening.packet;
            std::byte* const data = back.data();
            (void)splice_carry_back(data, data + back.size(), &head, &setup->services[0].vip.address.raw());
            verdicts[hear(back)]++;
            return;
        }
        Segment segment;
        segment.source = topology(4).vip;
        segment.destination = kOwn;
        segment.source_port = 80;
        segment.destination_port = splice_ntohs(opening.packet.ends.source_port);
        segment.seq = opening.packet.ack;
        segment.ack = opening.packet.seq + opening.packet.payload_length;
        segment.payload = answer;
        verdicts[hear(segment.build())]++;
    }
    Verdict hear(const PacketBytes& packet) {
        SentPackets out;
        return checks.handle(at(now + 0.001), packet, true, out).value_or(SPLICE_CONTINUE);
    }
    [[nodiscard]] BridgeHealth of(std::size_t bridge) const {
        return checks.report().at(0).bridges.at(bridge);
    }

    double now = 0;
    std::shared_ptr<const SplicerSetup> setup;
    HealthChecks checks{1};
    std::vector<std::string> answers = std::vector<std::string>(3, "HTTP/1.1 200 OK\r\n");
    std::vector<std::size_t> narrow_at = std::vector<std::size_t>(3, 65535);
    std::vector<int> asked = std::vector<int>(3);
    std::map<Verdict, int> verdicts;
};

}  // namespace

TEST_CASE("each bridge is checked once an interval; what answers is told from what does not") {
    Rig rig;
    rig.answers[1] = "HTTP/1.1 503 No\r\n";
    rig.answers[2] = "bounce";
    rig.run_for(20);
    for (int bridge = 0; bridge < 3; ++bridge) {
        CHECK(rig.asked[static_cast<std::size_t>(bridge)] >= 9);
        CHECK(rig.asked[static_cast<std::size_t>(bridge)] <= 12);
    }
    CHECK(rig.of(0).state == HealthState::up);
    CHECK(rig.of(0).checks[static_cast<std::size_t>(ProbeEnd::passed)] >= 9);
    CHECK(rig.of(1).state == HealthState::ill);
    CHECK(rig.of(1).words == "status 503, expected 200-399");
    CHECK(rig.of(2).failure == ProbeEnd::bounced);
    CHECK(rig.verdicts.size() == 1);
    CHECK(rig.verdicts[SPLICE_hear_check] > 27);
    CHECK(rig.checks.verdicts().of(SPLICE_hear_check) ==
          static_cast<std::uint64_t>(rig.verdicts[SPLICE_hear_check]));
}

TEST_CASE("a change is told once, with why; who is silent is gone, and is heard of when it answers again") {
    Rig rig;
    CHECK_FALSE(rig.checks.take_news());
    rig.answers[1].clear();
    rig.run_for(12);
    CHECK(rig.checks.take_news());
    CHECK_FALSE(rig.checks.take_news());
    auto changes = rig.checks.take_changes();
    REQUIRE(changes.size() == 2);
    CHECK(changes[0].bridge == 1);
    CHECK(changes[0].is == HealthState::ill);
    CHECK(changes[0].failure == ProbeEnd::silent);
    CHECK(changes[1].is == HealthState::gone);
    CHECK_FALSE(rig.of(1).placed);
    CHECK(rig.of(1).ends_flows);
    CHECK(rig.of(0).placed);
    rig.answers[1] = rig.answers[0];
    rig.run_for(10);
    changes = rig.checks.take_changes();
    REQUIRE(changes.size() == 2);
    CHECK(changes[0].is == HealthState::ill);
    CHECK(changes[1].is == HealthState::up);
    CHECK(rig.of(1).placed);
}

TEST_CASE(
    "repeated openings make a bridge suspect: quick checks say soon that it is silent, and strand its "
    "openings") {
    Rig rig;
    rig.run_for(3);
    REQUIRE(rig.of(1).checks[static_cast<std::size_t>(ProbeEnd::passed)] > 0);
    rig.answers[1].clear();
    REQUIRE(rig.checks.wants_signs(at(rig.now).monotonic));
    const std::vector<SignedBridge> repeats{
        {.service = 1, .bridge = 1, .signs = {.openings = 5, .repeats = 3}}};
    rig.checks.see(at(rig.now).monotonic, repeats);
    CHECK_FALSE(rig.checks.wants_signs(at(rig.now).monotonic));
    CHECK(rig.of(1).suspect);
    rig.run_for(0.4);
    CHECK(rig.of(1).state == HealthState::ill);
    CHECK_FALSE(rig.of(1).placed);
    CHECK(rig.of(1).strands);
    CHECK_FALSE(rig.of(1).ends_flows);
    CHECK(rig.of(1).signs == PassiveSigns{.openings = 5, .repeats = 3});
    CHECK(rig.of(0).state == HealthState::up);
    rig.run_for(3);
    CHECK(rig.of(1).ends_flows);
}

TEST_CASE("a way that loses full segments is told of, and takes nobody out") {
    Rig rig;
    rig.narrow_at[2] = 1400;
    rig.run_for(16 * 2 * 1.2);
    CHECK(rig.of(2).narrow);
    CHECK(rig.of(2).state == HealthState::up);
    CHECK_FALSE(rig.of(0).narrow);
    CHECK(rig.checks.take_news());
    CHECK(rig.checks.take_changes().empty());
    rig.narrow_at[2] = 1500;
    rig.run_for(16 * 2 * 1.2);
    CHECK_FALSE(rig.of(2).narrow);
    CHECK(rig.checks.take_news());
}

TEST_CASE("over a change of the service its bridges keep their states; a new one is up") {
    Rig rig;
    rig.answers[1].clear();
    rig.run_for(12);
    REQUIRE(rig.of(1).state == HealthState::gone);
    SplicerSetup other = checked_setup();
    other.services[0].check->health.fall = 7;
    rig.replace(other);
    CHECK(rig.of(1).state == HealthState::gone);
    other.services[0].check->bridges = {{1, true}, {2, false}};
    rig.replace(other);
    CHECK(rig.of(0).state == HealthState::gone);
    CHECK(rig.of(0).bridge == 1);
    CHECK(rig.of(1).state == HealthState::up);
    CHECK_FALSE(rig.of(1).placed);  // it drains
    CHECK(rig.of(0).placed);        // of the others all are gone
    CHECK_FALSE(rig.of(0).ends_flows);
    other.services[0].check.reset();
    rig.replace(other);
    CHECK(rig.checks.report().empty());
    rig.run_for(1);  // what runs ends
    CHECK_FALSE(rig.checks.next_deadline());
    rig.replace(checked_setup());
    CHECK(rig.of(1).state == HealthState::up);
}

TEST_CASE("what looks like an answer and is none is dropped; other packets are not the checks'") {
    Rig rig;
    rig.run_for(3);
    Segment segment;
    segment.source = topology(4).vip;
    segment.destination = kOwn;
    segment.source_port = 80;
    segment.destination_port = 65535;
    segment.payload = "HTTP/1.1 200 OK";
    CHECK(rig.hear(segment.build()) == SPLICE_drop_check);
    PacketBytes wrong = segment.build();
    wrong.back() ^= std::byte{1};
    CHECK(rig.hear(wrong) == SPLICE_drop_bad_tcp_checksum);
    segment.destination_port = 40000;
    CHECK(rig.hear(segment.build()) == SPLICE_CONTINUE);
    segment.destination_port = 65535;
    segment.destination = "192.0.2.98";
    CHECK(rig.hear(segment.build()) == SPLICE_CONTINUE);
    // A client whose port is as high as a check's.
    Segment client;
    client.source_port = 65000;
    CHECK(rig.hear(client.build()) == SPLICE_CONTINUE);
    client.source = kOwn;
    client.destination = topology(4).vip;
    CHECK(rig.hear(client.build()) == SPLICE_CONTINUE);
    client.dscp = SPLICE_CARRIAGE_BOUNCE;
    CHECK(rig.hear(client.build()) == SPLICE_drop_check);
}

TEST_CASE("without an address of the service's family nothing is checked") {
    SplicerSetup setup = checked_setup();
    setup.own.ipv4 = {};
    Rig rig(setup);
    rig.run_for(10);
    CHECK(rig.checks.report().empty());
    CHECK(rig.asked == std::vector<int>{0, 0, 0});
}
