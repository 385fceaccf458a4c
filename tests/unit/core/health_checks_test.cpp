#include "libsplice/core/health_checks.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "libsplice/datapath/bridge_rules.h"
#include "tests/support/lib/machines.hpp"
#include "tests/unit/datapath/raw_packet.hpp"

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
        if (!errors[place].empty()) return answer_by_icmp(errors[place], packet, 3, 1);
        if (packet.size() > narrow_at[place]) {
            if (too_big[place]) answer_by_icmp("192.0.2.1", packet, 3, 4);
            return;
        }
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
        if (setup->services[0].lanes)
            segment.timestamps = Timestamps{clock_of(place, opening), opening.options.tsval};
        verdicts[hear(segment.build())]++;
    }
    void answer_by_icmp(const std::string& from, const PacketBytes& about, std::uint8_t type,
                        std::uint8_t code) {
        Octets quoted(about.size());
        std::memcpy(quoted.data(), about.data(), about.size());
        const Octets error = RawPacket{.source = from, .destination = kOwn}.build_icmp(type, code, quoted);
        PacketBytes bytes(error.size());
        std::memcpy(bytes.data(), error.data(), error.size());
        CHECK(checks.hear_error(at(now + 0.001).monotonic, bytes));
    }
    // A bridge's first TSval, by its number.
    [[nodiscard]] std::uint32_t clock_of(std::size_t place, const Parsed& opening) const {
        splice_packet as_client = opening.packet;
        as_client.ends.destination = setup->services[0].vip.address.raw();
        splice_negotiated negotiated{};
        REQUIRE(splice_cookie_check_segment(&setup->secret, &as_client,
                                            static_cast<std::uint64_t>(at(now).unix_s), &negotiated));
        return splice_bridge_first_tsval(
            splice_lane_hash(&setup->secret.lane, splice_flow_toward_server(&as_client)),
            opening.options.tsecr, negotiated.proof, numbers[place], at(now).unix_ms());
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
    std::vector<std::string> errors = std::vector<std::string>(3);  // who answers with one; nobody
    std::vector<bool> too_big = std::vector<bool>(3);
    std::vector<std::uint32_t> numbers = std::vector<std::uint32_t>(3);
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

TEST_CASE("an ICMP error fails a check at once, and a router's is no sign of life of the bridge") {
    Rig rig;
    rig.errors[1] = topology(4).bridges[1];
    rig.errors[2] = "192.0.2.1";
    rig.run_for(2.3);  // every bridge is asked once
    for (const std::size_t bridge : {1UZ, 2UZ}) {
        CHECK(rig.of(bridge).failure == ProbeEnd::unreachable);
        CHECK(rig.of(bridge).words == "host unreachable, says " + rig.errors[bridge]);
    }
    CHECK(rig.checks.verdicts().of(SPLICE_hear_check) >= 2);
    rig.run_for(10);
    CHECK(rig.of(0).state == HealthState::up);
    CHECK(rig.of(1).state == HealthState::ill);
    CHECK(rig.of(2).state == HealthState::gone);
    rig.errors[2].clear();
    rig.run_for(10);
    CHECK(rig.of(2).state == HealthState::up);
}

TEST_CASE("a way that is too narrow for full segments and says so is told of, and takes nobody out") {
    Rig rig;
    rig.narrow_at[1] = 1400;
    rig.too_big[1] = true;
    rig.run_for(2.0 * kFullSegmentEach * 1.2);
    CHECK(rig.of(1).narrow);
    CHECK(rig.of(1).state == HealthState::up);
    CHECK(rig.of(1).checks[static_cast<std::size_t>(ProbeEnd::too_big)] == 0);
}

TEST_CASE(
    "a bridge whose number is another than the file says, or that has none, is told from its answers' "
    "clocks") {
    SplicerSetup setup = checked_setup();
    setup.services[0].keyed_clock = setup.services[0].lanes = true;
    setup.bridges[0].number = 1;
    setup.bridges[1].number = 2;
    setup.bridges[2].number = 3;
    Rig rig(setup);
    rig.numbers = {1, 5, 0};
    rig.run_for(5);
    CHECK(rig.of(0).number_word == NumberWord::agrees);
    CHECK(rig.of(0).numbers_differ == 0);
    CHECK(rig.of(1).number_word == NumberWord::differs);
    CHECK(rig.of(1).told_number == 5);
    CHECK(rig.of(1).numbers_differ >= 2);
    CHECK(rig.of(2).number_word == NumberWord::missing);
    for (const std::size_t bridge : {0UZ, 1UZ, 2UZ}) CHECK(rig.of(bridge).state == HealthState::up);
    static_cast<void>(rig.checks.take_news());
    rig.numbers = {1, 2, 3};
    rig.run_for(5);
    CHECK(rig.checks.take_news());
    for (const std::size_t bridge : {0UZ, 1UZ, 2UZ}) CHECK(rig.of(bridge).number_word == NumberWord::agrees);
    // Where the file says no number, none is expected.
    setup.bridges[1].number = 0;
    rig.replace(setup);
    rig.run_for(5);
    CHECK(rig.of(1).number_word == NumberWord::unknown);
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
