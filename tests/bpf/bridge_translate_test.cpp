// The translating programs against the same rules in C++, byte for byte.
#include <bpf/bpf.h>
#include <doctest/doctest.h>

#include <cstring>

#include "libsplice/core/splicer.hpp"
#include "libsplice/engine/clock.hpp"
#include "tests/bpf/bridge_host.hpp"
#include "tests/bpf/told_records.hpp"

using namespace splice;
using namespace splice::testing;

namespace {

constexpr int kPass = 0;   // TC_ACT_OK
constexpr int kGoOn = -1;  // TC_ACT_UNSPEC
constexpr int kStop = 2;   // TC_ACT_SHOT
constexpr std::uint32_t kClientIsn = 0xffffff00;
constexpr std::uint32_t kCookie = 0x12345640;
constexpr std::uint32_t kBackendIsn = 0xfedcba98;

// One flow in the kernel's map, carried by the attached programs.
struct Rig {
    explicit Rig(int family_)
        : family(family_), setup(joiner_setup(family)), host(Mode::translate, family, setup) {
        const JoinerService& service = setup.services[0];
        flow.translation.vip = service.vip.address.raw();
        flow.translation.vip_port = splice_htons(service.vip.port);
        flow.translation.backend = service.backend.address.raw();
        flow.translation.backend_port = splice_htons(service.backend.port);
        flow.translation.seq_shift = kCookie - kBackendIsn;
        flow.translation.ts_shift = 0x89abcdef;
        flow.translation.advertised_window_scale = 7;
        flow.translation.backend_window_scale = 10;
        splice_bridge_flow_begin(&flow, kClientIsn, kCookie);
        flow.state = SPLICE_BRIDGE_ESTABLISHED;
        flow.service = 1;
        const IpAddress client = *IpAddress::parse(topology(family).client);
        key = {client.raw(), service.backend.address.raw(), splice_htons(40000), splice_htons(8080), 0};
        put();
    }
    void put() { REQUIRE(bpf_map_update_elem(host.programs().flows(), &key, &flow, BPF_ANY) == 0); }
    [[nodiscard]] splice_bridge_flow now() const {
        splice_bridge_flow is{};
        REQUIRE(bpf_map_lookup_elem(host.programs().flows(), &key, &is) == 0);
        return is;
    }

    [[nodiscard]] Segment of_client() const {
        Segment segment;
        segment.source = topology(family).client;
        segment.destination = topology(family).bridges[0];
        segment.dscp = 1;
        segment.ecn = 2;
        segment.seq = kClientIsn + 1;
        segment.ack = kCookie + 1;
        segment.timestamps = Timestamps{777, 888};
        segment.payload = "an odd number of bytes.";
        return segment;
    }
    [[nodiscard]] Segment of_backend() const {
        Segment segment;
        segment.source = topology(family).backend;
        segment.destination = topology(family).client;
        segment.source_port = 8080;
        segment.destination_port = 40000;
        segment.seq = kBackendIsn + 1;
        segment.ack = kClientIsn + 1;
        segment.timestamps = Timestamps{999, 777};
        segment.payload = "HTTP/1.1 200 OK\r\n\r\n";
        return segment;
    }
    // What the same rules in user space make of it.
    [[nodiscard]] PacketBytes translated(PacketBytes packet, bool toward_client) const {
        std::byte* data = packet.data();
        std::byte* end = data + packet.size();
        splice_packet judged{};
        splice_tcp_options options{};
        splice_translate_deltas deltas{};
        REQUIRE(splice_parse_ip(data, end, &judged) == SPLICE_CONTINUE);
        splice_parse_tcp_options(data, end, &judged, &options);
        const auto translate =
            toward_client ? splice_translate_toward_client : splice_translate_toward_backend;
        REQUIRE(translate(data, end, &judged, &options, &flow.translation, &deltas) == SPLICE_CONTINUE);
        splice_translate_finish(data, end, &judged, &deltas);
        return packet;
    }
    void check_same(const Segment& segment, bool toward_client) {
        const PacketBytes packet = segment.build();
        PacketBytes frame = frame_of(packet);
        const int program = toward_client ? host.programs().egress() : host.programs().ingress();
        CHECK(BridgeHost::run(program, frame) == kPass);
        const PacketBytes result(frame.begin() + kEthernet, frame.end());
        CHECK(result == translated(packet, toward_client));
        CHECK(parse(result).checksums_right);
    }

