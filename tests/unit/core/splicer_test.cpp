#include "libsplice/core/splicer.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "libsplice/base/seq.hpp"
#include "libsplice/datapath/choice.h"
#include "libsplice/datapath/sample.h"
#include "tests/support/lib/machines.hpp"

using namespace splice;
using namespace splice::testing;

namespace {

const std::string kGet = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

// A splicer of one family and what it sends.
struct Rig {
    explicit Rig(int family_ = 4) : Rig(splicer_setup(family_), family_) {}
    explicit Rig(SplicerSetup setup, int family_ = 4)
        : splicer(std::make_shared<const SplicerSetup>(std::move(setup))), family(family_) {}

    Verdict handle(const Segment& segment, double seconds = 0.0) { return handle(segment.build(), seconds); }
    Verdict handle(PacketBytes bytes, double seconds = 0.0) {
        out = {};
        packet = std::move(bytes);
        return splicer.handle_packet(at(seconds), packet, true, out);
    }
    void expire(double seconds) {
        out = {};
        splicer.expire(at(seconds), out);
    }
    [[nodiscard]] Client connected(std::uint16_t port = 40000, double seconds = 0.0) {
        Client client(family, port);
        REQUIRE(client.connect(splicer, at(seconds)) == SPLICE_answer_syn_ack);
        return client;
    }
    [[nodiscard]] std::uint64_t count(Verdict verdict) const {
        return splicer.counters().verdicts.of(verdict);
    }
    [[nodiscard]] std::uint64_t fallbacks(Fallback why) const {
        return splicer.counters().fallbacks[static_cast<std::size_t>(why)].load();
    }

    [[nodiscard]] std::uint64_t lost(HeldLoss why) const { return splicer.counters().held_lost.of(why); }

    Splicer splicer;
    int family;
    SentPackets out;
    PacketBytes packet;  // as the splicer left it
};

bool is_bridge(const Rig& rig, const std::string& address) {
    const auto& bridges = topology(rig.family).bridges;
    return std::ranges::find(bridges, address) != bridges.end();
}

}  // namespace

TEST_CASE("a SYN is answered with a cookie and leaves nothing behind") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        Segment syn = Client(family).base;
        syn.flags = SPLICE_SYN;
        syn.mss = 1400;
        syn.sack_permitted = true;
        syn.window_scale = 8;
        CHECK(rig.handle(syn) == SPLICE_answer_syn_ack);
        REQUIRE(rig.out.sent.size() == 1);
        const Parsed answer = parse(rig.out.sent[0]);
        CHECK(answer.checksums_right);
        CHECK(answer.source == topology(family).vip);
        CHECK(answer.destination == topology(family).client);
        const int syn_ack = SPLICE_SYN | SPLICE_ACK;
        CHECK(answer.packet.tcp_flags == syn_ack);
        CHECK(answer.packet.ack == syn.seq + 1);
        CHECK(answer.options.mss == 1460);
        CHECK(answer.options.window_scale == 7);
        CHECK(answer.options.sack_permitted);
        CHECK(answer.options.tsecr == syn.timestamps->value);
        CHECK(answer.options.tsval == at(0).tsval());
        CHECK(rig.splicer.flows() == 0);
    }
}

TEST_CASE(
    "a stranded opening is chosen anew when it is repeated; what was answered, or only goes on, stays") {
    for (const bool is_gone : {false, true}) {
        Rig rig;
        const Client waits = rig.connected(40000), served = rig.connected(40001);
        for (const Client* client : {&waits, &served})
            CHECK(rig.handle(client->segment(kGet)) == SPLICE_forward_first_payload);
        const std::string silent = parse(rig.packet).destination;
        Segment heard = served.segment("", 28, SPLICE_ACK);
        heard.ack += 100;
        CHECK(rig.handle(heard) == SPLICE_forward_open);

        SplicerSetup without = splicer_setup();
        const auto place = static_cast<std::uint16_t>(silent.back() - '1');
        std::vector<std::uint16_t> others{0, 1, 2};
        std::erase(others, place);
        without.services[0].placement = placement_of(others);
        (is_gone ? without.services[0].gone : without.services[0].silent) = {place};
        rig.splicer.swap_setup(std::make_shared<const SplicerSetup>(without));
        CHECK(rig.splicer.end_unserved_flows() == (is_gone ? 1 : 0));
        CHECK(rig.handle(heard) == (is_gone ? SPLICE_answer_down_rst : SPLICE_forward_open));

        // A later segment goes where the first has gone, until that is repeated.
        CHECK(rig.handle(waits.segment("more", 28)) == SPLICE_forward_open);
        CHECK(parse(rig.packet).destination == silent);
        CHECK(rig.handle(waits.segment(kGet)) == SPLICE_forward_first_payload);
        const std::string next = parse(rig.packet).destination;
        CHECK(next != silent);
        CHECK(rig.handle(waits.segment("more", 28)) == SPLICE_forward_open);
        CHECK(parse(rig.packet).destination == next);
    }
}

TEST_CASE("a stranded opening whose client shows an answer after all is open again") {
    Rig rig;
    const Client client = rig.connected();
    CHECK(rig.handle(client.segment(kGet)) == SPLICE_forward_first_payload);
    const std::string bridge = parse(rig.packet).destination;
    SplicerSetup setup = splicer_setup();
    setup.services[0].silent = {0, 1, 2};
    rig.splicer.swap_setup(std::make_shared<const SplicerSetup>(setup));
    CHECK(rig.splicer.end_unserved_flows() == 0);
    Segment heard = client.segment("", 28, SPLICE_ACK);
    heard.ack += 100;
    CHECK(rig.handle(heard) == SPLICE_forward_open);
    CHECK(rig.handle(client.segment(kGet)) == SPLICE_forward_open);
    CHECK(parse(rig.packet).destination == bridge);
}

TEST_CASE("a stranded opening that is repeated where no bridge is placed any more is answered: 503, or RST") {
    for (const Protocol protocol : {Protocol::http, Protocol::tls}) {
        SplicerSetup setup = splicer_setup();
        setup.services[0].protocol = protocol;
        Rig rig(setup);
        const Client client = rig.connected();
        const std::string first = protocol == Protocol::http ? kGet : std::string(600, 'x');
        const Verdict opened = rig.handle(client.segment(first));
        REQUIRE(verdict_kind(opened) == SPLICE_KIND_forward);
        setup.services[0].placement = placement_over(0);
        setup.services[0].silent = {0, 1, 2};
        rig.splicer.replace_setup(std::make_shared<const SplicerSetup>(setup));
        CHECK(rig.handle(client.segment(first)) ==
              (protocol == Protocol::http ? SPLICE_answer_no_bridge_503 : SPLICE_answer_no_bridge_rst));
        REQUIRE(rig.out.sent.size() == 1);
        CHECK(parse(rig.out.sent[0]).destination == topology(4).client);
    }
}

TEST_CASE("openings, answers, refusals and repeats of a service that is checked are seen by bridge") {
    SplicerSetup setup = splicer_setup();
    Rig unchecked(setup);
    setup.services[0].check =
        ServiceCheck{.probe = std::make_shared<const ProbeRule>(), .health = {}, .bridges = {}};
    Rig rig(setup);
    for (Rig* each : {&unchecked, &rig}) {
        const Client client = each->connected();
        CHECK(each->handle(client.segment(kGet)) == SPLICE_forward_first_payload);
        // Twice repeated, and more of it, which is no repeat.
        for (int i = 0; i < 2; ++i) CHECK(each->handle(client.segment(kGet)) == SPLICE_forward_open);
        CHECK(each->handle(client.segment("more", 28)) == SPLICE_forward_open);
        Segment heard = client.segment("", 28, SPLICE_ACK);
        heard.ack += 100;
        for (int i = 0; i < 3; ++i) CHECK(each->handle(heard) == SPLICE_forward_open);
    }
    auto seen = rig.splicer.take_signs();
    for (const auto& of : {seen, unchecked.splicer.take_signs()}) {
        REQUIRE(of.size() == 1);
        CHECK(of[0].service == 1);
        CHECK(of[0].signs == PassiveSigns{.openings = 1, .answers = 1, .refusals = 0, .repeats = 2});
        CHECK(of[0].packets == 7);
        // Three requests, "more", and three times nothing, each with 20 bytes of IP and 32 of TCP.
        CHECK(of[0].bytes == 3 * std::string_view(kGet).size() + 4 + 7 * 52);
    }
    CHECK(rig.splicer.take_signs().empty());

    const Client refused = rig.connected(40001);
    CHECK(rig.handle(refused.segment(kGet)) == SPLICE_forward_first_payload);
    Segment bounce = refused.segment(kGet);
    bounce.refused_by = parse(rig.packet).destination;
    CHECK(rig.handle(bounce) == SPLICE_forward_next_choice);
    // One bridge opened it and refused, the next one was sent it, too.
    seen = rig.splicer.take_signs();
    REQUIRE(seen.size() == 2);
    std::ranges::sort(seen, std::greater(), [](const SignedBridge& each) { return each.signs.refusals; });
    CHECK(seen[0].signs == PassiveSigns{.openings = 1, .answers = 0, .refusals = 1, .repeats = 0});
    CHECK(seen[1].signs == PassiveSigns{});
    CHECK(seen[0].bytes == seen[1].bytes);
}

TEST_CASE("a million SYNs leave no flow behind") {
    Rig rig;
    Segment syn = Client().base;
    syn.flags = SPLICE_SYN;
    PacketBytes bytes = syn.build();
    for (std::uint32_t i = 0; i < 1'000'000; ++i) {
        PacketBytes copy = bytes;
        rig.out.sent.clear();
        rig.splicer.handle_packet(at(0), copy, true, rig.out);
    }
    CHECK(rig.count(SPLICE_answer_syn_ack) == 1'000'000);
    CHECK(rig.splicer.flows() == 0);
    CHECK(rig.splicer.counters().held_bytes == 0);
}

TEST_CASE("a SYN whose options overrun its header is not answered") {
    Rig rig;
    Segment syn = Client().base;
    syn.flags = SPLICE_SYN;
    PacketBytes bytes = syn.build();
    const splice_packet packet = parse(bytes).packet;
    bytes[20 + 20 + 1] = std::byte{40};  // the first option's length
    splice_finish_tcp_checksum(bytes.data(), &packet);
    CHECK(rig.handle(bytes) == SPLICE_drop_bad_tcp_options);
    CHECK(rig.out.sent.empty());
}

TEST_CASE("data on the SYN is not acknowledged") {
    Rig rig;
    Segment syn = Client().base;
    syn.flags = SPLICE_SYN;
    syn.payload = kGet;
    CHECK(rig.handle(syn) == SPLICE_answer_syn_ack);
    CHECK(parse(rig.out.sent.at(0)).packet.ack == syn.seq + 1);
}

TEST_CASE("the handshake's last ACK is forgotten, the first payload chooses and goes marked") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        const Client client = rig.connected();
        CHECK(rig.handle(client.segment("", 0, SPLICE_ACK)) == SPLICE_drop_handshake_ack);
        CHECK(rig.splicer.flows() == 0);

        Segment get = client.segment(kGet);
        get.ecn = 2;
        CHECK(rig.handle(get) == SPLICE_forward_first_payload);
        const Parsed sent = parse(rig.packet);
        CHECK(sent.checksums_right);
        CHECK(is_bridge(rig, sent.destination));
        CHECK(sent.source == topology(family).client);
        CHECK(sent.dscp == 1);
        CHECK(sent.ecn == 2);
        CHECK(sent.packet.ttl == 63);
        CHECK(sent.payload == kGet);
        CHECK(sent.packet.seq == get.seq);
        CHECK(sent.packet.ack == get.ack);
        CHECK(rig.splicer.flows() == 1);

        CHECK(rig.handle(client.segment("", 28, SPLICE_ACK)) == SPLICE_forward_open);
        CHECK(parse(rig.packet).destination == sent.destination);
    }
}

