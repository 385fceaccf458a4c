#include "tests/support/fault_injector/faults.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "tests/support/fault_injector/held_packets.hpp"
#include "tests/support/lib/packets.hpp"

using namespace splice;
using namespace splice::faults;
using splice::testing::PacketBytes;
using splice::testing::Segment;

namespace {

const PacketBytes kAnyPacket = Segment{.payload = "GET / HTTP/1.1\r\n\r\n"}.build();

std::vector<Fault> faults_of(const FaultRules& rules, int packets) {
    FaultPlan plan(rules);
    std::vector<Fault> faults;
    for (int i = 0; i < packets; i++) faults.push_back(plan.decide(kAnyPacket));
    return faults;
}

FaultRules first(Target target) {
    FaultRules rules;
    rules.drop_first[static_cast<std::size_t>(target)] = true;
    return rules;
}

Segment from_server(Segment segment) {
    std::swap(segment.source, segment.destination);
    std::swap(segment.source_port, segment.destination_port);
    return segment;
}

// A whole short conversation, in order, with the kind that each packet is of.
struct Step {
    Target kind;
    PacketBytes bytes;
};
std::vector<Step> conversation(std::uint32_t isn = 1000) {
    return {
        {Target::syn, Segment{.seq = isn, .flags = SPLICE_SYN}.build()},
        {Target::synack, from_server({.ack = isn + 1, .flags = SPLICE_SYN | SPLICE_ACK}).build()},
        {Target::ack, Segment{.seq = isn + 1}.build()},
        {Target::payload, Segment{.seq = isn + 1, .payload = "GET"}.build()},
        {Target::response, from_server({.ack = isn + 4, .payload = "200"}).build()},
        {Target::fin, from_server({.ack = isn + 4, .flags = SPLICE_FIN | SPLICE_ACK}).build()},
    };
}

}  // namespace

TEST_CASE("the same seed gives the same faults, another seed gives others") {
    FaultRules rules;
    rules.loss = rules.corrupt = rules.reorder = rules.duplicate = 0.1;
    const auto once = faults_of(rules, 1000);
    CHECK(faults_of(rules, 1000) == once);
    rules.seed = 2;
    CHECK(faults_of(rules, 1000) != once);
}

