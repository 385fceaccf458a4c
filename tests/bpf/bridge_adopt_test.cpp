// Adoption against the kernel's own sockets: real frames into a real link, real listeners behind it.
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "libsplice/core/splicer.hpp"
#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/refusal.h"
#include "libsplice/datapath/sample.h"
#include "libsplice/engine/clock.hpp"
#include "libsplice/engine/port_guard.hpp"
#include "libsplice/engine/subprocess.hpp"
#include "libsplice/engine/sysctl.hpp"
#include "packetbridge/adopted_ends.hpp"
#include "tests/bpf/asked_packets.hpp"
#include "tests/bpf/bridge_host.hpp"
#include "tests/bpf/bystander.hpp"
#include "tests/bpf/told_records.hpp"

using namespace splice;
using namespace splice::testing;

namespace {

const std::string kGet = "GET /a HTTP/1.1\r\n\r\n";

// A bridge host that adopts, and clients whose handshake the balancer's machine has answered.
struct Rig {
    explicit Rig(int family_) : Rig(family_, joiner_setup(family_)) {}
    Rig(int family_, const JoinerSetup& setup_, const splice_mark_field& marks = kDefaultMarks)
        : family(family_),
          setup(setup_),
          host(Mode::adopt, family, setup, marks),
          splicer(std::make_shared<const SplicerSetup>(splicer_setup(family))) {}

    // `isn`: where its stream begins; another one is another connection of the same port.
    Client client(std::uint16_t nth = 0, std::uint32_t isn = 0xfffffff0) {
        Client made(family, static_cast<std::uint16_t>(40000 + nth));
        made.base.seq = isn;
        REQUIRE(made.connect(splicer, read_clock()) != SPLICE_drop_bad_tcp_flags);
        return made;
    }
    [[nodiscard]] Segment marked(Segment segment) const {
        segment.destination = topology(family).bridges[0];
        segment.dscp = 1;
        return segment;
    }
    // Sends the first payload and accepts the connection that it opens.
    Descriptor open(Listener& listener, const Client& client) {
        host.inject(marked(client.segment(kGet)));
        auto accepted = listener.accept();
        REQUIRE(accepted.has_value());
        CHECK(receive_text(*accepted) == kGet);
        return std::move(*accepted);
    }
    // The next frame that leaves with these flags; others on the way are looked over.
    testing::Parsed next_with(std::uint8_t flags) {
        for (int i = 0; i < 8; ++i) {
            const testing::Parsed parsed = host.next();
            if ((parsed.packet.tcp_flags & flags) == flags) return parsed;
        }
        FAIL("no frame with those flags");
        return {};
    }
    // Client and server close, the server first: its socket is then in TIME_WAIT.
    void close_server_first(const Client& client, Descriptor socket) {
        socket = Descriptor();
        const testing::Parsed fin = next_with(SPLICE_FIN);
        Segment ack = client.segment("", static_cast<std::uint32_t>(kGet.size()), SPLICE_ACK | SPLICE_FIN);
        ack.ack = fin.packet.seq + 1 + fin.packet.payload_length;
        host.inject(marked(ack));
        const testing::Parsed last = next_with(SPLICE_ACK);
        CHECK(last.packet.ack == ack.seq + 1);
        CHECK(last.source == topology(family).vip);
    }

    int family;
    JoinerSetup setup;
    BridgeHost host;
    Splicer splicer;
};

}  // namespace