TEST_CASE("the same URL goes to the same bridge from any port, other URLs spread") {
    Rig rig;
    std::map<std::string, std::set<std::string>> seen;
    std::set<std::string> used;
    for (std::uint16_t round = 0; round < 400; ++round) {
        const Client client = rig.connected(static_cast<std::uint16_t>(10000 + round));
        const std::string url = "/url" + std::to_string(round % 40);
        REQUIRE(rig.handle(client.segment("GET " + url + " HTTP/1.1\r\nHost: x\r\n\r\n")) ==
                SPLICE_forward_first_payload);
        seen[url].insert(parse(rig.packet).destination);
        used.insert(parse(rig.packet).destination);
    }
    for (const auto& [url, bridges] : seen) CHECK(bridges.size() == 1);
    CHECK(used.size() == 3);
}

TEST_CASE("a number that is no cookie opens nothing") {
    Rig rig;
    const Client client = rig.connected();
    Segment forged = client.segment(kGet);
    forged.ack += 1;
    CHECK(rig.handle(forged) == SPLICE_hold_orphan);
    forged = client.segment(kGet);
    forged.seq += 1;
    CHECK(rig.handle(forged) == SPLICE_hold_orphan);
    forged = client.segment(kGet);
    forged.source_port += 1;
    CHECK(rig.handle(forged) == SPLICE_hold_orphan);
    CHECK(rig.splicer.flows() == 0);
}

TEST_CASE("a cookie lives at least 32 seconds and at most 96") {
    Rig rig;
    const Client client = rig.connected(40000, 63.9);
    Segment early = client.segment(kGet);
    CHECK(rig.handle(early, 63.9 + 32) == SPLICE_forward_first_payload);
    const Client late = rig.connected(40001, 0.0);
    CHECK(rig.handle(late.segment(kGet), 97) == SPLICE_answer_expired_rst);
}

TEST_CASE("a first payload in two segments is held and released in order") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        const Client client = rig.connected();
        CHECK(rig.handle(client.segment(kGet.substr(0, 9))) == SPLICE_hold_first_payload);
        CHECK(rig.out.sent.empty());
        CHECK(rig.splicer.counters().flows_pending == 1);
        CHECK(rig.handle(client.segment(kGet.substr(9), 9)) == SPLICE_release_first_payload);
        REQUIRE(rig.out.sent.size() == 2);
        const Parsed first = parse(rig.out.sent[0]), second = parse(rig.out.sent[1]);
        CHECK(first.payload + second.payload == kGet);
        CHECK(first.destination == second.destination);
        CHECK(first.checksums_right);
        CHECK(second.checksums_right);
        CHECK(second.dscp == 1);
        CHECK(rig.splicer.counters().held_bytes == 0);
        CHECK(rig.splicer.counters().flows_pending == 0);

        const Client whole = rig.connected(40001);
        rig.handle(whole.segment(kGet));
        CHECK(parse(rig.packet).destination == first.destination);
    }
}

TEST_CASE("a first payload in three segments goes where the whole one goes, in every order") {
    for (const int family : {4, 6}) {
        const std::vector<std::string> parts{"GET /a/lon", "g/url HTTP/1.1\r\n", "Host: x\r\n\r\n"};
        Rig reference(family);
        reference.handle(reference.connected().segment(parts[0] + parts[1] + parts[2]));
        const std::string bridge = parse(reference.packet).destination;
        std::vector<std::size_t> order{0, 1, 2};
        do {
            Rig rig(family);
            const Client client = rig.connected();
            std::map<std::uint32_t, std::string> arrived;
            auto note = [&](const PacketBytes& bytes) {
                const Parsed sent = parse(bytes);
                CHECK(sent.destination == bridge);
                CHECK(sent.checksums_right);
                arrived[sent.packet.seq - client.base.seq - 1] = sent.payload;
            };
            for (const std::size_t part : order) {
                const std::uint32_t offset = part == 0 ? 0 : part == 1 ? 10 : 26;
                const Verdict verdict = rig.handle(client.segment(parts[part], offset), 0.001);
                for (const PacketBytes& bytes : rig.out.sent) note(bytes);
                if (verdict_kind(verdict) == SPLICE_KIND_forward) note(rig.packet);
                rig.expire(0.001);
                for (const PacketBytes& bytes : rig.out.sent) note(bytes);
            }
            REQUIRE(arrived.size() == 3);
            CHECK(arrived[0] + arrived[10] + arrived[26] == parts[0] + parts[1] + parts[2]);
            CHECK(rig.splicer.counters().held_bytes == 0);
        } while (std::ranges::next_permutation(order).found);
    }
}

TEST_CASE(
    "a choice says whether the connection log has it, by the share that its cookie is in, held or not") {
    class Told final : public Actions {
      public:
        void send(Bytes) noexcept override {}
        void send_to_hop(const Hop&, Bytes) noexcept override {}
        void chose(const FlowChoice& choice) noexcept override {
            sampled.push_back(choice.sampled);
            CHECK(choice.service == 1);
            CHECK(choice.rank == 0);
        }
        std::vector<bool> sampled;
    };
    Rig rig;
    std::uint16_t port = 41000;
    for (const std::uint64_t share :
         std::initializer_list<std::uint64_t>{0, SPLICE_SAMPLE_ALL / 2, SPLICE_SAMPLE_ALL}) {
        SplicerSetup setup = splicer_setup();
        setup.sample = share;
        rig.splicer.swap_setup(std::make_shared<const SplicerSetup>(setup));
        int taken = 0;
        for (int i = 0; i < 64; ++i) {
            const Client client = rig.connected(port++);
            Told told;
            PacketBytes packet = client.segment(kGet.substr(0, 5)).build();
            REQUIRE(rig.splicer.handle_packet(at(0), packet, true, told) == SPLICE_hold_first_payload);
            packet = client.segment(kGet.substr(5), 5).build();
            REQUIRE(rig.splicer.handle_packet(at(0), packet, true, told) == SPLICE_release_first_payload);
            REQUIRE(told.sampled.size() == 1);
            CHECK(told.sampled[0] ==
                  (splice_in_sample(&kSecret, splice_choice_cookie(client.cookie + 1), share) != 0));
            taken += told.sampled[0];
        }
        CHECK((taken == 0) == (share == 0));
        CHECK((taken == 64) == (share == SPLICE_SAMPLE_ALL));
    }
}

TEST_CASE("a choice is told once, with the bytes that were hashed and why they are not the key") {
    class Told final : public Actions {
      public:
        void send(Bytes packet) noexcept override { to.push_back(parse(packet).destination); }
        void send_to_hop(const Hop&, Bytes) noexcept override {}
        void chose(const FlowChoice& choice) noexcept override {
            ++count, key = choice.key, fallback = choice.fallback, bridge = choice.bridge;
        }
        int count = 0;
        std::string key;
        std::optional<Fallback> fallback;
        std::uint16_t bridge = SPLICE_NO_BRIDGE;
        std::vector<std::string> to;
    };
    Rig rig;
    Told told;
    const auto handle = [&](const Segment& segment) {
        PacketBytes packet = segment.build();
        return rig.splicer.handle_packet(at(0), packet, true, told);
    };
    const Client held = rig.connected(40001);
    // The second segment comes first and is taken up by a timer, which is no time-out.
    REQUIRE(handle(held.segment(kGet.substr(5), 5)) == SPLICE_hold_orphan);
    REQUIRE(handle(held.segment(kGet.substr(0, 5))) == SPLICE_hold_first_payload);
    CHECK(told.count == 0);
    rig.splicer.expire(at(0.001), told);
    CHECK(told.count == 1);
    CHECK(told.key == "/a");
    CHECK(!told.fallback);
    REQUIRE(told.to.size() == 2);
    CHECK(told.to[0] == topology(4).bridges[told.bridge]);

    const Client late = rig.connected(40002);
    REQUIRE(handle(late.segment("GET /a")) == SPLICE_hold_first_payload);
    rig.splicer.expire(at(1), told);
    CHECK(told.count == 2);
    CHECK(told.fallback == Fallback::wait_expired);
    CHECK(told.key.size() == sizeof(splice_address));
    CHECK(told.to.back() == topology(4).bridges[told.bridge]);
}

TEST_CASE("a segment that overtook nothing is dropped when its time is up") {
    Rig rig;
    const Client client = rig.connected();
    CHECK(rig.handle(client.segment("data", 5000)) == SPLICE_hold_orphan);
    CHECK(rig.splicer.counters().held_bytes > 0);
    CHECK(rig.splicer.next_deadline() == at(0.05).monotonic);
    rig.expire(0.049);
    CHECK(rig.count(SPLICE_drop_orphan) == 0);
    rig.expire(0.05);
    CHECK(rig.count(SPLICE_drop_orphan) == 1);
    CHECK(rig.out.sent.empty());
    CHECK(rig.splicer.counters().held_bytes == 0);
}

TEST_CASE("what waits for a first payload is bounded, and a bare ACK or RST does not wait") {
    Rig rig;
    const Client client = rig.connected();
    CHECK(rig.handle(client.segment("", 5000, SPLICE_ACK)) == SPLICE_drop_orphan);
    CHECK(rig.handle(client.segment("data", 5000, SPLICE_ACK | SPLICE_RST)) == SPLICE_drop_orphan);
    std::uint32_t held = 0;
    while (rig.handle(client.segment("data", 5000 + held)) == SPLICE_hold_orphan) ++held;
    CHECK(held == kOvertakersPerFlow);
    for (std::uint16_t port = 1; held < kOvertakers; ++port)
        for (std::uint32_t i = 0; i < kOvertakersPerFlow; ++i, ++held)
            REQUIRE(rig.handle(Client(4, port).segment("data", 5000 + i)) == SPLICE_hold_orphan);
    CHECK(rig.handle(Client(4, 9999).segment("data", 5000)) == SPLICE_drop_orphan);
}

TEST_CASE("a request cut at every byte goes where the whole one goes") {
    Rig rig;
    const Client whole = rig.connected(39999);
    rig.handle(whole.segment(kGet));
    const std::string bridge = parse(rig.packet).destination;
    for (std::uint16_t cut = 1; cut < kGet.size(); ++cut) {
        const Client client = rig.connected(static_cast<std::uint16_t>(40000 + cut));
        const Verdict first = rig.handle(client.segment(kGet.substr(0, cut)));
        std::string destination = parse(rig.packet).destination;
        if (first == SPLICE_hold_first_payload) {
            // The key is in the request line: what follows it need not be waited for.
            REQUIRE(cut < 17);
            REQUIRE(rig.handle(client.segment(kGet.substr(cut), cut)) == SPLICE_release_first_payload);
            destination = parse(rig.out.sent.at(0)).destination;
        }
        REQUIRE(destination == bridge);
    }
}

TEST_CASE("a repeated segment of a held first payload is dropped by name") {
    Rig rig;
    const Client client = rig.connected();
    CHECK(rig.handle(client.segment("GET /a")) == SPLICE_hold_first_payload);
    CHECK(rig.handle(client.segment("GET /a")) == SPLICE_drop_duplicate_payload);
    CHECK(rig.handle(client.segment("", 0, SPLICE_ACK)) == SPLICE_drop_handshake_ack);
}

