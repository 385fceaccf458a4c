#include "libsplice/ops/connection_log.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "libsplice/datapath/choice.h"
#include "libsplice/datapath/sample.h"
#include "tests/support/lib/machines.hpp"

using namespace splice;

namespace {

constexpr std::int64_t kMoment = 1'700'000'000'123;  // 2023-11-14T22:13:20.123Z

ConnectionLine chosen(std::string key) {
    ConnectionLine line;
    line.unix_ms = kMoment;
    line.client = Endpoint::parse("192.0.2.99:40000").value();
    line.vip = Endpoint::parse("192.0.2.10:80").value();
    line.service = "cdn";
    line.bridge = "b1";
    line.bridge_address = IpAddress::parse("192.0.2.21").value();
    line.key = std::move(key);
    line.hash = 0x0123'4567'89ab'cdef;
    line.rank = 1;
    return line;
}

struct TemporaryFolder {
    TemporaryFolder() {
        std::string name = std::filesystem::temp_directory_path() / "connection-log-XXXXXX";
        REQUIRE(mkdtemp(name.data()));
        path = name;
    }
    ~TemporaryFolder() { std::filesystem::remove_all(path); }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    std::filesystem::path path;
};

std::vector<nlohmann::json> lines_of(const std::filesystem::path& file) {
    std::vector<nlohmann::json> lines;
    std::ifstream stream(file);
    for (std::string line; std::getline(stream, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
}

void write_some(ConnectionLog& log, int count, std::int64_t unix_ms = kMoment) {
    for (int i = 0; i < count; ++i) log.write(unix_ms, [&] { return chosen("/" + std::to_string(i)); });
}

}  // namespace

TEST_CASE("a line of a choice has its fields, and only those that there are") {
    ConnectionLine line = chosen("/a");
    auto json = nlohmann::json::parse(format_connection_line("balancer", line));
    CHECK(json == nlohmann::json{{"time", "2023-11-14T22:13:20.123Z"},
                                 {"program", "balancer"},
                                 {"event", "chosen"},
                                 {"client", "192.0.2.99:40000"},
                                 {"vip", "192.0.2.10:80"},
                                 {"service", "cdn"},
                                 {"bridge", "b1"},
                                 {"bridge_address", "192.0.2.21"},
                                 {"key", "/a"},
                                 {"hash", "0123456789abcdef"},
                                 {"rank", 1}});
    line.key_truncated = true;
    line.hash.reset();
    line.fallback = "ended";
    line.bridge_number = 7;
    json = nlohmann::json::parse(format_connection_line("balancer", line));
    CHECK(json["key_truncated"] == true);
    CHECK_FALSE(json.contains("hash"));
    CHECK(json["fallback"] == "ended");
    CHECK(json["bridge_number"] == 7);
}

TEST_CASE("a line of an end has what the connection carried") {
    ConnectionLine line = chosen("");
    line.event = ConnectionLine::Event::ended;
    line.mode = "adopt";
    line.bytes = 5'000'000'000;
    line.bytes_received = 77;
    line.duration_ms = 1234;
    line.end = "fin";
    const auto json = nlohmann::json::parse(format_connection_line("packetbridge", line));
    CHECK(json["event"] == "ended");
    CHECK(json["mode"] == "adopt");
    CHECK(json["bytes"] == 5'000'000'000);
    CHECK(json["bytes_received"] == 77);
    CHECK(json["duration_ms"] == 1234);
    CHECK(json["end"] == "fin");
    CHECK_FALSE(json.contains("key"));
    CHECK_FALSE(json.contains("rank"));
}

TEST_CASE("a line is one line of valid JSON whatever bytes the key has") {
    const std::array<std::pair<std::string, std::string>, 8> keys{{
        {"/\"quoted\"\\", "/\"quoted\"\\"},
        {std::string("/\0\n\r\t\x1b\x7f", 7), std::string("/\0\n\r\t\x1b\x7f", 7)},
        {"/\xff\x80", "/\\xff\\x80"},
        {"/gr\xc3\xbc\xc3\x9f", "/gr\xc3\xbc\xc3\x9f"},  // UTF-8 stays
        {"/\xc0\xaf", "/\\xc0\\xaf"},                    // overlong
        {"/\xed\xa0\x80", "/\\xed\\xa0\\x80"},           // a surrogate
        {"/\xf4\x90\x80\x80", "/\\xf4\\x90\\x80\\x80"},  // beyond U+10FFFF
        {"/\xe2\x82", "/\\xe2\\x82"},                    // cut off
    }};
    for (const auto& [key, expected] : keys) {
        const std::string line = format_connection_line("balancer", chosen(key));
        CHECK(line.find('\n') == std::string::npos);
        CHECK(nlohmann::json::parse(line)["key"] == expected);
    }
    for (int first = 0; first < 256; ++first) {
        for (int second = 0; second < 256; ++second) {
            const std::string key{static_cast<char>(first), static_cast<char>(second)};
            REQUIRE(nlohmann::json::accept(format_connection_line("balancer", chosen(key))));
        }
    }
}

TEST_CASE("a second has so many lines, and how many were left out is counted and told") {
    const TemporaryFolder folder;
    const auto file = folder.path / "log";
    {
        ConnectionLog log("balancer");
        REQUIRE(log.apply({.sample = 1, .limit = 3, .file = file}));
        write_some(log, 10);
        CHECK(log.counters().limited == 7);
        write_some(log, 2, kMoment + 1000);
        CHECK(log.counters().limited == 7);
        // A line that is late has no second of its own; a clock that was set back has.
        write_some(log, 2, kMoment);
        CHECK(log.counters().limited == 8);
        write_some(log, 1, kMoment - 3'600'000);
        CHECK(log.counters().limited == 8);
    }
    std::size_t connections = 0, left_out = 0;
    for (const auto& line : lines_of(file)) {
        if (line["event"] == "left_out")
            left_out += line["lines"].get<std::size_t>();
        else
            ++connections;
    }
    CHECK(connections == 7);
    CHECK(left_out > 0);
    CHECK(left_out <= 8);
}

TEST_CASE("what waits is written before the log ends, and without a sample nothing is") {
    const TemporaryFolder folder;
    const auto file = folder.path / "log";
    {
        ConnectionLog log("balancer");
        REQUIRE(log.apply({.sample = 0, .limit = 1000, .file = file}));
        write_some(log, 5);
        CHECK_FALSE(std::filesystem::exists(file));
        REQUIRE(log.apply({.sample = 0.5, .limit = 1000, .file = file}));
        write_some(log, 500);
    }
    CHECK(lines_of(file).size() == 500);
}

TEST_CASE("a log that ends by a change has written what waited, and can begin again") {
    const TemporaryFolder folder;
    const auto file = folder.path / "log";
    ConnectionLog log("balancer");
    for (std::size_t turn = 1; turn <= 3; ++turn) {
        REQUIRE(log.apply({.sample = 1, .limit = 1000, .file = file}));
        write_some(log, 10, kMoment + static_cast<std::int64_t>(turn) * 1000);
        REQUIRE(log.apply({.sample = 0, .limit = 1000, .file = file}));
        CHECK(lines_of(file).size() == turn * 10);
        CHECK(log.counters().written == turn * 10);
    }
}

TEST_CASE("a file that was moved away is made anew, and lines after that are in the new one") {
    const TemporaryFolder folder;
    const auto file = folder.path / "log";
    const auto moved = folder.path / "log.1";
    {
        ConnectionLog log("balancer");
        REQUIRE(log.apply({.sample = 1, .limit = 1000, .file = file}));
        write_some(log, 1);
        while (log.counters().written == 0) usleep(1000);
        std::filesystem::rename(file, moved);
        REQUIRE(log.reopen());
        write_some(log, 2);
    }
    CHECK(lines_of(moved).size() == 1);
    CHECK(lines_of(file).size() == 2);
}

TEST_CASE("a file that cannot be opened is refused by its name, and the one of before stays") {
    const TemporaryFolder folder;
    const auto file = folder.path / "log";
    {
        ConnectionLog log("balancer");
        REQUIRE(log.apply({.sample = 1, .limit = 1000, .file = file}));
        const auto refused = log.apply({.sample = 1, .limit = 1000, .file = folder.path / "none" / "log"});
        REQUIRE_FALSE(refused);
        CHECK(refused.error().text.contains("none/log"));
        write_some(log, 1);
    }
    CHECK(lines_of(file).size() == 1);
}

TEST_CASE("a device that is full loses lines, which are counted") {
    ConnectionLog log("balancer");
    REQUIRE(log.apply({.sample = 1, .limit = 1000, .file = "/dev/full"}));
    write_some(log, 2);
    while (log.counters().failed < 2) usleep(1000);
    CHECK(log.counters().written == 0);
}

TEST_CASE(
    "a sample has its share of connections, none of none and all of all, and another one by another secret") {
    splice_secret other = splice::testing::kSecret;
    other.lane.words[0] += 1;
    const std::uint64_t percent = sample_share({.sample = 0.01});
    CHECK(sample_share({.sample = 1}) == SPLICE_SAMPLE_ALL);
    CHECK(sample_share({.sample = 0}) == 0);
    int taken = 0, both = 0, all = 0, none = 0;
    constexpr int kConnections = 1'000'000;
    for (std::uint32_t cookie = 0; cookie < kConnections; ++cookie) {
        const bool here = splice_in_sample(&splice::testing::kSecret, cookie, percent) != 0;
        taken += here;
        both += here && splice_in_sample(&other, cookie, percent);
        all += splice_in_sample(&splice::testing::kSecret, cookie, SPLICE_SAMPLE_ALL);
        none += splice_in_sample(&splice::testing::kSecret, cookie, 0);
    }
    CHECK(taken > 9'500);
    CHECK(taken < 10'500);
    CHECK(both < 400);
    CHECK(all == kConnections);
    CHECK(none == 0);
}