TEST_CASE("a first payload opens a connection at the cookie's own number, and answers come from the VIP") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        Rig rig(family);
        Listener listener(rig.setup.services[0].backend);
        const Client client = rig.client();
        const Descriptor socket = rig.open(listener, client);
        send_text(socket, "HTTP/1.1 200 OK\r\n\r\n");
        const testing::Parsed answer = rig.next_with(SPLICE_PSH);
        CHECK(answer.source == topology(family).vip);
        CHECK(answer.packet.ends.source_port == splice_htons(80));
        CHECK(answer.destination == topology(family).client);
        CHECK(answer.packet.seq == client.cookie + 1);
        CHECK(answer.packet.ack == static_cast<std::uint32_t>(client.base.seq + 1 + kGet.size()));
        CHECK(answer.payload == "HTTP/1.1 200 OK\r\n\r\n");
        CHECK(answer.dscp == 0);
        CHECK(answer.checksums_right);
        CHECK(static_cast<std::int32_t>(answer.options.tsval - client.server_tsval) >= 0);
        CHECK(rig.host.count(SPLICE_open_adopt) == 1);
        CHECK(rig.host.count(SPLICE_toward_client_adopted) >= 1);
    }
}

namespace {

// A bridge that tells of a share of its connections.
struct SampledRig : Rig {
    explicit SampledRig(int family_, std::uint64_t share = SPLICE_SAMPLE_ALL)
        : Rig(family_,
              [&] {
                  JoinerSetup sampled = joiner_setup(family_);
                  sampled.sample = share;
                  return sampled;
              }()),
          told(host.programs().told()) {
        auto attached = AdoptedEnds::attach(host.programs().sampled(), host.programs().told(),
                                            host.programs().ring(), host.programs().counters_map());
        REQUIRE_MESSAGE(attached, attached.error().text);
        ends.emplace(std::move(*attached));
    }
    // The one end that comes.
    splice_told_end next_end() {
        for (int i = 0; i < 200; ++i) {
            const auto records = told.take_as<splice_told_end>();
            CHECK(records.size() <= 1);
            if (!records.empty()) return records[0];
            usleep(10'000);
        }
        FAIL("no end is told");
        return {};
    }
    void check_ends(const splice_told_end& end, const Client& client) const {
        CHECK(IpAddress(end.flow.client).to_string() == topology(family).client);
        CHECK(IpAddress(end.flow.server) == setup.services[0].backend.address);
        CHECK(end.flow.client_port == splice_htons(client.base.source_port));
        CHECK(end.flow.server_port == splice_htons(setup.services[0].backend.port));
        CHECK(end.service == setup.services[0].number);
        CHECK(end.since_ns != 0);
        CHECK(end.until_ns >= end.since_ns);
    }
    std::optional<AdoptedEnds> ends;
    ToldRecords told;
};

}  // namespace

TEST_CASE(
    "the end of a sampled connection is told with what it carried: closed by the server, or by the client") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        SampledRig rig(family);
        Listener listener(rig.setup.services[0].backend);
        const Client first = rig.client();
        Descriptor socket = rig.open(listener, first);
        send_text(socket, "answer");
        const testing::Parsed answer = rig.next_with(SPLICE_PSH);
        CHECK(answer.payload == "answer");
        CHECK(rig.told.take().empty());
        rig.close_server_first(first, std::move(socket));
        splice_told_end end = rig.next_end();
        rig.check_ends(end, first);
        CHECK(end.end == SPLICE_END_FIN);
        CHECK(end.sent == 6);
        CHECK(end.received == kGet.size());

        const Client second = rig.client(1);
        socket = rig.open(listener, second);
        Segment fin = second.segment("", static_cast<std::uint32_t>(kGet.size()), SPLICE_ACK | SPLICE_FIN);
        rig.host.inject(rig.marked(fin));
        CHECK(receive_text(socket).empty());
        socket = Descriptor();
        const testing::Parsed last = rig.next_with(SPLICE_FIN);
        Segment ack = second.segment("", static_cast<std::uint32_t>(kGet.size()) + 1, SPLICE_ACK);
        ack.ack = last.packet.seq + 1;
        rig.host.inject(rig.marked(ack));
        end = rig.next_end();
        rig.check_ends(end, second);
        CHECK(end.end == SPLICE_END_FIN);
        CHECK(end.sent == 0);
        CHECK(end.received == kGet.size());
    }
}