TEST_CASE("what stays incomplete for first_payload_wait goes by the client's address") {
    Rig rig;
    const Client client = rig.connected();
    CHECK(rig.handle(client.segment("GET /")) == SPLICE_hold_first_payload);
    CHECK(rig.splicer.next_deadline() == at(0.05).monotonic);
    rig.expire(0.049);
    CHECK(rig.out.sent.empty());
    rig.expire(0.05);
    REQUIRE(rig.out.sent.size() == 1);
    CHECK(rig.fallbacks(Fallback::wait_expired) == 1);
    CHECK(is_bridge(rig, parse(rig.out.sent[0]).destination));
    CHECK(rig.handle(client.segment("a HTTP/1.1\r\n\r\n", 5)) == SPLICE_forward_open);
}

TEST_CASE("garbage goes by the client's address at once, and so do all of that client's") {
    Rig rig;
    std::set<std::string> bridges;
    for (std::uint16_t port = 1; port < 50; ++port) {
        const Client client = rig.connected(port);
        CHECK(rig.handle(client.segment("\x16\x03\x01garbage")) == SPLICE_forward_first_payload_source);
        bridges.insert(parse(rig.packet).destination);
    }
    CHECK(bridges.size() == 1);
    CHECK(rig.fallbacks(Fallback::not_http) == 49);
}

TEST_CASE("a FIN with an incomplete first payload decides at once") {
    Rig rig;
    const Client client = rig.connected();
    CHECK(rig.handle(client.segment("GET /a", 0, SPLICE_ACK | SPLICE_FIN)) ==
          SPLICE_forward_first_payload_source);
    CHECK(rig.fallbacks(Fallback::ended) == 1);
}

TEST_CASE("a client that closes without a word is passed on, so that its FIN is answered") {
    Rig rig;
    const Client client = rig.connected();
    CHECK(rig.handle(client.segment("", 0, SPLICE_ACK | SPLICE_FIN)) == SPLICE_forward_first_payload_source);
    CHECK(rig.fallbacks(Fallback::ended) == 1);
}

TEST_CASE("a first payload beyond its limit goes by the client's address") {
    SplicerSetup setup = splicer_setup();
    setup.services[0].first_payload_max = 2000;
    Rig rig(std::move(setup));
    const Client client = rig.connected();
    CHECK(rig.handle(client.segment("GET /" + std::string(1395, 'a'))) == SPLICE_hold_first_payload);
    CHECK(rig.handle(client.segment(std::string(1000, 'b'), 5000)) == SPLICE_drop_first_payload_window);
    CHECK(rig.handle(client.segment(std::string(1000, 'b'), 1400)) == SPLICE_release_first_payload);
    CHECK(rig.fallbacks(Fallback::too_long) == 1);
}

TEST_CASE("the memory of held first payloads is bounded") {
    SplicerSetup setup = splicer_setup();
    setup.first_payload_memory = 3000;
    Rig rig(std::move(setup));
    std::uint16_t port = 40000;
    while (rig.handle(rig.connected(port).segment("GET /" + std::string(1000, 'a'))) ==
           SPLICE_hold_first_payload)
        ++port;
    CHECK(rig.count(SPLICE_drop_first_payload_memory) == 1);
    CHECK(rig.splicer.counters().held_bytes <= 5000);
    rig.expire(1.0);
    CHECK(rig.splicer.counters().held_bytes == 0);
}

TEST_CASE("a full flow table refuses new flows and keeps the old") {
    SplicerSetup setup = splicer_setup();
    setup.max_flows = 1;
    Rig rig(std::move(setup));
    const Client first = rig.connected(1), second = rig.connected(2), third = rig.connected(3);
    CHECK(rig.handle(first.segment(kGet)) == SPLICE_forward_first_payload);
    CHECK(rig.handle(second.segment(kGet)) == SPLICE_drop_flow_table_full);
    CHECK(rig.handle(third.segment("GET")) == SPLICE_drop_flow_table_full);
    CHECK(rig.handle(first.segment("", 28, SPLICE_ACK)) == SPLICE_forward_open);
}

TEST_CASE("a FIN or RST far from the client's sequence numbers is forwarded, and shortens nothing") {
    for (const int flag : {SPLICE_FIN, SPLICE_RST}) {
        CAPTURE(flag);
        Rig rig;
        const Client client = rig.connected();
        rig.handle(client.segment(kGet));
        Segment forged = client.segment("", 28, static_cast<std::uint8_t>(SPLICE_ACK | flag));
        for (const std::uint32_t away : {0x00050000U, 0x40000000U, 0x80000000U, 0xfffb0000U}) {
            forged.seq = client.segment("", 28).seq + away;
            CHECK(rig.handle(forged, 1) == SPLICE_forward_open);
        }
        rig.expire(1 + 899);
        CHECK(rig.splicer.flows() == 1);
        rig.expire(1 + 901);
        CHECK(rig.splicer.flows() == 0);
    }
}

TEST_CASE(
    "after an upload of gigabytes the client's FIN counts, and a leap of its numbers does not move them") {
    Rig rig;
    const Client client = rig.connected();
    rig.handle(client.segment(kGet));
    Segment more = client.segment(std::string(1000, 'x'), 28);
    const std::uint32_t begin = more.seq;
    Segment leap = more;
    leap.seq = begin + 0x50000000;
    rig.handle(leap, 1);
    for (std::uint64_t sent = 0; sent < 5'000'000'000; sent += 50'000) {
        more.seq = begin + static_cast<std::uint32_t>(sent);
        REQUIRE(rig.handle(more, 1) == SPLICE_forward_open);
    }
    Segment fin = client.segment("", 0, SPLICE_ACK | SPLICE_FIN);
    fin.seq = more.seq + 1000;
    rig.handle(fin, 1);
    rig.expire(1 + 299);
    CHECK(rig.splicer.flows() == 1);
    rig.expire(1 + 361);
    CHECK(rig.splicer.flows() == 0);
}

TEST_CASE("payload after a FIN takes it back") {
    Rig rig;
    const Client client = rig.connected();
    rig.handle(client.segment(kGet));
    rig.handle(client.segment("", 28, SPLICE_ACK | SPLICE_FIN), 1);
    rig.handle(client.segment("more", 28), 2);
    rig.expire(2 + 899);
    CHECK(rig.splicer.flows() == 1);
}

TEST_CASE("the fuller the table, the sooner the silent make room") {
    constexpr splice_idle_timeouts kTimeouts{.open_s = 900, .closing_s = 60, .half_closed_s = 300};
    const auto limits = [&](splice_silence silence) {
        std::vector<std::uint32_t> found;
        for (const std::uint64_t flows : {50U, 51U, 75U, 95U})
            found.push_back(splice_silence_limit_s(silence, &kTimeouts, splice_pressure_of(flows, 100)));
        return found;
    };
    CHECK(limits(SPLICE_SILENCE_OPEN) == std::vector<std::uint32_t>{900, 900, 225, 60});
    CHECK(limits(SPLICE_SILENCE_LANED) == std::vector<std::uint32_t>{900, 10, 10, 0});
    CHECK(limits(SPLICE_SILENCE_UNANSWERED) == std::vector<std::uint32_t>{900, 900, 10, 2});
    CHECK(limits(SPLICE_SILENCE_HALF_CLOSED) == std::vector<std::uint32_t>{300, 60, 10, 10});
    CHECK(limits(SPLICE_SILENCE_CLOSING) == std::vector<std::uint32_t>{60, 60, 10, 10});
}

TEST_CASE("a table that is nearly full gives each address its share, and room to the others") {
    for (const int family : {4, 6}) {
        SplicerSetup setup = splicer_setup(family);
        setup.max_flows = 128;
        Rig rig(std::move(setup), family);
        std::uint16_t port = 1;
        const auto begin = [&](int host) {
            Client client(family, ++port);
            client.base.source = (family == 4 ? "198.51.100." : "2001:db8:") + std::to_string(10 + host) +
                                 (family == 4 ? "" : "::7");
            REQUIRE(client.connect(rig.splicer, at(0)) == SPLICE_answer_syn_ack);
            return rig.handle(client.segment(kGet));
        };
        for (int i = 0; i < 96; ++i) REQUIRE(begin(0) == SPLICE_forward_first_payload);
        for (int i = 0; i < 10; ++i) REQUIRE(begin(0) == SPLICE_drop_source_share);
        for (int host = 1; host <= 10; ++host) {
            // A 64th, and one.
            for (int i = 0; i < 3; ++i) REQUIRE(begin(host) == SPLICE_forward_first_payload);
            REQUIRE(begin(host) == SPLICE_drop_source_share);
        }
        // They have not been answered.
        rig.expire(11);
        CHECK(rig.splicer.flows() == 0);
        CHECK(begin(0) == SPLICE_forward_first_payload);
    }
}

TEST_CASE("what an address has closed makes room for what it opens, also when the table has emptied") {
    SplicerSetup setup = splicer_setup();
    setup.max_flows = 128;
    Rig rig(std::move(setup));
    std::uint16_t port = 1;
    const auto begin = [&](double seconds) {
        const Client client = rig.connected(++port, seconds);
        return rig.handle(client.segment(kGet, 0, SPLICE_ACK | SPLICE_FIN), seconds);
    };
    for (int i = 0; i < 96; ++i) REQUIRE(begin(0) == SPLICE_forward_first_payload);
    REQUIRE(begin(0) == SPLICE_drop_source_share);
    rig.expire(11);
    REQUIRE(rig.splicer.flows() == 0);
    // Shares are still in force: a 64th, and one.
    for (int i = 0; i < 3; ++i) REQUIRE(begin(12) == SPLICE_forward_first_payload);
    REQUIRE(begin(12) == SPLICE_drop_source_share);
    rig.expire(23);
    CHECK(begin(23) == SPLICE_forward_first_payload);
    // A minute after the pressure, everybody has what he likes, and as long as he likes.
    for (int i = 0; i < 10; ++i) REQUIRE(begin(61) == SPLICE_forward_first_payload);
    rig.expire(72);
    CHECK(rig.splicer.flows() == 11);
}

TEST_CASE("a service without a bridge says so: HTTP gets a 503, what is no request a RST") {
    SplicerSetup setup = splicer_setup();
    setup.services[0].placement = placement_over(0);
    Rig rig(setup);
    const Client client = rig.connected();
    CHECK(rig.handle(client.segment(kGet)) == SPLICE_answer_no_bridge_503);
    REQUIRE(rig.out.sent.size() == 1);
    const Parsed answer = parse(rig.out.sent[0]);
    CHECK(answer.payload.starts_with("HTTP/1.1 503 "));
    CHECK(answer.payload.find("\r\nRetry-After: 1\r\n") != std::string::npos);
    CHECK((answer.packet.tcp_flags & SPLICE_FIN) != 0);
    CHECK(rig.handle(client.segment("", 28, SPLICE_ACK)) == SPLICE_end_refused);
    // A first payload in pieces: by the last of them, or by what comes after they were given up.
    const Client held = rig.connected(2);
    CHECK(rig.handle(held.segment("GET /")) == SPLICE_hold_first_payload);
    rig.expire(1.0);
    CHECK(rig.lost(HeldLoss::no_bridge) == 1);
    CHECK(rig.handle(held.segment("GET /")) == SPLICE_answer_refused_rst);
    const Client completed = rig.connected(3);
    CHECK(rig.handle(completed.segment(kGet.substr(0, 10))) == SPLICE_hold_first_payload);
    CHECK(rig.handle(completed.segment(kGet.substr(10), 10)) == SPLICE_answer_no_bridge_503);
    CHECK(rig.splicer.counters().held_bytes == 0);

    setup.services[0].protocol = Protocol::tcp;
    setup.services[0].key.kind = KeyKind::source;
    Rig other(setup);
    CHECK(other.handle(other.connected().segment("", 0, SPLICE_ACK)) == SPLICE_answer_no_bridge_rst);
    REQUIRE(other.out.sent.size() == 1);
    CHECK((parse(other.out.sent[0]).packet.tcp_flags & SPLICE_RST) != 0);
}

