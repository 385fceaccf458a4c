#include "libsplice/ops/log.hpp"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

using namespace splice;

namespace {
constexpr std::int64_t kMoment = 1'700'000'000'123;  // 2023-11-14T22:13:20.123Z
}

TEST_CASE("a text line has the time in UTC, the level and the message") {
    CHECK(format_log_line(LogFormat::text, "balancer", LogLevel::info, kMoment, "serves cdn") ==
          "2023-11-14T22:13:20.123Z info    serves cdn");
}

TEST_CASE("a JSON line is one object that a parser takes, whatever the message holds") {
    const std::string line =
        format_log_line(LogFormat::json, "balancer", LogLevel::error, kMoment, "a \"quote\"\nand \xff");
    CHECK(line.find('\n') == std::string::npos);
    const auto parsed = nlohmann::json::parse(line);
    CHECK(parsed["time"] == "2023-11-14T22:13:20.123Z");
    CHECK(parsed["level"] == "error");
    CHECK(parsed["program"] == "balancer");
    CHECK(parsed["message"].get<std::string>().starts_with("a \"quote\"?and "));
}

TEST_CASE("what a message names is fields of a JSON line, and of a text line no word more than its text") {
    const LogFields fields = {{"bridge", "b\xff\n1"}, {"packets", std::int64_t{7}}};
    const auto parsed = nlohmann::json::parse(
        format_log_line(LogFormat::json, "balancer", LogLevel::warning, kMoment, "b1 is ill", fields));
    CHECK(parsed["message"] == "b1 is ill");
    CHECK(parsed["bridge"].get<std::string>().ends_with("\n1"));
    CHECK(parsed["packets"] == 7);
    CHECK(format_log_line(LogFormat::text, "balancer", LogLevel::warning, kMoment, "b1 is ill", fields) ==
          "2023-11-14T22:13:20.123Z warning b1 is ill");
}

TEST_CASE("a message with control characters stays one line") {
    const std::string line =
        format_log_line(LogFormat::text, "x", LogLevel::warning, kMoment, "one\ntwo\x1b[31m");
    CHECK(line == "2023-11-14T22:13:20.123Z warning one?two?[31m");
}

TEST_CASE("levels and formats are parsed by their names, and nothing else is") {
    CHECK(parse_log_level("trace") == LogLevel::trace);
    CHECK(parse_log_level("warning") == LogLevel::warning);
    CHECK(parse_log_level("warn") == LogLevel::warning);
    CHECK_FALSE(parse_log_level("INFO").has_value());
    CHECK_FALSE(parse_log_level("").has_value());
    CHECK(parse_log_format("json") == LogFormat::json);
    CHECK_FALSE(parse_log_format("xml").has_value());
}
