// Lanes: what a bridge writes into its clock is what any balancer reads, whatever the flow and the hour.
#include "libsplice/datapath/lane.h"

#include <doctest/doctest.h>

#include <random>

#include "tests/unit/datapath/raw_packet.hpp"

using namespace splice;
using namespace splice::testing;

namespace {

splice_lane_key some_key() {
    splice_key key{};
    key.k0 = 0x0706050403020100;
    key.k1 = 0x0f0e0d0c0b0a0908;
    return splice_lane_key_from(&key);
}

splice_flow_key flow_of(const char* client, std::uint16_t port, const char* vip) {
    return {.client = address_of(client),
            .server = address_of(vip),
            .client_port = splice_htons(port),
            .server_port = splice_htons(80),
            .zero = 0};
}

// Numbers of 32 bits, the same in every run.
class Random {
  public:
    explicit Random(std::uint32_t seed) : engine_(seed) {}
    std::uint32_t operator()() { return static_cast<std::uint32_t>(engine_()); }

  private:
    std::mt19937 engine_;
};

// The least age at which an echo leaves its lane.
constexpr std::uint32_t kLaneMs = (1U << SPLICE_LANE_SHIFT) - SPLICE_LANE_MARGIN_MS;
constexpr std::uint32_t kSkewMs = SPLICE_CLOCK_AHEAD_MS;

}  // namespace

TEST_CASE("an echo names its bridge for 983 s, whatever the hash and the clock") {
    Random random(7);
    for (int round = 0; round < 200'000; ++round) {
        const auto hash = random();
        const auto now = random();
        const std::uint32_t number = 1 + random() % SPLICE_LANE_MAX;
        const std::uint32_t begin = splice_lane_begin(hash, number, now);
        const std::uint32_t lived = random() % 0x3fffffff;  // of the connection, 12 days
        const std::uint32_t age = random() % kLaneMs;       // of the echo
        CAPTURE(hash);
        CAPTURE(now);
        CAPTURE(number);
        CAPTURE(age);
        REQUIRE(splice_lane_of(hash, begin + lived, now + lived + age) == number);
    }
}

TEST_CASE("clocks may differ by 32 s either way while an echo is less than 951 s old") {
    Random random(8);
    for (int round = 0; round < 100'000; ++round) {
        const auto hash = random();
        const auto now = random();
        const std::uint32_t number = 1 + random() % SPLICE_LANE_MAX;
        const std::uint32_t skew = random() % (2 * kSkewMs) - kSkewMs;
        const std::uint32_t age = random() % (kLaneMs - kSkewMs);
        REQUIRE(splice_lane_of(hash, splice_lane_begin(hash, number, now), now + age + skew) == number);
    }
}

TEST_CASE("at the limit and beyond: an older echo names the bridge one below") {
    const std::uint32_t hash = 0x89abcdef;
    const std::uint32_t now = 0x01234567;
    for (const std::uint32_t number : {1U, 2U, 500U, 1018U}) {
        const std::uint32_t begin = splice_lane_begin(hash, number, now);
        CHECK(splice_lane_of(hash, begin, now + kLaneMs) == number);
        CHECK(splice_lane_of(hash, begin, now + kLaneMs + 1) == number - 1);
        CHECK(splice_lane_of(hash, begin, now + kLaneMs + (1U << SPLICE_LANE_SHIFT)) == number - 1);
        // And 65 s toward the future.
        CHECK(splice_lane_of(hash, begin, now - SPLICE_LANE_MARGIN_MS + 1) == number);
    }
}

TEST_CASE("an echo of a SYN-ACK is no lane, at any proof, age and skew that a cookie outlives") {
    Random random(9);
    for (int round = 0; round < 200'000; ++round) {
        const auto hash = random();
        const auto now = random();
        const std::uint32_t proof = round < 8192 ? static_cast<std::uint32_t>(round) : random() % 8192;
        const std::uint32_t age =
            random() % (SPLICE_CLOCK_OLD_MS + 1 + SPLICE_CLOCK_AHEAD_MS) - SPLICE_CLOCK_AHEAD_MS;
        const std::uint32_t echo = splice_clock_of_syn_ack(hash, proof, now);
        REQUIRE(splice_clock_proves(hash, proof, echo, now + age));
        REQUIRE(splice_lane_of(hash, echo, now + age) == SPLICE_NO_LANE);
    }
}

TEST_CASE("the clock proves: another proof, an older echo or one from the future does not") {
    const std::uint32_t hash = 0x13579bdf;
    const std::uint32_t now = 0xfffffff0;
    const std::uint32_t echo = splice_clock_of_syn_ack(hash, 4000, now);
    CHECK(splice_clock_proves(hash, 4000, echo, now + SPLICE_CLOCK_OLD_MS));
    CHECK_FALSE(splice_clock_proves(hash, 4000, echo, now + SPLICE_CLOCK_OLD_MS + 1));
    CHECK(splice_clock_proves(hash, 4000, echo, now - SPLICE_CLOCK_AHEAD_MS));
    CHECK_FALSE(splice_clock_proves(hash, 4000, echo, now - SPLICE_CLOCK_AHEAD_MS - 1));
    int others = 0;
    for (std::uint32_t proof = 0; proof < 8192; ++proof)
        others += splice_clock_proves(hash, proof, echo, now);
    CHECK(others == 1);
}

TEST_CASE("between the SYN-ACK's clock and a bridge's lie more than 35.8 minutes and less than 2^31 ms") {
    for (const std::uint32_t proof : {0U, 1U, 8191U}) {
        for (const std::uint32_t number : {1U, 1018U}) {
            // The first payload up to 96 s late, at a bridge whose clock is 32 s behind or ahead.
            for (const std::int32_t later : {-32'000, 0, 96'000 + 32'000}) {
                const std::uint32_t hash = 0x2468ace0;
                const std::uint32_t syn_ack = splice_clock_of_syn_ack(hash, proof, 1000);
                const std::uint32_t begin =
                    splice_lane_begin(hash, number, 1000 + static_cast<std::uint32_t>(later));
                CHECK(begin - syn_ack > 2'148'000);
                CHECK(begin - syn_ack < 1U << 31);
            }
        }
    }
}

TEST_CASE("H is the flow's, and another key's is another") {
    const auto key = some_key();
    auto other_key = key;
    other_key.words[9] += 2;
    const auto flow = flow_of("192.0.2.1", 40000, "192.168.33.10");
    const auto hash = splice_lane_hash(&key, &flow);
    CHECK(hash == 0x3ce07d2f);  // docs/lanes.md
    CHECK(splice_lane_hash(&other_key, &flow) != hash);
    const auto near = flow_of("192.0.2.1", 40001, "192.168.33.10");
    const auto far = flow_of("2001:db8::1", 40000, "2001:db8::100");
    CHECK(splice_lane_hash(&key, &near) != hash);
    CHECK(splice_lane_hash(&key, &far) != hash);
    // Neighbours do not stand side by side: of the ports' hashes about half are above any other.
    int above = 0;
    for (std::uint16_t port = 1024; port < 11'024; ++port) {
        const auto one = flow_of("192.0.2.1", port, "192.168.33.10");
        above += splice_lane_hash(&key, &one) > 0x80000000U;
    }
    CHECK(above > 4500);
    CHECK(above < 5500);
}
