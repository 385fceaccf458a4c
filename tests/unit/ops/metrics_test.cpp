#include "libsplice/ops/metrics.hpp"

#include <doctest/doctest.h>

#include <array>

using namespace splice;

TEST_CASE("values of one name share one header, in the text format of Prometheus") {
    MetricsPage page;
    page.counter("packets_total", "Packets", 3, {{"verdict", "deliver"}});
    page.counter("packets_total", "Packets", 4, {{"verdict", "drop_orphan"}});
    page.gauge("flows", "Flows now", 2);
    CHECK(page.text() ==
          "# HELP packets_total Packets\n"
          "# TYPE packets_total counter\n"
          "packets_total{verdict=\"deliver\"} 3\n"
          "packets_total{verdict=\"drop_orphan\"} 4\n"
          "# HELP flows Flows now\n"
          "# TYPE flows gauge\n"
          "flows 2\n");
}

TEST_CASE("values of one name stand together, in whatever order they are given") {
    MetricsPage page;
    for (const char* bridge : {"b1", "b2"}) {
        page.gauge("state", "x", 1, {{"bridge", bridge}});
        page.gauge("flows", "y", 2, {{"bridge", bridge}});
    }
    CHECK(page.text() ==
          "# HELP state x\n"
          "# TYPE state gauge\n"
          "state{bridge=\"b1\"} 1\n"
          "state{bridge=\"b2\"} 1\n"
          "# HELP flows y\n"
          "# TYPE flows gauge\n"
          "flows{bridge=\"b1\"} 2\n"
          "flows{bridge=\"b2\"} 2\n");
}

TEST_CASE("a histogram's buckets have what is below them, too, and the last has all") {
    MetricsPage page;
    page.histogram("wait_seconds", "Waits", std::array{0.5, 1.0}, std::array<std::uint64_t, 3>{4, 0, 2},
                   9.25);
    CHECK(page.text() ==
          "# HELP wait_seconds Waits\n"
          "# TYPE wait_seconds histogram\n"
          "wait_seconds_count 6\n"
          "wait_seconds_sum 9.25\n"
          "wait_seconds_bucket{le=\"0.5\"} 4\n"
          "wait_seconds_bucket{le=\"1\"} 4\n"
          "wait_seconds_bucket{le=\"+Inf\"} 6\n");
}

TEST_CASE("a label's quotes and line breaks are escaped") {
    MetricsPage page;
    page.gauge("info", "x", 1, {{"name", "a\"b\n"}});
    CHECK(page.text().find("info{name=\"a\\\"b\\n\"} 1\n") != std::string::npos);
}
