// The captures that record.py made, through the whole replay.
#include <doctest/doctest.h>

#include <filesystem>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "tests/replay/recorder.hpp"
#include "tests/support/lib/captures.hpp"
#include "tools/replay/arrival.hpp"
#include "tools/replay/report.hpp"
#include "tools/replay/run.hpp"

namespace splice::replay {
namespace {

void replay(const std::string& path, std::vector<Observer*> observers) {
    Fleets fleets = survey_capture(path);
    const auto done = replay_capture(path, fleets, std::move(observers));
    REQUIRE_MESSAGE(done.has_value(), path);
}

// What translation must leave as the captured ends said it: everything of TCP's that names a byte or a
// moment.
using Said = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t, int>;
Said said(const splice_packet& packet, const splice_tcp_options& options) {
    return {packet.seq, packet.ack, packet.payload_length, options.tsval, options.tsecr, packet.tcp_flags};
}

// What the captured clients said behind their SYN, as they said it.
std::multiset<Said> said_by_clients(const std::string& path, std::uint16_t server_port) {
    std::multiset<Said> all;
    auto reader = PcapReader::open(path);
    REQUIRE(reader.has_value());
    Mender mender;
    for (;;) {
        auto packet = reader->next();
        REQUIRE(packet.has_value());
        if (!*packet) return all;
        const Arrival arrival = mender.mend(**packet);
        if (splice_ntohs(arrival.packet.ends.destination_port) != server_port ||
            (arrival.packet.tcp_flags & SPLICE_SYN))
            continue;
        splice_tcp_options options{};
        splice_parse_tcp_options(arrival.bytes.data(), arrival.bytes.data() + arrival.bytes.size(),
                                 &arrival.packet, &options);
        all.insert(said(arrival.packet, options));
    }
}

}  // namespace

TEST_CASE("every recorded conversation is replayed as the expectation beside it says") {
    const auto found = testing::recorded_captures();
    REQUIRE(found.size() >= 20);
    for (const auto& capture : found) {
        CAPTURE(capture.filename());
        auto expected = ExpectedOutput::open(std::filesystem::path(capture).replace_extension(".expected"));
        REQUIRE(expected.has_value());
        LineReport report(*expected);
        replay(capture, {&report});
        const auto difference = expected->difference();
        CHECK_MESSAGE(!difference, difference.value_or(""));
    }
}

TEST_CASE("no packet leaves with a checksum that libtins does not compute as well") {
    std::size_t checked = 0;
    for (const auto& capture : testing::recorded_captures()) {
        CAPTURE(capture.filename());
        Recorder recorder;
        replay(capture, {&recorder});
        for (const Travelled& packet : recorder.sent) {
            CAPTURE(packet.from);
            CAPTURE(packet.to);
            CHECK(testing::parse(packet.bytes).checksums_right);
            ++checked;
        }
    }
    CHECK(checked > 300);
}

TEST_CASE("the backend hears the recorded client's own numbers, through the cookie and back") {
    std::size_t heard = 0;
    for (const auto& capture : testing::recorded_captures()) {
        CAPTURE(capture.filename());
        Recorder recorder;
        replay(capture, {&recorder});
        for (const Travelled& packet : recorder.sent_to("backend")) {
            const testing::Parsed parsed = testing::parse(packet.bytes);
            if (parsed.packet.tcp_flags & SPLICE_SYN) continue;
            const auto spoken = said_by_clients(capture, splice_ntohs(parsed.packet.ends.destination_port));
            CHECK(spoken.contains(said(parsed.packet, parsed.options)));
            ++heard;
        }
    }
    CHECK(heard > 100);
}

TEST_CASE("what left toward the client is the captured server's stream, moved by one distance") {
    for (const auto& capture : testing::recorded_captures()) {
        CAPTURE(capture.filename());
        Recorder recorder;
        replay(capture, {&recorder});
        // Of one capture all connections but the reused port have one cookie.
        std::set<std::uint32_t> distances;
        std::vector<testing::Parsed> server, client;
        for (const Travelled& packet : recorder.arrived) {
            const testing::Parsed parsed = testing::parse(packet.bytes);
            if (packet.from == "backend" && !(parsed.packet.tcp_flags & SPLICE_SYN)) server.push_back(parsed);
        }
        for (const Travelled& packet : recorder.sent_to("client")) {
            const testing::Parsed parsed = testing::parse(packet.bytes);
            if (packet.from != "balancer") client.push_back(parsed);
        }
        REQUIRE(server.size() == client.size());
        for (std::size_t i = 0; i < server.size(); ++i) {
            distances.insert(client[i].packet.seq - server[i].packet.seq);
            CHECK(client[i].payload == server[i].payload);
            CHECK(client[i].packet.ack == server[i].packet.ack);
            CHECK(client[i].options.tsecr == server[i].options.tsecr);
        }
        CHECK(distances.size() <= (capture.stem() == "port-used-again" ? 2 : 1));
    }
}

TEST_CASE("a second replay tells the same") {
    const std::string capture = SPLICELB_CAPTURES "/request-byte-by-byte.pcap";
    Lines first, second;
    LineReport one(first), two(second);
    replay(capture, {&one});
    replay(capture, {&two});
    CHECK(first.all == second.all);
}

}  // namespace splice::replay
