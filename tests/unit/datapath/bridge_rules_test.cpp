#include "libsplice/datapath/bridge_rules.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <initializer_list>

namespace {

// A connection that began with 1000 and 5000, and has received up to 2000.
constexpr splice_socket_facts kConnection{
    .kind = SPLICE_SOCKET_CONNECTION, .next = 2000, .first_seq = 1000, .first_ack = 5000, .of_service = 1};

splice_bridge_known known(const splice_socket_facts& socket, std::uint32_t seq, std::uint32_t ack) {
    splice_packet packet{};
    packet.seq = seq;
    packet.ack = ack;
    packet.tcp_flags = SPLICE_ACK;
    return splice_bridge_known_socket(&socket, &packet);
}

}  // namespace

TEST_CASE("the next segment of a socket's connection is its own, whoever's connection it is") {
    CHECK(known(kConnection, 2000, 7000) == SPLICE_KNOWN_NEXT);
    splice_socket_facts other = kConnection;
    other.of_service = 0;
    CHECK(known(other, 2000, 7000) == SPLICE_KNOWN_NEXT);
}

TEST_CASE("a repeated first payload is the connection's that it opened") {
    CHECK(known(kConnection, 1000, 5000) == SPLICE_KNOWN_SAME);
    CHECK(known(kConnection, 1000, 5001) == SPLICE_KNOWN_OTHER);
    CHECK(known(kConnection, 1001, 5000) == SPLICE_KNOWN_OTHER);
}

TEST_CASE("a connection that the service did not adopt keeps its client's port") {
    splice_socket_facts other = kConnection;
    other.of_service = 0;
    CHECK(known(other, 1000, 5000) == SPLICE_KNOWN_IN_USE);
    CHECK(known(other, 1, 1) == SPLICE_KNOWN_IN_USE);
}

TEST_CASE("a segment that echoes another bridge's clock is of another connection than what is here") {
    splice_secret secret{};
    for (const auto known : {SPLICE_KNOWN_NOTHING, SPLICE_KNOWN_SAME, SPLICE_KNOWN_NEXT, SPLICE_KNOWN_ALIEN,
                             SPLICE_KNOWN_IN_USE})
        CHECK_FALSE(splice_bridge_asks_for_lane(known, 1, &secret, 7));
    CHECK(splice_bridge_asks_for_lane(SPLICE_KNOWN_OTHER, 1, &secret, 7));
    CHECK_FALSE(splice_bridge_asks_for_lane(SPLICE_KNOWN_OTHER, 1, &secret, 0));
    CHECK_FALSE(splice_bridge_asks_for_lane(SPLICE_KNOWN_OTHER, 0, &secret, 7));  // its clock is nobody's
    secret.lane_is_derived = 1;
    CHECK_FALSE(splice_bridge_asks_for_lane(SPLICE_KNOWN_OTHER, 1, &secret, 7));
    // Its own, its own of long ago, and none.
    for (const __u32 lane : {7U, 6U, SPLICE_NO_LANE})
        CHECK(splice_bridge_known_by_lane(SPLICE_KNOWN_OTHER, lane, 7) == SPLICE_KNOWN_OTHER);
    for (const __u32 lane : {5U, 8U, 0U, 1018U})
        CHECK(splice_bridge_known_by_lane(SPLICE_KNOWN_OTHER, lane, 7) == SPLICE_KNOWN_ALIEN);
}

TEST_CASE("a socket in TIME-WAIT makes room for a valid cookie, a handshake with the backend does not") {
    splice_socket_facts socket = kConnection;
    socket.of_service = 0;
    socket.kind = SPLICE_SOCKET_TIME_WAIT;
    CHECK(known(socket, 2000, 7000) == SPLICE_KNOWN_OTHER);
    socket.kind = SPLICE_SOCKET_HANDSHAKE;
    CHECK(known(socket, 1, 1) == SPLICE_KNOWN_SAME);
    socket.kind = SPLICE_SOCKET_NONE;
    CHECK(known(socket, 2000, 7000) == SPLICE_KNOWN_NOTHING);
}