TEST_CASE("the end of a sampled connection is a reset when the client sends one, or the server does") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        SampledRig rig(family);
        Listener listener(rig.setup.services[0].backend);
        const Client first = rig.client();
        Descriptor socket = rig.open(listener, first);
        rig.host.inject(
            rig.marked(first.segment("", static_cast<std::uint32_t>(kGet.size()), SPLICE_RST | SPLICE_ACK)));
        splice_told_end end = rig.next_end();
        rig.check_ends(end, first);
        CHECK(end.end == SPLICE_END_RESET);
        CHECK(end.sent == 0);
        CHECK(end.received == kGet.size());

        const Client second = rig.client(1);
        socket = rig.open(listener, second);
        const linger at_once{.l_onoff = 1, .l_linger = 0};
        REQUIRE(setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) == 0);
        socket = Descriptor();
        end = rig.next_end();
        rig.check_ends(end, second);
        CHECK(end.end == SPLICE_END_RESET);
    }
}

TEST_CASE("of connections that are not in the sample, and of this host's others, no end is told") {
    SampledRig rig(4, 0);
    Listener listener(rig.setup.services[0].backend);
    const Client client = rig.client();
    rig.close_server_first(client, rig.open(listener, client));
    usleep(50'000);
    CHECK(rig.told.take().empty());
    CHECK(rig.host.programs().counters().common.untold == 0);
}

TEST_CASE("a bridge that is leaving adopts nothing more, and what is open goes on") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        Rig rig(family);
        Listener listener(rig.setup.services[0].backend);
        const Client open = rig.client();
        const Descriptor socket = rig.open(listener, open);
        rig.setup.leaving = true;
        REQUIRE(rig.host.programs().write(rig.setup).has_value());
        rig.host.inject(rig.marked(open.segment("more", static_cast<std::uint32_t>(kGet.size()))));
        CHECK(receive_text(socket) == "more");
        rig.host.inject(rig.marked(rig.client(1).segment(kGet)));
        const testing::Parsed bounced = rig.next_with(SPLICE_PSH);
        CHECK(bounced.destination == topology(family).vip);
        CHECK(bounced.dscp == SPLICE_CARRIAGE_BOUNCE);
        CHECK(bounced.checksums_right);
        CHECK(rig.host.count(SPLICE_bounce_leaving) == 1);
        CHECK(rig.host.count(SPLICE_open_adopt) == 1);
    }
}

TEST_CASE("later segments reach the adopted socket, whatever their order") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        Rig rig(family);
        Listener listener(rig.setup.services[0].backend);
        const Client client = rig.client();
        const Descriptor socket = rig.open(listener, client);
        const auto length = static_cast<std::uint32_t>(kGet.size());
        rig.host.inject(rig.marked(client.segment("second", length + 5)));
        rig.host.inject(rig.marked(client.segment("first", length)));
        std::string text;
        while (text.size() < 11) text += receive_text(socket);
        CHECK(text == "firstsecond");
        // The first payload again is an old segment, not a new connection.
        rig.host.inject(rig.marked(client.segment(kGet)));
        const std::uint32_t end = client.base.seq + 1 + length + 11;
        int frames = 0;
        while (rig.next_with(SPLICE_ACK).packet.ack != end) REQUIRE(++frames < 8);
        CHECK(rig.host.count(SPLICE_deliver_adopted) == 3);
        CHECK(rig.host.count(SPLICE_clear_old_socket) == 0);
    }
}

