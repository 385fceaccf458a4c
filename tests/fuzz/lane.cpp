// Lanes (datapath/lane.h): clocks of hosts that differ, echoes of any age, numbers that wrap.
//
// Aborts when an echo that is within its bounds does not name the bridge that wrote the clock; when one that
// is beyond names another than the bridge below; when the echo of a SYN-ACK is taken for a lane, or does not
// prove its cookie, or proves another's; when any echo at all is both.
//
// Input: the flow's ends, a key, the hosts' clocks and their difference, what the bridge's number and the
// echo's age are.
#include "libsplice/datapath/lane.h"

#include <cstring>

#include "tests/fuzz/support/fuzzer.hpp"

FUZZER(lane)(splice::Bytes input) {
    using namespace splice;
    using namespace splice::fuzz;
    Input choices(input);
    splice_key key{};
    key.k0 = choices.number32();
    const splice_lane_key lanes = splice_lane_key_from(&key);
    splice_flow_key flow{};
    flow.client.words[3] = choices.number32();
    flow.server.words[0] = choices.number32();
    flow.client_port = choices.number16();
    const std::uint32_t hash = splice_lane_hash(&lanes, &flow);
    const std::uint32_t now = choices.number32();
    const std::uint32_t number = 1 + choices.number16() % SPLICE_LANE_MAX;
    const std::uint32_t proof = choices.number16() & ((1U << SPLICE_PROOF_BITS) - 1);
    const std::uint32_t any = choices.number32();
    // By the reader's clock; negative where that is behind the writer's.
    const std::uint32_t age = any % (2U << SPLICE_LANE_SHIFT) - SPLICE_LANE_MARGIN_MS;
    constexpr std::uint32_t kWidth = 1U << SPLICE_LANE_SHIFT;

    const std::uint32_t begin = splice_lane_begin(hash, number, now);
    const std::uint32_t lane = splice_lane_of(hash, begin, now + age);
    // How far before the end of its lane it lies. One of the 2^32 clocks is written a millisecond later.
    const std::uint32_t from_end = age + SPLICE_LANE_MARGIN_MS - (begin == 1 ? 1 : 0);
    if (from_end != 0 && from_end <= kWidth)
        FUZZ_REQUIRE(lane == number, "an echo of bridge {} that is {} ms old names {}", number, age, lane);
    else if (from_end > kWidth && from_end <= 2 * kWidth)
        FUZZ_REQUIRE(lane == number - 1, "an echo of bridge {} that is {} ms old names {}", number, age,
                     lane);

    const std::uint32_t syn_ack = splice_clock_of_syn_ack(hash, proof, now);
    const bool in_time = age + SPLICE_CLOCK_AHEAD_MS <= SPLICE_CLOCK_OLD_MS + SPLICE_CLOCK_AHEAD_MS;
    FUZZ_REQUIRE(splice_clock_proves(hash, proof, syn_ack, now + age) == in_time,
                 "the echo of a SYN-ACK that is {} ms old", age);
    if (in_time)
        FUZZ_REQUIRE(splice_lane_of(hash, syn_ack, now + age) == SPLICE_NO_LANE,
                     "the echo of a SYN-ACK names a lane");
    const bool other = splice_clock_proves(hash, proof ^ 1, syn_ack, now);
    FUZZ_REQUIRE(!other, "the echo proves another cookie");
    if (splice_lane_of(hash, any, now) != SPLICE_NO_LANE)
        FUZZ_REQUIRE(!splice_clock_proves(hash, proof, any, now), "an echo is both, a lane and a proof");
}
