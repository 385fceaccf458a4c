#include "libsplice/datapath/choice.h"

#include <doctest/doctest.h>

#include <array>
#include <cstdlib>
#include <vector>

#include "libsplice/datapath/flow.h"

namespace {

splice_flow_entry tried(__u16 bridge, __u8 tries) {
    splice_flow_entry entry{};
    entry.state = SPLICE_FLOW_OPEN;
    entry.bridge = bridge;
    entry.tries = tries & 15;
    return entry;
}

}  // namespace

TEST_CASE("refusals lead through the row's choices and then to none") {
    const splice_placement_row row{{7, 3, 5}};
    splice_flow_entry entry = tried(7, 1);
    CHECK(splice_flow_take_next_choice(&entry, &row) == 3);
    CHECK(splice_flow_take_next_choice(&entry, &row) == 5);
    CHECK(splice_flow_take_next_choice(&entry, &row) == SPLICE_NO_BRIDGE);
    CHECK(entry.bridge == 5);
    CHECK((entry.tries == 3));
}

TEST_CASE("with fewer bridges than choices the row ends earlier") {
    const splice_placement_row row{{7, 3, SPLICE_NO_BRIDGE}};
    splice_flow_entry entry = tried(7, 1);
    CHECK(splice_flow_take_next_choice(&entry, &row) == 3);
    CHECK(splice_flow_take_next_choice(&entry, &row) == SPLICE_NO_BRIDGE);
    const splice_placement_row nobody{{SPLICE_NO_BRIDGE, SPLICE_NO_BRIDGE, SPLICE_NO_BRIDGE}};
    CHECK(splice_flow_take_next_choice(&entry, &nobody) == SPLICE_NO_BRIDGE);
}

TEST_CASE("a row that a reload has changed is begun anew, less the bridge that has just refused") {
    const splice_placement_row row{{2, 7, 4}};
    splice_flow_entry last = tried(5, 3);
    CHECK(splice_flow_take_next_choice(&last, &row) == 2);
    CHECK((last.tries == 1));
    splice_flow_entry now_first = tried(2, 2);
    CHECK(splice_flow_take_next_choice(&now_first, &row) == 7);
    CHECK(splice_flow_take_next_choice(&now_first, &row) == 4);
    CHECK(splice_flow_take_next_choice(&now_first, &row) == SPLICE_NO_BRIDGE);
}

TEST_CASE("a flow that began at a later choice goes to the earlier ones, and to no bridge twice") {
    const splice_placement_row row{{7, 3, 5}};
    splice_flow_entry entry = tried(3, splice_tries_from(1));
    CHECK(splice_flow_take_next_choice(&entry, &row) == 7);
    CHECK(splice_flow_take_next_choice(&entry, &row) == 5);
    CHECK(splice_flow_take_next_choice(&entry, &row) == SPLICE_NO_BRIDGE);
    splice_flow_entry third = tried(5, splice_tries_from(2));
    CHECK(splice_flow_take_next_choice(&third, &row) == 7);
    CHECK(splice_flow_take_next_choice(&third, &row) == 3);
    CHECK(splice_flow_take_next_choice(&third, &row) == SPLICE_NO_BRIDGE);
    // A reload has put it first.
    const splice_placement_row changed{{5, 7, 3}};
    splice_flow_entry moved = tried(5, splice_tries_from(2));
    CHECK(splice_flow_take_next_choice(&moved, &changed) == 7);
}

namespace {

// Bridges 0, 1 and 2 in this order.
struct Weighed {
    splice_placement_row row{{0, 1, 2}};
    splice_choice_rule rule{.states = 0, .warmup = 0, .spread = 0, .weighs = 1};
    std::vector<splice_bridge_state> states = std::vector<splice_bridge_state>(SPLICE_STATES);

    // How often each rank takes one of many draws.
    std::array<int, 3> ranks(int hot = 0) {
        std::array<int, 3> counts{};
        for (__u32 cookie = 0; cookie < kDraws; ++cookie) {
            const splice_choice choice =
                splice_choose(&row, &rule, states.data(), splice_choice_draw(cookie), hot);
            ++counts[choice.rank];
            why = choice.why;
            CHECK((choice.offered >> choice.rank & 1) == 1);
            // The short ways and the long way say the same.
            const splice_bridge_state* const first = &states[rule.states + row.choices[0]];
            const bool takes = splice_first_takes(first, &rule, splice_choice_draw(cookie), hot);
            if (!hot && splice_first_takes_all(first, &rule)) CHECK(takes);
            if (takes) {
                CHECK(choice.rank == 0);
                CHECK(choice.offered == 1);
                CHECK(choice.why == SPLICE_CHOSE_FIRST);
            }
        }
        return counts;
    }
    void pass(std::size_t bridge, double share) { states[bridge].passes = static_cast<__u16>(share * 65535); }
    static constexpr __u32 kDraws = 20'000;
    int why = 0;
};

bool is_near(int count, double share) {
    return std::abs(count - share * Weighed::kDraws) < 0.01 * Weighed::kDraws;
}

}  // namespace