TEST_CASE("a whole IPv6 packet behind a fragment header opens a connection, and its like reach the socket") {
    // Connection tracking takes fragments before the socket does, and hands them on as one packet of its own.
    for (const bool tracked : {false, true}) {
        CAPTURE(tracked);
        Rig rig(6);
        if (tracked) {
            const auto iptables = find_program("ip6tables", "iptables");
            REQUIRE(iptables.has_value());
            const auto done = run_program(
                *iptables, {"-w", "-A", "INPUT", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT"}, "");
            REQUIRE((done && done->exit_code == 0));
        }
        Listener listener(rig.setup.services[0].backend);
        Client client = rig.client();
        client.base.atomic_fragment = true;
        const Descriptor socket = rig.open(listener, client);
        rig.host.inject(rig.marked(client.segment("more", static_cast<std::uint32_t>(kGet.size()))));
        CHECK(receive_text(socket) == "more");
        send_text(socket, "x");
        CHECK(rig.next_with(SPLICE_PSH).payload == "x");
        CHECK(rig.host.count(SPLICE_open_adopt) == 1);
        CHECK(rig.host.count(SPLICE_deliver_adopted) >= 1);
    }
}

TEST_CASE("a client without timestamps, SACK and scaling is adopted as it is") {
    Rig rig(4);
    Listener listener(rig.setup.services[0].backend);
    Client client = rig.client();
    client.base.timestamps.reset();
    SentPackets out;
    Segment syn = client.base;
    syn.flags = SPLICE_SYN;
    PacketBytes bytes = syn.build();
    REQUIRE(rig.splicer.handle_packet(read_clock(), bytes, true, out) == SPLICE_answer_syn_ack);
    client.cookie = parse(out.sent.front()).packet.seq;
    const Descriptor socket = rig.open(listener, client);
    send_text(socket, "x");
    CHECK(rig.next_with(SPLICE_PSH).options.timestamps_offset == 0);
}

TEST_CASE("nobody listens: the first payload goes back to its hop, for the VIP and with the bounce mark") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        Rig rig(family);
        const Client client = rig.client();
        Segment first = rig.marked(client.segment(kGet));
        first.ecn = 1;
        rig.host.inject(first);
        const auto frame = rig.host.next_frame();
        REQUIRE(frame.has_value());
        CHECK(std::to_integer<int>((*frame)[5]) == 2);   // to the far end
        CHECK(std::to_integer<int>((*frame)[11]) == 1);  // from the near one
        const testing::Parsed bounced = parse(Bytes(*frame).subspan(kEthernet));
        CHECK(bounced.destination == topology(family).vip);
        CHECK(bounced.source == topology(family).client);
        CHECK(bounced.dscp == SPLICE_CARRIAGE_BOUNCE);
        CHECK(bounced.ecn == 1);
        CHECK(bounced.packet.ttl == 63);
        CHECK(bounced.payload == kGet);
        CHECK(bounced.checksums_right);
        const Bytes packet = Bytes(*frame).subspan(kEthernet);
        const IpAddress refuser = *IpAddress::parse(topology(family).bridges[0]);
        const splice_refusal refusal =
            splice_read_refusal(packet.data(), packet.data() + packet.size(), &bounced.packet, &kSecret);
        CHECK(splice_refusal_is_of(&refusal, &refuser.raw()));
        CHECK(rig.host.count(SPLICE_bounce_refused) == 1);
    }
}

TEST_CASE("a port whose old socket is in TIME_WAIT opens a new connection at once") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        Rig rig(family);
        Listener listener(rig.setup.services[0].backend);
        for (std::uint32_t i = 0; i < 5; ++i) {
            const Client client = rig.client(0, 0x1000 * (i + 1));
            rig.close_server_first(client, rig.open(listener, client));
        }
        CHECK(rig.host.count(SPLICE_open_adopt) == 5);
        CHECK(rig.host.count(SPLICE_clear_old_socket) == 4);
    }
}

TEST_CASE("a valid cookie on a stale connection of the same port resets it and opens anew") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        Rig rig(family);
        Listener listener(rig.setup.services[0].backend);
        const Descriptor stale = rig.open(listener, rig.client());
        const Descriptor fresh = rig.open(listener, rig.client(0, 0x12345678));
        CHECK(receive_text(stale) == "<reset>");
        CHECK(rig.host.count(SPLICE_clear_old_socket) == 1);
        CHECK(rig.host.count(SPLICE_open_adopt) == 2);
    }
}