TEST_CASE("while the balancer stops, first payloads are left to whoever serves next") {
    SplicerSetup setup = splicer_setup();
    setup.stopping = true;
    setup.services[0].placement = placement_over(0);
    Rig rig(std::move(setup));
    CHECK(rig.handle(rig.connected().segment(kGet)) == SPLICE_drop_no_bridge);
    CHECK(rig.splicer.flows() == 0);
    const Client held = rig.connected(2);
    CHECK(rig.handle(held.segment("GET /")) == SPLICE_hold_first_payload);
    rig.expire(1.0);
    // A timer handles no packet, so it counts no verdict: what was held is counted as lost.
    CHECK(rig.count(SPLICE_drop_no_bridge) == 1);
    CHECK(rig.lost(HeldLoss::no_bridge) == 1);
    CHECK(rig.splicer.flows() == 0);
    const Client completed = rig.connected(3);
    CHECK(rig.handle(completed.segment(kGet.substr(0, 10))) == SPLICE_hold_first_payload);
    CHECK(rig.handle(completed.segment(kGet.substr(10), 10)) == SPLICE_drop_no_bridge);
    CHECK(rig.count(SPLICE_drop_no_bridge) == 2);
    CHECK(rig.count(SPLICE_release_first_payload) == 0);
    CHECK(rig.lost(HeldLoss::no_bridge) == 2);
}

TEST_CASE("held packets that are never sent are counted, by why") {
    Rig rig;
    Client reused = rig.connected();
    CHECK(rig.handle(reused.segment("GET /old")) == SPLICE_hold_first_payload);
    CHECK(rig.handle(reused.segment("er", 8)) == SPLICE_hold_first_payload);
    reused.base.seq = 4711;
    reused.connect(rig.splicer, at(0));
    CHECK(rig.handle(reused.segment(kGet)) == SPLICE_forward_first_payload);
    CHECK(rig.lost(HeldLoss::begun_anew) == 2);

    const Client gone = rig.connected(2);
    CHECK(rig.handle(gone.segment("GET /")) == SPLICE_hold_first_payload);
    SplicerSetup none = splicer_setup();
    none.services.clear();
    rig.splicer.replace_setup(std::make_shared<const SplicerSetup>(none));
    CHECK(rig.lost(HeldLoss::service_gone) == 1);
    CHECK(rig.splicer.counters().held_bytes == 0);

    Rig other;
    Segment last_hop = other.connected().segment("GET /");
    last_hop.ttl = 1;
    CHECK(other.handle(last_hop) == SPLICE_hold_first_payload);
    other.expire(1.0);
    CHECK(other.out.sent.empty());
    CHECK(other.lost(HeldLoss::unsendable) == 1);
}

TEST_CASE("a FIN or RST in a held first payload shortens the flow's time-out as any other does") {
    for (const int flag : {SPLICE_FIN, SPLICE_RST}) {
        Rig rig;
        const Client client = rig.connected();
        CHECK(rig.handle(client.segment(kGet.substr(0, 10))) == SPLICE_hold_first_payload);
        CHECK(rig.handle(client.segment(kGet.substr(10), 10, static_cast<std::uint8_t>(SPLICE_ACK | flag))) ==
              SPLICE_release_first_payload);
        CHECK(rig.out.sent.size() == 2);
        const double limit = flag == SPLICE_FIN ? 300 : 60;
        rig.expire(limit - 1);
        CHECK(rig.splicer.flows() == 1);
        rig.expire(limit + 1);
        CHECK(rig.splicer.flows() == 0);
    }
}

TEST_CASE("a client that has sent FIN may wait five minutes, and goes on acknowledging like any other") {
    Rig rig;
    const Client client = rig.connected();
    CHECK(rig.handle(client.segment(kGet)) == SPLICE_forward_first_payload);
    CHECK(rig.handle(client.segment("", 28, SPLICE_ACK | SPLICE_FIN), 1) == SPLICE_forward_open);
    Segment ack = client.segment("", 29, SPLICE_ACK);
    rig.expire(299);
    for (int i = 1; i <= 3; ++i) {
        ack.ack += 1460;
        CHECK(rig.handle(ack, 299 + i) == SPLICE_forward_open);
    }
    // It acknowledges an answer, so it is kept as long as an open flow.
    rig.expire(302 + 899);
    CHECK(rig.splicer.flows() == 1);
    rig.expire(302 + 901);
    CHECK(rig.splicer.flows() == 0);
}

TEST_CASE(
    "in a table that is more than half full a client that has sent FIN is forgotten after a minute of "
    "silence") {
    SplicerSetup setup = splicer_setup();
    setup.max_flows = 5;
    Rig rig(std::move(setup));
    const Client closing = rig.connected(1);
    rig.handle(closing.segment(kGet, 0, SPLICE_ACK | SPLICE_FIN));
    rig.handle(rig.connected(2).segment(kGet), 30);
    rig.expire(61);
    CHECK(rig.splicer.flows() == 2);
    rig.handle(rig.connected(3, 61).segment(kGet), 61);
    rig.expire(61);
    CHECK(rig.splicer.flows() == 2);
}

TEST_CASE(
    "a probe of a connection that has sent nothing yet is answered from its cookie, and stores nothing") {
    for (const int family : {4, 6}) {
        for (const bool timestamps : {true, false}) {
            for (const std::size_t bytes : {0U, 1U}) {
                CAPTURE(timestamps);
                Rig rig(family);
                Client client(family);
                if (!timestamps) client.base.timestamps.reset();
                REQUIRE(client.connect(rig.splicer, at(0)) == SPLICE_answer_syn_ack);
                Segment probe = client.segment(std::string(bytes, '\0'), 0, SPLICE_ACK);
                probe.seq = client.base.seq;
                CHECK(rig.handle(probe, 30) == SPLICE_answer_keep_alive);
                CHECK(rig.splicer.flows() == 0);
                REQUIRE(rig.out.sent.size() == 1);
                CHECK(rig.out.sent[0].size() + bytes == probe.build().size());
                const Parsed answer = parse(rig.out.sent[0]);
                CHECK(answer.checksums_right);
                CHECK(answer.packet.tcp_flags == SPLICE_ACK);
                CHECK(answer.packet.seq == client.cookie + 1);
                CHECK(answer.packet.ack == client.base.seq + 1);
                // As large as the SYN-ACK's, which is never scaled.
                const int window = answer.packet.window << 7;
                CHECK(window == 65536);
                if (timestamps) CHECK(answer.options.tsecr == 777'010);
                if (timestamps) CHECK(answer.options.tsval == at(30).tsval());
                // It can still ask.
                CHECK(rig.handle(client.segment(kGet), 31) == SPLICE_forward_first_payload);
                // From then on a probe is the server's to answer.
                CHECK(rig.handle(probe, 32) == SPLICE_forward_open);
            }
        }
    }
}

TEST_CASE("answers to probes have a budget") {
    Rig rig;
    const Client client = rig.connected();
    Segment probe = client.segment("", 0, SPLICE_ACK);
    probe.seq = client.base.seq;
    for (std::uint32_t i = 0; i < kKeepAliveAnswersPerSecond; ++i)
        REQUIRE(rig.handle(probe) == SPLICE_answer_keep_alive);
    CHECK(rig.handle(probe) == SPLICE_drop_keep_alive);
    CHECK(rig.handle(probe, 1) == SPLICE_answer_keep_alive);
}

TEST_CASE("a client that asks after its cookie's life is told by a RST, and a stranger by nothing") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        const Client client = rig.connected();
        Segment probe = client.segment("", 0, SPLICE_ACK);
        probe.seq = client.base.seq;
        for (const Segment& late :
             {client.segment(kGet), probe, client.segment("", 0, SPLICE_ACK | SPLICE_FIN)}) {
            for (const double when : {97.0, 300.0, 900.0}) {
                CAPTURE(when);
                CHECK(rig.handle(late, when) == SPLICE_answer_expired_rst);
                const Parsed answer = parse(rig.out.sent.at(0));
                CHECK(answer.packet.tcp_flags == SPLICE_RST);
                CHECK(answer.packet.seq == client.cookie + 1);
            }
        }
        CHECK(rig.splicer.flows() == 0);
        // An acknowledgement of a living connection that this balancer has never seen.
        Segment stranger = client.segment("", 28, SPLICE_ACK);
        stranger.ack += 5000;
        CHECK(rig.handle(stranger, 300) == SPLICE_drop_orphan);
        CHECK(rig.handle(client.segment(kGet), 3600) == SPLICE_hold_orphan);
    }
}

TEST_CASE("a first payload in more than 64 segments is placed by the client's address, and nothing is lost") {
    Rig rig;
    const Client client = rig.connected();
    const std::string target = "GET /" + std::string(100, 'a');
    for (std::uint32_t i = 0; i < 63; ++i)
        REQUIRE(rig.handle(client.segment(target.substr(i, 1), i)) == SPLICE_hold_first_payload);
    CHECK(rig.handle(client.segment(target.substr(63, 1), 63)) == SPLICE_release_first_payload);
    CHECK(rig.out.sent.size() == 64);
    CHECK(rig.fallbacks(Fallback::too_long) == 1);
    CHECK(rig.handle(client.segment(target.substr(64, 1), 64)) == SPLICE_forward_open);
}

TEST_CASE("what is larger than the way to its bridge is answered with an ICMP error that quotes it") {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        Rig rig(family);
        const Client client = rig.connected();
        CHECK(rig.handle(client.segment(kGet)) == SPLICE_forward_first_payload);
        rig.splicer.set_route_mtus({1400, 1400, 1400});
        const PacketBytes large = client.segment(std::string(1380, 'x'), 28).build();
        CHECK(rig.handle(large) == SPLICE_answer_too_big);
        REQUIRE(rig.out.sent.size() == 1);
        const PacketBytes& answer = rig.out.sent[0];
        splice_packet parsed{}, quoted{};
        REQUIRE(splice_parse_ip(answer.data(), answer.data() + answer.size(), &parsed) == SPLICE_CONTINUE);
        CHECK(IpAddress(parsed.ends.destination).to_string() == topology(family).client);
        CHECK(IpAddress(parsed.ends.source).to_string() == topology(family).vip);
        CHECK(parsed.icmp_type == (family == 4 ? 3 : 2));
        CHECK(parsed.icmp_code == (family == 4 ? 4 : 0));
        const std::size_t icmp = family == 4 ? 20 : 40;
        CHECK(splice_ntohs(splice_load16(answer.data() + icmp + 6)) == 1400);
        // The checksum is right, and the quoted packet is the one that the client sent.
        REQUIRE(splice_parse_icmp_error(answer.data(), answer.data() + answer.size(), &parsed, &quoted) ==
                SPLICE_CONTINUE);
        CHECK(answer.size() == (family == 4 ? 576 : 1280));
        CHECK(std::equal(answer.begin() + static_cast<long>(icmp) + 8, answer.end(), large.begin()));

        // What fits goes on, a held one is counted, and a flood is not answered one by one.
        CHECK(rig.handle(client.segment(std::string(1300, 'x'), 28)) == SPLICE_forward_open);
        const Client held = rig.connected(2);
        CHECK(rig.handle(held.segment("GET /" + std::string(1390, 'x'))) == SPLICE_hold_first_payload);
        rig.expire(0.1);
        CHECK(rig.lost(HeldLoss::too_big) == 1);
        CHECK(rig.out.sent.size() == 1);
        for (int i = 0; i < 1000; ++i) rig.handle(large, 0.2);
        CHECK(rig.count(SPLICE_answer_too_big) == kTooBigAnswersPerSecond - 1);
        CHECK(rig.count(SPLICE_drop_too_big) == 1001 - (kTooBigAnswersPerSecond - 1));
        CHECK(rig.handle(large, 1.1) == SPLICE_answer_too_big);
    }
}

