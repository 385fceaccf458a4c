#include <doctest/doctest.h>

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