TEST_CASE("an old socket that does not take the RST costs the packet, not the host") {
    Rig rig(4);
    Listener listener(rig.setup.services[0].backend);
    const Client first = rig.client();
    rig.close_server_first(first, rig.open(listener, first));
    const auto protects_time_wait = SysctlSetting::set("net/ipv4/tcp_rfc1337", 1);
    REQUIRE(protects_time_wait.has_value());
    rig.host.inject(rig.marked(rig.client(0, 0x12345678).segment(kGet)));
    CHECK_FALSE(listener.accept().has_value());
    CHECK(rig.host.count(SPLICE_clear_old_socket) == 1);
    CHECK(rig.host.count(SPLICE_drop_old_socket) == 1);
}

TEST_CASE("listeners that share a port by SO_REUSEPORT share the connections") {
    Rig rig(4);
    const Listener::Options shared{.backlog = 64, .reuse_port = true};
    Listener one(rig.setup.services[0].backend, shared), other(rig.setup.services[0].backend, shared);
    for (std::uint16_t i = 0; i < 32; ++i) rig.host.inject(rig.marked(rig.client(i).segment(kGet)));
    int ones = 0, others = 0;
    while (one.accept()) ++ones;
    while (other.accept()) ++others;
    CHECK(ones > 0);
    CHECK(others > 0);
    CHECK(ones + others == 32);
}

TEST_CASE("a full accept queue loses the first payload, and the client's repetition opens later") {
    Rig rig(4);
    Listener listener(rig.setup.services[0].backend, {.backlog = 0});
    const Client first = rig.client(0), second = rig.client(1);
    rig.host.inject(rig.marked(first.segment(kGet)));
    CHECK(rig.next_with(SPLICE_ACK).packet.ack ==
          static_cast<std::uint32_t>(first.base.seq + 1 + kGet.size()));
    rig.host.inject(rig.marked(second.segment(kGet)));
    CHECK(rig.host.is_silent());
    REQUIRE(listener.accept().has_value());
    CHECK_FALSE(listener.has_connection());
    (void)rig.open(listener, second);
}

TEST_CASE("a listener with a mark of its own is not adopted for: its sockets could not be told") {
    Rig rig(4);
    Listener listener(rig.setup.services[0].backend, {.mark = 7});
    rig.host.inject(rig.marked(rig.client(0, 0x12345678).segment(kGet)));
    CHECK(rig.host.is_silent());
    CHECK_FALSE(listener.has_connection());
    CHECK(rig.host.count(SPLICE_drop_adopt_refused) == 1);
}

TEST_CASE(
    "a backend that listens on the VIP itself is adopted for: what it sends is not touched, and a balancer's "
    "guard on the same host lets its packets pass") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        JoinerSetup setup = joiner_setup(family);
        setup.services[0].backend = setup.services[0].vip;
        Rig rig(family, setup);
        const auto ip = find_program("ip", "iproute2");
        REQUIRE(ip.has_value());
        const std::string vip = topology(family).vip + (family == 4 ? "/32" : "/128");
        REQUIRE(run_program(*ip, {"address", "add", vip, "dev", "lo", "nodad"}, "").has_value());
        {
            const auto guard =
                PortGuard::install("splicelb-balancer-near", {setup.services[0].vip}, kDefaultMarks);
            REQUIRE(guard.has_value());
            Listener listener(setup.services[0].vip);
            const Client client = rig.client();
            Descriptor socket = rig.open(listener, client);
            send_text(socket, "x");
            CHECK(rig.next_with(SPLICE_PSH).source == topology(family).vip);
            rig.host.inject(rig.marked(client.segment("more", static_cast<std::uint32_t>(kGet.size()))));
            CHECK(receive_text(socket) == "more");
            CHECK(rig.host.count(SPLICE_toward_client_adopted) == 0);
            // A client that uses the port again, for the socket in its way is the VIP's, too.
            const Client again = rig.client(0, 4711);
            (void)rig.open(listener, again);
            CHECK(rig.host.count(SPLICE_clear_old_socket) == 1);
            CHECK(guard->dropped() == 0);
            // Without a mark it is a packet that missed the balancer's program.
            Segment slipped = client.segment("slipped");
            slipped.destination = topology(family).vip;
            rig.host.inject(slipped);
            CHECK(guard->dropped() == 1);
        }
        REQUIRE(run_program(*ip, {"address", "delete", vip, "dev", "lo"}, "").has_value());
    }
}