TEST_CASE("where the client's address chooses, the handshake's last ACK opens the flow") {
    SplicerSetup setup = splicer_setup();
    setup.services[0].protocol = Protocol::tcp;
    setup.services[0].key.kind = KeyKind::source;
    Rig rig(std::move(setup));
    const Client client = rig.connected();
    CHECK(rig.handle(client.segment("", 0, SPLICE_ACK)) == SPLICE_forward_first_ack);
    CHECK(rig.handle(client.segment("hello")) == SPLICE_forward_open);
    CHECK(rig.fallbacks(Fallback::key_is_source) == 1);
}

namespace {

SplicerSetup rules_behind_proxies(const char* key, Protocol protocol = Protocol::http) {
    SplicerSetup setup = splicer_setup();
    setup.services[0].key = *HashKeyRule::parse(key);
    setup.services[0].protocol = protocol;
    setup.services[0].proxy_protocol = ProxyProtocol::accept;
    return setup;
}

std::string header_of(int client) {
    return "PROXY TCP4 203.0.113." + std::to_string(client) + " 198.51.100.10 56324 80\r\n";
}
const std::string kLocalHeader = std::string("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 16);

// The bridge that a stream in one segment gets.
std::string bridge_of(Rig& rig, const std::string& stream, std::uint16_t port) {
    const Client client = rig.connected(port);
    rig.handle(client.segment(stream));
    return parse(rig.packet).destination;
}

}  // namespace

TEST_CASE("behind a PROXY header the URL chooses, and the bytes pass as they came") {
    Rig rig(rules_behind_proxies("uri"));
    Rig direct;
    std::uint16_t port = 1000;
    for (const std::string& header :
         {header_of(1), header_of(2), std::string("PROXY UNKNOWN\r\n"), kLocalHeader}) {
        for (const char* path : {"/a", "/b", "/c", "/d", "/e"}) {
            const std::string request = std::string("GET ") + path + " HTTP/1.1\r\n\r\n";
            const Client client = rig.connected(++port);
            CHECK(rig.handle(client.segment(header + request)) == SPLICE_forward_first_payload);
            CHECK(parse(rig.packet).payload == header + request);
            CHECK(parse(rig.packet).destination == bridge_of(direct, request, port));
        }
    }
}

TEST_CASE("a PROXY header and its request in two segments, cut anywhere, go where they go in one") {
    Rig rig(rules_behind_proxies("uri"));
    const std::string stream = header_of(7) + "GET /cut HTTP/1.1\r\nHost: x\r\n\r\n";
    const std::string whole = bridge_of(rig, stream, 999);
    for (std::size_t cut = 1; cut + 16 < stream.size(); ++cut) {
        CAPTURE(cut);
        const Client client = rig.connected(static_cast<std::uint16_t>(1000 + cut));
        CHECK(rig.handle(client.segment(stream.substr(0, cut))) == SPLICE_hold_first_payload);
        CHECK(rig.handle(client.segment(stream.substr(cut), static_cast<std::uint32_t>(cut))) ==
              SPLICE_release_first_payload);
        REQUIRE(rig.out.sent.size() == 2);
        CHECK(parse(rig.out.sent[0]).destination == whole);
        CHECK(parse(rig.out.sent[0]).payload + parse(rig.out.sent[1]).payload == stream);
    }
}

TEST_CASE("key source means the address in the PROXY header, and the bare ACK does not choose") {
    Rig rig(rules_behind_proxies("source", Protocol::tcp));
    std::set<std::string> bridges;
    std::map<int, std::string> bridge_of_client;
    for (int client = 1; client < 30; ++client) {
        const Client proxy = rig.connected(static_cast<std::uint16_t>(client));
        CHECK(rig.handle(proxy.segment("", 0, SPLICE_ACK)) == SPLICE_drop_handshake_ack);
        CHECK(rig.handle(proxy.segment(header_of(client))) == SPLICE_forward_first_payload_source);
        bridge_of_client[client] = parse(rig.packet).destination;
        bridges.insert(bridge_of_client[client]);
        CHECK(rig.handle(proxy.segment("hello", static_cast<std::uint32_t>(header_of(client).size()))) ==
              SPLICE_forward_open);
    }
    CHECK(bridges.size() == 3);
    CHECK(rig.fallbacks(Fallback::key_is_source) == 29);
    // The same client through another proxy, and as it would be chosen for without one.
    SplicerSetup setup = splicer_setup();
    setup.services[0].key.kind = KeyKind::source;
    Rig direct(std::move(setup));
    for (const auto& [client, bridge] : bridge_of_client) {
        CHECK(bridge_of(rig, header_of(client), static_cast<std::uint16_t>(100 + client)) == bridge);
        Client alone(4, 5000);
        alone.base.source = "203.0.113." + std::to_string(client);
        REQUIRE(alone.connect(direct.splicer, at(0)) == SPLICE_answer_syn_ack);
        direct.handle(alone.segment("", 0, SPLICE_ACK));
        CHECK(parse(direct.packet).destination == bridge);
    }
}

TEST_CASE(
    "a PROXY header without a client, or none, leaves key source with the packet's own address, by why") {
    Rig rig(rules_behind_proxies("source", Protocol::tcp));
    SplicerSetup plain = splicer_setup();
    plain.services[0].key.kind = KeyKind::source;
    Rig direct(std::move(plain));
    const std::string own = bridge_of(direct, "x", 1);
    CHECK(bridge_of(rig, kLocalHeader, 1) == own);
    CHECK(bridge_of(rig, "PROXY UNKNOWN\r\n", 2) == own);
    CHECK(bridge_of(rig, "PROXY TCP4 203.0.113.256 1.2.3.4 1 2\r\n", 3) == own);
    CHECK(bridge_of(rig, kGet, 4) == own);
    CHECK(rig.fallbacks(Fallback::proxy_local) == 1);
    CHECK(rig.fallbacks(Fallback::proxy_unknown) == 1);
    CHECK(rig.fallbacks(Fallback::bad_proxy_header) == 2);
    CHECK(rig.fallbacks(Fallback::key_is_source) == 0);
}

TEST_CASE("a key that is missing behind a PROXY header leaves the choice to the address in it") {
    Rig rig(rules_behind_proxies("hdr(x-tenant)"));
    Rig by_source(rules_behind_proxies("source"));
    for (int client = 1; client < 10; ++client) {
        const auto port = static_cast<std::uint16_t>(client);
        const std::string expected = bridge_of(by_source, header_of(client), port);
        CHECK(bridge_of(rig, header_of(client) + kGet, port) == expected);
        // The same where the rest of the head does not come, or the client ends.
        const Client waits = rig.connected(static_cast<std::uint16_t>(100 + client));
        CHECK(rig.handle(waits.segment(header_of(client) + "GET / HTTP/1.1\r\n")) ==
              SPLICE_hold_first_payload);
        rig.expire(1);
        REQUIRE(rig.out.sent.size() == 1);
        CHECK(parse(rig.out.sent[0]).destination == expected);
        const Client ends = rig.connected(static_cast<std::uint16_t>(200 + client));
        rig.handle(ends.segment(header_of(client) + "GET", 0, SPLICE_ACK | SPLICE_FIN));
        CHECK(parse(rig.packet).destination == expected);
    }
    CHECK(rig.fallbacks(Fallback::no_header) == 9);
    CHECK(rig.fallbacks(Fallback::wait_expired) == 9);
    CHECK(rig.fallbacks(Fallback::ended) == 9);
}

TEST_CASE("without the setting a PROXY header is what it looks like: no request") {
    Rig rig;
    bridge_of(rig, header_of(1) + kGet, 1);
    CHECK(rig.fallbacks(Fallback::not_http) == 1);
}

TEST_CASE("a spoofed SYN on a living flow hurts nobody") {
    Rig rig;
    const Client client = rig.connected();
    rig.handle(client.segment(kGet));
    const std::string bridge = parse(rig.packet).destination;
    Client spoofer = client;
    spoofer.base.seq = 5555;
    CHECK(spoofer.connect(rig.splicer, at(1)) == SPLICE_answer_syn_ack_reopened);
    CHECK(rig.handle(client.segment("more", 28), 1) == SPLICE_forward_open);
    CHECK(parse(rig.packet).destination == bridge);
}

// The simulation's seeds 30224 and 4595: two servers answered one connection.
TEST_CASE(
    "a first payload that comes again behind a spoofed SYN follows its flow, whatever its key says now") {
    Rig rig;
    for (std::uint16_t port = 40000; port < 40064; ++port) {
        CAPTURE(port);
        const Client client = rig.connected(port);
        CHECK(rig.handle(client.segment("GET /a")) == SPLICE_hold_first_payload);
        rig.expire(0.06);
        const std::string bridge = parse(rig.out.sent.at(0)).destination;
        Client spoofer = client;
        spoofer.base.seq = 5555;
        CHECK(spoofer.connect(rig.splicer, at(1)) == SPLICE_answer_syn_ack_reopened);
        const std::string whole = "GET /" + std::to_string(port) + " HTTP/1.1\r\n\r\n";
        CHECK(rig.handle(client.segment(whole), 1.1) == SPLICE_forward_open);
        CHECK(parse(rig.packet).destination == bridge);
        // Nor does its own SYN, come late, hide that it is its own.
        Client late = client;
        CHECK(late.connect(rig.splicer, at(1.15)) == SPLICE_answer_syn_ack_reopened);
        CHECK(rig.handle(client.segment(whole), 1.15) == SPLICE_forward_open);
        // Should the SYN have been another connection's after all, that one begins as ever.
        CHECK(rig.handle(spoofer.segment(whole), 1.2) == SPLICE_forward_first_payload);
    }
}

TEST_CASE("a reused port is chosen anew by its first payload") {
    Rig rig;
    Client client = rig.connected();
    rig.handle(client.segment(kGet));
    const std::string old_bridge = parse(rig.packet).destination;
    std::uint32_t isn = 99;
    bool moved = false;
    for (int round = 0; round < 40 && !moved; ++round) {
        client.base.seq = isn += 100'000;
        REQUIRE(client.connect(rig.splicer, at(1)) == SPLICE_answer_syn_ack_reopened);
        REQUIRE(rig.handle(client.segment("", 0, SPLICE_ACK), 1) == SPLICE_drop_handshake_ack);
        REQUIRE(rig.handle(client.segment("GET /" + std::to_string(round) + " HTTP/1.1\r\n\r\n"), 1) ==
                SPLICE_forward_first_payload);
        moved = parse(rig.packet).destination != old_bridge;
    }
    CHECK(moved);
    CHECK(rig.splicer.flows() == 1);
}

TEST_CASE("a client that connects ahead of time on a port of an earlier flow is answered when it probes") {
    Rig rig;
    Client client = rig.connected();
    rig.handle(client.segment(kGet));
    client.base.seq += 500'000;
    REQUIRE(client.connect(rig.splicer, at(1)) == SPLICE_answer_syn_ack_reopened);
    Segment probe = client.segment("", 0, SPLICE_ACK);
    probe.seq = client.base.seq;
    CHECK(rig.handle(probe, 30) == SPLICE_answer_keep_alive);
    CHECK(rig.handle(client.segment(kGet), 31) == SPLICE_forward_first_payload);
    CHECK(rig.handle(probe, 32) == SPLICE_forward_open);
}

TEST_CASE("a port reused while its first payload was incomplete begins anew") {
    Rig rig;
    Client client = rig.connected();
    CHECK(rig.handle(client.segment("GET /old")) == SPLICE_hold_first_payload);
    client.base.seq = 4711;
    CHECK(client.connect(rig.splicer, at(0.01)) == SPLICE_answer_syn_ack_reopened);
    CHECK(rig.handle(client.segment(kGet), 0.01) == SPLICE_forward_first_payload);
    CHECK(rig.splicer.counters().held_bytes == 0);
    CHECK(rig.splicer.counters().flows_pending == 0);
}

TEST_CASE("a refusal takes the next choice, every later segment follows, and the third refusal is answered") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        const Client client = rig.connected();
        std::set<std::string> tried;
        rig.handle(client.segment(kGet));
        tried.insert(parse(rig.packet).destination);
        Segment bounced = client.segment(kGet);
        bounced.refused_by = parse(rig.packet).destination;
        for (int refusal = 0; refusal < 2; ++refusal) {
            CHECK(rig.handle(bounced) == SPLICE_forward_next_choice);
            const Parsed sent = parse(rig.packet);
            // The same refusal again: the network doubled it, or the client's repetition was refused too.
            CHECK(rig.handle(bounced) == SPLICE_forward_open);
            CHECK(parse(rig.packet).destination == sent.destination);
            bounced.refused_by = sent.destination;
            CHECK(sent.dscp == 1);
            CHECK(sent.checksums_right);
            tried.insert(sent.destination);
            Segment second = client.segment("body", 28);
            second.refused_by = sent.destination;
            CHECK(rig.handle(second) == SPLICE_forward_open);
            CHECK(parse(rig.packet).destination == sent.destination);
        }
        CHECK(tried.size() == 3);
        CHECK(rig.handle(bounced) == SPLICE_answer_refused_503);
        const Parsed answer = parse(rig.out.sent.at(0));
        CHECK(answer.checksums_right);
        CHECK(answer.source == topology(family).vip);
        CHECK(answer.packet.seq == client.cookie + 1);
        CHECK(Seq(answer.packet.ack) - Seq(client.base.seq + 1) == static_cast<int>(kGet.size()));
        CHECK(answer.payload.starts_with("HTTP/1.1 503 "));
        CHECK((answer.packet.tcp_flags & SPLICE_FIN) != 0);
        CHECK(answer.options.tsecr == 777'010);
        // The client acknowledges and closes: it is let go.
        CHECK(rig.handle(client.segment("", 28, SPLICE_ACK)) == SPLICE_end_refused);
        CHECK(rig.handle(client.segment("", 28, SPLICE_ACK | SPLICE_FIN)) == SPLICE_answer_refused_rst);
        CHECK((parse(rig.out.sent.at(0)).packet.tcp_flags & SPLICE_RST) != 0);
    }
}