    int family;
    JoinerSetup setup;
    splice_bridge_flow flow{};
    splice_flow_key key{};
    BridgeHost host;
};

// A segment with an option less or more, so that others begin at odd offsets or are not there.
std::vector<Segment> variants(const Segment& base) {
    std::vector<Segment> all{base, base, base, base, base};
    all[1].timestamps.reset();
    all[2].sack = {{kCookie + 100, kCookie + 200}, {kCookie + 300, 5}};
    all[3].window_scale = 7;  // three bytes: what follows stands at an odd offset
    all[3].sack = {{1, 2}};
    all[4].payload.clear();
    all[4].flags = SPLICE_ACK | SPLICE_FIN;
    all[4].window = 0;
    return all;
}

}  // namespace

TEST_CASE("toward the backend the kernel makes the same bytes as user space") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        Rig rig(family);
        for (const Segment& segment : variants(rig.of_client())) rig.check_same(segment, false);
        CHECK(rig.host.count(SPLICE_deliver) == 5);
        if (family == 4) continue;
        Segment fragment = rig.of_client();
        fragment.atomic_fragment = true;
        rig.check_same(fragment, false);
    }
}

TEST_CASE("toward the client the kernel makes the same bytes as user space") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        Rig rig(family);
        for (const Segment& segment : variants(rig.of_backend())) rig.check_same(segment, true);
        CHECK(rig.host.count(SPLICE_toward_client) == 5);
    }
}

TEST_CASE("the flow notes what expiry and a reused port need") {
    Rig rig(4);
    PacketBytes frame = frame_of(rig.of_client().build());
    REQUIRE(BridgeHost::run(rig.host.programs().ingress(), frame) == kPass);
    CHECK(rig.now().client_next == kClientIsn + 1 + rig.of_client().payload.size());
    CHECK(rig.now().last_seen_s > 0);
    CHECK(rig.now().flags == 0);
    Segment fin = rig.of_backend();
    fin.flags = SPLICE_ACK | SPLICE_FIN;
    frame = frame_of(fin.build());
    REQUIRE(BridgeHost::run(rig.host.programs().egress(), frame) == kPass);
    CHECK(rig.now().flags == SPLICE_BRIDGE_BACKEND_FIN);
}

TEST_CASE("the end of a sampled flow is told once: both FINs, a RST, or another connection on its ports") {
    for (const int family : {4, 6}) {
        for (const bool reset : {false, true}) {
            CAPTURE(family);
            CAPTURE(reset);
            Rig rig(family);
            ToldRecords told(rig.host.programs().told());
            splice_bridge_flow flow = rig.now();
            flow.flags |= SPLICE_BRIDGE_SAMPLED;
            REQUIRE(bpf_map_update_elem(rig.host.programs().flows(), &rig.key, &flow, BPF_ANY) == 0);
            const auto run = [&](const Segment& segment, int program) {
                PacketBytes frame = frame_of(segment.build());
                REQUIRE(BridgeHost::run(program, frame) == kPass);
            };
            const int in = rig.host.programs().ingress(), out = rig.host.programs().egress();
            run(rig.of_client(), in);
            run(rig.of_backend(), out);
            CHECK(told.take().empty());
            Segment last = rig.of_backend();
            last.seq += static_cast<std::uint32_t>(last.payload.size());
            last.payload.clear();
            last.flags = reset ? SPLICE_ACK | SPLICE_RST : SPLICE_ACK | SPLICE_FIN;
            run(last, out);
            if (!reset) {
                CHECK(told.take().empty());
                Segment fin = rig.of_client();
                fin.seq += static_cast<std::uint32_t>(fin.payload.size());
                fin.payload.clear();
                fin.flags = SPLICE_ACK | SPLICE_FIN;
                run(fin, in);
            }
            const auto records = told.take_as<splice_told_end>();
            REQUIRE(records.size() == 1);
            CHECK(std::memcmp(&records[0].flow, &rig.key, sizeof(rig.key)) == 0);
            CHECK(records[0].end == (reset ? SPLICE_END_RESET : SPLICE_END_FIN));
            CHECK(records[0].sent == rig.of_backend().payload.size());
            CHECK(records[0].received == rig.of_client().payload.size());
            CHECK(records[0].service == flow.service);
            run(rig.of_client(), in);
            run(last, out);
            CHECK(told.take().empty());
        }
    }
}

