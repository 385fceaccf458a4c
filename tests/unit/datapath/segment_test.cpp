#include "libsplice/datapath/segment.h"

#include <doctest/doctest.h>

#include "tests/support/lib/packets.hpp"
#include "tests/unit/datapath/raw_packet.hpp"

using namespace splice::testing;

namespace {

// What libtins and the parser say of a segment of ours.
Parsed read(const splice_segment& segment) {
    return parse(splice::Bytes(reinterpret_cast<const std::byte*>(segment.bytes), segment.length));
}

splice_packet judged_syn(int family, Octets options, std::string payload = "") {
    const auto packet = RawPacket{.family = family,
                                  .traffic_class = 0xb9,
                                  .flags = SPLICE_SYN | SPLICE_ECE | SPLICE_CWR,
                                  .options = std::move(options),
                                  .payload = std::move(payload)}
                            .build();
    splice_packet judged;
    REQUIRE(judge(packet, judged) == SPLICE_CONTINUE);
    return judged;
}

}  // namespace

TEST_CASE("a SYN-ACK mirrors every subset of what was offered and nothing else") {
    const splice_syn_ack_terms terms{
        .mss = 1460, .window = 65535, .window_scale = 7, .zero = {}, .tsval = 0xcafe0001};
    for (unsigned subset = 0; subset < 32; ++subset) {
        const int family = subset & 16 ? 6 : 4;
        splice_tcp_options offered{};
        offered.mss = subset & 1 ? 1400 : 0;
        offered.sack_permitted = subset & 2 ? 1 : 0;
        offered.timestamps_offset = subset & 4 ? 22 : 0;
        offered.tsval = subset & 4 ? 0x01020304 : 0;
        offered.window_scale = subset & 8 ? 0 : SPLICE_NO_WINDOW_SCALE;
        const auto syn = judged_syn(family, {});
        splice_segment segment{};
        splice_write_syn_ack(&segment, &syn, &offered, 0xfffffff0, &terms);
        const auto answer = read(segment);
        CHECK(answer.checksums_right);
        CHECK(answer.packet.tcp_flags == (SPLICE_SYN | SPLICE_ACK));
        CHECK(answer.packet.seq == 0xfffffff0);
        CHECK(answer.packet.ack == 0x01020305);
        CHECK(answer.packet.window == 65535);
        CHECK(answer.packet.ttl == 64);
        CHECK(answer.packet.traffic_class == 0);
        CHECK(splice_address_equal(&answer.packet.ends.source, &syn.ends.destination));
        CHECK(splice_address_equal(&answer.packet.ends.destination, &syn.ends.source));
        CHECK(answer.packet.ends.source_port == syn.ends.destination_port);
        CHECK(answer.packet.ends.destination_port == syn.ends.source_port);
        CHECK(answer.options.mss == (subset & 1 ? 1460 : 0));
        CHECK(answer.options.sack_permitted == offered.sack_permitted);
        CHECK((answer.options.timestamps_offset != 0) == ((subset & 4) != 0));
        CHECK(answer.options.tsval == (subset & 4 ? 0xcafe0001 : 0));
        CHECK(answer.options.tsecr == offered.tsval);
        CHECK(answer.options.window_scale == (subset & 8 ? 7 : SPLICE_NO_WINDOW_SCALE));
        CHECK(answer.options.malformed == 0);
    }
}

TEST_CASE("data on a SYN is not acknowledged") {
    const auto syn = judged_syn(4, {}, "early data");
    const splice_syn_ack_terms terms{.mss = 536, .window = 1, .window_scale = 0, .zero = {}, .tsval = 0};
    splice_tcp_options offered{};
    offered.window_scale = SPLICE_NO_WINDOW_SCALE;
    splice_segment segment{};
    splice_write_syn_ack(&segment, &syn, &offered, 7, &terms);
    CHECK(read(segment).packet.ack == syn.seq + 1);
}

TEST_CASE("a replayed SYN says what the cookie negotiated, with the client's own ISN") {
    for (unsigned subset = 0; subset < 16; ++subset) {
        const int family = subset & 8 ? 6 : 4;
        const splice_packet offered = judged_syn(family, {});
        splice_flow_key flow = *splice_flow_toward_server(&offered);
        flow.server = address_of(family == 6 ? "fd00::30" : "10.0.0.30");
        flow.server_port = splice_htons(8080);
        const splice_negotiated negotiated{
            .mss = 1300,
            .window_scale = static_cast<__u8>(subset & 1 ? 14 : SPLICE_NO_WINDOW_SCALE),
            .sack_permitted = static_cast<__u8>(subset & 2 ? 1 : 0),
            .proof = 0,
            .zero = 0};
        splice_segment segment{};
        splice_write_replay_syn(&segment, &flow, static_cast<__u32>(family), 0xffffffff, 29200, &negotiated,
                                subset & 4, 0x55667788);
        const auto syn = read(segment);
        CHECK(syn.checksums_right);
        CHECK(syn.packet.tcp_flags == SPLICE_SYN);
        CHECK(syn.packet.seq == 0xffffffff);
        CHECK(syn.packet.ack == 0);
        CHECK(syn.packet.window == 29200);
        CHECK(std::memcmp(splice_flow_toward_server(&syn.packet), &flow, sizeof(flow)) == 0);
        CHECK(syn.options.mss == 1300);
        CHECK(syn.options.window_scale == negotiated.window_scale);
        CHECK(syn.options.sack_permitted == negotiated.sack_permitted);
        CHECK((syn.options.timestamps_offset != 0) == ((subset & 4) != 0));
        CHECK(syn.options.tsval == (subset & 4 ? 0x55667788 : 0));
        CHECK(syn.options.tsecr == 0);
    }
}

TEST_CASE("a RST answers as a closed port would") {
    for (const int family : {4, 6}) {
        const auto answer_to = [&](std::uint8_t flags, std::string payload) {
            const auto packet = RawPacket{.family = family,
                                          .seq = 0xfffffffe,
                                          .flags = flags,
                                          .options = {},
                                          .payload = std::move(payload)}
                                    .build();
            splice_packet judged;
            REQUIRE(judge(packet, judged) == SPLICE_CONTINUE);
            splice_segment segment{};
            segment.length = 99;
            splice_write_rst(&segment, &judged);
            return segment;
        };
        const auto to_ack = read(answer_to(SPLICE_ACK, "xyz"));
        CHECK(to_ack.checksums_right);
        CHECK(to_ack.packet.tcp_flags == SPLICE_RST);
        CHECK(to_ack.packet.seq == 0xa1a2a3a4);
        CHECK(to_ack.packet.ack == 0);
        CHECK(to_ack.packet.ends.source_port == splice_htons(80));
        const auto to_syn = read(answer_to(SPLICE_SYN, "xyz"));
        CHECK(to_syn.checksums_right);
        CHECK(to_syn.packet.tcp_flags == (SPLICE_RST | SPLICE_ACK));
        CHECK(to_syn.packet.seq == 0);
        CHECK(to_syn.packet.ack == 2);  // 0xfffffffe + SYN + 3, wrapped
        CHECK(answer_to(SPLICE_RST, "").length == 0);
        CHECK(answer_to(SPLICE_RST | SPLICE_ACK, "").length == 0);
    }
}