TEST_CASE(
    "the 503's timestamp is never before the SYN-ACK's, which a kernel program's clock may have given") {
    SplicerSetup setup = splicer_setup();
    setup.services[0].placement = placement_over(1);
    for (const int ahead_ms : {-20, 0, 4}) {
        CAPTURE(ahead_ms);
        Rig rig{SplicerSetup(setup)};
        Client client = rig.connected();
        const Instant now = at(0);
        client.server_tsval = now.tsval() + static_cast<std::uint32_t>(ahead_ms);
        rig.handle(client.segment(kGet));
        Segment bounced = client.segment(kGet);
        bounced.refused_by = parse(rig.packet).destination;
        CHECK(rig.handle(bounced) == SPLICE_answer_refused_503);
        const std::uint32_t said = parse(rig.out.sent.at(0)).options.tsval;
        CHECK(said == now.tsval() + static_cast<std::uint32_t>(std::max(ahead_ms, 0)));
    }
}

TEST_CASE("a refusal that names none of the flow's choices changes nothing") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        const Client client = rig.connected();
        rig.handle(client.segment(kGet));
        const std::string bridge = parse(rig.packet).destination;
        Segment unnamed = client.segment(kGet);
        unnamed.dscp = 63;
        CHECK(rig.handle(unnamed) == SPLICE_forward_open);
        CHECK(rig.handle(client.segment("", 28, SPLICE_ACK)) == SPLICE_forward_open);
        CHECK(parse(rig.packet).destination == bridge);
        // A copy of a refusal that comes after its bridge has left the row: the next choice may have
        // accepted.
        Segment refused = client.segment(kGet);
        refused.refused_by = bridge;
        CHECK(rig.handle(refused) == SPLICE_forward_next_choice);
        const std::string next = parse(rig.packet).destination;
        std::vector<std::uint16_t> left;
        for (std::uint16_t i = 0; i < 3; ++i)
            if (topology(family).bridges[i] != bridge) left.push_back(i);
        SplicerSetup setup = splicer_setup(family);
        setup.services[0].placement = placement_of(left);
        rig.splicer.replace_setup(std::make_shared<const SplicerSetup>(setup));
        CHECK(rig.handle(refused) == SPLICE_forward_open);
        CHECK(parse(rig.packet).destination == next);
        CHECK(rig.handle(client.segment("", 28, SPLICE_ACK)) == SPLICE_forward_open);
        CHECK(parse(rig.packet).destination == next);
    }
}

TEST_CASE(
    "a bridge that a reload has moved to an earlier place of the row is not asked again when it refuses") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        // (A, X, B): A refuses, X is next; then A leaves, so the row becomes (X, B).
        const Client client = rig.connected();
        rig.handle(client.segment(kGet));
        const std::string first = parse(rig.packet).destination;
        Segment bounced = client.segment(kGet);
        bounced.refused_by = first;
        CHECK(rig.handle(bounced) == SPLICE_forward_next_choice);
        const std::string second = parse(rig.packet).destination;
        std::vector<std::uint16_t> left;
        for (std::uint16_t i = 0; i < 3; ++i)
            if (topology(family).bridges[i] != first) left.push_back(i);
        SplicerSetup setup = splicer_setup(family);
        setup.services[0].placement = placement_of(left);
        rig.splicer.replace_setup(std::make_shared<const SplicerSetup>(setup));

        bounced.refused_by = second;
        CHECK(rig.handle(bounced) == SPLICE_forward_next_choice);
        const std::string third = parse(rig.packet).destination;
        CHECK(third != first);
        CHECK(third != second);
        bounced.refused_by = third;
        CHECK(rig.handle(bounced) == SPLICE_answer_refused_503);
    }
}

TEST_CASE("the flows of a bridge that is down are reset at their client's next packet, the others go on") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        // One connection at a bridge that stays, one at the one that goes.
        std::vector<Client> clients;
        std::vector<std::string> bridges;
        for (std::uint16_t port = 40000; bridges.size() < 2; ++port) {
            const Client client = rig.connected(port);
            rig.handle(client.segment("GET /" + std::to_string(port) + " HTTP/1.1\r\n\r\n"));
            const std::string bridge = parse(rig.packet).destination;
            if (!bridges.empty() && bridge == bridges[0]) continue;
            clients.push_back(client);
            bridges.push_back(bridge);
        }
        const auto& all = topology(family).bridges;
        const auto down = static_cast<std::uint16_t>(std::ranges::find(all, bridges[1]) - all.begin());
        CHECK(rig.splicer.flow_counts().of(1, down).open == 1);
        SplicerSetup setup = splicer_setup(family);
        setup.services[0].down = {down};
        rig.splicer.swap_setup(std::make_shared<const SplicerSetup>(setup));
        CHECK(rig.handle(clients[1].segment("", 28, SPLICE_ACK)) == SPLICE_forward_open);
        CHECK(rig.splicer.end_unserved_flows() == 1);
        CHECK(rig.splicer.flow_counts().of(1, down) == FlowCount{});

        CHECK(rig.handle(clients[0].segment("", 28, SPLICE_ACK)) == SPLICE_forward_open);
        // However long it was silent: an open flow's time.
        rig.expire(14 * 60.0);
        CHECK(rig.handle(clients[1].segment("", 28, SPLICE_ACK), 14 * 60.0) == SPLICE_answer_down_rst);
        const Parsed answer = parse(rig.out.sent.at(0));
        CHECK(answer.checksums_right);
        CHECK((answer.packet.tcp_flags & SPLICE_RST) != 0);
        CHECK(answer.source == topology(family).vip);
        CHECK(answer.destination == topology(family).client);
        CHECK(answer.packet.seq == clients[1].cookie + 1);
        // Its client's kernel knows nothing of it any more, and resets what the server still sends.
        CHECK(rig.handle(clients[1].segment("", 28, SPLICE_RST), 14 * 60.0) == SPLICE_forward_open);
        CHECK(parse(rig.packet).destination == bridges[1]);
    }
}

TEST_CASE("the ports of a connection that was reset because its bridge is down begin another one") {
    Rig rig;
    Client client = rig.connected();
    rig.handle(client.segment(kGet));
    SplicerSetup setup = splicer_setup();
    const auto& all = topology(4).bridges;
    const std::string was = parse(rig.packet).destination;
    std::vector<std::uint16_t> left;
    for (std::uint16_t i = 0; i < 3; ++i) (all[i] == was ? setup.services[0].down : left).push_back(i);
    setup.services[0].placement = placement_of(left);
    rig.splicer.replace_setup(std::make_shared<const SplicerSetup>(setup));
    client.base.seq += 1000;
    CHECK(client.connect(rig.splicer, at(0)) == SPLICE_answer_syn_ack_reopened);
    CHECK(rig.handle(client.segment(kGet)) == SPLICE_forward_first_payload);
    CHECK(parse(rig.packet).destination != was);
}

TEST_CASE("without HTTP the third refusal is answered with RST") {
    SplicerSetup setup = splicer_setup();
    setup.services[0].protocol = Protocol::tls;
    setup.services[0].key.kind = KeyKind::sni;
    setup.services[0].placement = placement_over(1);
    Rig rig(std::move(setup));
    const Client client = rig.connected();
    CHECK(rig.handle(client.segment("not tls")) == SPLICE_forward_first_payload_source);
    Segment bounced = client.segment("not tls");
    bounced.refused_by = parse(rig.packet).destination;
    CHECK(rig.handle(bounced) == SPLICE_answer_refused_rst);
    CHECK((parse(rig.out.sent.at(0)).packet.tcp_flags & SPLICE_RST) != 0);
    CHECK(parse(rig.out.sent.at(0)).packet.seq == client.cookie + 1);
}

TEST_CASE("a refusal of a flow that was answered already goes nowhere") {
    Rig rig;
    const Client client = rig.connected();
    rig.handle(client.segment(kGet));
    Segment bounced = client.segment(kGet);
    bounced.refused_by = parse(rig.packet).destination;
    Segment answered = client.segment("", 28, SPLICE_ACK);
    answered.ack += 1000;
    CHECK(rig.handle(answered) == SPLICE_forward_open);
    CHECK(rig.handle(bounced) == SPLICE_drop_refused_late);
}

TEST_CASE(
    "a RST that a stopping bridge sends back ends its flow for the counts, before and after the answer") {
    for (const bool answered : {false, true}) {
        Rig rig;
        const Client client = rig.connected();
        rig.handle(client.segment(kGet));
        const std::string bridge = parse(rig.packet).destination;
        const auto open = [&] {
            std::uint64_t count = 0;
            for (std::uint16_t each = 0; each < 3; ++each)
                count += rig.splicer.flow_counts().of(1, each).open;
            return count;
        };
        Segment heard = client.segment("", 28, SPLICE_ACK);
        heard.ack += 1000;
        if (answered) CHECK(rig.handle(heard) == SPLICE_forward_open);
        CHECK(open() == 1);
        Segment over = client.segment("", 28, SPLICE_RST);
        over.ack = 0;
        over.refused_by = bridge;
        CHECK(rig.handle(over) == SPLICE_drop_refused_late);
        CHECK(open() == 0);
        CHECK(rig.out.sent.empty());
    }
}

