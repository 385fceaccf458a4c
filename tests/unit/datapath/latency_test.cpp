#include "libsplice/datapath/latency.h"

#include <doctest/doctest.h>

#include <memory>

TEST_CASE("a duration is in the first bucket whose bound it does not exceed, and the last one has no bound") {
    CHECK(splice_latency_bucket(0) == 0);
    for (std::uint32_t bucket = 0; bucket < SPLICE_LATENCY_BUCKETS - 1; ++bucket) {
        const std::uint32_t bound = 1U << bucket;
        CHECK(splice_latency_bucket(bound) == bucket);
        CHECK(splice_latency_bucket(bound + 1) == bucket + 1);
    }
    CHECK(splice_latency_bucket(0xffffffff) == SPLICE_LATENCY_BUCKETS - 1);
}

TEST_CASE("what is added is in its bucket and in the sum") {
    splice_latency latency{};
    splice_latency_add(&latency, 3);
    splice_latency_add(&latency, 4);
    splice_latency_add(&latency, 5);
    CHECK(latency.buckets[2] == 2);
    CHECK(latency.buckets[3] == 1);
    CHECK(latency.sum_us == 12);
}

TEST_CASE("an opening is timed once, across the clock's wrap, and another flow's is not taken for it") {
    const auto times = std::make_unique<splice_opening_times>();
    splice_flow_key key{};
    splice_address_from_ipv4(&key.client, splice_htonl(0xc0000201));
    splice_address_from_ipv4(&key.server, splice_htonl(0xc000020a));
    key.client_port = splice_htons(7000);
    key.server_port = splice_htons(80);
    splice_flow_key other = key;
    other.client_port = splice_htons(7001);

    CHECK(splice_opening_take(times.get(), &key, 5) == SPLICE_OPENING_UNKNOWN);
    splice_opening_note(times.get(), &key, 0xfffffff0);
    CHECK(splice_opening_take(times.get(), &other, 0x10) == SPLICE_OPENING_UNKNOWN);
    CHECK(splice_opening_take(times.get(), &key, 0x10) == 0x20);
    CHECK(splice_opening_take(times.get(), &key, 0x10) == SPLICE_OPENING_UNKNOWN);

    // Opened at the clock's 0: the slot is not nobody's.
    splice_opening_note(times.get(), &key, 0);
    CHECK(splice_opening_take(times.get(), &key, 7) == 7);
}

TEST_CASE("flows of one client are spread over the slots: of a thousand nearly all are timed") {
    const auto times = std::make_unique<splice_opening_times>();
    splice_flow_key key{};
    const auto with_port = [&](int port) {
        key.client_port = splice_htons(static_cast<std::uint16_t>(port));
        return &key;
    };
    for (int port = 1; port <= 1000; ++port) splice_opening_note(times.get(), with_port(port), 1);
    int timed = 0;
    for (int port = 1; port <= 1000; ++port)
        timed += splice_opening_take(times.get(), with_port(port), 2) == 1 ? 1 : 0;
    CHECK(timed >= 970);
}