TEST_CASE("a client that speaks to the backend directly is left alone") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        Rig rig(family);
        Listener listener(rig.setup.services[0].backend);
        Segment syn = rig.client().base;
        syn.destination = topology(family).backend;
        syn.destination_port = 8080;
        syn.flags = SPLICE_SYN;
        rig.host.inject(syn);
        const testing::Parsed syn_ack = rig.next_with(SPLICE_SYN | SPLICE_ACK);
        CHECK(syn_ack.source == topology(family).backend);
        Segment ack = syn;
        ack.flags = SPLICE_ACK;
        ack.seq = syn.seq + 1;
        ack.ack = syn_ack.packet.seq + 1;
        ack.timestamps->echo_reply = syn_ack.options.tsval;
        rig.host.inject(ack);
        const auto socket = listener.accept();
        REQUIRE(socket.has_value());
        send_text(*socket, "x");
        CHECK(rig.next_with(SPLICE_PSH).source == topology(family).backend);
        CHECK(rig.host.count(SPLICE_toward_client_adopted) == 0);

        // Nor does the same port's connection to the VIP end it: that one is another bridge's.
        rig.host.inject(rig.marked(rig.client(0, 0x12345678).segment(kGet)));
        const testing::Parsed bounced = rig.next_with(SPLICE_PSH);
        CHECK(bounced.destination == topology(family).vip);
        CHECK(bounced.dscp == SPLICE_CARRIAGE_BOUNCE);
        CHECK(rig.host.count(SPLICE_bounce_tuple_in_use) == 1);
        CHECK(rig.host.count(SPLICE_clear_old_socket) == 0);
        // A later segment of that one, without a cookie, does not reach the backend's own connection either.
        rig.host.inject(rig.marked(rig.client(0, 0x12345678).segment("later", 100)));
        CHECK(rig.host.count(SPLICE_drop_backend_tuple_in_use) == 1);
        char nothing = 0;
        CHECK(recv(socket->get(), &nothing, 1, MSG_DONTWAIT) == -1);
        CHECK(errno == EAGAIN);  // neither data nor a RST
    }
}

TEST_CASE("what has no connection and no cookie is user space's; what wants no answer ends here") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        Rig rig(family);
        Listener listener(rig.setup.services[0].backend);
        Client client = rig.client();
        client.cookie += 1;
        rig.host.inject(rig.marked(client.segment(kGet)));
        CHECK(rig.host.is_silent());
        CHECK(rig.host.asked() == 1);
        rig.host.inject(rig.marked(client.segment("", 0, SPLICE_RST | SPLICE_ACK)));
        rig.host.inject(rig.marked(client.segment("", 0, SPLICE_SYN)));
        CHECK(rig.host.is_silent());
        CHECK(rig.host.count(SPLICE_drop_bad_cookie) == 1);
        CHECK(rig.host.count(SPLICE_drop_marked_syn) == 1);
        CHECK_FALSE(listener.has_connection());
    }
}

TEST_CASE("a full ring costs packets, which are counted") {
    Rig rig(4);
    Client client = rig.client();
    client.cookie += 1;
    const PacketBytes frame = frame_of(rig.marked(client.segment(kGet)).build());
    for (std::uint32_t i = 0; i < SPLICE_ASKED_RING_BYTES / SPLICE_ASKED_SHORT + 1; ++i) {
        PacketBytes copy = frame;
        CHECK(BridgeHost::run(rig.host.programs().ingress(), copy) == 2);  // TC_ACT_SHOT
    }
    CHECK(rig.host.count(SPLICE_drop_ask_overrun) > 0);
}

