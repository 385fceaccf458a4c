#include "libsplice/datapath/carriage.h"

#include <doctest/doctest.h>

#include "tests/unit/datapath/raw_packet.hpp"

using namespace splice::testing;

namespace {

splice_verdict forward(Octets& packet, const char* destination, std::uint8_t dscp, splice_packet& judged) {
    REQUIRE(judge(packet, judged) == SPLICE_CONTINUE);
    const auto to = address_of(destination);
    return splice_carry_by_mark(packet.data(), packet.data() + packet.size(), &judged, &to, dscp);
}

const char* bridge(int family) {
    return family == 4 ? "10.9.8.7" : "fd00::b1d6:e";
}

}  // namespace

TEST_CASE("a forwarded packet differs in destination, DSCP, TTL and checksums only") {
    auto& random = generator();
    for (int round = 0; round < 4000; ++round) {
        const int family = round % 2 ? 6 : 4;
        RawPacket packet{.family = family,
                         .traffic_class = static_cast<std::uint8_t>(random()),
                         .ttl = static_cast<std::uint8_t>(2 + random() % 254),
                         .seq = static_cast<std::uint32_t>(random()),
                         .payload = std::string(random() % 9, static_cast<char>(random() & 0x7f))};
        if (round % 7 == 0) packet.ip_options = {1, 1, 1, 0};
        auto bytes = packet.build();
        const auto dscp = static_cast<std::uint8_t>(1 + random() % 63);
        splice_packet judged;
        REQUIRE(forward(bytes, bridge(family), dscp, judged) == SPLICE_CONTINUE);
        packet.destination = bridge(family);
        packet.traffic_class = static_cast<std::uint8_t>(dscp << 2 | (packet.traffic_class & 3));
        packet.ttl = static_cast<std::uint8_t>(packet.ttl - 1);
        REQUIRE(bytes == packet.build());
        splice_packet again;
        REQUIRE(judge(bytes, again) == SPLICE_CONTINUE);
        REQUIRE(std::memcmp(&again, &judged, 68) == 0);  // all fields
    }
}

TEST_CASE("ICMP errors are forwarded too; only that of version 6 has the address in its checksum") {
    for (const int family : {4, 6}) {
        const auto quoted = RawPacket{.family = family}.build();
        const std::uint8_t type = family == 4 ? 3 : 2;
        auto bytes = RawPacket{.family = family}.build_icmp(type, 4, quoted);
        splice_packet judged;
        REQUIRE(forward(bytes, bridge(family), 5, judged) == SPLICE_CONTINUE);
        const auto expected =
            RawPacket{.family = family, .destination = bridge(family), .traffic_class = 5 << 2, .ttl = 63}
                .build_icmp(type, 4, quoted);
        CHECK(bytes == expected);
    }
}

TEST_CASE("a packet at its last hop is dropped as it came") {
    for (const int family : {4, 6}) {
        for (const std::uint8_t ttl : {std::uint8_t{0}, std::uint8_t{1}}) {
            auto bytes = RawPacket{.family = family, .ttl = ttl}.build();
            const auto before = bytes;
            splice_packet judged;
            CHECK(forward(bytes, bridge(family), 1, judged) == SPLICE_drop_ttl_expired);
            CHECK(bytes == before);
        }
    }
}

TEST_CASE("what is carried tells its service's mark again, from its first two bytes too") {
    for (const int family : {4, 6}) {
        for (__u8 mark = 1; mark <= SPLICE_CARRIAGE_LAST; ++mark) {
            auto bytes = RawPacket{.family = family, .traffic_class = 3}.build();
            splice_packet judged{};
            REQUIRE(judge(bytes, judged) == SPLICE_CONTINUE);
            CHECK(splice_uncarry(&judged).kind == SPLICE_CARRIAGE_NONE);
            const auto to = address_of(bridge(family));
            const splice_carriage carriage = splice_carriage_by_dscp(mark);
            REQUIRE(splice_carry(bytes.data(), bytes.data() + bytes.size(), &judged, &to, carriage) ==
                    SPLICE_CONTINUE);
            CHECK(splice_carriage_equal(splice_uncarry(&judged), carriage));
            CHECK_FALSE(splice_is_bounced(&judged));
            const auto* ip = reinterpret_cast<const __u8*>(bytes.data()) + judged.l3_offset;
            CHECK(splice_carriage_equal(splice_uncarry_early(ip), carriage));
        }
    }
}

TEST_CASE("a bounce is a forward with the bounce mark") {
    auto bytes = RawPacket{.destination = "10.9.8.7", .traffic_class = 1 << 2 | 2}.build();
    splice_packet judged;
    REQUIRE(forward(bytes, "198.51.100.10", SPLICE_CARRIAGE_BOUNCE, judged) == SPLICE_CONTINUE);
    CHECK(splice_is_bounced(&judged));
    CHECK((judged.traffic_class & 3) == 2);
    CHECK(checksums_right(bytes));
}
