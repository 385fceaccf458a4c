#include "packetbridge/network_facts.hpp"

#include <doctest/doctest.h>

using namespace splice;

TEST_CASE("a strict reverse path filter is in the way where clients are reached by another interface") {
    CHECK_FALSE(judge_reverse_path("eth1", true, "eth1"));
    CHECK_FALSE(judge_reverse_path("eth1", true, ""));
    CHECK_FALSE(judge_reverse_path("eth1", false, "eth2"));
    CHECK(judge_reverse_path("eth1", true, "eth2") == "drops every client that this host reaches by eth2");
}
