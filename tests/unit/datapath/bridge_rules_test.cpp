#include "libsplice/datapath/bridge_rules.h"

#include <doctest/doctest.h>

#include <cstdint>

namespace {

// A connection that began with 1000 and 5000, and has received up to 2000.
constexpr splice_socket_facts kConnection{.kind = SPLICE_SOCKET_CONNECTION,
                                          .next = 2000,
                                          .first_seq = 1000,
                                          .first_ack = 5000,
                                          .of_service = 1,
                                          .far = 0};

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

TEST_CASE("a segment whose numbers are far from a socket's is hardly its connection's") {
    splice_packet packet{};
    packet.tcp_flags = SPLICE_ACK;
    const auto far = [&](std::uint32_t seq, std::uint32_t ack) {
        packet.seq = seq;
        packet.ack = ack;
        return splice_socket_is_far(&packet, 2000, 1U << 20, 7000, 9000) != 0;
    };
    CHECK_FALSE(far(2000, 7000));
    CHECK_FALSE(far(1000, 5000));               // a repeated first payload
    CHECK_FALSE(far(2000 + (1U << 20), 9000));  // the end of the window
    CHECK_FALSE(far(2000 - (1U << 23), 7000));  // old data again
    CHECK(far(2000 + (1U << 26), 7000));
    CHECK(far(2000, 9000 + (1U << 26)));
    CHECK(far(0x80000000, 0x90000000));
    packet.tcp_flags = SPLICE_ACK | SPLICE_RST;
    CHECK_FALSE(far(0x80000000, 0x90000000));

    splice_socket_facts socket = kConnection;
    socket.far = 1;
    CHECK(known(socket, 5000, 1) == SPLICE_KNOWN_ALIEN);
    CHECK(known(socket, 2000, 1) == SPLICE_KNOWN_NEXT);
    socket.kind = SPLICE_SOCKET_TIME_WAIT;
    CHECK(known(socket, 5000, 1) == SPLICE_KNOWN_ALIEN);
    socket.kind = SPLICE_SOCKET_CONNECTION;
    socket.of_service = 0;
    CHECK(known(socket, 5000, 1) == SPLICE_KNOWN_IN_USE);
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