TEST_CASE("unmarked packets, and marked ones that are not for us, pass byte for byte") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        Rig rig(family);
        Segment segment = rig.client().segment(kGet);
        for (const auto& [destination, dscp] : {std::pair{topology(family).bridges[0], 0},
                                                {topology(family).bridges[0], 2},
                                                {topology(family).bridges[1], 1}}) {
            segment.destination = destination;
            segment.dscp = static_cast<std::uint8_t>(dscp);
            const PacketBytes before = frame_of(segment.build());
            PacketBytes after = before;
            CHECK(BridgeHost::run(rig.host.programs().ingress(), after) == TC_ACT_UNSPEC);
            CHECK(after == before);
            CHECK(BridgeHost::run(rig.host.programs().egress(), after) == TC_ACT_UNSPEC);
            CHECK(after == before);
        }
    }
}

TEST_CASE("a first payload whose mark was lost, or is no service's, is counted by name, and passes") {
    for (const int family : {4, 6}) {
        for (const Mode mode : {Mode::adopt, Mode::translate}) {
            CAPTURE(family);
            const JoinerSetup setup = joiner_setup(family);
            BridgeHost host(mode, family, setup);
            Splicer splicer(std::make_shared<const SplicerSetup>(splicer_setup(family)));
            Client client(family);
            REQUIRE(client.connect(splicer, read_clock()) == SPLICE_answer_syn_ack);
            Segment segment = client.segment(kGet);
            segment.destination = topology(family).bridges[0];
            for (const auto& [dscp, verdict] :
                 {std::pair{0, SPLICE_pass_mark_lost}, std::pair{2, SPLICE_pass_mark_of_no_service}}) {
                segment.dscp = static_cast<std::uint8_t>(dscp);
                PacketBytes frame = frame_of(segment.build());
                const PacketBytes before = frame;
                CHECK(BridgeHost::run(host.programs().ingress(), frame) == TC_ACT_UNSPEC);
                CHECK(frame == before);
                CHECK(host.count(verdict) == 1);
            }
            // Looking has a budget.
            for (int i = 0; i < 1000; ++i) {
                PacketBytes frame = frame_of(segment.build());
                BridgeHost::run(host.programs().ingress(), frame);
            }
            CHECK(host.count(SPLICE_pass_mark_of_no_service) < 1000);
        }
    }
}

TEST_CASE(
    "what is of no service that is adopted goes to the programs that translate beside, while there are "
    "some") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        JoinerSetup others = joiner_setup(family);
        for (JoinerService& service : others.services) service.carriage = splice_carriage_by_dscp(9);
        BridgeHost host(Mode::adopt, family, others);
        auto beside = BridgePrograms::load(Mode::translate, 16, std::nullopt);
        REQUIRE(beside);
        REQUIRE(beside->write(joiner_setup(family)));
        AskedPackets asked(beside->ring());
        Splicer splicer(std::make_shared<const SplicerSetup>(splicer_setup(family)));
        Client client(family);
        REQUIRE(client.connect(splicer, read_clock()) == SPLICE_answer_syn_ack);
        Segment segment = client.segment(kGet);
        segment.destination = topology(family).bridges[0];
        segment.dscp = 1;
        const PacketBytes packet = segment.build();
        const auto becomes = [&] {
            PacketBytes frame = frame_of(packet);
            return BridgeHost::run(host.programs().ingress(), frame);
        };
        CHECK(becomes() == TC_ACT_UNSPEC);
        REQUIRE(host.programs().set_beside(beside->ingress(), beside->egress()));
        CHECK(becomes() == TC_ACT_SHOT);
        const auto taken = asked.take();
        REQUIRE(taken.size() == 1);
        CHECK(taken[0] == packet);
        REQUIRE(host.programs().set_beside(std::nullopt, std::nullopt));
        CHECK(becomes() == TC_ACT_UNSPEC);
        // What is adopted never gets there.
        REQUIRE(host.programs().set_beside(beside->ingress(), beside->egress()));
        segment.dscp = 9;
        PacketBytes frame = frame_of(segment.build());
        CHECK(BridgeHost::run(host.programs().ingress(), frame) != TC_ACT_UNSPEC);
        CHECK(asked.take().empty());
    }
}