TEST_CASE("each probability hits about its share, and none of the others' packets move when one is added") {
    FaultRules rules;
    rules.reorder = 0.02;
    const auto alone = faults_of(rules, 20'000);
    CHECK(std::ranges::count(alone, Fault::hold) > 300);
    CHECK(std::ranges::count(alone, Fault::hold) < 500);
    CHECK(std::ranges::count(alone, Fault::none) + std::ranges::count(alone, Fault::hold) == 20'000);
    rules.loss = 0.01;
    const auto both = faults_of(rules, 20'000);
    for (std::size_t i = 0; i < both.size(); i++) {
        if (both[i] != Fault::lose) CHECK(both[i] == alone[i]);
    }
}

TEST_CASE("probabilities of zero and one are never and always") {
    FaultRules rules;
    CHECK(std::ranges::count(faults_of(rules, 1000), Fault::none) == 1000);
    rules.loss = 1;
    CHECK(std::ranges::count(faults_of(rules, 1000), Fault::lose) == 1000);
}

TEST_CASE("every third packet is lost, and only those") {
    FaultRules rules;
    rules.drop_every = 3;
    const Fault o = Fault::none;
    const Fault x = Fault::lose;
    CHECK(faults_of(rules, 7) == std::vector<Fault>{o, o, x, o, o, x, o});
}

TEST_CASE("a targeted fault loses the first packet of its kind and nothing else of the flow") {
    for (std::size_t i = 0; i < kTargetCount; i++) {
        CAPTURE(kTargetNames[i]);
        const auto target = static_cast<Target>(i);
        FaultPlan plan(first(target));
        for (const Step& step : conversation()) {
            CHECK(plan.decide(step.bytes) == (step.kind == target ? Fault::lose : Fault::none));
        }
        // Its retransmission passes.
        for (const Step& step : conversation()) CHECK(plan.decide(step.bytes) == Fault::none);
        CHECK(plan.counts().lost_first[i] == 1);
    }
}

TEST_CASE("each flow loses its own first packet; a port used again with another ISN is another flow") {
    FaultPlan plan(first(Target::syn));
    const auto syn = [](std::uint16_t port, std::uint32_t isn) {
        return Segment{.source_port = port, .seq = isn, .flags = SPLICE_SYN}.build();
    };
    CHECK(plan.decide(syn(40000, 1)) == Fault::lose);
    CHECK(plan.decide(syn(40001, 1)) == Fault::lose);
    CHECK(plan.decide(syn(40000, 1)) == Fault::none);
    CHECK(plan.decide(syn(40000, 99)) == Fault::lose);
    CHECK(plan.decide(syn(40000, 99)) == Fault::none);
}

TEST_CASE("conversations with another port, and packets that are no TCP, are not aimed at") {
    FaultRules rules;
    rules.drop_first.fill(true);
    rules.port = 8080;
    FaultPlan plan(rules);
    for (const Step& step : conversation()) CHECK(plan.decide(step.bytes) == Fault::none);
    CHECK(plan.decide(std::vector<std::byte>(3)) == Fault::none);
    CHECK(plan.decide({}) == Fault::none);
}

TEST_CASE("IPv6 flows are aimed at as IPv4's are") {
    FaultPlan plan(first(Target::payload));
    const Segment request{.source = "2001:db8::1", .destination = "2001:db8::10", .payload = "GET"};
    CHECK(plan.decide(request.build()) == Fault::lose);
    CHECK(plan.decide(request.build()) == Fault::none);
}

TEST_CASE("a corrupted packet differs in one bit behind its IP header") {
    for (const char* source : {"192.0.2.1", "2001:db8::1"}) {
        const bool ipv4 = std::string_view(source).find(':') == std::string_view::npos;
        const Segment segment{
            .source = source, .destination = ipv4 ? "192.0.2.9" : "2001:db8::9", .payload = "abc"};
        const PacketBytes before = segment.build();
        FaultPlan plan({});
        for (int round = 0; round < 200; round++) {
            PacketBytes after = before;
            plan.corrupt(after);
            int bits = 0;
            std::size_t where = 0;
            for (std::size_t i = 0; i < after.size(); i++) {
                if (after[i] != before[i]) where = i;
                bits += __builtin_popcount(std::to_integer<unsigned>(after[i] ^ before[i]));
            }
            CHECK(bits == 1);
            CHECK(where >= (ipv4 ? 20 : 40));
        }
    }
}

TEST_CASE("a held packet leaves after its overtakers, or after its time, whichever comes first") {
    using namespace std::chrono_literals;
    HeldPackets held(2, 5ms);
    std::vector<std::byte> sent;
    const auto send = [&](Bytes packet) { sent.push_back(packet[0]); };
    const std::byte a{'a'};
    const std::byte b{'b'};
    CHECK_FALSE(held.next_deadline());
    REQUIRE(held.hold(10ms, {&a, 1}));
    CHECK(held.next_deadline() == 15ms);
    held.count_overtaker();
    held.release(11ms, send);
    CHECK(sent.empty());
    REQUIRE(held.hold(11ms, {&b, 1}));
    held.count_overtaker();
    held.release(11ms, send);
    CHECK(sent == std::vector{a});
    held.release(15ms, send);
    CHECK(sent == std::vector{a});
    held.release(16ms, send);
    CHECK(sent == std::vector{a, b});
}

TEST_CASE("by time only, any number of packets overtake; in the end all that is held leaves") {
    using namespace std::chrono_literals;
    HeldPackets held(0, 5ms);
    const std::byte a{'a'};
    int sent = 0;
    const auto send = [&](Bytes) { sent++; };
    for (std::size_t i = 0; i < kMaxHeld; i++) REQUIRE(held.hold(0ms, {&a, 1}));
    CHECK_FALSE(held.hold(0ms, {&a, 1}));
    for (int i = 0; i < 1000; i++) held.count_overtaker();
    held.release(4ms, send);
    CHECK(sent == 0);
    held.release_all(send);
    CHECK(sent == static_cast<int>(kMaxHeld));
    CHECK_FALSE(held.next_deadline());
}
