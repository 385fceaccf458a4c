// Flows out of maps of an earlier layout, in real maps: what an earlier program leaves, and what it changes
// while ours takes its place. Ends with 77 (skipped) where programs may not be loaded.
#define DOCTEST_CONFIG_IMPLEMENT
#include <bpf/bpf.h>
#include <doctest/doctest.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>

#include "balancer/earlier_layout.hpp"
#include "libsplice/engine/flow_take_over.hpp"
#include "packetbridge/earlier_layout.hpp"
#include "tests/bpf/balancer_rig.hpp"
#include "tests/support/earlier_layout/layouts.hpp"
#include "tests/support/lib/machines.hpp"

namespace splice::testing {
namespace {

constexpr int kSkip = 77;

Descriptor flow_map(std::uint32_t value_size, std::uint32_t capacity = 64) {
    Descriptor map(
        bpf_map_create(BPF_MAP_TYPE_HASH, "flows", sizeof(splice_flow_key), value_size, capacity, nullptr));
    REQUIRE(static_cast<bool>(map));
    return map;
}

splice_flow_key key_of(std::uint16_t client_port, std::uint16_t server_port = 80) {
    splice_flow_key key{};
    key.client = IpAddress::parse("198.51.100.7")->raw();
    key.server = IpAddress::parse(topology(4).vip)->raw();
    key.client_port = splice_htons(client_port);
    key.server_port = splice_htons(server_port);
    return key;
}

template <class Value>
void put(const Descriptor& map, const splice_flow_key& key, const Value& value) {
    REQUIRE(bpf_map_update_elem(map.get(), &key, &value, BPF_ANY) == 0);
}

template <class Value>
std::optional<Value> get(const Descriptor& map, const splice_flow_key& key) {
    Value value{};
    if (bpf_map_lookup_elem(map.get(), &key, &value) != 0) return std::nullopt;
    return value;
}

Flow3 open_flow() {
    Flow3 flow;
    flow.last_seen_s = 1000;
    flow.row = 0xabcdef;
    flow.cookie_high = 0x12;
    flow.bridge = 2;
    flow.dscp = 9;
    flow.state = SPLICE_FLOW_OPEN;
    flow.tries = 1;
    flow.first_ack = 0x77;
    flow.cookie = 0x3456;
    return flow;
}

SplicerSetup rules_of_number(std::uint16_t number) {
    SplicerSetup setup = splicer_setup(4);
    setup.services[0].number = number;
    return setup;
}

}  // namespace

TEST_CASE("a flow of layout 3 keeps its bridge, its mark and its numbers, and gets its service's number") {
    const Descriptor then = flow_map(sizeof(Flow3)), now = flow_map(sizeof(splice_flow_entry));
    put(then, key_of(4000), open_flow());
    put(then, key_of(4001, 8443), open_flow());  // no service has that port
    FlowTakeOver<splice_flow_entry> take_over(Descriptor(dup(then.get())),
                                              conversion_from(3, rules_of_number(5)));
    const TakenOver taken = take_over.copy(now.get());
    CHECK(taken.flows == 1);
    CHECK(taken.unserved == 1);
    CHECK(splice::describe(taken, 3) ==
          "1 flows of layout 3 taken over; 1 flows left: no service here has their address and port");
    const auto entry = get<splice_flow_entry>(now, key_of(4000));
    REQUIRE(entry.has_value());
    CHECK(entry->service == 5);
    CHECK(splice_carriage_equal(entry->carriage, splice_carriage_by_dscp(9)));
    CHECK(entry->bridge == 2);
    CHECK(+entry->row == 0xabcdef);
    CHECK(+entry->cookie_high == 0x12);
    CHECK(entry->cookie == 0x3456);
    CHECK(entry->first_ack == 0x77);
    CHECK(+entry->state == SPLICE_FLOW_OPEN);
    CHECK(+entry->tries == 1);
    CHECK(entry->last_seen_s == 1000);
    CHECK_FALSE(get<splice_flow_entry>(now, key_of(4001)).has_value());
    CHECK(take_over.copy_changes(now.get()) == 0);
}

TEST_CASE("what the earlier program begins and changes while ours takes its place comes along") {
    const Descriptor then = flow_map(sizeof(Flow3)), now = flow_map(sizeof(splice_flow_entry));
    for (std::uint16_t port = 4000; port < 4006; ++port) put(then, key_of(port), open_flow());
    FlowTakeOver<splice_flow_entry> take_over(Descriptor(dup(then.get())),
                                              conversion_from(3, rules_of_number(5)));
    REQUIRE(take_over.copy(now.get()).flows == 6);

    Flow3 moved = open_flow();  // a bridge refused
    moved.bridge = 1;
    moved.tries = 2;
    Flow3 answered = open_flow();
    answered.flags = SPLICE_FLOW_ANSWERED;
    answered.last_seen_s = 1001;
    const auto ours = [&](std::uint16_t port, const auto& change) {
        auto entry = get<splice_flow_entry>(now, key_of(port));
        REQUIRE(entry.has_value());
        change(*entry);
        put(now, key_of(port), *entry);
    };
    // 4000: the earlier program alone. 4001: then ours had a packet. 4002: both had packets. 4003: ours alone
    // chose anew. 4004: nobody. 4005: the earlier one had a packet, ours chose anew. 4010: the earlier one
    // began it.
    put(then, key_of(4000), moved);
    put(then, key_of(4001), moved);
    ours(4001, [](splice_flow_entry& entry) { entry.last_seen_s = 1002; });
    put(then, key_of(4002), answered);
    ours(4002, [](splice_flow_entry& entry) { entry.last_seen_s = 1002; });
    ours(4003, [](splice_flow_entry& entry) { entry.bridge = 0; });
    put(then, key_of(4005), answered);
    ours(4005, [](splice_flow_entry& entry) { entry.bridge = 0; });
    put(then, key_of(4010), open_flow());

    CHECK(take_over.copy_changes(now.get()) == 5);
    CHECK(get<splice_flow_entry>(now, key_of(4000))->bridge == 1);
    CHECK(+get<splice_flow_entry>(now, key_of(4000))->tries == 2);
    CHECK(get<splice_flow_entry>(now, key_of(4001))->bridge == 1);
    CHECK(get<splice_flow_entry>(now, key_of(4002))->last_seen_s == 1002);
    CHECK((get<splice_flow_entry>(now, key_of(4002))->flags & SPLICE_FLOW_ANSWERED) != 0);
    CHECK(get<splice_flow_entry>(now, key_of(4003))->bridge == 0);
    CHECK(get<splice_flow_entry>(now, key_of(4004))->bridge == 2);
    CHECK(get<splice_flow_entry>(now, key_of(4005))->bridge == 0);
    REQUIRE(get<splice_flow_entry>(now, key_of(4010)).has_value());
    CHECK(get<splice_flow_entry>(now, key_of(4010))->service == 5);
}

TEST_CASE("flows that find no room are counted") {
    const Descriptor then = flow_map(sizeof(Flow3)), now = flow_map(sizeof(splice_flow_entry), 4);
    for (std::uint16_t port = 4000; port < 4010; ++port) put(then, key_of(port), open_flow());
    FlowTakeOver<splice_flow_entry> take_over(Descriptor(dup(then.get())),
                                              conversion_from(3, rules_of_number(1)));
    const TakenOver taken = take_over.copy(now.get());
    CHECK(taken.flows == 4);
    CHECK(taken.refused == 6);
}

TEST_CASE("the flows of a layout that nobody can read are counted and told") {
    const Descriptor then = flow_map(48);
    for (std::uint16_t port = 4000; port < 4003; ++port)
        put(then, key_of(port), std::array<std::uint8_t, 48>{});
    CHECK_FALSE(is_readable_layout(2));
    CHECK_FALSE(is_readable_layout(SPLICE_BALANCER_LAYOUT + 1));
    CHECK(splice::describe(TakenOver{.unread = count_map_entries(then.get())}, 9) ==
          "3 flows left: this version cannot read layout 9");
    InheritedMaps inherited;
    inherited.layout = 9;
    inherited.flows = Descriptor(dup(then.get()));
    auto maps = KernelMaps::load(64, std::move(inherited));
    REQUIRE(maps.has_value());
    const auto taken = maps->take_over_flows(rules_of_number(1));
    REQUIRE(taken.has_value());
    CHECK(taken->unread == 3);
    CHECK(taken->flows == 0);
}

TEST_CASE("the maps of a balancer take over flows of layout 3 under the numbers of its rules") {
    const Descriptor then = flow_map(sizeof(Flow3));
    put(then, key_of(4000), open_flow());
    InheritedMaps inherited;
    inherited.layout = 3;
    inherited.flows = Descriptor(dup(then.get()));
    auto maps = KernelMaps::load(64, std::move(inherited));
    REQUIRE(maps.has_value());
    const SplicerSetup setup = rules_of_number(7);
    REQUIRE(maps->write_setup(setup).has_value());
    REQUIRE(maps->take_over_flows(setup)->flows == 1);
    maps->take_over_changes();
    splice_flow_entry entry{};
    const splice_flow_key key = key_of(4000);
    REQUIRE(bpf_map_lookup_elem(maps->flows(), &key, &entry) == 0);
    CHECK(entry.service == 7);
}

TEST_CASE("a translated flow of layout 2 keeps its shifts, and its numbers go on from the farther ones") {
    const JoinerSetup setup = [] {
        JoinerSetup made = joiner_setup(4);
        made.services[0].number = 3;
        return made;
    }();
    const JoinerService& service = setup.services[0];
    BridgeFlow2 was;
    std::memcpy(was.translation.vip, service.vip.address.raw().bytes, 16);
    std::memcpy(was.translation.backend, service.backend.address.raw().bytes, 16);
    was.translation.vip_port = splice_htons(service.vip.port);
    was.translation.backend_port = splice_htons(service.backend.port);
    was.translation.seq_shift = 0x11111111;
    was.translation.ts_shift = 0x22222222;
    was.translation.backend_window_scale = 9;
    was.client_isn = 0xfffffff0;
    was.cookie_isn = 0x33333333;
    was.client_next = 0xfffffff8;
    was.client_window = 500;
    was.state = SPLICE_BRIDGE_ESTABLISHED;
    was.dscp = 1;
    was.timestamps = 1;
    was.client_ack = was.server_next = 0x33333334;
    was.client_una = 0xfffffff1;
    const Descriptor then = flow_map(sizeof(BridgeFlow2)), now = flow_map(sizeof(splice_bridge_flow));
    put(then, key_of(4000), was);
    BridgeFlow2 elsewhere = was;
    elsewhere.translation.vip_port = splice_htons(8443);
    put(then, key_of(4001), elsewhere);
    FlowTakeOver<splice_bridge_flow> take_over(Descriptor(dup(then.get())), conversion_from(2, setup));
    const TakenOver taken = take_over.copy(now.get());
    CHECK(taken.flows == 1);
    CHECK(taken.unserved == 1);

    // Both programs carry packets of it: the earlier one the client's, past the wrap; ours the backend's.
    was.client_next = 0x10;
    was.flags = SPLICE_BRIDGE_CLIENT_FIN;
    put(then, key_of(4000), was);
    auto ours = get<splice_bridge_flow>(now, key_of(4000));
    REQUIRE(ours.has_value());
    CHECK(ours->service == 3);
    CHECK(serves(setup, *ours));
    CHECK(ours->translation.seq_shift == 0x11111111);
    CHECK(ours->translation.ts_shift == 0x22222222);
    CHECK(ours->translation.backend_window_scale == 9);
    CHECK(ours->client_isn == 0xfffffff0);
    CHECK(ours->cookie_isn == 0x33333333);
    CHECK(ours->client_window == 500);
    CHECK(ours->timestamps == 1);
    ours->server_next = 0x33334444;
    put(now, key_of(4000), *ours);
    CHECK(take_over.copy_changes(now.get()) == 1);
    const auto both = get<splice_bridge_flow>(now, key_of(4000));
    CHECK(both->client_next == 0x10);
    CHECK(both->server_next == 0x33334444);
    CHECK(both->client_una == 0xfffffff1);
    CHECK(both->flags == SPLICE_BRIDGE_CLIENT_FIN);
}

}  // namespace splice::testing

int main(int argc, char** argv) {
    if (!splice::testing::may_load_programs()) {
        std::puts("skipped: the kernel does not let us load programs");
        return splice::testing::kSkip;
    }
    return doctest::Context(argc, argv).run();
}
