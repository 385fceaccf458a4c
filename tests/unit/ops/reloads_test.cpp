#include "libsplice/ops/reloads.hpp"

#include <doctest/doctest.h>

using namespace splice;
using namespace std::chrono_literals;

namespace {

std::string page_of(const Reloads& reloads) {
    MetricsPage page;
    reloads.write(page, "balancer");
    return page.text();
}

bool has_line(const Reloads& reloads, const std::string& line) {
    return ("\n" + page_of(reloads)).find("\nsplicelb_balancer_" + line + "\n") != std::string::npos;
}

TEST_CASE("before the first reload the start counts as a success, and no time is told") {
    const Reloads reloads;
    CHECK(has_line(reloads, "reloads_total{result=\"applied\"} 0"));
    CHECK(has_line(reloads, "reloads_total{result=\"refused\"} 0"));
    CHECK(has_line(reloads, "last_reload_success 1"));
    CHECK(has_line(reloads, "last_reload_timestamp_seconds 0"));
}

TEST_CASE("a refused reload is the last one until one is applied") {
    Reloads reloads;
    const Instant began{.monotonic = 5s, .unix_s = 1'000};
    reloads.refused(began, {.monotonic = 5250ms, .unix_s = 1'000, .unix_part_ms = 250});
    CHECK(has_line(reloads, "reloads_total{result=\"refused\"} 1"));
    CHECK(has_line(reloads, "last_reload_success 0"));
    CHECK(has_line(reloads, "last_reload_timestamp_seconds 1000.25"));
    CHECK(has_line(reloads, "last_reload_duration_seconds 0.25"));
    reloads.applied(began, {.monotonic = 7s, .unix_s = 1'002, .unix_part_ms = 0});
    CHECK(has_line(reloads, "reloads_total{result=\"applied\"} 1"));
    CHECK(has_line(reloads, "reloads_total{result=\"refused\"} 1"));
    CHECK(has_line(reloads, "last_reload_success 1"));
    CHECK(has_line(reloads, "last_reload_timestamp_seconds 1002"));
    CHECK(has_line(reloads, "last_reload_duration_seconds 2"));
}

}  // namespace