TEST_CASE("a first payload that another balancer sent to a bridge which refused passes over that bridge") {
    for (const int family : {4, 6}) {
        Rig rig(family), other(family);
        const Client client = rig.connected();
        other.handle(client.segment(kGet));
        Segment bounced = client.segment(kGet);
        bounced.refused_by = parse(other.packet).destination;
        CHECK(rig.handle(bounced) == SPLICE_forward_first_payload);
        const std::string next = parse(rig.packet).destination;
        CHECK(next != bounced.refused_by);
        CHECK(other.handle(bounced) == SPLICE_forward_next_choice);
        CHECK(parse(other.packet).destination == next);
        // From here on it is a flow as any other.
        bounced.refused_by = next;
        CHECK(rig.handle(bounced) == SPLICE_forward_next_choice);
        CHECK(parse(rig.packet).destination != next);
    }
}

TEST_CASE("the only bridge's refusal of a flow that is not known here is answered") {
    SplicerSetup setup = splicer_setup();
    setup.services[0].placement = placement_over(1);
    Rig rig{std::move(setup)};
    Segment bounced = rig.connected().segment(kGet);
    bounced.refused_by = topology(4).bridges[0];
    CHECK(rig.handle(bounced) == SPLICE_answer_refused_503);
}

TEST_CASE("a client whose network marks its packets with the refusal's DSCP is served as any other") {
    for (const int family : {4, 6}) {
        Rig rig(laned_setup(family), family);
        const Client client = rig.connected();
        const auto marked = [&](std::string payload, std::uint32_t offset, std::uint8_t flags = SPLICE_ACK) {
            Segment segment = client.segment(std::move(payload), offset, flags);
            segment.dscp = 63;
            return segment;
        };
        CHECK(rig.handle(marked("", 0)) == SPLICE_drop_handshake_ack);
        // In two pieces, so that it is pending meanwhile.
        CHECK(rig.handle(marked(kGet.substr(0, 5), 0)) == SPLICE_hold_first_payload);
        CHECK(rig.handle(marked(kGet.substr(5), 5)) == SPLICE_release_first_payload);
        const std::string bridge = parse(rig.out.sent.at(0)).destination;
        CHECK(parse(rig.out.sent.at(0)).dscp == 1);
        Segment later = marked("", 28);
        for (const std::uint32_t heard : {0U, 1000U, 2000U}) {
            later.ack += heard;
            CHECK(rig.handle(later) == SPLICE_forward_open);
            CHECK(parse(rig.packet).destination == bridge);
        }
    }
}

TEST_CASE("a mark that is sealed with the second key counts, one with another secret does not") {
    SplicerSetup setup = splicer_setup();
    setup.secret.keys[1] = setup.secret.keys[0];
    setup.secret.keys[0] = {1, 2, {}};
    for (const std::uint32_t count : {1U, 2U}) {
        CAPTURE(count);
        setup.secret.count = count;
        Rig rig{SplicerSetup(setup)};
        const Client client = rig.connected();
        rig.handle(client.segment(kGet));
        Segment bounced = client.segment(kGet);
        bounced.refused_by = parse(rig.packet).destination;
        CHECK(rig.handle(bounced) == (count == 2 ? SPLICE_forward_next_choice : SPLICE_forward_open));
    }
}

TEST_CASE("a first payload that its bridge takes no more because its cookie has expired is told") {
    Rig rig;
    const Client client = rig.connected();
    rig.handle(client.segment(kGet));
    Segment bounced = client.segment(kGet);
    bounced.refused_by = parse(rig.packet).destination;
    CHECK(rig.handle(bounced, 120) == SPLICE_answer_expired_rst);
    CHECK((parse(rig.out.sent.at(0)).packet.tcp_flags & SPLICE_RST) != 0);
}

TEST_CASE("a client that insists on a connection which nobody can find is told by a RST") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        Client client(family);
        client.cookie = 0x12345678;
        const Segment orphan = client.segment("more", 5000);
        for (const double seconds : {0.0, 0.3}) {
            CHECK(rig.handle(orphan, seconds) == SPLICE_hold_orphan);
            rig.expire(seconds + 0.1);
            CHECK(rig.out.sent.empty());
        }
        CHECK(rig.handle(orphan, 0.9) == SPLICE_answer_orphan_rst);
        const Parsed reset = parse(rig.out.sent.at(0));
        CHECK(reset.checksums_right);
        CHECK((reset.packet.tcp_flags & SPLICE_RST) != 0);
        CHECK(reset.packet.seq == orphan.ack);
        CHECK(reset.source == topology(family).vip);
        // Other segments of it are no repetitions.
        CHECK(rig.handle(client.segment("more", 6000), 1.0) == SPLICE_hold_orphan);
        CHECK(rig.handle(client.segment("", 5000, SPLICE_ACK), 1.0) == SPLICE_drop_orphan);
    }
}