TEST_CASE("a link's padding does not go to user space with the packet") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        BridgeHost host(Mode::translate, family, joiner_setup(family));
        AskedPackets asked(host.programs().ring());
        Splicer splicer(std::make_shared<const SplicerSetup>(splicer_setup(family)));
        Client client(family);
        client.base.timestamps.reset();
        REQUIRE(client.connect(splicer, read_clock()) == SPLICE_answer_syn_ack);
        Segment segment = client.segment("GET");
        segment.destination = topology(family).bridges[0];
        segment.dscp = 1;
        const PacketBytes packet = segment.build();
        PacketBytes frame = frame_of(packet);
        frame.resize(frame.size() + 7);
        CHECK(BridgeHost::run(host.programs().ingress(), frame) == TC_ACT_SHOT);
        const auto taken = asked.take();
        REQUIRE(taken.size() == 1);
        CHECK(taken[0] == packet);
    }
}

TEST_CASE("a host's other classifiers see what is not ours, before and after our programs") {
    for (const int family : {4, 6}) {
        for (const Mode mode : {Mode::adopt, Mode::translate}) {
            CAPTURE(family);
            BridgeHost host(mode, family, joiner_setup(family));
            const Bystander before_in(host.interface(), BPF_TC_INGRESS, kTcPriority - 1);
            const Bystander after_in(host.interface(), BPF_TC_INGRESS, kTcPriority + 1);
            const Bystander before_out(host.interface(), BPF_TC_EGRESS, kTcPriority - 1);
            const Bystander after_out(host.interface(), BPF_TC_EGRESS, kTcPriority + 1);
            // A segment of a stranger's to this host itself: the kernel answers it with a RST.
            Segment segment = Client(family).base;
            segment.destination = topology(family).bridges[0];
            segment.destination_port = 9;
            segment.flags = SPLICE_ACK;
            host.inject(segment);
            CHECK((host.next().packet.tcp_flags & SPLICE_RST) != 0);
            CHECK(before_in.packets() > 0);
            CHECK(after_in.packets() == before_in.packets());
            CHECK(before_out.packets() > 0);
            CHECK(after_out.packets() == before_out.packets());
        }
    }
}

TEST_CASE(
    "bits of the mark that are another program's are not compared and not changed, and ours are "
    "configurable") {
    constexpr std::uint32_t kForeignIn = 0x00010000, kForeignOut = 0x80000000;
    for (const splice_mark_field& marks : {kDefaultMarks, *mark_field(0x0a000000, 0x0ff00000 | 0x000fe000)}) {
        for (const int family : {4, 6}) {
            CAPTURE(family);
            const bool wide = marks.mask != SPLICE_MARK_MASK;
            const std::uint32_t foreign_in = wide ? 1U : kForeignIn;
            Rig rig(family, joiner_setup(family), marks);
            const Bystander in(rig.host.interface(), BPF_TC_INGRESS, kTcPriority - 1, foreign_in);
            const Bystander out(rig.host.interface(), BPF_TC_EGRESS, kTcPriority - 1, kForeignOut);
            Listener listener(rig.setup.services[0].backend);
            const Client client = rig.client();
            Descriptor socket = rig.open(listener, client);
            std::uint32_t mark = 0;
            socklen_t size = sizeof(mark);
            REQUIRE(getsockopt(socket.get(), SOL_SOCKET, SO_MARK, &mark, &size) == 0);
            CHECK(mark == (splice_mark_adopted(&marks, 0, splice_carriage_by_dscp(1)) | foreign_in));
            send_text(socket, "HTTP/1.1 200 OK\r\n\r\n");
            CHECK(rig.next_with(SPLICE_PSH).source == topology(family).vip);
            // The port is used again while the old socket is in TIME_WAIT: it is known as ours, and cleared.
            rig.close_server_first(client, std::move(socket));
            const Client again = rig.client(0, 4711);
            (void)rig.open(listener, again);
            CHECK(rig.host.count(SPLICE_clear_old_socket) == 1);
        }
    }
}
