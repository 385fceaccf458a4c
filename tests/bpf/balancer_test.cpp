// The balancer's kernel program against the portable machine: the same packets, the same verdicts, the same
// bytes. Ends with 77 (skipped) where programs may not be loaded.
#define DOCTEST_CONFIG_IMPLEMENT
#include <bpf/bpf.h>
#include <doctest/doctest.h>
#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "libsplice/datapath/sample.h"
#include "libsplice/engine/clock.hpp"
#include "tests/bpf/balancer_rig.hpp"
#include "tests/bpf/spoilt_packets.hpp"
#include "tests/bpf/told_records.hpp"

using namespace splice;
using namespace splice::testing;

namespace {

constexpr int kSkip = 77;
const std::string kGet = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

// Verdicts that the program gave by itself, over all tests.
std::set<Verdict> decided_in_kernel;

// Both engines under the same rules, at the same time: the program's clock stands while a packet is handled.
struct Pair {
    explicit Pair(SplicerSetup setup, int family_ = 4)
        : shared(std::make_shared<const SplicerSetup>(std::move(setup))),
          kernel(shared),
          portable(shared),
          family(family_) {}
    explicit Pair(int family_ = 4) : Pair(splicer_setup(family_), family_) {}

    // What the packet led to; a doctest failure when the engines differ.
    Outcome handle(const PacketBytes& packet, std::size_t vlan_tags = 0) {
        return handle(packet, vlan_tags, read_clock());
    }
    Outcome handle(const PacketBytes& packet, std::size_t vlan_tags, Instant now) {
        kernel.stop_clock(now);
        const Outcome is = kernel.handle(now, packet, vlan_tags);
        const Outcome expected = portable.handle(now, packet);
        if (kernel.decided_in_kernel()) decided_in_kernel.insert(is.verdict);
        CHECK_MESSAGE(is == expected, "kernel ", describe(is), "\n  portable ", describe(expected));
        return is;
    }
    Outcome handle(const Segment& segment, std::size_t vlan_tags = 0) {
        return handle(segment.build(), vlan_tags);
    }
    Verdict verdict(const Segment& segment) { return handle(segment).verdict; }
    // The same, and that the kernel decided it.
    Verdict in_kernel(const Segment& segment) {
        const Verdict verdict = handle(segment).verdict;
        CHECK(kernel.decided_in_kernel());
        return verdict;
    }
    Verdict asked(const Segment& segment) {
        const Verdict verdict = handle(segment).verdict;
        CHECK_FALSE(kernel.decided_in_kernel());
        return verdict;
    }
    Verdict in_kernel(const PacketBytes& packet) {
        const Verdict verdict = handle(packet).verdict;
        CHECK(kernel.decided_in_kernel());
        return verdict;
    }

    void replace_setup(SplicerSetup setup) {
        shared = std::make_shared<const SplicerSetup>(std::move(setup));
        kernel.replace_setup(shared);
        portable.replace_setup(shared);
    }

    // A tick of both engines' loads, this long after the first.
    void tick(Duration after) {
        if (!began) began = read_clock();
        Instant now = *began;
        now.monotonic += after;
        kernel.tick(now);
        (void)portable.expire(now);
    }

    Client connected(std::uint16_t port = 40000) {
        Client client(family, port);
        Segment syn = client.base;
        syn.flags = SPLICE_SYN;
        syn.mss = 1460;
        syn.sack_permitted = true;
        syn.window_scale = 8;
        const Outcome answer = handle(syn);
        REQUIRE(answer.sent.size() == 1);
        const Parsed parsed = parse(answer.sent[0]);
        client.cookie = parsed.packet.seq;
        client.server_tsval = parsed.options.tsval;
        return client;
    }
    Client opened(std::uint16_t port = 40000) {
        Client client = connected(port);
        REQUIRE(in_kernel(client.segment(kGet)) == SPLICE_forward_first_payload);
        return client;
    }

    std::shared_ptr<const SplicerSetup> shared;
    KernelBalancer kernel;
    PortableBalancer portable;
    int family;
    std::optional<Instant> began;
};

template <class Test>
void both_families(Test test) {
    for (const int family : {4, 6}) {
        CAPTURE(family);
        test(family);
    }
}

Segment bounced(Segment segment, const std::string& bridge = topology(4).bridges[0]) {
    segment.refused_by = bridge;
    return segment;
}

PacketBytes damaged(PacketBytes packet) {
    packet.back() ^= std::byte{1};
    return packet;
}

SplicerSetup rules_by_source(int family) {
    SplicerSetup setup = splicer_setup(family);
    setup.services[0].protocol = Protocol::tcp;
    setup.services[0].key.kind = KeyKind::source;
    return setup;
}

}  // namespace

TEST_CASE("SYN-ACKs are the same for every combination of options") {
    both_families([](int family) {
        Pair pair(family);
        std::uint16_t port = 1000;
        for (int options = 0; options < 16; ++options) {
            Segment syn = Client(family, port++).base;
            syn.flags = SPLICE_SYN;
            syn.timestamps.reset();
            if (options & 1) syn.mss = 1300;
            if (options & 2) syn.sack_permitted = true;
            if (options & 4) syn.window_scale = 0;
            if (options & 8) syn.timestamps = Timestamps{12345, 0};
            CHECK(pair.in_kernel(syn) == SPLICE_answer_syn_ack);
            syn.flags |= SPLICE_ECE | SPLICE_CWR;
            CHECK(pair.in_kernel(syn) == SPLICE_answer_syn_ack);
            syn.payload = "GET / HT";
            CHECK(pair.in_kernel(syn) == SPLICE_answer_syn_ack);
        }
    });
}

TEST_CASE("the program's own clock is this host's") {
    KernelBalancer kernel(std::make_shared<const SplicerSetup>(splicer_setup()));
    Segment syn = Client().base;
    syn.flags = SPLICE_SYN;
    syn.timestamps = Timestamps{12345, 0};
    const std::uint32_t before = read_clock().tsval();
    const Parsed answer = parse(kernel.handle(read_clock(), syn.build()).sent.at(0));
    const std::uint32_t after = read_clock().tsval();
    constexpr std::uint32_t kJiffies = 20;  // ms: two of the longest
    CHECK(answer.options.tsval + kJiffies - before <= after - before + 2 * kJiffies);
}

TEST_CASE("a SYN-ACK goes back to the hop that the SYN came from, behind the same VLAN tags") {
    Pair pair;
    for (const std::size_t tags : {0, 1, 2}) {
        Segment syn = Client().base;
        syn.flags = SPLICE_SYN;
        CHECK(pair.handle(syn, tags).verdict == SPLICE_answer_syn_ack);
        CHECK(pair.kernel.action() == XDP_TX);
        const PacketBytes sent = frame_around(syn.build(), tags);
        const PacketBytes& frame = pair.kernel.frame();
        CHECK(std::equal(frame.begin(), frame.begin() + 6, sent.begin() + 6));
        CHECK(std::equal(frame.begin() + 6, frame.begin() + 12, sent.begin()));
        CHECK(std::equal(frame.begin() + 12, frame.begin() + 14 + static_cast<long>(4 * tags),
                         sent.begin() + 12));
    }
}

TEST_CASE("a frame for another host is not ours, whatever is in it") {
    Pair pair;
    Segment syn = Client().base;
    syn.flags = SPLICE_SYN;
    const auto before = pair.kernel.maps().counters();
    pair.kernel.maps().write_uplinks({{.interface = 1, .address = kRouterMac, .transmits = true}});
    CHECK(pair.kernel.handle(read_clock(), syn.build()).verdict == SPLICE_CONTINUE);
    CHECK(pair.kernel.action() == XDP_PASS);
    CHECK(std::memcmp(
              &before,
              [&] {
                  static splice_balancer_counters now;
                  now = pair.kernel.maps().counters();
                  return &now;
              }(),
              sizeof(before)) == 0);
}

TEST_CASE("of several uplinks a frame is ours by the one whose address it bears, and answers go back by it") {
    constexpr std::uint32_t kHere = 1, kElsewhere = 77;  // a test run's frames come in by interface 1
    const auto uplink = [](std::uint32_t interface, const EthernetAddress& address, bool transmits = true) {
        return Uplink{.interface = interface, .address = address, .transmits = transmits};
    };
    const auto action = [](std::vector<Uplink> uplinks) {
        Pair pair;
        Segment syn = Client().base;
        syn.flags = SPLICE_SYN;
        pair.kernel.maps().write_uplinks(std::move(uplinks));
        (void)pair.kernel.handle(read_clock(), syn.build());
        return pair.kernel.action();
    };
    CHECK(action({uplink(kHere, kOwnMac), uplink(kElsewhere, kRouterMac)}) == XDP_TX);
    CHECK(action({uplink(kElsewhere, kRouterMac), uplink(kHere, kOwnMac)}) == XDP_TX);
    CHECK(action({uplink(kElsewhere, kOwnMac), uplink(kHere, kRouterMac)}) == XDP_PASS);
    CHECK(action({uplink(kElsewhere, kOwnMac), uplink(kElsewhere + 1, kRouterMac)}) == XDP_PASS);
    // One alone is not asked for its number, and one that needs a redirect makes all take it.
    CHECK(action({uplink(kElsewhere, kOwnMac)}) == XDP_TX);
    CHECK(action({uplink(kHere, kOwnMac), uplink(kElsewhere, kRouterMac, false)}) == XDP_REDIRECT);
    Uplink above = uplink(kHere, kRouterMac);
    above.upper = {kOwnMac};
    CHECK(action({uplink(kElsewhere, kRouterMac), above}) == XDP_TX);
    above.interface = kElsewhere;
    CHECK(action({uplink(kHere, kRouterMac), above}) == XDP_PASS);
}

TEST_CASE("with several uplinks a bridge is reached by the interface of its route") {
    const SplicerSetup setup = splicer_setup();
    Pair pair(setup);
    Client client = pair.connected(2000);
    const Segment request = client.segment("GET /a HTTP/1.1\r\n\r\n");
    CHECK(pair.in_kernel(request) == SPLICE_forward_first_payload);
    CHECK(pair.kernel.action() == XDP_TX);
    pair.kernel.maps().write_uplinks(
        {{.interface = 1, .address = kOwnMac}, {.interface = 77, .address = kRouterMac}});
    pair.kernel.maps().write_bridges(
        setup.bridges,
        std::vector<std::optional<NextHop>>(setup.bridges.size(), NextHop{1, kOwnMac, kRouterMac}));
    (void)pair.kernel.handle(read_clock(), request.build());
    CHECK(pair.kernel.decided_in_kernel());
    CHECK(pair.kernel.action() == XDP_REDIRECT);

    // For a bridge on this host the frame stays one to the uplink that it came in by.
    pair.kernel.maps().write_uplinks(
        {{.interface = 77, .address = kRouterMac}, {.interface = 1, .address = kOwnMac}});
    NextHop here{};
    here.ethernet = false;
    here.local = true;
    pair.kernel.maps().write_bridges(setup.bridges,
                                     std::vector<std::optional<NextHop>>(setup.bridges.size(), here));
    (void)pair.kernel.handle(read_clock(), request.build());
    CHECK(pair.kernel.action() == XDP_PASS);
    CHECK(std::equal(kOwnMac.begin(), kOwnMac.end(), pair.kernel.frame().begin(),
                     [](std::uint8_t mac, std::byte byte) { return std::byte{mac} == byte; }));
}

