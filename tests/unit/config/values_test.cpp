#include "libsplice/config/values.hpp"

#include <doctest/doctest.h>

using namespace splice;

TEST_CASE("durations have a whole number and a unit") {
    CHECK(parse_duration("50ms") == Duration(50'000'000));
    CHECK(parse_duration("2s") == Duration(2'000'000'000));
    CHECK(parse_duration("15m") == Duration(15 * 60'000'000'000));
    CHECK(parse_duration("1h") == Duration(3600'000'000'000));
    for (const char* text : {"", "5", "ms", "-1s", "1.5s", " 1s", "1s ", "1d", "9999999999999h", "0x1s"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_duration(text).has_value());
    }
}

TEST_CASE("a duration is written in its largest whole unit") {
    CHECK(format_duration(Duration(50'000'000)) == "50ms");
    CHECK(format_duration(Duration(90'000'000'000)) == "90s");
    CHECK(format_duration(Duration(15 * 60'000'000'000)) == "15m");
    CHECK(format_duration(Duration(0)) == "0ms");
}

TEST_CASE("sizes are plain bytes, KiB or MiB") {
    CHECK(parse_size("16KiB") == 16384);
    CHECK(parse_size("1MiB") == 1048576);
    CHECK(parse_size("1500") == 1500);
    for (const char* text : {"", "KiB", "1KB", "1k", "-1", "99999999999999999999", "18014398509481984MiB"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_size(text).has_value());
    }
}

TEST_CASE("a port is 1 to 65535, a DSCP 1 to 62, a weight 0 to 256, a window scale 0 to 14") {
    CHECK(parse_port("1") == 1);
    CHECK(parse_port("65535") == 65535);
    CHECK_FALSE(parse_port("0").has_value());
    CHECK_FALSE(parse_port("65536").has_value());
    CHECK(parse_dscp("62") == 62);
    CHECK_FALSE(parse_dscp("0").has_value());
    CHECK_FALSE(parse_dscp("63").has_value());
    CHECK(parse_weight("0") == 0);
    CHECK(parse_weight("256") == 256);
    CHECK_FALSE(parse_weight("257").has_value());
    CHECK(parse_window_scale("14") == 14);
    CHECK_FALSE(parse_window_scale("15").has_value());
}

TEST_CASE("addresses that packets cannot be routed to are refused, and it says why") {
    CHECK(parse_host_address("192.0.2.1").has_value());
    CHECK(parse_host_address("2001:db8::1").has_value());
    const std::pair<const char*, const char*> refused[] = {
        {"127.0.0.1", "loopback"},        {"::1", "loopback"},
        {"0.0.0.0", "unspecified"},       {"::", "unspecified"},
        {"224.0.0.1", "multicast"},       {"ff02::1", "multicast"},
        {"255.255.255.255", "broadcast"}, {"169.254.1.1", "link-local"},
        {"fe80::1", "link-local"},        {"192.0.2.0/24", "expected"},
        {"host.example", "expected"},     {"", "expected"},
    };
    for (const auto& [text, why] : refused) {
        CAPTURE(text);
        const auto parsed = parse_host_address(text);
        REQUIRE_FALSE(parsed.has_value());
        CHECK(parsed.error().find(why) != std::string::npos);
    }
}

TEST_CASE("an IPv6 endpoint stands in brackets") {
    CHECK(parse_host_endpoint("[2001:db8::1]:80")->to_string() == "[2001:db8::1]:80");
    CHECK(parse_host_endpoint("192.0.2.1:80")->port == 80);
    CHECK_FALSE(parse_host_endpoint("2001:db8::1:80").has_value());
    CHECK_FALSE(parse_host_endpoint("192.0.2.1:0").has_value());
    CHECK_FALSE(parse_host_endpoint("192.0.2.1").has_value());
    CHECK_FALSE(parse_host_endpoint("[::1]:80").has_value());
}

TEST_CASE("the nearest word is suggested only when it is near") {
    const std::vector<std::string_view> keys = {"interface", "services", "api", "log"};
    CHECK(nearest("interfaces", keys) == "interface");
    CHECK(nearest("servcies", keys) == "services");
    CHECK(nearest("apo", keys) == "api");
    CHECK(nearest("x", keys).empty());
    CHECK(nearest("something", keys).empty());
}