TEST_CASE("a connection that no bridge has is answered with RST, within a budget") {
    Rig rig(laned_setup());
    const auto orphan = [&](std::uint16_t port) {
        Client client(4, port);
        client.cookie = 0x12345678;
        Segment segment = client.segment("", 5000, SPLICE_ACK);
        const std::uint32_t hash = lane_hash_of(segment);
        segment.timestamps->echo_reply = splice_lane_begin(hash, 3, at(0).unix_ms());
        segment.refused_by = topology(4).bridges[2];
        return segment;
    };
    CHECK(rig.handle(orphan(1)) == SPLICE_answer_not_mine_rst);
    const Parsed reset = parse(rig.out.sent.at(0));
    CHECK((reset.packet.tcp_flags & SPLICE_RST) != 0);
    CHECK(reset.packet.seq == orphan(1).ack);
    CHECK(reset.source == topology(4).vip);
    for (std::uint16_t port = 2; port <= kNotMineAnswersPerSecond; ++port) rig.handle(orphan(port));
    CHECK(rig.count(SPLICE_answer_not_mine_rst) == kNotMineAnswersPerSecond);
    CHECK(rig.handle(orphan(20'000)) == SPLICE_drop_not_mine);
    CHECK(rig.handle(orphan(20'001), 1.1) == SPLICE_answer_not_mine_rst);
}

TEST_CASE(
    "the next connection's later segments do not reach the last one's bridge before its first payload") {
    Rig rig;
    rig.handle(rig.connected().segment(kGet));
    Client again;
    again.base.seq = 5000;
    REQUIRE(again.connect(rig.splicer, at(1)) == SPLICE_answer_syn_ack_reopened);
    CHECK(rig.handle(again.segment("body", 28), 1.1) == SPLICE_hold_orphan);
    CHECK(rig.handle(again.segment("", 28, SPLICE_FIN | SPLICE_ACK), 1.1) == SPLICE_drop_orphan);
    CHECK(rig.handle(again.segment(kGet), 1.2) == SPLICE_forward_first_payload);
    CHECK(rig.handle(again.segment("body", 28), 1.2) == SPLICE_forward_open);
}

TEST_CASE("a connection's own SYN that comes late changes nothing for it") {
    Rig rig;
    Client client = rig.connected();
    rig.handle(client.segment(kGet));
    CHECK(client.connect(rig.splicer, at(0.1)) == SPLICE_answer_syn_ack_reopened);
    CHECK(rig.handle(client.segment("body", 28), 0.2) == SPLICE_forward_open);
}

TEST_CASE("an ICMP error about a flow goes to its bridge") {
    for (const int family : {4, 6}) {
        Rig rig(family);
        const Client client = rig.connected();
        rig.handle(client.segment(kGet));
        const std::string bridge = parse(rig.packet).destination;
        Segment response;
        response.source = topology(family).vip;
        response.destination = topology(family).client;
        response.source_port = 80;
        response.destination_port = 40000;
        response.seq = client.cookie + 1;
        response.payload = std::string(1400, 'r');
        const std::string router = family == 4 ? "203.0.113.1" : "2001:db8:9::1";
        const std::size_t quote = family == 4 ? 28 : 1200;
        CHECK(rig.handle(icmp_too_big(router, topology(family).vip, response.build(), quote, 1300)) ==
              SPLICE_forward_icmp);
        const Parsed relayed = parse(rig.packet);
        CHECK(relayed.destination == bridge);
        CHECK(relayed.dscp == 1);
        CHECK(relayed.checksums_right);

        response.destination_port = 40001;
        CHECK(rig.handle(icmp_too_big(router, topology(family).vip, response.build(), quote, 1300)) ==
              SPLICE_drop_orphan_icmp);
        response.source_port = 22;
        CHECK(rig.handle(icmp_too_big(router, topology(family).vip, response.build(), quote, 1300)) ==
              SPLICE_pass_icmp_not_ours);
    }
}

TEST_CASE("FIN and RST shorten the idle time-out, and ACKs of a half-closed download keep it alive") {
    Rig rig;
    const Client open = rig.connected(1), closing = rig.connected(2), reset = rig.connected(3);
    for (const Client* client : {&open, &closing, &reset}) rig.handle(client->segment(kGet));
    rig.handle(closing.segment("", 28, SPLICE_ACK | SPLICE_FIN));
    rig.handle(reset.segment("", 28, SPLICE_RST | SPLICE_ACK));
    rig.expire(59);
    CHECK(rig.splicer.flows() == 3);
    for (int second = 50; second <= 500; second += 50) {
        CHECK(rig.handle(closing.segment("", 29, SPLICE_ACK), second) == SPLICE_forward_open);
        rig.expire(second);
    }
    CHECK(rig.splicer.flows() == 2);
    rig.expire(900);
    CHECK(rig.splicer.flows() == 1);
    rig.expire(500 + 900);
    CHECK(rig.splicer.flows() == 0);
    CHECK_FALSE(rig.splicer.next_deadline().has_value());
    CHECK(rig.handle(open.segment("late", 28), 901) == SPLICE_hold_orphan);
}

TEST_CASE("other ports, other protocols and damaged packets have their own verdicts") {
    Rig rig;
    Segment ssh = Client().base;
    ssh.destination_port = 22;
    ssh.flags = SPLICE_SYN;
    CHECK(rig.handle(ssh) == SPLICE_pass_not_service);
    Segment syn_ack = Client().base;
    syn_ack.flags = SPLICE_SYN | SPLICE_ACK;
    CHECK(rig.handle(syn_ack) == SPLICE_drop_bad_tcp_flags);
    Segment dying = rig.connected().segment(kGet);
    dying.ttl = 1;
    CHECK(rig.handle(dying) == SPLICE_drop_ttl_expired);
    PacketBytes damaged = rig.connected(2).segment(kGet).build();
    damaged.back() ^= std::byte{1};
    CHECK(rig.handle(damaged) == SPLICE_drop_bad_tcp_checksum);
}

TEST_CASE("an unfinished checksum is finished, not refused") {
    Rig rig;
    const Client client = rig.connected();
    rig.packet = client.segment(kGet).build();
    rig.packet[36] ^= std::byte{0x55};  // in the TCP checksum
    CHECK(rig.splicer.handle_packet(at(0), rig.packet, false, rig.out) == SPLICE_forward_first_payload);
    CHECK(parse(rig.packet).checksums_right);
}

TEST_CASE("a reload keeps flows, moves services and forgets those that are gone") {
    SplicerSetup setup = splicer_setup();
    SplicerService other = setup.services[0];
    other.name = "other";
    other.vip.port = 8080;
    setup.services.push_back(other);
    Rig rig(setup);
    const Client client = rig.connected();
    rig.handle(client.segment(kGet));
    Client second(4, 41000);
    second.base.destination_port = 8080;
    REQUIRE(second.connect(rig.splicer, at(0)) == SPLICE_answer_syn_ack);
    rig.handle(second.segment(kGet));
    REQUIRE(rig.splicer.flows() == 2);

    std::swap(setup.services[0], setup.services[1]);
    rig.splicer.replace_setup(std::make_shared<const SplicerSetup>(setup));
    CHECK(rig.handle(client.segment("more", 28)) == SPLICE_forward_open);
    CHECK(rig.handle(second.segment("more", 28)) == SPLICE_forward_open);
    setup.services.erase(setup.services.begin());  // port 8080
    rig.splicer.replace_setup(std::make_shared<const SplicerSetup>(setup));
    CHECK(rig.splicer.flows() == 1);
    CHECK(rig.handle(client.segment("more", 28)) == SPLICE_forward_open);
    CHECK(rig.handle(second.segment("more", 28)) == SPLICE_pass_not_service);
}

TEST_CASE("a key is rotated without losing a handshake") {
    SplicerSetup setup = splicer_setup();
    Rig rig(setup);
    const Client old_key = rig.connected(1);
    setup.secret.keys[1] = setup.secret.keys[0];
    setup.secret.keys[0] = {42, 43, {}};
    setup.secret.count = 2;
    rig.splicer.replace_setup(std::make_shared<const SplicerSetup>(setup));
    const Client new_key = rig.connected(2);
    CHECK(rig.handle(old_key.segment(kGet)) == SPLICE_forward_first_payload);
    setup.secret.count = 1;
    rig.splicer.replace_setup(std::make_shared<const SplicerSetup>(setup));
    CHECK(rig.handle(new_key.segment(kGet)) == SPLICE_forward_first_payload);
}

TEST_CASE("a change that is taken back loses no flow: not an open one, nor one that waits beyond its time") {
    SplicerSetup setup = splicer_setup();
    Rig rig(setup);
    const auto before = std::make_shared<const SplicerSetup>(setup);
    const Client open = rig.connected(1);
    REQUIRE(rig.handle(open.segment(kGet)) == SPLICE_forward_first_payload);
    const Client split = rig.connected(2);
    REQUIRE(rig.handle(split.segment("GET /ha")) == SPLICE_hold_first_payload);
    setup.services.clear();
    rig.splicer.swap_setup(std::make_shared<const SplicerSetup>(setup));
    CHECK(rig.handle(open.segment("more", 28)) == SPLICE_pass_not_service);
    rig.expire(1);  // its wait is over, and its service not there
    CHECK(rig.splicer.flows() == 2);
    rig.splicer.swap_setup(before);
    CHECK(rig.handle(open.segment("more", 28)) == SPLICE_forward_open);
    rig.expire(2);
    CHECK(rig.handle(split.segment("lf HTTP/1.1\r\n\r\n", 7)) == SPLICE_forward_open);
}

TEST_CASE("a change that is final ends the flows of services that are gone") {
    SplicerSetup setup = splicer_setup();
    Rig rig(setup);
    const Client client = rig.connected(1);
    REQUIRE(rig.handle(client.segment(kGet)) == SPLICE_forward_first_payload);
    setup.services.clear();
    rig.splicer.swap_setup(std::make_shared<const SplicerSetup>(setup));
    CHECK(rig.splicer.flows() == 1);
    rig.splicer.end_unserved_flows();
    CHECK(rig.splicer.flows() == 0);
}

// A ClientHello with that server name and nothing else.
std::string hello_for(const std::string& name) {
    const auto number16 = [](std::size_t n) {
        return std::string{static_cast<char>(n >> 8), static_cast<char>(n & 255)};
    };
    const std::string list = std::string(1, '\0') + number16(name.size()) + name;
    const std::string extension = number16(0) + number16(list.size() + 2) + number16(list.size()) + list;
    const std::string body = std::string("\x03\x03") + std::string(32, 'r') + std::string(1, '\0') +
                             number16(2) + std::string("\x13\x01") + std::string("\x01", 1) +
                             std::string(1, '\0') + number16(extension.size()) + extension;
    const std::string message = std::string("\x01") + std::string(1, '\0') + number16(body.size()) + body;
    return std::string("\x16\x03\x01") + number16(message.size()) + message;
}

TEST_CASE("a name with a subset has so many bridges, and each client one of them") {
    SplicerSetup setup = splicer_setup();
    setup.services[0].protocol = Protocol::tls;
    setup.services[0].key = *HashKeyRule::parse("sni");
    setup.services[0].subset = 2;
    const splice_placement_row row = setup.services[0].placement->choose("example.com").bridges;
    Rig rig(setup);
    const std::string hello = hello_for("example.com");
    std::map<std::string, int> bridges;
    for (int host = 1; host < 100; ++host) {
        Client client;
        client.base.source = "203.0.113." + std::to_string(host);
        client.connect(rig.splicer, at(0));
        REQUIRE(rig.handle(client.segment(hello)) == SPLICE_forward_first_payload);
        const std::string bridge = parse(rig.packet).destination;
        ++bridges[bridge];
        // The same client again, from another port.
        Client again(4, 41000);
        again.base.source = client.base.source;
        again.connect(rig.splicer, at(0));
        rig.handle(again.segment(hello));
        CHECK(parse(rig.packet).destination == bridge);
    }
    const auto& addresses = topology(4).bridges;
    CHECK(bridges.size() == 2);
    CHECK(bridges[addresses[row.choices[0]]] > 20);
    CHECK(bridges[addresses[row.choices[1]]] > 20);
}

TEST_CASE("openings that are weighed are counted by rank and reason, held first payloads too") {
    SplicerSetup setup = splicer_setup();
    setup.services[0].choice.warmup = 65536 / 4;
    setup.services[0].choice.weighs = 1;
    setup.services[0].members = {{0, 1}, {1, 1}, {2, 1}};
    REQUIRE(place_states(setup));
    Rig rig(std::move(setup));
    for (std::uint16_t port = 30000; port < 30400; ++port) {
        const Client client = rig.connected(port);
        if (port % 2 == 0) {
            rig.handle(client.segment(kGet));
        } else {
            rig.handle(client.segment(kGet.substr(0, 5)));
            REQUIRE(rig.handle(client.segment(kGet.substr(5), 5)) == SPLICE_release_first_payload);
        }
    }
    const ChoiceCounters& counts = rig.splicer.counters().choices[1];
    CHECK(counts.ranks[0] + counts.ranks[1] == 400);
    CHECK(counts.ranks[1] == counts.whys[SPLICE_CHOSE_WARMUP]);
    CHECK(counts.ranks[1] > 60);
    CHECK(counts.ranks[1] < 140);
    CHECK(rig.splicer.next_deadline().has_value());
}

TEST_CASE("services that weigh their choices have states beside each other, and no more than there are") {
    SplicerSetup setup = splicer_setup();
    setup.services.push_back(setup.services[0]);
    setup.services.push_back(setup.services[0]);
    setup.services[0].choice.weighs = setup.services[2].choice.weighs = 1;
    setup.services[0].members = {{0, 1}, {7, 1}};
    setup.services[2].members = {{2, 1}};
    REQUIRE(place_states(setup));
    CHECK(setup.services[0].choice.states == 0);
    CHECK(setup.services[2].choice.states == 8);
    setup.services[2].members = {{SPLICE_STATES / 2 - 9, 1}};
    CHECK(place_states(setup));
    setup.services[2].members = {{SPLICE_STATES / 2 - 8, 1}};
    const auto refused = place_states(setup);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().contains("expected at most 8192"));
}

TEST_CASE("a shadow is counted and moves nothing") {
    SplicerSetup setup = splicer_setup();
    SplicerService& service = setup.services[0];
    service.watch = std::make_shared<ServiceWatch>(3);
    service.shadow = ShadowRule{.key = *HashKeyRule::parse("path"),
                                .placement = placement_over(3, Algorithm::maglev),
                                .before = service.placement,
                                .ramp = 0,
                                .in_table = false};
    const auto shadow = *service.shadow;
    Rig rig(setup);
    std::uint64_t moved = 0;
    for (std::uint16_t port = 30000; port < 30300; ++port) {
        const std::string target = "/" + std::to_string(port) + "?q";
        const auto now = setup.services[0].placement->choose(target).bridges.choices[0];
        const auto then = shadow.placement->choose(target.substr(0, target.find('?'))).bridges.choices[0];
        moved += now != then ? 1 : 0;
        const Client client = rig.connected(port);
        rig.handle(client.segment("GET " + target + " HTTP/1.1\r\n\r\n"));
        CHECK(parse(rig.packet).destination == topology(4).bridges[now]);
    }
    const auto counted = setup.services[0].watch->shadow();
    CHECK(counted.openings == 300);
    CHECK(counted.moved == moved);
    CHECK(moved > 100);
    CHECK(counted.now[0] + counted.now[1] + counted.now[2] == 300);
    CHECK(counted.then[0] + counted.then[1] + counted.then[2] == 300);
    // A first payload that somebody else has decided is counted alike.
    const Client client = rig.connected(31000);
    rig.splicer.look_at(client.segment(kGet).build());
    CHECK(setup.services[0].watch->shadow().openings == 301);
}

TEST_CASE("of a name with a subset the shadow moves those clients whose own bridge differs") {
    SplicerSetup setup = splicer_setup();
    SplicerService& service = setup.services[0];
    service.protocol = Protocol::tls;
    service.key = *HashKeyRule::parse("sni");
    service.subset = 2;
    service.watch = std::make_shared<ServiceWatch>(3);
    service.shadow = ShadowRule{.key = service.key,
                                .placement = placement_over(3, Algorithm::ketama),
                                .before = service.placement,
                                .ramp = 65535,
                                .in_table = false};
    const auto placement = service.placement;
    const auto shadow = service.shadow->placement;
    Rig rig(setup);
    std::uint64_t moved = 0;
    for (int host = 1; host < 100; ++host) {
        const std::string name = "h" + std::to_string(host) + ".example";
        Client client;
        client.base.source = "203.0.113." + std::to_string(host);
        client.connect(rig.splicer, at(0));
        REQUIRE(rig.handle(client.segment(hello_for(name))) == SPLICE_forward_first_payload);
        const splice_address address = IpAddress::parse(client.base.source)->raw();
        const std::string source(std::begin(address.bytes), std::end(address.bytes));
        const auto now = placement->choose_in_subset(name, source, 2);
        const auto then = shadow->choose_in_subset(name, source, 2).bridges.choices[0];
        moved += now.bridges.choices[0] != then ? 1 : 0;
        const auto wanted = splice_ramp_moves(now.row, 65535) ? then : now.bridges.choices[0];
        CHECK(parse(rig.packet).destination == topology(4).bridges[wanted]);
    }
    CHECK(moved > 20);
    CHECK(setup.services[0].watch->shadow().moved == moved);
}

TEST_CASE("a ramp waits for the shadow's key where it needs more of the first payload") {
    SplicerSetup setup = splicer_setup();
    SplicerService& service = setup.services[0];
    service.watch = std::make_shared<ServiceWatch>(3);
    service.shadow = ShadowRule{.key = *HashKeyRule::parse("hdr(x-tenant)"),
                                .placement = service.placement,
                                .before = service.placement,
                                .ramp = 65535,
                                .in_table = false};
    const auto tenant = service.placement->choose("t1").bridges.choices[0];
    Rig rig(setup);
    const Client client = rig.connected();
    const std::string line = "GET /a HTTP/1.1\r\n";
    CHECK(rig.handle(client.segment(line)) == SPLICE_hold_first_payload);
    CHECK(rig.handle(client.segment("X-Tenant: t1\r\n\r\n", static_cast<std::uint32_t>(line.size()))) ==
          SPLICE_release_first_payload);
    REQUIRE(rig.out.sent.size() == 2);
    CHECK(parse(rig.out.sent[0]).destination == topology(4).bridges[tenant]);
}