TEST_CASE("openings and their answers, SYN-ACKs and strangers are user space's") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        Rig rig(family);
        std::uint64_t asked = 0;
        const auto is_asked = [&](const Segment& segment, int program) {
            PacketBytes frame = frame_of(segment.build());
            CHECK(BridgeHost::run(program, frame) == kStop);
            CHECK(rig.host.asked() == ++asked);
        };
        Segment syn_ack = rig.of_backend();
        syn_ack.flags = SPLICE_SYN | SPLICE_ACK;
        is_asked(syn_ack, rig.host.programs().egress());
        Segment stranger = rig.of_client();
        stranger.source_port = 40001;
        is_asked(stranger, rig.host.programs().ingress());
        rig.flow.state = SPLICE_BRIDGE_OPENING;
        rig.put();
        is_asked(rig.of_client(), rig.host.programs().ingress());
        is_asked(syn_ack, rig.host.programs().egress());
    }
}

TEST_CASE("a new connection on a flow's ports takes them from its first segment on") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        Rig rig(family);
        Splicer splicer(std::make_shared<const SplicerSetup>(splicer_setup(family)));
        Client client(family);
        REQUIRE(client.connect(splicer, read_clock()) == SPLICE_answer_syn_ack);
        std::uint64_t asked = 0;
        for (Segment segment : {client.segment("GET /a"), client.segment(" HTTP/1.1\r\n\r\n", 6)}) {
            segment.destination = topology(family).bridges[0];
            segment.dscp = 1;
            PacketBytes frame = frame_of(segment.build());
            CHECK(BridgeHost::run(rig.host.programs().ingress(), frame) == kStop);
            CHECK(rig.host.asked() == ++asked);
        }
        CHECK(rig.now().state == SPLICE_BRIDGE_OPENING);
    }
}

TEST_CASE("a segment of the next connection that comes first is not given to the last one's socket") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        Rig rig(family);
        Segment overtaker = rig.of_client();
        overtaker.ack += 0x40000000;
        PacketBytes frame = frame_of(overtaker.build());
        CHECK(BridgeHost::run(rig.host.programs().ingress(), frame) == kStop);
        CHECK(rig.host.asked() == 1);
        CHECK(rig.now().client_ack == kCookie + 1);
    }
}

TEST_CASE("another service's mark on a flow's ports is refused") {
    JoinerSetup setup = joiner_setup(4);
    Rig rig(4);
    rig.flow.service = 2;
    rig.put();
    PacketBytes frame = frame_of(rig.of_client().build());
    CHECK(BridgeHost::run(rig.host.programs().ingress(), frame) == kStop);
    CHECK(rig.host.count(SPLICE_drop_backend_tuple_in_use) == 1);
}

TEST_CASE("what the backend says on connections that are not spliced passes byte for byte") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        Rig rig(family);
        Segment other = rig.of_backend();
        other.destination_port = 40001;
        const PacketBytes before = frame_of(other.build());
        PacketBytes after = before;
        CHECK(BridgeHost::run(rig.host.programs().egress(), after) == kGoOn);
        CHECK(after == before);
        CHECK(rig.host.count(SPLICE_pass_not_spliced) == 1);
    }
}