TEST_CASE("without anything to weigh the first choice takes all") {
    Weighed weighed;
    CHECK(weighed.ranks() == std::array{20'000, 0, 0});
    CHECK(weighed.why == SPLICE_CHOSE_FIRST);
}

TEST_CASE("warmup sends its share to the second choice, and to the third while the second takes none") {
    Weighed weighed;
    weighed.rule.warmup = 65536 / 20;
    auto counts = weighed.ranks();
    CHECK(is_near(counts[1], 0.05));
    CHECK(counts[2] == 0);
    weighed.states[1].flags = SPLICE_BRIDGE_TAKES_NONE;
    counts = weighed.ranks();
    CHECK(counts[1] == 0);
    CHECK(is_near(counts[2], 0.05));
    weighed.row = {{0, SPLICE_NO_BRIDGE, SPLICE_NO_BRIDGE}};
    CHECK(weighed.ranks()[0] == 20'000);
}

TEST_CASE("a bridge passes its share on, the next one passes its own share of that") {
    Weighed weighed;
    weighed.pass(0, 0.4);
    auto counts = weighed.ranks();
    CHECK(is_near(counts[0], 0.6));
    CHECK(is_near(counts[1], 0.4));
    weighed.pass(1, 0.5);
    counts = weighed.ranks();
    CHECK(is_near(counts[1], 0.2));
    CHECK(is_near(counts[2], 0.2));
}

TEST_CASE("when all pass, the one that passes least takes it") {
    Weighed weighed;
    weighed.pass(0, 1);
    weighed.pass(1, 0.9);
    weighed.pass(2, 1);
    const auto counts = weighed.ranks();
    CHECK(counts[0] < 10);
    CHECK(counts[1] > 19'980);
}

TEST_CASE("a bridge that takes no new flows is passed over, unless none takes any") {
    Weighed weighed;
    weighed.states[0].flags = SPLICE_BRIDGE_TAKES_NONE;
    CHECK(weighed.ranks() == std::array{0, 20'000, 0});
    weighed.states[1].flags = SPLICE_BRIDGE_TAKES_NONE;
    CHECK(weighed.ranks() == std::array{0, 0, 20'000});
    weighed.states[2].flags = SPLICE_BRIDGE_TAKES_NONE;
    CHECK(weighed.ranks() == std::array{20'000, 0, 0});
}

TEST_CASE("a hot key goes to the less loaded of two of its first choices") {
    Weighed weighed;
    weighed.rule.spread = 2;
    weighed.states[0].load = 10;
    weighed.states[1].load = 5;
    CHECK(weighed.ranks(1) == std::array{0, 20'000, 0});
    CHECK(weighed.why == SPLICE_CHOSE_SPREAD);
    CHECK(weighed.ranks(0) == std::array{20'000, 0, 0});
    weighed.states[1].load = 10;
    auto counts = weighed.ranks(1);
    CHECK(is_near(counts[0], 0.5));
    weighed.rule.spread = 3;
    weighed.states[2].load = 1;
    counts = weighed.ranks(1);
    CHECK(is_near(counts[2], 2.0 / 3));  // in two of three pairs
    weighed.row = {{0, SPLICE_NO_BRIDGE, SPLICE_NO_BRIDGE}};
    CHECK(weighed.ranks(1)[0] == 20'000);
}

TEST_CASE("the states of a service begin where its rule says") {
    Weighed weighed;
    weighed.rule.states = 100;
    weighed.states[0].flags = SPLICE_BRIDGE_TAKES_NONE;
    CHECK(weighed.ranks()[0] == 20'000);
    weighed.states[100].flags = SPLICE_BRIDGE_TAKES_NONE;
    CHECK(weighed.ranks()[1] == 20'000);
}

TEST_CASE("a cookie's chance is the same from the packet and from the entry") {
    for (const __u32 ack : {1U, 0U, 0x12345678U, 0xffffffffU}) {
        splice_flow_entry entry{};
        entry.cookie_high = static_cast<__u8>((ack - 1) >> 24);
        entry.cookie = static_cast<__u16>((ack - 1) >> 8);
        CHECK(splice_choice_cookie(ack) == splice_choice_cookie_of(&entry));
    }
}
