#include "libsplice/ops/counter_warnings.hpp"

#include <doctest/doctest.h>

using namespace splice;
using namespace std::chrono_literals;

namespace {

constexpr std::array kTable{CounterWarning{SPLICE_drop_no_bridge, "give a bridge a weight"},
                            CounterWarning{SPLICE_drop_flow_table_full, "raise max_flows"}};

std::vector<std::string> texts(const std::vector<LogMessage>& lines) {
    std::vector<std::string> all;
    for (const LogMessage& line : lines) all.push_back(line.text);
    return all;
}

}  // namespace

TEST_CASE("a counter that grows is told once a minute, with what has come since") {
    CounterWarnings warnings(kTable);
    DataPlaneStatistics now;
    now.verdicts[SPLICE_drop_no_bridge] = 1000;  // an earlier process's
    CHECK(warnings.look(0s, now).empty());
    CHECK(warnings.look(1s, now).empty());
    now.verdicts[SPLICE_drop_no_bridge] += 1;
    const auto lines = warnings.look(2s, now);
    REQUIRE(lines.size() == 1);
    CHECK(lines[0] == "1 packet (drop_no_bridge): give a bridge a weight");
    REQUIRE(lines[0].fields.size() == 2);
    CHECK(lines[0].fields[0].name == "verdict");
    CHECK(std::get<std::string>(lines[0].fields[0].value) == "drop_no_bridge");
    CHECK(std::get<std::int64_t>(lines[0].fields[1].value) == 1);
    now.verdicts[SPLICE_drop_no_bridge] += 41;
    CHECK(warnings.look(3s, now).empty());
    // Another one is not silenced by the first.
    now.verdicts[SPLICE_drop_flow_table_full] = 7;
    CHECK(texts(warnings.look(4s, now)) ==
          std::vector<std::string>{"7 packets (drop_flow_table_full): raise max_flows"});
    now.verdicts[SPLICE_drop_no_bridge] += 1;
    CHECK(texts(warnings.look(62s, now)) ==
          std::vector<std::string>{"42 packets (drop_no_bridge): give a bridge a weight"});
    CHECK(warnings.look(200s, now).empty());
}

TEST_CASE("counts that are no packets' outcomes are told by name, each for itself") {
    CounterWarnings warnings(kTable);
    CHECK(warnings.look(0s, "one", 5) == 0);
    CHECK(warnings.look(0s, "other", 7) == 0);
    CHECK(warnings.look(1s, "one", 6) == 1);
    CHECK(warnings.look(1s, "other", 9) == 2);
    CHECK(warnings.look(2s, "one", 8) == 0);
    CHECK(warnings.look(61s, "one", 9) == 3);
}

TEST_CASE("what the system refuses to send as too long is told by its name, once a minute") {
    CounterWarnings warnings(kTable);
    DataPlaneStatistics now;
    now.send_too_big = 5;
    CHECK(warnings.look(0s, now).empty());
    now.send_too_big += 3;
    const auto lines = warnings.look(1s, now);
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].text.starts_with(
        "3 packets above the MTU of the route that they were to leave by (EMSGSIZE"));
    now.send_too_big += 1;
    CHECK(warnings.look(2s, now).empty());
    CHECK(warnings.look(62s, now).size() == 1);
}
