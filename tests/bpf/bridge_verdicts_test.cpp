// The verdicts of the bridge's programs: what they drop by the bytes alone, and that every one that they can
// give was given. The last file of the program: doctest goes by their names.
#include <doctest/doctest.h>
#include <linux/pkt_cls.h>

#include <set>

#include "libsplice/engine/clock.hpp"
#include "tests/bpf/bridge_host.hpp"
#include "tests/bpf/spoilt_packets.hpp"

using namespace splice;
using namespace splice::testing;

namespace {

PacketBytes bytes_of(const Octets& octets) {
    const auto bytes = std::as_bytes(std::span(octets));
    return {bytes.begin(), bytes.end()};
}

RawPacket marked(int family) {
    return {.family = family,
            .source = topology(family).client,
            .destination = topology(family).bridges[0],
            .traffic_class = 1 << 2,
            .payload = "x"};
}

// What a program of the kernel and the machine of user space say of the packet; neither changes it.
void check_same(const BridgeHost& host, const JoinerSetup& setup, const SpoiltPacket& packet) {
    CAPTURE(verdict_name(packet.verdict));
    const std::uint64_t before_it = host.count(packet.verdict);
    const PacketBytes before = frame_of(bytes_of(packet.bytes));
    PacketBytes after = before;
    const bool passes = verdict_kind(packet.verdict) == SPLICE_KIND_pass;
    CHECK(BridgeHost::run(host.programs().ingress(), after) == (passes ? TC_ACT_UNSPEC : TC_ACT_SHOT));
    CHECK(after == before);
    CHECK(host.count(packet.verdict) == before_it + 1);
    Joiner machine(std::make_shared<const JoinerSetup>(setup));
    SentPackets out;
    PacketBytes handed = bytes_of(packet.bytes);
    CHECK(machine.handle_from_balancer(read_clock(), handed, true, Hop{}, out) == packet.verdict);
}

}  // namespace

TEST_CASE("marked packets that contradict themselves, or are for no service, end as they do in user space") {
    for (const Mode mode : {Mode::adopt, Mode::translate}) {
        for (const int family : {4, 6}) {
            CAPTURE(family);
            auto packets = spoilt_packets(marked(family));
            const std::uint8_t echo = family == 4 ? 8 : 128;
            packets.push_back({SPLICE_pass_icmp_not_ours, marked(family).build_icmp(echo, 0, Octets(8))});
            RawPacket other_port = marked(family);
            other_port.destination_port = 81;
            packets.push_back({SPLICE_pass_not_service, other_port.build()});
            const JoinerSetup setup = joiner_setup(family);
            const BridgeHost host(mode, family, setup);
            for (const SpoiltPacket& packet : packets) check_same(host, setup, packet);
        }
    }
}

TEST_CASE("marks are believed of the configured balancers alone, and of this host itself") {
    for (const Mode mode : {Mode::adopt, Mode::translate}) {
        for (const int family : {4, 6}) {
            CAPTURE(family);
            JoinerSetup setup = joiner_setup(family);
            RawPacket syn = marked(family);
            syn.flags = SPLICE_SYN;
            const PacketBytes packet = bytes_of(syn.build());
            PacketBytes frame = frame_of(packet);
            __u64 mac = 0;
            std::memcpy(&mac, frame.data() + 6, 6);
            Hop hop{.interface = 1, .address_length = 6, .address = {}};
            std::memcpy(hop.address, &mac, 6);
            const auto said = [&](const PacketBytes& what, const Hop& from) {
                const BridgeHost host(mode, family, setup);
                PacketBytes copy = what;
                (void)BridgeHost::run(host.programs().ingress(), copy);
                Joiner machine(std::make_shared<const JoinerSetup>(setup));
                SentPackets out;
                PacketBytes handed = packet;
                const Verdict verdict = machine.handle_from_balancer(read_clock(), handed, true, from, out);
                CHECK(host.count(verdict) == 1);
                return verdict;
            };
            CHECK(said(frame, hop) == SPLICE_drop_marked_syn);
            setup.balancers = {.restricted = 1, .count = 2, .macs = {mac + 1, mac}};
            CHECK(said(frame, hop) == SPLICE_drop_marked_syn);
            setup.balancers.count = 1;
            CHECK(said(frame, hop) == SPLICE_drop_not_balancer);
            PacketBytes own = frame;
            std::memset(own.data() + 6, 0, 6);
            CHECK(said(own, Hop{}) == SPLICE_drop_marked_syn);
        }
    }
}

TEST_CASE("a refusal is not sent by a packet at its last hop") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        BridgeHost host(Mode::adopt, family, joiner_setup(family));
        Splicer splicer(std::make_shared<const SplicerSetup>(splicer_setup(family)));
        Client client(family);
        (void)client.connect(splicer, read_clock());
        Segment last = client.segment("GET / HTTP/1.1\r\n\r\n");
        last.destination = topology(family).bridges[0];
        last.dscp = 1;
        last.ttl = 1;
        PacketBytes frame = frame_of(last.build());
        CHECK(BridgeHost::run(host.programs().ingress(), frame) == TC_ACT_SHOT);
        CHECK(host.count(SPLICE_drop_ttl_expired) == 1);
    }
}

TEST_CASE("every verdict that the bridge's programs can give was given by them") {
    // Options that overrun themselves are not looked for on a connection whose cookie was checked, and TCP's
    // checksum is the receiving socket's to judge.
    const std::set<Verdict> wanted = {SPLICE_pass_not_tcp,
                                      SPLICE_pass_not_service,
                                      SPLICE_pass_icmp_not_ours,
                                      SPLICE_pass_not_spliced,
                                      SPLICE_drop_truncated,
                                      SPLICE_drop_bad_ip_header,
                                      SPLICE_drop_bad_ip_checksum,
                                      SPLICE_drop_bad_tcp_header,
                                      SPLICE_drop_bad_tcp_flags,
                                      SPLICE_drop_bad_icmp,
                                      SPLICE_drop_fragment,
                                      SPLICE_drop_source_routed,
                                      SPLICE_drop_extension_headers,
                                      SPLICE_drop_ttl_expired,
                                      SPLICE_deliver,
                                      SPLICE_toward_client,
                                      SPLICE_bounce_refused,
                                      SPLICE_open_adopt,
                                      SPLICE_deliver_adopted,
                                      SPLICE_toward_client_adopted,
                                      SPLICE_clear_old_socket,
                                      SPLICE_drop_adopt_refused,
                                      SPLICE_drop_old_socket,
                                      SPLICE_drop_ask_overrun,
                                      SPLICE_drop_bad_cookie,
                                      SPLICE_drop_marked_syn,
                                      SPLICE_drop_backend_tuple_in_use,
                                      SPLICE_bounce_leaving,
                                      SPLICE_bounce_tuple_in_use,
                                      SPLICE_pass_mark_lost,
                                      SPLICE_pass_mark_of_no_service,
                                      SPLICE_drop_not_balancer};
    const std::set<Verdict>& given = BridgeHost::verdicts_given();
    for (const Verdict verdict : wanted) {
        CAPTURE(verdict_name(verdict));
        CHECK(given.contains(verdict));
    }
    for (const Verdict verdict : given) {
        CAPTURE(verdict_name(verdict));
        CHECK(wanted.contains(verdict));
    }
}