TEST_CASE("a request line in one segment is decided in the kernel: every method, every length of URL") {
    both_families([](int family) {
        Pair pair(family);
        std::uint16_t port = 2000;
        for (const char* method : {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PURGE"}) {
            Client client = pair.connected(port++);
            CHECK(pair.in_kernel(
                      client.segment(std::string(method) + " /x/y?z=1 HTTP/1.1\r\nHost: h\r\n\r\n")) ==
                  SPLICE_forward_first_payload);
        }
        for (std::size_t length = 1; length < 1300; length = length < 200 ? length + 1 : length + 97) {
            CAPTURE(length);
            Client client = pair.connected(port++);
            CHECK(pair.in_kernel(client.segment("GET /" + std::string(length - 1, 'u') +
                                                " HTTP/1.0\r\n\r\n")) == SPLICE_forward_first_payload);
        }
    });
}

TEST_CASE("a choice in the kernel is told to the connection log: flow, key, hash, bridge and rank") {
    both_families([](int family) {
        SplicerSetup setup = splicer_setup(family);
        setup.sample = SPLICE_SAMPLE_ALL;
        Pair pair(setup, family);
        ToldRecords told(pair.kernel.maps().told());
        std::uint16_t port = 2000;
        std::string every_byte = "/";
        for (int byte = 0x21; byte < 0x100; ++byte)
            if (byte != 0x7f) every_byte += static_cast<char>(byte);
        for (const std::string& uri :
             {std::string("/a"), std::string(SPLICE_TOLD_KEY_MAX - 1, 'x'),
              std::string(SPLICE_TOLD_KEY_MAX, 'y'), std::string(SPLICE_TOLD_KEY_MAX + 1, 'z'),
              std::string(1200, 'w'), every_byte}) {
            CAPTURE(uri);
            const std::string key = uri.starts_with('/') ? uri : "/" + uri.substr(1);
            const Client client = pair.connected(port++);
            const auto before = read_clock().monotonic;
            const Verdict verdict =
                pair.verdict(client.segment("GET " + key + " HTTP/1.1\r\nHost: h\r\n\r\n"));
            REQUIRE(verdict == SPLICE_forward_first_payload);
            const auto records = told.take_as<splice_told_choice>();
            if (!pair.kernel.decided_in_kernel()) {  // user space says it by itself
                CHECK(records.empty());
                continue;
            }
            REQUIRE(records.size() == 1);
            const splice_told_choice& choice = records[0];
            CHECK(IpAddress(choice.flow.client).to_string() == topology(family).client);
            CHECK(IpAddress(choice.flow.server).to_string() == topology(family).vip);
            CHECK(choice.flow.client_port == splice_htons(client.base.source_port));
            CHECK(choice.flow.server_port == splice_htons(80));
            CHECK(choice.hash == hash_key_bytes(key));
            CHECK(choice.key_length == key.size());
            CHECK(choice.by_source == 0);
            const std::size_t here = std::min<std::size_t>(key.size(), SPLICE_TOLD_KEY_MAX);
            CHECK(std::string(reinterpret_cast<const char*>(choice.key), here) == key.substr(0, here));
            CHECK(choice.rank == 0);
            CHECK(choice.service == 1);
            const Choices chosen = pair.shared->services[0].placement->choose(key);
            CHECK(choice.bridge == chosen.bridges.choices[0]);
            CHECK(Duration(static_cast<std::int64_t>(choice.monotonic_ns)) >= before);
            CHECK(Duration(static_cast<std::int64_t>(choice.monotonic_ns)) <= read_clock().monotonic);
        }
    });
}

TEST_CASE("a choice by the client's address is told with that, and one that is not in the sample is not") {
    both_families([](int family) {
        SplicerSetup setup = rules_by_source(family);
        setup.sample = SPLICE_SAMPLE_ALL / 2;
        Pair pair(setup, family);
        ToldRecords told(pair.kernel.maps().told());
        int taken = 0;
        for (std::uint16_t port = 2000; port < 2064; ++port) {
            const Client client = pair.connected(port);
            REQUIRE(pair.in_kernel(client.segment("hello")) == SPLICE_forward_first_payload_source);
            const auto records = told.take_as<splice_told_choice>();
            const bool sampled =
                splice_in_sample(&kSecret, splice_choice_cookie(client.cookie + 1), setup.sample) != 0;
            REQUIRE(records.size() == (sampled ? 1 : 0));
            taken += sampled;
            if (!sampled) continue;
            CHECK(records[0].by_source == 1);
            CHECK(records[0].key_length == sizeof(splice_address));
            splice_address source{};
            std::memcpy(&source, records[0].key, sizeof(source));
            CHECK(IpAddress(source).to_string() == topology(family).client);
        }
        CHECK(taken > 8);
        CHECK(taken < 56);
    });
}

TEST_CASE("without a sample nothing is told, and what the ring has no room for is counted") {
    Pair none;
    {
        ToldRecords told(none.kernel.maps().told());
        const Client client = none.connected(2000);
        REQUIRE(none.in_kernel(client.segment(kGet)) == SPLICE_forward_first_payload);
        CHECK(told.take().empty());
        CHECK(none.kernel.maps().counters().common.untold == 0);
    }
    SplicerSetup setup = splicer_setup();
    setup.sample = SPLICE_SAMPLE_ALL;
    none.kernel.replace_setup(std::make_shared<const SplicerSetup>(setup));
    // Nobody reads.
    constexpr std::uint32_t kRoom = SPLICE_TOLD_RING_BYTES / (sizeof(splice_told_choice) + 8);
    const Client client = none.connected(2001);
    for (std::uint32_t i = 0; i < kRoom + 10; ++i) {
        const PacketBytes packet = client.segment(kGet).build();
        REQUIRE(none.kernel.handle(read_clock(), packet).verdict == SPLICE_forward_first_payload);
        const splice_packet parsed = parse(packet).packet;
        (void)bpf_map_delete_elem(none.kernel.maps().flows(), splice_flow_toward_server(&parsed));
    }
    CHECK(none.kernel.maps().counters().common.untold >= 10);
    ToldRecords told(none.kernel.maps().told());
    CHECK(told.take().size() + none.kernel.maps().counters().common.untold == kRoom + 10);
}

TEST_CASE("keys with depth, len and without query are cut alike") {
    for (const char* key :
         {"uri", "path", "uri depth 2", "uri len 5", "path depth 1", "path len 3 depth 2"}) {
        CAPTURE(key);
        SplicerSetup setup = splicer_setup();
        const auto rule = HashKeyRule::parse(key);
        if (!rule) continue;  // another order of words
        setup.services[0].key = *rule;
        Pair pair(std::move(setup));
        std::uint16_t port = 3000;
        for (const char* target :
             {"/", "/a", "/a/b", "/a/b/c/d?e=/f/g", "/?x", "//", "/a?b?c", "/0123456789"}) {
            Client client = pair.connected(port++);
            CHECK(pair.in_kernel(client.segment(std::string("GET ") + target + " HTTP/1.1\r\n\r\n")) ==
                  SPLICE_forward_first_payload);
        }
    }
}

TEST_CASE("a URI that its key writes otherwise is user space's, and both choose alike") {
    struct Case {
        const char* key;
        std::vector<const char*> in_kernel;
        std::vector<const char*> asked;
    };
    const std::vector<Case> cases = {
        {"uri query(sort,include=id,exclude=utm_*)",
         {"/", "/a/b.c", "/%7e/../a"},
         {"/a?id=1", "/a?utm_x=1&id=1", "/?"}},
        {"uri normalise depth 2", {"/", "/a/b?c=/d", "/a.b/c"}, {"/%7ea", "/a/../b", "/.", "/a/./b?c"}},
        {"path decode", {"/a?b", "/./a"}, {"/a%2fb", "/a?%20"}},
        {"hdr(x-tenant)+path", {}, {"/a", "/b?c"}},
        {"host+uri query(sort)", {}, {"/a", "/b?c&b"}}};
    for (const Case& each : cases) {
        CAPTURE(each.key);
        SplicerSetup setup = splicer_setup();
        setup.services[0].key = HashKeyRule::parse(each.key).value();
        Pair pair(std::move(setup));
        std::uint16_t port = 3000;
        const auto request = [](const char* target) {
            return std::string("GET ") + target + " HTTP/1.1\r\nHost: h\r\nX-Tenant: t\r\n\r\n";
        };
        for (const char* target : each.in_kernel) {
            CAPTURE(target);
            Client client = pair.connected(port++);
            CHECK(pair.in_kernel(client.segment(request(target))) == SPLICE_forward_first_payload);
        }
        for (const char* target : each.asked) {
            CAPTURE(target);
            Client client = pair.connected(port++);
            CHECK(pair.asked(client.segment(request(target))) == SPLICE_forward_first_payload);
        }
    }
}

TEST_CASE("what the kernel does not decide user space decides, and the flow goes on in the kernel") {
    both_families([](int family) {
        Pair pair(family);
        Client odd = pair.connected(4000);
        CHECK(pair.asked(odd.segment("GET http://host/a HTTP/1.1\r\n\r\n")) == SPLICE_forward_first_payload);
        CHECK(pair.in_kernel(odd.segment("more", 30)) == SPLICE_forward_open);
        Client not_http = pair.connected(4001);
        CHECK(pair.asked(not_http.segment("\x16\x03\x01 hello")) == SPLICE_forward_first_payload_source);
        CHECK(pair.in_kernel(not_http.segment("more", 9)) == SPLICE_forward_open);
        Client fin = pair.connected(4002);
        CHECK(pair.asked(fin.segment("", 0, SPLICE_ACK | SPLICE_FIN)) == SPLICE_forward_first_payload_source);
    });
}

TEST_CASE("a first payload in two segments is held, and released together in order") {
    both_families([](int family) {
        Pair pair(family);
        Client client = pair.connected();
        CHECK(pair.asked(client.segment("GET /a HT")) == SPLICE_hold_first_payload);
        CHECK(pair.in_kernel(client.segment("", 9, SPLICE_ACK)) == SPLICE_drop_handshake_ack);
        CHECK(pair.asked(client.segment("GET /a HT")) == SPLICE_drop_duplicate_payload);
        const Outcome released = pair.handle(client.segment("TP/1.1\r\n\r\n", 9));
        CHECK(released.verdict == SPLICE_release_first_payload);
        CHECK(released.sent.size() == 2);
        CHECK(pair.in_kernel(client.segment("", 19, SPLICE_ACK)) == SPLICE_forward_open);
    });
}

TEST_CASE("a first payload that stays incomplete is placed by the client's address") {
    Pair pair;
    Client client = pair.connected();
    CHECK(pair.asked(client.segment("GET /a")) == SPLICE_hold_first_payload);
    const Instant later = read_clock().after(std::chrono::seconds(1));
    const Outcome is = pair.kernel.expire(later);
    CHECK(is == pair.portable.expire(later));
    CHECK(is.sent.size() == 1);
    CHECK(pair.in_kernel(client.segment("", 6, SPLICE_ACK)) == SPLICE_forward_open);
}

TEST_CASE("an open flow: data, ACKs, FIN, RST, ECN, TTL") {
    both_families([](int family) {
        Pair pair(family);
        Client client = pair.opened();
        CHECK(pair.in_kernel(client.segment("", 28, SPLICE_ACK)) == SPLICE_forward_open);
        Segment marked = client.segment(std::string(1400, 'x'), 28);
        marked.ecn = 3;
        marked.dscp = 10;
        CHECK(pair.in_kernel(marked) == SPLICE_forward_open);
        Segment dying = client.segment("", 28, SPLICE_ACK);
        dying.ttl = 1;
        CHECK(pair.in_kernel(dying) == SPLICE_drop_ttl_expired);
        CHECK(pair.in_kernel(client.segment("", 1428, SPLICE_ACK | SPLICE_FIN)) == SPLICE_forward_open);
        CHECK(pair.in_kernel(client.segment("", 1429, SPLICE_RST)) == SPLICE_forward_open);
        CHECK(pair.kernel.action() == XDP_TX);
        CHECK(std::equal(kBridgeMac.begin(), kBridgeMac.end(), pair.kernel.frame().begin(),
                         [](std::uint8_t a, std::byte b) { return std::byte{a} == b; }));
    });
}

TEST_CASE("what begins nothing is dropped by name") {
    both_families([](int family) {
        Pair pair(family);
        Client client = pair.connected();
        CHECK(pair.in_kernel(client.segment("", 0, SPLICE_ACK)) == SPLICE_drop_handshake_ack);
        CHECK(pair.asked(client.segment("", 1, SPLICE_ACK)) == SPLICE_drop_orphan);
        CHECK(pair.asked(client.segment(kGet, 1)) == SPLICE_hold_orphan);
        Segment forged = client.segment(kGet);
        forged.ack ^= 0x100;
        CHECK(pair.asked(forged) == SPLICE_hold_orphan);
        CHECK(pair.in_kernel(client.segment("", 0, SPLICE_RST)) == SPLICE_drop_orphan);
        CHECK(pair.in_kernel(damaged(client.segment(kGet).build())) == SPLICE_drop_bad_tcp_checksum);
        Segment syn_ack = client.base;
        syn_ack.flags = SPLICE_SYN | SPLICE_ACK;
        CHECK(pair.in_kernel(syn_ack) == SPLICE_drop_bad_tcp_flags);
        Segment syn_fin = client.base;
        syn_fin.flags = SPLICE_SYN | SPLICE_FIN;
        CHECK(pair.in_kernel(syn_fin) == SPLICE_drop_bad_tcp_flags);
        for (const std::uint16_t port : {std::uint16_t{22}, std::uint16_t{0}}) {
            Segment other_port = client.segment(kGet);
            other_port.destination_port = port;
            CHECK(pair.in_kernel(other_port) == SPLICE_pass_not_service);
            CHECK(pair.kernel.action() == XDP_PASS);
            other_port.flags = SPLICE_SYN;
            CHECK(pair.in_kernel(other_port) == SPLICE_pass_not_service);
        }
    });
}

TEST_CASE("the program's clock is this host's: never before it, and close behind") {
    for (int start = 0; start < 20; ++start) {
        KernelBalancer balancer(std::make_shared<const SplicerSetup>(splicer_setup()));
        Segment syn = Client().base;
        syn.flags = SPLICE_SYN;
        syn.timestamps = Timestamps{1, 0};
        const Instant before = read_clock();
        const Outcome answer = balancer.handle(before, syn.build());
        const Instant after = read_clock();
        REQUIRE(answer.verdict == SPLICE_answer_syn_ack);
        const std::uint32_t said = parse(answer.sent.at(0)).options.tsval;
        CHECK(after.tsval() - said < 1U << 31);
        // Two jiffies of the slowest kernel, HZ=100.
        CHECK(said - (before.tsval() - 20) < 1U << 31);
    }
}

// A segment of a connection that bridge `number` answered a minute ago, to a balancer that has not seen it.
Segment in_lane(int family, std::uint32_t number, std::uint16_t port = 40000) {
    Client client(family, port);
    client.cookie = 0x12345678;
    Segment segment = client.segment("more", 5000);
    const std::uint32_t hash = lane_hash_of(segment);
    segment.timestamps->echo_reply = splice_lane_begin(hash, number, read_clock().unix_ms() - 60'000);
    return segment;
}

TEST_CASE("a lane leads to its bridge, and no entry is made") {
    both_families([](int family) {
        Pair pair(laned_setup(family), family);
        for (const std::uint32_t number : {1U, 2U, 3U}) {
            const Outcome is = pair.handle(in_lane(family, number));
            CHECK(is.verdict == SPLICE_forward_lane);
            CHECK(pair.kernel.decided_in_kernel());
            CHECK(parse(is.sent.at(0)).destination == topology(family).bridges[number - 1]);
        }
        // An old echo of bridge 1 names lane 0.
        Segment old = in_lane(family, 1);
        old.timestamps->echo_reply -= 1'000'000;
        CHECK(pair.in_kernel(old) == SPLICE_forward_lane);
        CHECK(pair.in_kernel(in_lane(family, 4)) == SPLICE_drop_lane_unknown);
        CHECK(pair.in_kernel(in_lane(family, SPLICE_LANE_MAX)) == SPLICE_drop_lane_unknown);
        Segment end = in_lane(family, 2);
        end.flags = SPLICE_RST | SPLICE_ACK;
        CHECK(pair.in_kernel(end) == SPLICE_forward_lane);
        Segment bare = in_lane(family, 2);
        bare.timestamps.reset();
        CHECK(pair.verdict(bare) != SPLICE_forward_lane);
        Segment random = in_lane(family, 2);
        random.timestamps->echo_reply += 0x80000000U;
        CHECK(pair.verdict(random) != SPLICE_forward_lane);
    });
}

TEST_CASE("a flow of the table goes by the table, whatever lane its timestamps name") {
    Pair pair(laned_setup());
    const Client client = pair.opened();
    Segment later = client.segment("", static_cast<std::uint32_t>(kGet.size()), SPLICE_ACK);
    later.timestamps->echo_reply = in_lane(4, 3).timestamps->echo_reply;
    CHECK(pair.in_kernel(later) == SPLICE_forward_open);
}

TEST_CASE(
    "while cookies are guessed, first payloads without timestamps are refused from there, in the kernel and "
    "by "
    "user space") {
    both_families([](int family) {
        SplicerSetup setup = laned_setup(family);
        setup.guess_limits = {{3, 100, 0}};
        Pair pair(std::move(setup), family);
        const auto bare = [&](const Client& client, std::string payload) {
            Segment segment = client.segment(std::move(payload));
            segment.timestamps.reset();
            return segment;
        };
        const Client whole = pair.connected(41000);
        const Client in_pieces = pair.connected(41001);  // user space's to decide
        // The clock of both stands still: all of it is one second.
        const Instant now = read_clock();
        const auto verdict = [&](const Segment& segment) {
            return pair.handle(segment.build(), 0, now).verdict;
        };
        for (int i = 0; i < 3; ++i) {
            Segment wrong = bare(whole, kGet);
            wrong.ack += 0x5000U + static_cast<std::uint32_t>(i) * 0x100;
            CHECK(verdict(wrong) == SPLICE_hold_orphan);
        }
        CHECK(verdict(bare(whole, kGet)) == SPLICE_drop_guess_budget);
        CHECK(verdict(bare(in_pieces, "GET /incompl")) == SPLICE_drop_guess_budget);
        CHECK(pair.kernel.maps().guesses().noted == 3);
        CHECK(pair.portable.splicer().guess_counts().noted == 3);
        CHECK(pair.kernel.maps().guesses().exhausted[SPLICE_GUESS_SOURCE] == 1);
        // Timestamps prove more.
        CHECK(verdict(whole.segment(kGet)) == SPLICE_forward_first_payload);
        Instant later = now;
        later.monotonic += std::chrono::seconds(1);
        later.unix_s += 1;
        CHECK(pair.handle(bare(pair.connected(41003), kGet).build(), 0, later).verdict ==
              SPLICE_forward_first_payload);
    });
}

TEST_CASE("clients on a deny list begin nothing, and what they have begun goes on") {
    both_families([](int family) {
        SplicerSetup setup = splicer_setup(family);
        Pair pair(setup, family);
        const Client running = pair.opened(42000);
        const Client waiting = pair.connected(42001);
        const Parsed client = parse(running.base.build());
        const splice_address& own = client.packet.ends.source;
        const auto deny = [&](std::vector<splice_prefix> prefixes) {
            setup.denied = std::make_shared<const PrefixSet>(std::move(prefixes));
            pair.replace_setup(setup);
        };
        Segment syn = running.base;
        syn.flags = SPLICE_SYN;
        syn.source_port = 42002;
        const unsigned whole = 128, wide = family == 4 ? 96 + 8 : 20;
        for (const unsigned bits : {whole, wide}) {
            const splice_address head = masked(own, bits);
            deny({splice_prefix_of(&head, bits)});
            CHECK(pair.in_kernel(syn) == SPLICE_drop_denied);
            CHECK(pair.in_kernel(waiting.segment(kGet)) == SPLICE_drop_denied);
            CHECK(pair.in_kernel(running.segment("", 28, SPLICE_ACK)) == SPLICE_forward_open);
        }
        // A neighbour, in the same head.
        splice_address other = own;
        other.bytes[15] ^= 1;
        deny({splice_prefix_of(&other, 128)});
        CHECK(pair.in_kernel(syn) == SPLICE_answer_syn_ack);
        deny({splice_prefix_of(&own, 128), splice_prefix_of(&other, 128)});
        CHECK(pair.in_kernel(syn) == SPLICE_drop_denied);
        deny({});
        CHECK(pair.in_kernel(waiting.segment(kGet)) == SPLICE_forward_first_payload);
    });
}

TEST_CASE("a source that has opened its connections of this second gets no SYN-ACK and opens no more") {
    both_families([](int family) {
        SplicerSetup setup = splicer_setup(family);
        setup.services[0].rate = {3, {24, 56}, 0};
        Pair pair(std::move(setup), family);
        const Instant now = read_clock();
        std::vector<Client> clients;
        for (std::uint16_t port = 43000; port < 43004; ++port) clients.push_back(pair.connected(port));
        Segment syn = clients[0].base;
        syn.flags = SPLICE_SYN;
        syn.source_port = 43100;
        const auto verdict = [&](const Segment& segment, Instant at) {
            return pair.handle(segment.build(), 0, at).verdict;
        };
        // Whole and in pieces: who decides does not matter.
        CHECK(verdict(clients[0].segment(kGet), now) == SPLICE_forward_first_payload);
        CHECK(verdict(clients[1].segment("GET /incompl"), now) == SPLICE_hold_first_payload);
        CHECK(verdict(syn, now) == SPLICE_answer_syn_ack);
        CHECK(verdict(clients[2].segment(kGet), now) == SPLICE_forward_first_payload);
        CHECK(verdict(syn, now) == SPLICE_drop_source_rate);
        CHECK(verdict(clients[3].segment(kGet), now) == SPLICE_drop_source_rate);
        CHECK(verdict(clients[3].segment("GET /incompl"), now) == SPLICE_drop_source_rate);
        // Another address of its network is the same source, one of another network is not.
        Segment neighbour = syn, stranger = syn;
        const std::string::size_type host = syn.source.find_last_of(family == 4 ? '.' : ':');
        neighbour.source = syn.source.substr(0, host + 1) + "77";
        stranger.source = family == 4 ? "203.0.113.77" : "2001:db8:ffff::77";
        CHECK(verdict(neighbour, now) == SPLICE_drop_source_rate);
        CHECK(verdict(stranger, now) == SPLICE_answer_syn_ack);
        // What has begun goes on.
        CHECK(verdict(clients[0].segment("", 28, SPLICE_ACK), now) == SPLICE_forward_open);
        Instant later = now;
        later.monotonic += std::chrono::seconds(1);
        later.unix_s += 1;
        CHECK(verdict(syn, later) == SPLICE_answer_syn_ack);
        CHECK(verdict(clients[3].segment(kGet), later) == SPLICE_forward_first_payload);
    });
}

TEST_CASE("a service that has its share of the table opens no more, and another one does") {
    both_families([](int family) {
        SplicerSetup setup = splicer_setup(family);
        setup.services[0].max_flows = 3;
        Pair pair(std::move(setup), family);
        for (std::uint16_t port = 44000; port < 44003; ++port) (void)pair.opened(port);
        CHECK(pair.in_kernel(pair.connected(44003).segment(kGet)) == SPLICE_drop_service_share);
        CHECK(pair.in_kernel(pair.connected(44004).segment("GET /incompl")) == SPLICE_drop_service_share);
        pair.replace_setup(splicer_setup(family));
        CHECK(pair.in_kernel(pair.connected(44005).segment(kGet)) == SPLICE_forward_first_payload);
    });
}

TEST_CASE("a lane whose bridge is down for the service is answered with RST, by user space") {
    SplicerSetup setup = laned_setup();
    setup.services[0].down = {1};
    Pair pair(std::move(setup));
    CHECK(pair.asked(in_lane(4, 2)) == SPLICE_answer_down_rst);
    CHECK(pair.in_kernel(in_lane(4, 3)) == SPLICE_forward_lane);
}

TEST_CASE(
    "a first payload that does not echo its SYN-ACK's clock is refused, and one without timestamps is "
    "counted") {
    both_families([](int family) {
        Pair pair(laned_setup(family), family);
        const Client client = pair.connected();
        Segment first = client.segment(kGet);
        first.timestamps->echo_reply += 40'000;
        CHECK(pair.in_kernel(first) == SPLICE_drop_bad_clock);
        first.timestamps->echo_reply = client.server_tsval - (1U << 17);
        CHECK(pair.in_kernel(first) == SPLICE_drop_bad_clock);
        first.timestamps->echo_reply = client.server_tsval;
        CHECK(pair.in_kernel(first) == SPLICE_forward_first_payload);
        Segment bare = pair.connected(40001).segment(kGet);
        bare.timestamps.reset();
        CHECK(pair.in_kernel(bare) == SPLICE_forward_first_payload);
        CHECK(pair.kernel.maps().counters().begun_without_timestamps == 1);
    });
}

TEST_CASE("until the SYN-ACKs of before have had their time, nobody asks for the clock") {
    SplicerSetup setup = laned_setup();
    setup.services[0].proves_from_s = read_clock().seconds() + 96;
    Pair pair(std::move(setup));
    Segment first = pair.connected().segment(kGet);
    first.timestamps->echo_reply -= 200'000;
    CHECK(pair.in_kernel(first) == SPLICE_forward_first_payload);
}

TEST_CASE("a flood of orphans does not reach user space") {
    Pair pair;
    Client client = pair.connected();
    const PacketBytes orphan = client.segment(kGet, 1).build();
    std::uint64_t dropped = 0;
    for (int i = 0; i < 2000; ++i) {
        // User space drops some, too: one flow has only so many places there.
        const Verdict verdict = pair.kernel.handle(read_clock(), orphan).verdict;
        dropped += pair.kernel.decided_in_kernel() && verdict == SPLICE_drop_orphan;
    }
    const auto asked = pair.kernel.maps().counters().common.asked;
    CHECK(dropped + asked == 2000);
    CHECK(asked >= SPLICE_ASKS_A_WINDOW);
    CHECK(dropped > 0);
}

TEST_CASE("bytes that contradict themselves are dropped by name when they are for a service") {
    Pair pair;
    Client client = pair.opened();
    const PacketBytes good = client.segment("data", 28).build();
    const auto at = [&](std::size_t offset, std::uint8_t value) {
        PacketBytes changed = good;
        changed[offset] = std::byte{value};
        return changed;
    };
    CHECK(pair.in_kernel(at(10, 0x77)) == SPLICE_drop_bad_ip_checksum);
    CHECK(pair.in_kernel(at(32, 0x10)) == SPLICE_drop_bad_tcp_header);
    PacketBytes cut = good;
    cut.resize(cut.size() - 1);
    CHECK(pair.in_kernel(cut) == SPLICE_drop_truncated);
    Segment syn = Client(4, 41000).base;
    syn.flags = SPLICE_SYN;
    syn.mss = 1460;
    PacketBytes odd = syn.build();
    odd[41] = std::byte{60};  // an option longer than the header, with its checksum put right
    const std::uint32_t sum =
        (static_cast<std::uint32_t>(odd[36]) << 8 | static_cast<std::uint32_t>(odd[37])) + 4;
    const std::uint32_t check = sum - 60;
    odd[36] = static_cast<std::byte>(check >> 8);
    odd[37] = static_cast<std::byte>(check);
    CHECK(pair.in_kernel(odd) == SPLICE_drop_bad_tcp_options);
}

TEST_CASE("packets to a service that contradict themselves, or are no TCP, end as they do in user space") {
    both_families([](int family) {
        Pair pair(family);
        const RawPacket good{.family = family,
                             .source = topology(family).client,
                             .destination = topology(family).vip,
                             .payload = "x"};
        for (const SpoiltPacket& packet : spoilt_packets(good)) {
            CAPTURE(verdict_name(packet.verdict));
            const auto bytes = std::as_bytes(std::span(packet.bytes));
            CHECK(pair.in_kernel(PacketBytes(bytes.begin(), bytes.end())) == packet.verdict);
            const bool passes = verdict_kind(packet.verdict) == SPLICE_KIND_pass;
            CHECK(pair.kernel.action() == (passes ? XDP_PASS : XDP_DROP));
        }
    });
}

TEST_CASE("what is neither IPv4 nor IPv6 passes") {
    Pair pair;
    // Behind a third VLAN tag nobody looks.
    const Outcome outcome = pair.kernel.handle(read_clock(), Client().base.build(), 3);
    CHECK(outcome.verdict == SPLICE_pass_not_ip);
    CHECK(pair.kernel.action() == XDP_PASS);
    decided_in_kernel.insert(outcome.verdict);
}

TEST_CASE("fragments, source routes and extension headers to a VIP are dropped by name") {
    Pair pair;
    Client client = pair.opened();
    PacketBytes fragment = client.segment("data", 28).build();
    fragment[6] = std::byte{0x20};  // more fragments, without do-not-fragment
    // The header's checksum by its difference.
    const PacketBytes whole = client.segment("data", 28).build();
    const int was = static_cast<int>(whole[6]) << 8 | static_cast<int>(whole[7]);
    const int sum = (static_cast<int>(whole[10]) << 8 | static_cast<int>(whole[11])) + was - 0x2000;
    fragment[7] = std::byte{0};
    const int folded = sum < 0 ? sum - 1 : sum > 0xffff ? sum - 0xffff : sum;
    fragment[10] = static_cast<std::byte>((folded >> 8) & 0xff);
    fragment[11] = static_cast<std::byte>(folded & 0xff);
    CHECK(pair.in_kernel(fragment) == SPLICE_drop_fragment);

    Pair six(6);
    PacketBytes routed = six.opened().segment("data", 28).build();
    routed[6] = std::byte{43};
    CHECK(six.in_kernel(routed) == SPLICE_drop_source_routed);
    routed[6] = std::byte{44};
    routed[40] = std::byte{6};
    routed[42] = std::byte{0};
    routed[43] = std::byte{1};  // more fragments
    CHECK(six.in_kernel(routed) == SPLICE_drop_fragment);
    PacketBytes deep = six.opened(40001).segment(std::string(64, '\0'), 28).build();
    deep[6] = std::byte{60};
    for (std::size_t i = 0; i < 40; ++i)
        deep[40 + i] = std::byte{static_cast<std::uint8_t>(i % 8 == 0 ? 60 : 0)};
    CHECK(six.in_kernel(deep) == SPLICE_drop_extension_headers);
}

TEST_CASE("a whole IPv6 packet behind a fragment header goes every packet's way, and keeps the header") {
    Pair pair(6);
    Client client(6, 40000);
    client.base.atomic_fragment = true;
    Segment syn = client.base;
    syn.flags = SPLICE_SYN;
    const Outcome answer = pair.handle(syn);
    REQUIRE(answer.verdict == SPLICE_answer_syn_ack);
    const Parsed syn_ack = parse(answer.sent.at(0));
    CHECK(syn_ack.packet.l4_offset == 40);
    client.cookie = syn_ack.packet.seq;
    for (const auto& [payload, offset, verdict] : {std::tuple{kGet, 0U, SPLICE_forward_first_payload},
                                                   {std::string("more"), 40U, SPLICE_forward_open}}) {
        const Segment segment = client.segment(payload, offset);
        const Outcome outcome = pair.handle(segment);
        CHECK(outcome.verdict == verdict);
        CHECK(pair.kernel.decided_in_kernel());
        const Parsed forwarded = parse(outcome.sent.at(0));
        CHECK(forwarded.packet.l4_offset == 48);
        CHECK(forwarded.checksums_right);
        CHECK(outcome.sent.at(0).size() == segment.build().size());
    }
}

TEST_CASE(
    "a SYN on a known flow is answered; a valid cookie then chooses anew, anything else follows the entry") {
    both_families([](int family) {
        Pair pair(family);
        Client client = pair.opened();
        Client again = client;
        again.base.seq += 100'000;
        Segment syn = again.base;
        syn.flags = SPLICE_SYN;
        const Outcome answer = pair.handle(syn);
        CHECK(answer.verdict == SPLICE_answer_syn_ack_reopened);
        again.cookie = parse(answer.sent.at(0)).packet.seq;
        CHECK(pair.in_kernel(client.segment("old", 28)) == SPLICE_forward_open);
        CHECK(pair.in_kernel(again.segment("", 0, SPLICE_ACK)) == SPLICE_drop_handshake_ack);
        CHECK(pair.in_kernel(again.segment("GET /other HTTP/1.1\r\n\r\n")) == SPLICE_forward_first_payload);
        CHECK(pair.in_kernel(again.segment("", 23, SPLICE_ACK)) == SPLICE_forward_open);
    });
}

TEST_CASE("a reopened flow whose new first payload comes in two segments is held like a new one") {
    Pair pair;
    Client client = pair.opened();
    Client again = client;
    again.base.seq += 100'000;
    Segment syn = again.base;
    syn.flags = SPLICE_SYN;
    again.cookie = parse(pair.handle(syn).sent.at(0)).packet.seq;
    CHECK(pair.asked(again.segment("GET /oth")) == SPLICE_hold_first_payload);
    CHECK(pair.asked(again.segment("er HTTP/1.1\r\n\r\n", 8)) == SPLICE_release_first_payload);
}

TEST_CASE("refusals take the row's choices in turn; then the client is answered, and let go") {
    both_families([](int family) {
        Pair pair(family);
        Client client = pair.opened();
        const auto bridge_now = [&] {
            return parse(pair.handle(client.segment("rest", 28)).sent.at(0)).destination;
        };
        for (int refusal = 0; refusal < 2; ++refusal) {
            const std::string refuser = bridge_now();
            CHECK(pair.in_kernel(bounced(client.segment("rest", 28), refuser)) == SPLICE_forward_open);
            CHECK(pair.in_kernel(bounced(client.segment(kGet), refuser)) == SPLICE_forward_next_choice);
            // The same once more, on its way when the flow moved on.
            CHECK(pair.verdict(bounced(client.segment(kGet), refuser)) == SPLICE_forward_open);
        }
        // The 503 carries the time: both are told the same.
        const PacketBytes last = bounced(client.segment(kGet), bridge_now()).build();
        const Instant now = read_clock();
        const Outcome is = pair.kernel.handle(now, last);
        CHECK(is == pair.portable.handle(now, last));
        CHECK(is.verdict == SPLICE_answer_refused_503);
        // A copy of the bounce: its client has been told already.
        CHECK(pair.in_kernel(last) == SPLICE_drop_refused_unknown);
        CHECK(pair.asked(client.segment("", 28, SPLICE_ACK)) == SPLICE_end_refused);
        CHECK(pair.asked(client.segment("", 28, SPLICE_ACK | SPLICE_FIN)) == SPLICE_answer_refused_rst);
    });
}

TEST_CASE("the flows of a bridge that is down are answered with RST, for which the kernel asks user space") {
    both_families([](int family) {
        Pair pair(family);
        const Client client = pair.opened();
        const std::string bridge = parse(pair.handle(client.segment("rest", 28)).sent.at(0)).destination;
        SplicerSetup setup = splicer_setup(family);
        const auto& all = topology(family).bridges;
        setup.services[0].down = {static_cast<std::uint16_t>(std::ranges::find(all, bridge) - all.begin())};
        pair.replace_setup(std::move(setup));
        CHECK(pair.asked(client.segment("", 32, SPLICE_ACK)) == SPLICE_answer_down_rst);
        CHECK(pair.asked(client.segment("more", 32)) == SPLICE_answer_down_rst);
        // The client's own RST goes to the server.
        CHECK(pair.in_kernel(client.segment("", 36, SPLICE_RST)) == SPLICE_forward_open);
    });
}

TEST_CASE("refused once more after a reload has changed the row, a flow takes the new row's choices") {
    Pair pair;
    // One whose first two choices are not the bridge that the reload leaves.
    const std::string& left = topology(4).bridges[0];
    std::optional<Client> client;
    std::string get, refuser = left;
    for (std::uint16_t port = 7100; refuser == left; ++port) {
        client = pair.connected(port);
        get = "GET /" + std::to_string(port) + " HTTP/1.1\r\n\r\n";
        CHECK(pair.in_kernel(client->segment(get)) == SPLICE_forward_first_payload);
        const auto bridge_now = [&] {
            return parse(pair.handle(client->segment("rest", 28)).sent.at(0)).destination;
        };
        const std::string first = bridge_now();
        if (first == left) continue;
        CHECK(pair.in_kernel(bounced(client->segment(get), first)) == SPLICE_forward_next_choice);
        refuser = bridge_now();
    }
    SplicerSetup setup = splicer_setup();
    setup.services[0].placement = placement_over(1);
    const auto fewer = std::make_shared<const SplicerSetup>(setup);
    pair.kernel.replace_setup(fewer);
    pair.portable.replace_setup(fewer);
    const Outcome moved = pair.handle(bounced(client->segment(get), refuser));
    CHECK(moved.verdict == SPLICE_forward_next_choice);
    CHECK(parse(moved.sent.at(0)).destination == left);
    CHECK(pair.asked(bounced(client->segment(get), left)) == SPLICE_answer_refused_503);
}

TEST_CASE(
    "a bridge that a reload has moved to an earlier place of the row is not asked again when it refuses") {
    both_families([](int family) {
        Pair pair(family);
        Client client = pair.opened();
        const auto bridge_now = [&] {
            return parse(pair.handle(client.segment("rest", 28)).sent.at(0)).destination;
        };
        const std::string first = bridge_now();
        CHECK(pair.in_kernel(bounced(client.segment(kGet), first)) == SPLICE_forward_next_choice);
        const std::string second = bridge_now();
        std::vector<std::uint16_t> left;
        for (std::uint16_t i = 0; i < 3; ++i)
            if (topology(family).bridges[i] != first) left.push_back(i);
        SplicerSetup setup = splicer_setup(family);
        setup.services[0].placement = placement_of(left);
        const auto drained = std::make_shared<const SplicerSetup>(setup);
        pair.kernel.replace_setup(drained);
        pair.portable.replace_setup(drained);
        CHECK(pair.in_kernel(bounced(client.segment(kGet), first)) == SPLICE_forward_open);
        CHECK(pair.in_kernel(bounced(client.segment(kGet), second)) == SPLICE_forward_next_choice);
        const std::string third = bridge_now();
        CHECK(third != first);
        CHECK(third != second);
        pair.kernel.stop_clock(read_clock());
        CHECK(pair.kernel.handle(read_clock(), bounced(client.segment(kGet), third).build()).verdict ==
              SPLICE_answer_refused_503);
    });
}

TEST_CASE("a first payload that two processors handle at once is not refused") {
    // One run a processor, of the same frame at the same time, for many flows: whichever comes second finds
    // the entry.
    Pair pair;
    constexpr std::uint16_t kFlows = 3000;
    std::vector<PacketBytes> frames;
    for (std::uint16_t i = 0; i < kFlows; ++i) {
        const Client client = pair.connected(static_cast<std::uint16_t>(10000 + i));
        // Half of them are user space's to choose: their entries are pending.
        frames.push_back(frame_around(client.segment(i % 2 ? kGet : kGet.substr(0, 9)).build()));
    }
    std::barrier together(2);
    const auto run_all = [&] {
        for (const PacketBytes& frame : frames) {
            PacketBytes out(frame.size() + 256);
            bpf_test_run_opts options{};
            options.sz = sizeof(options);
            options.data_in = frame.data();
            options.data_size_in = static_cast<std::uint32_t>(frame.size());
            options.data_out = out.data();
            options.data_size_out = static_cast<std::uint32_t>(out.size());
            options.repeat = 1;
            together.arrive_and_wait();
            (void)bpf_prog_test_run_opts(pair.kernel.maps().program(), &options);
        }
    };
    std::thread other(run_all);
    run_all();
    other.join();
    const splice_balancer_counters counters = pair.kernel.maps().counters();
    CHECK(counters.common.verdicts[SPLICE_drop_flow_table_full] == 0);
    // Each was decided or asked; a copy of an open flow's first payload is forwarded like any other packet.
    CHECK(counters.common.verdicts[SPLICE_forward_first_payload] +
              counters.common.verdicts[SPLICE_forward_open] ==
          kFlows);
    CHECK(counters.common.asked + counters.common.verdicts[SPLICE_drop_ask_overrun] == kFlows);
}

TEST_CASE("what is larger than the way to its bridge is user space's, which answers it; floods are dropped") {
    both_families([](int family) {
        Pair pair(family);
        Client client = pair.opened();
        pair.kernel.narrow(*pair.shared, 1400);
        pair.portable.splicer().set_route_mtus({1400, 1400, 1400});
        CHECK(pair.in_kernel(client.segment(std::string(1300, 'x'), 28)) == SPLICE_forward_open);
        const PacketBytes large = client.segment(std::string(1380, 'x'), 28).build();
        CHECK(pair.handle(large).verdict == SPLICE_answer_too_big);
        std::uint64_t dropped = 0;
        for (int i = 0; i < 2000; ++i) {
            dropped += pair.kernel.handle(read_clock(), large).verdict == SPLICE_drop_too_big;
            if (pair.kernel.decided_in_kernel()) decided_in_kernel.insert(SPLICE_drop_too_big);
        }
        CHECK(dropped > 0);
        CHECK(decided_in_kernel.contains(SPLICE_drop_too_big));
    });
}

TEST_CASE("a flow that is not open has a bounded share of user space") {
    Pair pair;
    Client client = pair.connected();
    CHECK(pair.asked(client.segment("GET /")) == SPLICE_hold_first_payload);
    std::map<Verdict, std::uint64_t> verdicts;
    for (int i = 0; i < 1000; ++i) {
        const Outcome outcome = pair.kernel.handle(read_clock(), client.segment("x", 100).build());
        ++verdicts[outcome.verdict];
        if (pair.kernel.decided_in_kernel()) decided_in_kernel.insert(outcome.verdict);
    }
    CHECK(verdicts[SPLICE_drop_first_payload_window] == 1000 - SPLICE_ASKS_A_FLOW);

    // Of a flow that every choice has refused.
    Client refused = pair.opened(40001);
    for (int refusal = 0; refusal < 3; ++refusal) {
        const std::string bridge = parse(pair.handle(refused.segment("rest", 28)).sent.at(0)).destination;
        (void)pair.kernel.handle(read_clock(), bounced(refused.segment(kGet), bridge).build());
        (void)pair.portable.handle(read_clock(), bounced(refused.segment(kGet), bridge).build());
    }
    verdicts.clear();
    for (int i = 0; i < 1000; ++i) {
        const Outcome outcome = pair.kernel.handle(read_clock(), refused.segment("more", 28).build());
        ++verdicts[outcome.verdict];
        if (pair.kernel.decided_in_kernel()) decided_in_kernel.insert(outcome.verdict);
    }
    CHECK(verdicts[SPLICE_answer_refused_rst] == SPLICE_ASKS_A_FLOW);
    CHECK(verdicts[SPLICE_drop_ask_overrun] == 1000 - SPLICE_ASKS_A_FLOW);
}

TEST_CASE("probes of connections that have sent nothing yet are answered in the kernel") {
    both_families([](int family) {
        Pair pair(family);
        for (const bool timestamps : {true, false}) {
            Client client(family, timestamps ? 5000 : 5001);
            if (!timestamps) client.base.timestamps.reset();
            Segment syn = client.base;
            syn.flags = SPLICE_SYN;
            syn.window_scale = 3;
            client.cookie = parse(pair.handle(syn).sent.at(0)).packet.seq;
            for (const std::size_t bytes : {0U, 1U}) {
                Segment probe = client.segment(std::string(bytes, '\0'), 0, SPLICE_ACK);
                probe.seq = client.base.seq;
                CHECK(pair.in_kernel(probe) == SPLICE_answer_keep_alive);
                CHECK(pair.in_kernel(damaged(probe.build())) == SPLICE_drop_bad_tcp_checksum);
            }
        }
        // A flood of one client's is not answered without end.
        Client client = pair.connected(5002);
        Segment probe = client.segment("", 0, SPLICE_ACK);
        probe.seq = client.base.seq;
        std::map<Verdict, std::uint64_t> verdicts;
        for (int i = 0; i < 10'000; ++i) ++verdicts[pair.kernel.handle(read_clock(), probe.build()).verdict];
        decided_in_kernel.insert(SPLICE_drop_keep_alive);
        CHECK(verdicts[SPLICE_answer_keep_alive] + verdicts[SPLICE_drop_keep_alive] == 10'000);
    });
}

TEST_CASE("what may answer a health check, or is one that was refused, is user space's; nothing else is") {
    both_families([](int family) {
        const std::string own = family == 4 ? "192.0.2.99" : "2001:db8::99";
        SplicerSetup setup = splicer_setup(family);
        (family == 4 ? setup.own.ipv4 : setup.own.ipv6) = IpAddress::parse(own)->raw();
        Pair pair(std::move(setup), family);
        Segment answer;
        answer.source = topology(family).vip;
        answer.source_port = 80;
        answer.destination = own;
        answer.destination_port = SPLICE_PROBE_PORT_FIRST;
        (void)pair.asked(answer);
        answer.destination_port = 65535;
        (void)pair.asked(answer);
        for (const auto& change : std::vector<void (*)(Segment&)>{
                 [](Segment& s) { s.destination_port = SPLICE_PROBE_PORT_FIRST - 1; },
                 [](Segment& s) { s.source_port = 81; }, [](Segment& s) { s.source.back() = '9'; },
                 [](Segment& s) { s.destination.back() = '8'; }}) {
            Segment other = answer;
            change(other);
            CHECK(pair.in_kernel(other) == SPLICE_pass_not_service);
        }
        Segment refused;
        refused.source = own;
        refused.source_port = 65000;
        refused.destination = topology(family).vip;
        refused.refused_by = topology(family).bridges[0];
        CHECK(pair.asked(refused) == SPLICE_drop_orphan);
        std::map<Verdict, int> verdicts;
        for (int i = 0; i < 10'000; ++i) ++verdicts[pair.kernel.handle(read_clock(), answer.build()).verdict];
        decided_in_kernel.insert(SPLICE_drop_check);
        CHECK(verdicts[SPLICE_drop_check] > 0);
        CHECK(verdicts[SPLICE_drop_check] + verdicts[SPLICE_pass_not_service] == 10'000);
    });
}

TEST_CASE(
    "a stranded opening that is repeated is chosen anew in the kernel; what it shows of bridges is counted "
    "there") {
    both_families([](int family) {
        SplicerSetup setup = splicer_setup(family);
        setup.services[0].check = ServiceCheck{.probe = std::make_shared<const ProbeRule>(),
                                               .health = {},
                                               .bridges = {{0, true}, {1, true}, {2, true}}};
        Pair pair(setup, family);
        const Client client = pair.connected(7000);
        const Outcome opened = pair.handle(client.segment(kGet));
        CHECK(opened.verdict == SPLICE_forward_first_payload);
        const std::string silent = parse(opened.sent.at(0)).destination;
        CHECK(pair.in_kernel(client.segment(kGet)) == SPLICE_forward_open);
        const Client served = pair.opened(7001);
        Segment heard = served.segment("", 28, SPLICE_ACK);
        heard.ack += 1000;
        for (int i = 0; i < 2; ++i) CHECK(pair.in_kernel(heard) == SPLICE_forward_open);
        const auto place = static_cast<std::uint16_t>(silent.back() - '1');
        const auto in_kernel = pair.kernel.maps().take_signs();
        REQUIRE(in_kernel.size() == 1);
        CHECK(in_kernel[0].bridge == place);
        CHECK(in_kernel[0].signs == PassiveSigns{.openings = 2, .answers = 1, .refusals = 0, .repeats = 1});
        CHECK(pair.kernel.splicer().take_signs().empty());
        const auto portable = pair.portable.splicer().take_signs();
        REQUIRE(portable.size() == 1);
        CHECK(portable[0].signs == in_kernel[0].signs);
        CHECK(pair.kernel.maps().take_signs().empty());
        // Both openings are timed, and the answer of the one that was answered, once.
        std::uint64_t openings = 0, answers = 0;
        for (std::size_t mark = 0; mark < SPLICE_CARRIAGE_MARKS; ++mark) {
            const splice_latencies timed = pair.kernel.maps().latencies(mark);
            for (const std::uint64_t count : timed.first_payload.buckets) openings += count;
            for (const std::uint64_t count : timed.answer.buckets) answers += count;
            const LatencyCounters& also = pair.portable.splicer().counters().latencies[mark];
            for (const auto& count : also.first_payload.buckets) openings += 10 * count;
            for (const auto& count : also.answer.buckets) answers += 10 * count;
        }
        CHECK(openings == 22);
        CHECK(answers == 11);
        const auto sent = pair.kernel.maps().take_traffic();
        REQUIRE(sent.size() == 1);
        CHECK(sent[0].bridge == place);
        CHECK(sent[0].packets == portable[0].packets);
        CHECK(sent[0].bytes == portable[0].bytes);
        CHECK(sent[0].packets >= 5);
        CHECK(pair.kernel.maps().take_traffic().empty());

        std::vector<std::uint16_t> others{0, 1, 2};
        std::erase(others, place);
        setup.services[0].placement = placement_of(others);
        setup.services[0].silent = {place};
        const auto without = std::make_shared<const SplicerSetup>(setup);
        pair.kernel.replace_setup(without);
        pair.portable.replace_setup(without);
        CHECK(pair.in_kernel(client.segment("more", 28)) == SPLICE_forward_open);
        CHECK(pair.in_kernel(heard) == SPLICE_forward_open);
        const Outcome again = pair.handle(client.segment(kGet));
        CHECK(again.verdict == SPLICE_forward_first_payload);
        CHECK(pair.kernel.decided_in_kernel());
        CHECK(parse(again.sent.at(0)).destination != silent);
        CHECK(pair.in_kernel(client.segment("more", 28)) == SPLICE_forward_open);
    });
}

TEST_CASE(
    "a stranded opening that is repeated where no bridge is placed any more is user space's to answer") {
    both_families([](int family) {
        SplicerSetup setup = splicer_setup(family);
        Pair pair(setup, family);
        const Client client = pair.connected(7000);
        CHECK(pair.handle(client.segment(kGet)).verdict == SPLICE_forward_first_payload);
        setup.services[0].placement = placement_over(0);
        setup.services[0].silent = {0, 1, 2};
        const auto without = std::make_shared<const SplicerSetup>(setup);
        pair.kernel.replace_setup(without);
        pair.portable.replace_setup(without);
        CHECK(pair.in_kernel(client.segment("more", 28)) == SPLICE_forward_open);
        CHECK(pair.asked(client.segment(kGet)) == SPLICE_answer_no_bridge_503);
        CHECK(pair.asked(client.segment("more", 28)) == SPLICE_answer_refused_rst);
    });
}

TEST_CASE("a refusal after the server has answered is late") {
    Pair pair;
    Client client = pair.opened();
    Segment heard = client.segment("", 28, SPLICE_ACK);
    heard.ack += 1000;
    CHECK(pair.in_kernel(heard) == SPLICE_forward_open);
    const std::string bridge = parse(pair.handle(heard).sent.at(0)).destination;
    CHECK(pair.in_kernel(bounced(client.segment(kGet), bridge)) == SPLICE_drop_refused_late);
    // Of a bridge that it never went to: what an earlier choice of the row would say, too.
    for (const std::string& other : topology(4).bridges)
        if (other != bridge)
            CHECK(pair.in_kernel(bounced(client.segment(kGet), other)) == SPLICE_drop_refused_late);
}

TEST_CASE(
    "a RST that a stopping bridge sends back closes its flow; another bridge's, a client's and a damaged one "
    "do not") {
    both_families([](int family) {
        Pair pair(family);
        Client client = pair.opened();
        Segment heard = client.segment("", 28, SPLICE_ACK);
        heard.ack += 1000;
        CHECK(pair.in_kernel(heard) == SPLICE_forward_open);
        const std::string bridge = parse(pair.handle(heard).sent.at(0)).destination;
        const auto open = [&] {
            (void)pair.kernel.expire(read_clock());
            const std::uint64_t portable = pair.portable.splicer().flow_counts().of(1, 0).open +
                                           pair.portable.splicer().flow_counts().of(1, 1).open +
                                           pair.portable.splicer().flow_counts().of(1, 2).open;
            return portable;
        };
        Segment over = client.segment("", 28, SPLICE_RST);
        over.ack = 0;
        for (const std::string& other : topology(family).bridges)
            if (other != bridge) CHECK(pair.in_kernel(bounced(over, other)) == SPLICE_drop_refused_late);
        CHECK(pair.in_kernel(damaged(bounced(client.segment("x", 28, SPLICE_RST), bridge).build())) ==
              SPLICE_drop_bad_tcp_checksum);
        CHECK(open() == 1);
        CHECK(pair.in_kernel(bounced(over, bridge)) == SPLICE_drop_refused_late);
        CHECK(open() == 0);
        // Its bridge runs on after all: the flow speaks again, and is open.
        CHECK(pair.in_kernel(heard) == SPLICE_forward_open);
        CHECK(open() == 1);
        Client unknown(family, 41000);
        Segment stray = unknown.segment("", 28, SPLICE_RST);
        CHECK(pair.in_kernel(bounced(stray, bridge)) == SPLICE_drop_refused_unknown);
    });
}

TEST_CASE("what a bridge does not have goes to who else its lane may mean, each once, and then is answered") {
    both_families([](int family) {
        const auto& bridges = topology(family).bridges;
        Pair pair(laned_setup(family), family);
        // No entry: it names b2, which does not have it, so it may be an old echo of b3.
        const Outcome next = pair.handle(bounced(in_lane(family, 2), bridges[1]));
        CHECK(next.verdict == SPLICE_forward_not_mine);
        CHECK(parse(next.sent.at(0)).destination == bridges[2]);
        const Outcome told = pair.handle(bounced(in_lane(family, 2), bridges[2]));
        CHECK(told.verdict == SPLICE_answer_not_mine_rst);
        CHECK((parse(told.sent.at(0)).packet.tcp_flags & SPLICE_RST) != 0);
        CHECK(parse(told.sent.at(0)).packet.seq == in_lane(family, 2).ack);
        // Nobody that it may be of has bounced it: an ordinary packet.
        CHECK(pair.asked(bounced(in_lane(family, 2), bridges[0])) == SPLICE_forward_lane);
        // The number is nobody's, but the one above is b1's. A connection of it may live where it is
        // configured.
        Segment old = in_lane(family, 1);
        old.timestamps->echo_reply -= 1'000'000;
        CHECK(pair.asked(bounced(old, bridges[0])) == SPLICE_answer_not_mine_rst);
    });
}

TEST_CASE("a lane of nobody's is that of the number above, and never answered with RST") {
    both_families([](int family) {
        SplicerSetup setup = laned_setup(family);
        setup.bridges[1].number = 7;
        Pair pair(std::move(setup), family);
        const Outcome is = pair.handle(in_lane(family, 6));
        CHECK(is.verdict == SPLICE_forward_lane);
        CHECK(pair.kernel.decided_in_kernel());
        CHECK(parse(is.sent.at(0)).destination == topology(family).bridges[1]);
        CHECK(pair.asked(bounced(in_lane(family, 6), topology(family).bridges[1])) ==
              SPLICE_drop_lane_unknown);
        CHECK(pair.in_kernel(in_lane(family, 5)) == SPLICE_drop_lane_unknown);
    });
}

TEST_CASE(
    "an entry of another connection on the same ports gives way when its bridge does not have this one") {
    both_families([](int family) {
        const auto& bridges = topology(family).bridges;
        Pair pair(laned_setup(family), family);
        Client client = pair.opened();
        const std::string stale = parse(pair.handle(client.segment(kGet)).sent.at(0)).destination;
        const auto number = std::ranges::find(bridges, stale) - bridges.begin() + 1;
        Segment heard = client.segment("", 28, SPLICE_ACK);
        heard.ack += 1000;
        heard.timestamps->echo_reply =
            in_lane(family, static_cast<std::uint32_t>(number)).timestamps->echo_reply;
        CHECK(pair.in_kernel(heard) == SPLICE_forward_open);
        // Another balancer began the next connection, with another bridge; here it finds the old entry.
        for (std::size_t i = 0; i < 3; ++i) {
            if (bridges[i] == stale) continue;
            Segment now = in_lane(family, static_cast<std::uint32_t>(i + 1));
            CHECK(pair.in_kernel(now) == SPLICE_forward_open);
            const Outcome moved = pair.handle(bounced(now, stale));
            CHECK(moved.verdict == SPLICE_forward_not_mine);
            CHECK(parse(moved.sent.at(0)).destination == bridges[i]);
            CHECK(pair.in_kernel(now) == SPLICE_forward_lane);
            client = pair.opened();
            pair.handle(heard);
        }
        // Without a lane nobody else can be asked. Nor does a segment in such a client's name end its flow.
        client = pair.opened(40001);
        heard = client.segment("", 28, SPLICE_ACK);
        heard.ack += 1000;
        const std::string bridge = parse(pair.handle(heard).sent.at(0)).destination;
        Segment bare = heard;
        bare.timestamps.reset();
        CHECK(pair.asked(bounced(bare, bridge)) == SPLICE_answer_not_mine_rst);
        CHECK(pair.in_kernel(bare) == SPLICE_forward_open);
    });
}

TEST_CASE("a bounce that is no bridge's is an ordinary packet: no client steers by the refusal's DSCP") {
    both_families([](int family) {
        Pair pair(laned_setup(family), family);
        Client client = pair.connected();
        const auto marked = [](Segment segment) {
            segment.dscp = 63;
            return segment;
        };
        CHECK(pair.asked(marked(client.segment(kGet))) == SPLICE_forward_first_payload);
        CHECK(pair.in_kernel(marked(client.segment(kGet))) == SPLICE_forward_open);
        Segment heard = client.segment("", 28, SPLICE_ACK);
        heard.ack += 1000;
        CHECK(pair.in_kernel(marked(heard)) == SPLICE_forward_open);
        heard.ack += 1000;
        CHECK(pair.in_kernel(marked(heard)) == SPLICE_forward_open);
        CHECK(pair.asked(marked(in_lane(family, 3, 40007))) == SPLICE_forward_lane);
    });
}

TEST_CASE("where the source chooses, a segment of no flow goes where its connection went") {
    both_families([](int family) {
        const auto& bridges = topology(family).bridges;
        Pair pair(rules_by_source(family), family);
        const Client client = pair.connected();
        const Outcome opened = pair.handle(client.segment("", 0, SPLICE_ACK));
        CHECK(opened.verdict == SPLICE_forward_first_ack);
        const std::string bridge = parse(opened.sent.at(0)).destination;

        Pair other(rules_by_source(family), family);
        Segment orphan = client.segment("later", 100);
        orphan.ack += 1000;
        const Outcome is = other.handle(orphan);
        CHECK(is.verdict == SPLICE_forward_source);
        CHECK(other.kernel.decided_in_kernel());
        CHECK(parse(is.sent.at(0)).destination == bridge);
        // It had gone to a later choice: each is asked, once.
        std::set<std::string> asked{bridge};
        Segment bounce = bounced(orphan, bridge);
        for (int i = 0; i < 2; ++i) {
            const Outcome next = other.handle(bounce);
            CHECK(next.verdict == SPLICE_forward_not_mine);
            bounce.refused_by = parse(next.sent.at(0)).destination;
            asked.insert(bounce.refused_by);
        }
        CHECK(asked.size() == bridges.size());
        CHECK(other.asked(bounce) == SPLICE_answer_not_mine_rst);
    });
}

TEST_CASE("a service that chooses by source begins with the handshake's last ACK") {
    both_families([](int family) {
        Pair pair(rules_by_source(family), family);
        for (std::uint16_t port = 5000; port < 5010; ++port) {
            Client client = pair.connected(port);
            CHECK(pair.in_kernel(client.segment("", 0, SPLICE_ACK)) == SPLICE_forward_first_ack);
            CHECK(pair.in_kernel(client.segment("hello")) == SPLICE_forward_open);
        }
        Client speaks = pair.connected(5011);
        CHECK(pair.in_kernel(speaks.segment("hello")) == SPLICE_forward_first_payload_source);
        CHECK(pair.kernel.maps().counters().chosen_by_source == 11);
    });
}

TEST_CASE(
    "a PROXY header that is whole is read in the kernel, and user space tells why another one is not "
    "enough") {
    const std::string v2("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\7\xc6\x33\x64\x0a\1\2\0\x50", 28);
    std::string tlvs = v2 + std::string(600, 't');
    tlvs[14] = static_cast<char>(612 >> 8);
    tlvs[15] = static_cast<char>(612 & 255);
    const std::string v2_ipv6 = std::string("\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24", 16) + std::string(36, 'a');
    const std::vector<std::string> addressed{v2,
                                             tlvs,
                                             v2_ipv6,
                                             "PROXY TCP4 203.0.113.7 198.51.100.10 258 80\r\n",
                                             "PROXY TCP6 2001:db8::7 2001:db8::a 258 80\r\n",
                                             "PROXY TCP6 1:2:3:4:5:6:203.0.113.7 ::a 258 80\r\n"};
    const std::vector<std::string> without{"PROXY UNKNOWN 1 2\r\n",
                                           std::string("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 16),
                                           std::string("\r\n\r\n\0\r\nQUIT\n\x21\0\0\0", 16)};
    const std::vector<std::string> wrong{"PROXY TCP4 203.0.113.777 198.51.100.10 258 80\r\n", "",
                                         std::string("\r\n\r\n\0\r\nQUIT\n\x22\0\0\0", 16)};
    both_families([&](int family) {
        SplicerSetup by_uri = splicer_setup(family), by_source = rules_by_source(family);
        by_uri.services[0].proxy_protocol = by_source.services[0].proxy_protocol = ProxyProtocol::accept;
        Pair uri(std::move(by_uri), family), source(std::move(by_source), family);
        std::uint16_t port = 5000;
        for (const std::string& header : addressed) {
            CAPTURE(header);
            CHECK(uri.in_kernel(uri.connected(++port).segment(header + kGet)) ==
                  SPLICE_forward_first_payload);
            CHECK(source.in_kernel(source.connected(port).segment(header)) ==
                  SPLICE_forward_first_payload_source);
        }
        for (const std::string& header : without) {
            CAPTURE(header);
            CHECK(uri.in_kernel(uri.connected(++port).segment(header + kGet)) ==
                  SPLICE_forward_first_payload);
            CHECK(source.asked(source.connected(port).segment(header)) ==
                  SPLICE_forward_first_payload_source);
        }
        for (const std::string& header : wrong) {
            CAPTURE(header);
            CHECK(uri.asked(uri.connected(++port).segment(header + kGet)) ==
                  SPLICE_forward_first_payload_source);
            CHECK(source.asked(source.connected(port).segment(header + kGet)) ==
                  SPLICE_forward_first_payload_source);
        }
        // The handshake's last ACK, and a FIN without a word.
        Client bare = source.connected(++port);
        CHECK(source.in_kernel(bare.segment("", 0, SPLICE_ACK)) == SPLICE_drop_handshake_ack);
        CHECK(source.asked(bare.segment("", 0, SPLICE_ACK | SPLICE_FIN)) ==
              SPLICE_forward_first_payload_source);
        CHECK(source.kernel.maps().counters().chosen_by_source == addressed.size());
        // Cut anywhere, whether the kernel sees the beginning or all but the end.
        for (const std::string& header : {v2, addressed[3], addressed[5], without[0]}) {
            const std::string stream = header + kGet;
            for (std::size_t cut = 1; cut < header.size() + 16; ++cut) {
                CAPTURE(cut);
                Client client = uri.connected(++port);
                const Verdict begins = uri.asked(client.segment(stream.substr(0, cut)));
                CHECK(begins == SPLICE_hold_first_payload);
                CHECK(uri.asked(client.segment(stream.substr(cut), static_cast<std::uint32_t>(cut))) ==
                      SPLICE_release_first_payload);
            }
        }
    });
}

TEST_CASE("keys and placements that the kernel does not know are user space's") {
    SplicerSetup setup = splicer_setup();
    setup.services[0].key = *HashKeyRule::parse("hdr(x-tenant)");
    Pair header(std::move(setup));
    CHECK(header.asked(header.connected().segment("GET / HTTP/1.1\r\nX-Tenant: t\r\n\r\n")) ==
          SPLICE_forward_first_payload);
    SplicerSetup ring = rules_by_source(4);
    ring.services[0].placement = placement_over(3, Algorithm::ketama);
    Pair ketama(std::move(ring));
    CHECK(ketama.asked(ketama.connected().segment("", 0, SPLICE_ACK)) == SPLICE_forward_first_ack);
}

TEST_CASE("bounded load and warm second choices are the same in the kernel and in user space") {
    both_families([](int family) {
        SplicerSetup setup = splicer_setup(family);
        SplicerService& service = setup.services[0];
        service.bounded_load = 1.25;
        service.choice.warmup = 65536 / 10;
        service.choice.weighs = 1;
        service.members = {{0, 1}, {1, 1}, {2, 1}};
        REQUIRE(place_states(setup));
        Pair pair(std::move(setup), family);
        std::map<std::string, int> bridges;
        Duration now = 1s;
        std::uint16_t port = 2000;
        for (int round = 0; round < 20; ++round) {
            pair.tick(now);
            now += 200ms;
            for (int i = 0; i < 25; ++i) {
                Client client = pair.connected(port++);
                // One of five is user space's to decide: the target has a form of its own.
                const std::string target = i % 5 == 0 ? "http://h/a" : "/a";
                const Outcome outcome =
                    pair.handle(client.segment("GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n"));
                REQUIRE(outcome.verdict == SPLICE_forward_first_payload);
                ++bridges[parse(outcome.sent.back()).destination];
            }
        }
        pair.tick(now);
        // One key: its bridge is kept to 1.25 times the mean, less what the first tick let through.
        REQUIRE(bridges.size() == 3);
        int most = 0;
        for (const auto& [bridge, count] : bridges) most = std::max(most, count);
        CHECK(most < 500 / 3 * 1.25 + 25 + 30);
        const splice_choice_counts kernel = pair.kernel.maps().counters().choices[1];
        const ChoiceCounters& asked = pair.kernel.splicer().counters().choices[1];
        const ChoiceCounters& portable = pair.portable.splicer().counters().choices[1];
        for (std::size_t i = 0; i < SPLICE_CHOICES; ++i)
            CHECK(kernel.ranks[i] + asked.ranks[i] == portable.ranks[i]);
        for (std::size_t i = 0; i < SPLICE_CHOICE_WHYS; ++i)
            CHECK(kernel.whys[i] + asked.whys[i] == portable.whys[i]);
        CHECK(kernel.whys[SPLICE_CHOSE_WARMUP] > 0);
        CHECK(kernel.whys[SPLICE_CHOSE_NEXT] > 0);
        for (std::uint32_t state = 0; state < 3; ++state) {
            CHECK(pair.kernel.splicer().loads().load(state).offered ==
                  doctest::Approx(pair.portable.splicer().loads().load(state).offered));
            CHECK(pair.kernel.splicer().loads().load(state).taken ==
                  doctest::Approx(pair.portable.splicer().loads().load(state).taken));
        }
    });
}

TEST_CASE("a flow that a warm second choice refuses goes to its first, and to no bridge twice") {
    SplicerSetup setup = splicer_setup();
    SplicerService& service = setup.services[0];
    service.choice.warmup = 65535;
    service.choice.weighs = 1;
    service.members = {{0, 1}, {1, 1}, {2, 1}};
    REQUIRE(place_states(setup));
    Pair pair(std::move(setup));
    Client client = pair.connected();
    std::set<std::string> asked;
    Outcome outcome = pair.handle(client.segment(kGet));
    for (int choice = 0; choice < 3; ++choice) {
        const std::string bridge = parse(outcome.sent.back()).destination;
        CHECK(asked.insert(bridge).second);
        outcome = pair.handle(bounced(client.segment(kGet), bridge));
        if (choice < 2) CHECK(outcome.verdict == SPLICE_forward_next_choice);
    }
    CHECK(outcome.verdict == SPLICE_answer_refused_503);
}

TEST_CASE("a reload keeps the loads of bridges that stay, and the program chooses by them at once") {
    SplicerSetup setup = splicer_setup();
    SplicerService& service = setup.services[0];
    service.bounded_load = 1.25;
    service.choice.weighs = 1;
    service.members = {{0, 1}, {1, 1}, {2, 1}};
    REQUIRE(place_states(setup));
    const auto shared = std::make_shared<const SplicerSetup>(setup);
    Pair pair(std::move(setup));
    auto open_some = [&pair, port = std::uint16_t{2000}](int count) mutable {
        for (int i = 0; i < count; ++i) {
            Client client = pair.connected(port++);
            CHECK(pair.in_kernel(client.segment(kGet)) == SPLICE_forward_first_payload);
        }
    };
    pair.tick(1s);
    open_some(100);
    pair.tick(2s);
    for (int reload = 0; reload < 3; ++reload) {
        pair.kernel.replace_setup(shared);
        pair.portable.replace_setup(shared);
        pair.kernel.maps().write_states(pair.kernel.splicer().loads());
        open_some(60);
        pair.tick(3s + 1s * reload);
    }
    CHECK(pair.portable.splicer().counters().choices[1].whys[SPLICE_CHOSE_NEXT] > 60);
}

TEST_CASE("a key that is hot is spread over two bridges, in the kernel and in user space alike") {
    both_families([](int family) {
        SplicerSetup setup = splicer_setup(family);
        SplicerService& service = setup.services[0];
        service.hot_keys = 4;
        service.choice.spread = 2;
        service.choice.weighs = 1;
        service.members = {{0, 1}, {1, 1}, {2, 1}};
        service.watch = std::make_shared<ServiceWatch>(3);
        REQUIRE(place_states(setup));
        const splice_placement_row row = service.placement->choose("/a").bridges;
        Pair pair(std::move(setup), family);
        std::uint16_t port = 2000;
        const auto open_some = [&](int count) {
            std::map<std::string, int> bridges;
            for (int i = 0; i < count; ++i) {
                Client client = pair.connected(port++);
                const Outcome outcome = pair.handle(client.segment(kGet));
                REQUIRE(outcome.verdict == SPLICE_forward_first_payload);
                CHECK(pair.kernel.decided_in_kernel());
                ++bridges[parse(outcome.sent.back()).destination];
            }
            return bridges;
        };
        const auto& addresses = topology(family).bridges;
        pair.tick(0s);
        CHECK(open_some(40)[addresses[row.choices[0]]] == 40);
        pair.tick(1s);
        REQUIRE(pair.shared->services[0].watch->hot_keys().size() == 1);
        CHECK(pair.shared->services[0].watch->hot_keys()[0].key == "/a");
        auto spread = open_some(200);
        CHECK(spread[addresses[row.choices[2]]] == 0);
        // The second choice makes up for the forty that the first had, then they share.
        CHECK(std::abs(spread[addresses[row.choices[0]]] - 80) < 20);
        const auto& counts = pair.portable.splicer().counters().choices[1];
        CHECK(counts.whys[SPLICE_CHOSE_SPREAD] == 200);
        CHECK(pair.kernel.maps().counters().choices[1].whys[SPLICE_CHOSE_SPREAD] == 200);
        // Another key stays where it is.
        Client other = pair.connected(port++);
        const Outcome outcome = pair.handle(other.segment("GET /other HTTP/1.1\r\n\r\n"));
        const auto home = pair.shared->services[0].placement->choose("/other").bridges.choices[0];
        CHECK(parse(outcome.sent.back()).destination == addresses[home]);
    });
}

// What a service may say of its choices, drawn at random.
SplicerSetup drawn_setup(int family, std::mt19937& random) {
    const auto draw = [&random](auto... values) {
        const std::array each{values...};
        return each[random() % each.size()];
    };
    SplicerSetup setup = splicer_setup(family);
    SplicerService& service = setup.services[0];
    service.key =
        HashKeyRule::parse(draw("uri", "path", "uri query(sort,exclude=utm_*)", "uri normalise depth 2",
                                "hdr(x-a)+hdr(x-b)+path", "host+uri query(include=id)"))
            .value();
    service.choice.warmup = draw(std::uint16_t{0}, std::uint16_t{3000}, std::uint16_t{40000});
    service.choice.spread = draw(std::uint8_t{0}, std::uint8_t{2}, std::uint8_t{3});
    service.hot_keys = service.choice.spread > 0 ? 4 : 0;
    service.bounded_load = draw(0.0, 1.05, 1.5);
    service.choice.weighs =
        service.choice.warmup > 0 || service.hot_keys > 0 || service.bounded_load > 0 ? 1 : 0;
    if (service.choice.weighs) {
        for (std::uint16_t bridge = 0; bridge < 3; ++bridge)
            service.members.push_back({bridge, draw(1U, 2U, 7U)});
    }
    if (draw(true, false)) {
        const bool same_key = draw(true, false);
        ShadowRule shadow{.key = same_key ? service.key : HashKeyRule::parse("hdr(x-b)").value(),
                          .placement = placement_over(3, Algorithm::maglev),
                          .before = service.placement,
                          .ramp = draw(std::uint16_t{0}, std::uint16_t{20000}, std::uint16_t{65535}),
                          .in_table = same_key};
        if (same_key)
            service.placement = std::make_shared<const Placement>(
                service.placement->with_rows_of(*shadow.placement, shadow.ramp).value());
        service.shadow = std::move(shadow);
    }
    if (service.shadow || service.hot_keys > 0) service.watch = std::make_shared<ServiceWatch>(3);
    REQUIRE(place_states(setup));
    return setup;
}

TEST_CASE("services and requests drawn at random: the kernel and user space choose alike") {
    for (std::uint32_t seed = 1; seed <= 24; ++seed) {
        CAPTURE(seed);
        std::mt19937 random(seed);
        const int family = seed % 2 ? 4 : 6;
        Pair pair(drawn_setup(family, random), family);
        const SplicerService& service = pair.shared->services[0];
        CAPTURE(service.key.to_string());
        CAPTURE(service.choice.warmup);
        CAPTURE(service.choice.spread);
        CAPTURE(service.bounded_load);
        CAPTURE(service.shadow.has_value());
        const auto any = [&random](std::initializer_list<const char*> values) {
            return std::string(*(values.begin() + random() % values.size()));
        };
        std::uint16_t port = 2000;
        for (int round = 0; round < 8; ++round) {
            pair.tick(round * 500ms);
            for (int i = 0; i < 25; ++i) {
                Client client = pair.connected(port++);
                // How many openings of a hot key each bridge has had since the last tick, the kernel program
                // and user space know each of its own: beside a hot key only one of them decides.
                const bool plain = service.hot_keys > 0;
                const std::string request =
                    "GET " +
                    (plain ? any({"/hot", "/hot", "/hot", ("/" + std::to_string(port)).c_str()})
                           : any({"/hot", "/hot", "/a/b/c", "/%61/./b", "/x/../hot", "http://h/hot"}) +
                                 any({"", "", "?id=1&b=2", "?b=2&utm_x=3&id=1", "?"})) +
                    " HTTP/1.1\r\nHost: " + any({"h", "H.example:80"}) + "\r\n" +
                    any({"X-A: 1\r\n", "", "x-a: 2\r\n"}) + any({"X-B: 1\r\n", "", "x-b: 2\r\n"}) + "\r\n";
                CAPTURE(request);
                REQUIRE(pair.handle(client.segment(request)).verdict == SPLICE_forward_first_payload);
            }
        }
        pair.tick(4s);
        // Which counts are whose differs; their sums do not.
        const splice_choice_counts kernel = pair.kernel.maps().counters().choices[1];
        const ChoiceCounters& asked = pair.kernel.splicer().counters().choices[1];
        const ChoiceCounters& portable = pair.portable.splicer().counters().choices[1];
        std::uint64_t weighed = 0;
        for (std::size_t i = 0; i < SPLICE_CHOICE_WHYS; ++i) {
            CAPTURE(i);
            CHECK(kernel.whys[i] + asked.whys[i].load() == portable.whys[i].load());
            weighed += portable.whys[i];
        }
        CHECK(weighed == (service.choice.weighs ? 200U : 0U));
    }
}

TEST_CASE("a ramp moves its share of rows to the shadow's key; the kernel leaves those to user space") {
    SplicerSetup setup = splicer_setup();
    SplicerService& service = setup.services[0];
    service.watch = std::make_shared<ServiceWatch>(3);
    service.shadow = ShadowRule{.key = *HashKeyRule::parse("hdr(x-tenant)"),
                                .placement = service.placement,
                                .before = service.placement,
                                .ramp = 65536 / 4,
                                .in_table = false};
    Pair pair(std::move(setup));
    const SplicerService& running = pair.shared->services[0];
    const auto tenant = running.placement->choose("t1").bridges.choices[0];
    int moved = 0;
    for (std::uint16_t port = 2000; port < 2400; ++port) {
        const std::string target = "/" + std::to_string(port);
        const Choices now = running.placement->choose(target);
        Client client = pair.connected(port);
        const Outcome outcome =
            pair.handle(client.segment("GET " + target + " HTTP/1.1\r\nX-Tenant: t1\r\n\r\n"));
        REQUIRE(outcome.verdict == SPLICE_forward_first_payload);
        const bool moves = splice_ramp_moves(now.row, running.shadow->ramp);
        moved += moves ? 1 : 0;
        CHECK(pair.kernel.decided_in_kernel() == !moves);
        CHECK(parse(outcome.sent.back()).destination ==
              topology(4).bridges[moves ? tenant : now.bridges.choices[0]]);
    }
    CHECK(std::abs(moved - 100) < 30);
    // Both engines count into one watch: the portable each, the kernel those that it asked about and copies.
    const auto shadow = running.watch->shadow();
    CHECK(shadow.openings > 400 + static_cast<std::uint64_t>(moved));
    CHECK(shadow.moved > 0);
}

TEST_CASE("an ICMP error goes to its flow's bridge; one about no flow is dropped, one about others passes") {
    both_families([](int family) {
        Pair pair(family);
        Client client = pair.opened();
        Segment response = client.base;
        std::swap(response.source, response.destination);
        std::swap(response.source_port, response.destination_port);
        const std::string router = family == 4 ? "203.0.113.1" : "2001:db8:ffff::1";
        const auto too_big = [&](const Segment& about, std::size_t quoted) {
            return icmp_too_big(router, topology(family).vip, about.build(), quoted, 1300);
        };
        const std::size_t ip_header = family == 4 ? 20 : 40;
        CHECK(pair.in_kernel(too_big(response, ip_header + 8)) == SPLICE_forward_icmp);
        CHECK(pair.in_kernel(too_big(response, 1000)) == SPLICE_forward_icmp);
        Segment unknown = response;
        unknown.destination_port = 9;
        CHECK(pair.in_kernel(too_big(unknown, 1000)) == SPLICE_drop_orphan_icmp);
        Segment other = response;
        other.source_port = 22;
        CHECK(pair.in_kernel(too_big(other, 1000)) == SPLICE_pass_icmp_not_ours);
        CHECK(pair.in_kernel(too_big(response, ip_header + 4)) == SPLICE_drop_bad_icmp);
    });
}

TEST_CASE("an ICMP error about no flow here goes to the bridge whose clock the quoted packet bears") {
    both_families([](int family) {
        Pair pair(laned_setup(family), family);
        const std::string router = family == 4 ? "203.0.113.1" : "2001:db8:ffff::1";
        const std::size_t ip_header = family == 4 ? 20 : 40;
        for (const std::uint32_t number : {1U, 3U}) {
            // What the bridge had sent: its clock is what the client would echo.
            Segment response = in_lane(family, number);
            std::swap(response.source, response.destination);
            std::swap(response.source_port, response.destination_port);
            response.timestamps->value = response.timestamps->echo_reply;
            response.payload = std::string(1000, 'x');
            const auto too_big = [&](const Segment& about, std::size_t quoted) {
                return icmp_too_big(router, topology(family).vip, about.build(), quoted, 1300);
            };
            const Outcome is = pair.handle(too_big(response, 500));
            CHECK(is.verdict == SPLICE_forward_icmp);
            CHECK(pair.kernel.decided_in_kernel());
            const Bytes sent(is.sent.at(0));
            const IpAddress bridge = *IpAddress::parse(topology(family).bridges[number - 1]);
            CHECK(std::memcmp(sent.data() + (family == 4 ? 16 : 24),
                              bridge.raw().bytes + (family == 4 ? 12 : 0), family == 4 ? 4 : 16) == 0);
            CHECK(pair.in_kernel(too_big(response, ip_header + 32)) == SPLICE_forward_icmp);
            // Not enough of it, or no lane.
            CHECK(pair.in_kernel(too_big(response, ip_header + 31)) == SPLICE_drop_orphan_icmp);
            CHECK(pair.in_kernel(too_big(response, ip_header + 8)) == SPLICE_drop_orphan_icmp);
            response.timestamps->value += 0x80000000U;
            CHECK(pair.in_kernel(too_big(response, 500)) == SPLICE_drop_orphan_icmp);
        }
    });
}

TEST_CASE("a connection whose client echoes another bridge's clock is counted, and keeps its entry") {
    both_families([](int family) {
        Pair pair(laned_setup(family), family);
        const auto answered = [&](std::uint16_t port, int off) {
            const Client client = pair.opened(port);
            Segment heard = client.segment("", 28, SPLICE_ACK);
            heard.ack += 1000;
            const std::string bridge = parse(pair.handle(client.segment(kGet)).sent.at(0)).destination;
            const auto& all = topology(family).bridges;
            const auto number = static_cast<int>(std::ranges::find(all, bridge) - all.begin()) + 1;
            const int other = (number - 1 + off) % 3 + 1;
            heard.timestamps->echo_reply =
                in_lane(family, static_cast<std::uint32_t>(other), port).timestamps->echo_reply;
            const Outcome is = pair.handle(heard);
            CHECK(is.verdict == SPLICE_forward_open);
            CHECK(parse(is.sent.at(0)).destination == bridge);
            // Once a connection.
            CHECK(pair.in_kernel(heard) == SPLICE_forward_open);
        };
        const auto counted = [&] {
            CHECK(pair.kernel.maps().counters().lanes_disagree ==
                  pair.portable.splicer().counters().lanes_disagree);
            return pair.kernel.maps().counters().lanes_disagree;
        };
        for (std::uint16_t port = 5000; port < 5010; ++port) answered(port, 0);
        CHECK(counted() == 0);
        for (std::uint16_t port = 5010; port < 5040; ++port) answered(port, 1);
        CHECK(counted() == 30);
    });
}

TEST_CASE("a full flow table refuses new flows and keeps the living") {
    SplicerSetup setup = splicer_setup();
    setup.max_flows = 1;
    Pair pair(std::move(setup));
    Client first = pair.opened(6000);
    Client second = pair.connected(6001);
    CHECK(pair.in_kernel(second.segment(kGet)) == SPLICE_drop_flow_table_full);
    CHECK(pair.in_kernel(second.segment("GET /incompl")) == SPLICE_drop_flow_table_full);
    CHECK(pair.in_kernel(first.segment("", 28, SPLICE_ACK)) == SPLICE_forward_open);
}

TEST_CASE("the program gives each address its share of a table that a sweep has found nearly full") {
    both_families([](int family) {
        SplicerSetup setup = splicer_setup(family);
        setup.max_flows = 128;
        Pair pair(std::move(setup), family);
        std::uint16_t port = 6000;
        for (int i = 0; i < 96; ++i) pair.opened(++port);
        // What a sweep finds: three quarters of the table are this one address's.
        const Instant now = read_clock();
        pair.kernel.expire(now);
        CHECK(pair.kernel.maps().sources().share == 3);
        CHECK(pair.in_kernel(pair.connected(++port).segment(kGet)) == SPLICE_drop_source_share);
        CHECK(pair.in_kernel(pair.connected(++port).segment("GET /incompl")) == SPLICE_drop_source_share);
        // The known ones go on.
        CHECK(pair.in_kernel(pair.connected(6001).segment(kGet)) == SPLICE_forward_open);
        for (const int seconds : {20, 80}) {
            Instant later = now;
            later.monotonic += std::chrono::seconds(seconds);
            pair.kernel.expire(later);
            CHECK(pair.kernel.maps().sources().share == (seconds == 20 ? 3 : 0));
            pair.portable.expire(later);
        }
        CHECK(pair.in_kernel(pair.connected(++port).segment(kGet)) == SPLICE_forward_first_payload);
    });
}

TEST_CASE("a service without a bridge says so: what the client is told is user space's to write") {
    SplicerSetup setup = splicer_setup();
    setup.services[0].placement = placement_over(0);
    Pair pair(std::move(setup));
    CHECK(pair.asked(pair.connected().segment(kGet)) == SPLICE_answer_no_bridge_503);
}

TEST_CASE("a bridge whose next hop is not known yet gets its packets from user space") {
    Pair pair;
    Client client = pair.opened();
    // Another address under the same number: what was known of the old one's next hop does not count.
    std::vector<SplicerBridge> moved = pair.shared->bridges;
    for (auto& bridge : moved) bridge.address = *IpAddress::parse("10.9.9.9");
    pair.kernel.maps().write_bridges(moved, std::vector<std::optional<NextHop>>(moved.size()));
    CHECK(pair.asked(client.segment("", 28, SPLICE_ACK)) == SPLICE_forward_open);
    // One flow's packets do not fill the ring meanwhile.
    std::uint64_t dropped = 0;
    for (int i = 0; i < 2000; ++i) {
        dropped += pair.kernel.handle(read_clock(), client.segment("", 28, SPLICE_ACK).build()).verdict ==
                   SPLICE_drop_no_next_hop;
        if (pair.kernel.decided_in_kernel()) decided_in_kernel.insert(SPLICE_drop_no_next_hop);
    }
    CHECK(dropped > 0);
    pair.kernel.maps().write_bridges(
        pair.shared->bridges,
        std::vector<std::optional<NextHop>>(moved.size(), NextHop{1, kOwnMac, kBridgeMac}));
    CHECK(pair.in_kernel(client.segment("", 28, SPLICE_ACK)) == SPLICE_forward_open);
}

TEST_CASE("a next hop that is no longer known stays in use") {
    Pair pair;
    Client client = pair.opened();
    pair.kernel.maps().write_bridges(pair.shared->bridges,
                                     std::vector<std::optional<NextHop>>(pair.shared->bridges.size()));
    CHECK(pair.in_kernel(client.segment("", 28, SPLICE_ACK)) == SPLICE_forward_open);
}

TEST_CASE("a reload changes table, key and services at once; flows of a service that is gone pass") {
    Pair pair;
    Client stays = pair.opened(7000);
    SplicerSetup setup = splicer_setup();
    setup.services[0].placement = placement_over(1);
    setup.services[0].key = *HashKeyRule::parse("path");
    const auto fewer = std::make_shared<const SplicerSetup>(setup);
    pair.kernel.replace_setup(fewer);
    pair.portable.replace_setup(fewer);
    CHECK(pair.in_kernel(stays.segment("", 28, SPLICE_ACK)) == SPLICE_forward_open);
    CHECK(pair.in_kernel(pair.connected(7001).segment(kGet)) == SPLICE_forward_first_payload);
    setup.services[0].vip.port = 8080;
    const auto elsewhere = std::make_shared<const SplicerSetup>(setup);
    pair.kernel.replace_setup(elsewhere);
    pair.portable.replace_setup(elsewhere);
    CHECK(pair.in_kernel(stays.segment("", 28, SPLICE_ACK)) == SPLICE_pass_not_service);
}

TEST_CASE(
    "a reload that is taken back leaves services, tables and secret as they were, and so does the next") {
    Pair pair;
    Client stays = pair.opened(7100);
    const Client before = pair.connected(7101);
    SplicerSetup setup = splicer_setup();
    setup.services[0].vip.port = 8080;
    setup.services[0].placement = placement_over(1);
    setup.secret.keys[0] = {42, 43, {}};
    for (int times = 0; times < 3; times++) {
        REQUIRE(pair.kernel.maps().write_setup(setup).has_value());
        pair.kernel.maps().restore_setup(*pair.shared);
        CHECK(pair.in_kernel(stays.segment("", 28, SPLICE_ACK)) == SPLICE_forward_open);
    }
    CHECK(pair.in_kernel(before.segment(kGet)) == SPLICE_forward_first_payload);
    CHECK(pair.in_kernel(pair.connected(7102).segment(kGet)) == SPLICE_forward_first_payload);
}

TEST_CASE("a second secret verifies, and the first issues") {
    SplicerSetup setup = splicer_setup();
    Pair pair{SplicerSetup(setup)};
    Client before = pair.connected(8000);
    setup.secret.keys[1] = setup.secret.keys[0];
    setup.secret.keys[0] = {42, 43, {}};
    setup.secret.count = 2;
    const auto rotated = std::make_shared<const SplicerSetup>(setup);
    pair.kernel.replace_setup(rotated);
    pair.portable.replace_setup(rotated);
    CHECK(pair.in_kernel(before.segment(kGet)) == SPLICE_forward_first_payload);
    CHECK(pair.in_kernel(pair.connected(8001).segment(kGet)) == SPLICE_forward_first_payload);
}

TEST_CASE("idle flows are swept out of the kernel's map, each by its own time-out") {
    Pair pair;
    Client client = pair.opened(9000);
    Client closing = pair.opened(9001);
    CHECK(pair.in_kernel(closing.segment("", 28, SPLICE_ACK | SPLICE_FIN)) == SPLICE_forward_open);
    (void)pair.kernel.expire(read_clock().after(std::chrono::seconds(301)));
    CHECK(pair.kernel.handle(read_clock(), client.segment("", 28, SPLICE_ACK).build()).verdict ==
          SPLICE_forward_open);
    CHECK(pair.kernel.handle(read_clock(), closing.segment("", 29, SPLICE_ACK).build()).verdict ==
          SPLICE_drop_orphan);
    (void)pair.kernel.expire(read_clock().after(std::chrono::seconds(901)));
    CHECK(pair.kernel.handle(read_clock(), client.segment("", 28, SPLICE_ACK).build()).verdict ==
          SPLICE_drop_orphan);
}

TEST_CASE("every verdict that the kernel can give was given by it") {
    // The others are user space's: what is held, what is released, what answers for a flow that every choice
    // has refused, and what the memory for all this refuses.
    const std::set<Verdict> wanted = {SPLICE_pass_not_ip,
                                      SPLICE_pass_not_tcp,
                                      SPLICE_pass_not_service,
                                      SPLICE_pass_icmp_not_ours,
                                      SPLICE_drop_truncated,
                                      SPLICE_drop_bad_ip_header,
                                      SPLICE_drop_bad_ip_checksum,
                                      SPLICE_drop_bad_tcp_header,
                                      SPLICE_drop_bad_tcp_checksum,
                                      SPLICE_drop_bad_tcp_options,
                                      SPLICE_drop_bad_tcp_flags,
                                      SPLICE_drop_bad_icmp,
                                      SPLICE_drop_fragment,
                                      SPLICE_drop_source_routed,
                                      SPLICE_drop_extension_headers,
                                      SPLICE_drop_ttl_expired,
                                      SPLICE_answer_syn_ack,
                                      SPLICE_answer_syn_ack_reopened,
                                      SPLICE_forward_first_payload,
                                      SPLICE_forward_first_payload_source,
                                      SPLICE_forward_first_ack,
                                      SPLICE_forward_open,
                                      SPLICE_forward_lane,
                                      SPLICE_forward_source,
                                      SPLICE_forward_icmp,
                                      SPLICE_forward_next_choice,
                                      SPLICE_answer_keep_alive,
                                      SPLICE_drop_keep_alive,
                                      SPLICE_drop_check,
                                      SPLICE_drop_bad_clock,
                                      SPLICE_drop_guess_budget,
                                      SPLICE_drop_lane_unknown,
                                      SPLICE_drop_handshake_ack,
                                      SPLICE_drop_orphan,
                                      SPLICE_drop_orphan_icmp,
                                      SPLICE_drop_refused_unknown,
                                      SPLICE_drop_refused_late,
                                      SPLICE_drop_flow_table_full,
                                      SPLICE_drop_source_share,
                                      SPLICE_drop_service_share,
                                      SPLICE_drop_source_rate,
                                      SPLICE_drop_denied,
                                      SPLICE_drop_no_next_hop,
                                      SPLICE_drop_too_big,
                                      SPLICE_drop_first_payload_window,
                                      SPLICE_drop_ask_overrun};
    for (const Verdict verdict : wanted) {
        CAPTURE(verdict_name(verdict));
        CHECK(decided_in_kernel.contains(verdict));
    }
    for (const Verdict verdict : decided_in_kernel) {
        CAPTURE(verdict_name(verdict));
        CHECK(wanted.contains(verdict));
    }
}

int main(int argc, char** argv) {
    if (!may_load_programs()) {
        std::puts("skipped: the kernel does not let us load programs");
        return kSkip;
    }
    return doctest::Context(argc, argv).run();
}
