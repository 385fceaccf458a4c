#include "tools/splicectl/watch_view.hpp"

#include <doctest/doctest.h>

namespace splice::control {
namespace {

Json status_with(std::optional<unsigned> openings, unsigned flows = 4) {
    Json bridge = {
        {"name", "b1"}, {"state", "ready"}, {"weight", 1}, {"table_share", 0.25}, {"flows", flows}};
    if (openings) {
        bridge["totals"] = {{"openings", *openings}};
        bridge["health"] = {{"state", "up"}, {"failure", nullptr}, {"slow_start", 1}};
    }
    return {{"services",
             {{{"name", "web"}, {"bridges", {bridge}}},
              {{"name", "other"}, {"bridges", {{{"name", "b1"}, {"state", "ready"}, {"table_share", 1}}}}}}}};
}

TEST_CASE("a rate is what a counter gained; none without a look before, or after a restart") {
    CHECK(rate(10, 30, 2) == 10.0);
    CHECK(rate(30, 30, 2) == 0.0);
    CHECK(rate(30, 10, 2) == std::nullopt);
    CHECK(rate(std::nullopt, 10, 2) == std::nullopt);
    CHECK(rate(10, std::nullopt, 2) == std::nullopt);
    CHECK(rate(10, 30, 0) == std::nullopt);
}

TEST_CASE("verdicts are read out of the metrics, and nothing else") {
    const auto verdicts = verdicts_in(
        "# HELP splicelb_balancer_packets_total Packets\n"
        "splicelb_balancer_packets_total{verdict=\"forward_open\"} 1.5e+06\n"
        "splicelb_balancer_packets_total{verdict=\"drop_bad_cookie\"} 7\n"
        "splicelb_balancer_packets_total{verdict=\"no_number\"} x\n"
        "splicelb_balancer_packets_total{verdict=\"cut\n"
        "splicelb_balancer_flows 9");
    CHECK(verdicts == std::map<std::string, double>{{"drop_bad_cookie", 7}, {"forward_open", 1.5e6}});
}

TEST_CASE("the first look shows no rates; the next what rose between them") {
    const std::string metrics = "splicelb_balancer_packets_total{verdict=\"drop_bad_cookie\"} ";
    const Look first = look_at(100, status_with(50), metrics + "3\n", "web");
    CHECK(watch_view(nullptr, first) ==
          "SERVICE  BRIDGE  STATE  HEALTH   SHARE  CONNECTIONS  NEW/S  ATTENTION\n"
          "web      b1      ready  up      25.0 %            4      -\n");
    const Look next = look_at(102, status_with(75, 9), metrics + "4\n", "web");
    CHECK(watch_view(&first, next) ==
          "SERVICE  BRIDGE  STATE  HEALTH   SHARE  CONNECTIONS  NEW/S  ATTENTION\n"
          "web      b1      ready  up      25.0 %            9   12.5\n"
          "\n"
          "VERDICT          PACKETS/S\n"
          "drop_bad_cookie        0.5\n");
    CHECK(watch_json(&first, next).dump() ==
          R"({"seconds":2.0,"bridges":[{"service":"web","bridge":"b1","state":"ready","health":"up",)"
          R"("table_share":0.25,"connections":9,"openings":75,"openings_per_second":12.5}],)"
          R"("verdicts_per_second":{"drop_bad_cookie":0.5}})");
}

TEST_CASE("a bridge whose openings are not told has a dash, and all services are shown unless one is named") {
    const Look first = look_at(1, status_with(std::nullopt), "", "");
    const Look next = look_at(2, status_with(std::nullopt), "", "");
    CHECK(next.bridges.size() == 2);
    CHECK(look_at(2, status_with(std::nullopt), "", "no such").bridges.empty());
    CHECK(watch_view(&first, next) ==
          "SERVICE  BRIDGE  STATE  HEALTH    SHARE  CONNECTIONS  NEW/S  ATTENTION\n"
          "web      b1      ready  -        25.0 %            4      -\n"
          "other    b1      ready  -       100.0 %            0      -\n");
}

TEST_CASE("of many verdicts those that rise the most are shown") {
    Look before, now;
    now.at = 1;
    for (int i = 0; i < 20; i++) now.verdicts["v" + std::to_string(i)] = i;
    const Json rises = watch_json(&before, now)["verdicts_per_second"];
    CHECK(rises.size() == 8);
    CHECK(rises.begin().key() == "v19");
    CHECK(rises.contains("v12"));
}

TEST_CASE("a terminal's lines are written over, each to its end, and what is below is cleared") {
    CHECK(over_the_last("a\nb\n") == "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
}

}  // namespace
}  // namespace splice::control
