// Both ends of the channel (core/channel_answers, core/channel_asks), and a balancer that asks a bridge.
#include <doctest/doctest.h>

#include <array>
#include <map>
#include <string>
#include <vector>

#include "libsplice/core/channel_answers.hpp"
#include "libsplice/core/channel_asks.hpp"

using namespace splice;

namespace {

splice_secret secret_of(std::initializer_list<std::uint64_t> keys, std::uint64_t lane = 1) {
    splice_secret secret{};
    for (const std::uint64_t key : keys) secret.keys[secret.count++].k0 = key;
    secret.lane.words[0] = lane;
    return secret;
}

IpAddress address(std::string_view text) {
    return IpAddress::parse(text).value();
}
const IpAddress kBalancer = address("192.0.2.10");
const IpAddress kBridge = address("192.0.2.21");

Instant at(Duration monotonic, std::int64_t unix_s = 1'700'000'000) {
    return {.monotonic = monotonic, .unix_s = unix_s};
}

ChannelPresence presence() {
    ChannelPresence told;
    told.version = "1";
    told.secret.count = 1;
    told.connections = 5;
    return told;
}

using Room = std::array<std::byte, kChannelMost>;

ChannelAnswers::Result answer_to(ChannelAnswers& answers, Instant now, Bytes question, Room& to,
                                 const IpAddress& source = kBalancer) {
    return answers.handle(now, source, question, presence, to);
}

// What a balancer sends when it is asked to, by address.
using Sent = std::vector<std::pair<IpAddress, std::vector<std::byte>>>;
Sent ask(ChannelAsks& asks, Instant now) {
    Sent sent;
    asks.ask(now, [&](const IpAddress& to, Bytes question) {
        sent.emplace_back(to, std::vector(question.begin(), question.end()));
    });
    return sent;
}

std::vector<ChannelPeer> peers(std::size_t count) {
    std::vector<ChannelPeer> all;
    for (std::size_t i = 0; i < count; ++i)
        all.push_back({IpAddress::from_ipv4(0x0a000001 + static_cast<std::uint32_t>(i))});
    return all;
}

}  // namespace

TEST_CASE("who knows the secret learns who is there, by either of its keys; who does not gets no answer") {
    ChannelAnswers answers(channel_secret(secret_of({1, 2})));
    Room question, to;
    for (const std::uint64_t key : {1, 2}) {
        const auto asked = write_channel_question(question, key, unix_ms_of(at(1s)),
                                                  channel_secret(secret_of({key})).keys[0]);
        const auto [end, answer] = answer_to(answers, at(1s), asked, to);
        CHECK(end == ChannelEnd::taken);
        CHECK(answer.size() <= asked.size());
        CHECK(is_channel_mac_right(answer, channel_secret(secret_of({key})).keys[0]));
        const auto read = read_channel_presence(answer);
        REQUIRE(read);
        CHECK(read->connections == 5);
        CHECK(read->secret == channel_secret(secret_of({1, 2})).fingerprints);
    }
    const auto forged =
        write_channel_question(question, 3, unix_ms_of(at(1s)), channel_secret(secret_of({3})).keys[0]);
    const auto [end, answer] = answer_to(answers, at(1s), forged, to);
    CHECK(end == ChannelEnd::no_secret);
    CHECK(answer.empty());
}

TEST_CASE("a question of another time is told the clock alone: 32 s either way are this time") {
    ChannelAnswers answers(channel_secret(secret_of({1})));
    const splice_key key = channel_secret(secret_of({1})).keys[0];
    Room question, to;
    const std::int64_t now_ms = unix_ms_of(at(1s));
    for (const auto& [asked_ms, end] : std::map<std::int64_t, ChannelEnd>{
             {now_ms - 32'001, ChannelEnd::other_clock},
             {now_ms - 32'000, ChannelEnd::taken},
             {now_ms + 32'000, ChannelEnd::taken},
             {now_ms + 32'001, ChannelEnd::other_clock},
             {std::numeric_limits<std::int64_t>::min(), ChannelEnd::other_clock},
             {std::numeric_limits<std::int64_t>::max(), ChannelEnd::other_clock}}) {
        const auto result =
            answer_to(answers, at(1s), write_channel_question(question, 1, asked_ms, key), to);
        CHECK(result.end == end);
        const auto header = read_channel_header(result.answer);
        REQUIRE(header);
        CHECK(header->unix_ms == now_ms);
        CHECK((header->kind == ChannelKind::clock) == (end == ChannelEnd::other_clock));
    }
}

TEST_CASE("each source that knows the secret has its budget; who does not know it takes nothing from it") {
    ChannelAnswers answers(channel_secret(secret_of({1})));
    const splice_key key = channel_secret(secret_of({1})).keys[0];
    const splice_key other = channel_secret(secret_of({9})).keys[0];
    Room question, forged, to;
    const auto asked = write_channel_question(question, 1, unix_ms_of(at(1s)), key);
    const auto wrong = write_channel_question(forged, 1, unix_ms_of(at(1s)), other);
    for (int i = 0; i < 1000; ++i) CHECK(answer_to(answers, at(1s), wrong, to).end == ChannelEnd::no_secret);
    unsigned taken = 0;
    while (answer_to(answers, at(1s), asked, to).end == ChannelEnd::taken) ++taken;
    CHECK(taken == kChannelAnswersAtOnce);
    CHECK(answer_to(answers, at(1s), asked, to).end == ChannelEnd::over_budget);
    CHECK(answer_to(answers, at(1s), asked, to, address("192.0.2.11")).end == ChannelEnd::taken);
    unsigned later = 0;
    while (answer_to(answers, at(2s), asked, to).end == ChannelEnd::taken) ++later;
    CHECK(later == kChannelAnswersPerSecond);
}

TEST_CASE("sources are counted apart up to a bound, and make room when they are quiet") {
    ChannelAnswers answers(channel_secret(secret_of({1})));
    const splice_key key = channel_secret(secret_of({1})).keys[0];
    Room question, to;
    const auto asked = write_channel_question(question, 1, unix_ms_of(at(1s)), key);
    const auto source = [](std::size_t i) { return IpAddress::from_ipv4(static_cast<std::uint32_t>(i)); };
    for (std::size_t i = 1; i <= kChannelSources; ++i)
        CHECK(answer_to(answers, at(1s), asked, to, source(i)).end == ChannelEnd::taken);
    CHECK(answer_to(answers, at(2s), asked, to, source(5000)).end == ChannelEnd::over_budget);
    CHECK(answer_to(answers, at(4s), asked, to, source(5000)).end == ChannelEnd::taken);
}

TEST_CASE("an answer is never awaited of an answer, and noise is none") {
    ChannelAnswers answers(channel_secret(secret_of({1})));
    const splice_key key = channel_secret(secret_of({1})).keys[0];
    Room packet, to;
    CHECK(answer_to(answers, at(1s), write_channel_clock(packet, 1, 1, key), to).end ==
          ChannelEnd::unexpected);
    packet.fill(std::byte{0x55});
    CHECK(answer_to(answers, at(1s), packet, to).end == ChannelEnd::malformed);
}

TEST_CASE("a balancer knows of a bridge what it answers: itself, the way's time and its clock") {
    ChannelAnswers answers(channel_secret(secret_of({1})));
    ChannelAsks asks({.k0 = 77, .k1 = 0, .after_zero = {}});
    const std::vector<ChannelPeer> all{{kBridge}};
    asks.replace(1s, all, channel_secret(secret_of({1})));
    const Sent sent = ask(asks, at(1s));
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].first == kBridge);
    CHECK(sent[0].second.size() == kChannelMost);
    Room to;
    // The bridge's clock is 7 s ahead.
    const auto [end, answer] = answer_to(answers, at(5s, 1'700'000'007), sent[0].second, to);
    REQUIRE(end == ChannelEnd::taken);
    CHECK(asks.handle(at(1s + 10ms), kBridge, answer) == ChannelEnd::taken);
    const ChannelState* state = asks.state(kBridge);
    REQUIRE(state);
    CHECK(state->is_present());
    CHECK(state->presence->connections == 5);
    CHECK(state->round_trip == 10ms);
    CHECK(state->clock_ahead_ms == 6995);
    SUBCASE("the same answer again counts for nothing") {
        CHECK(asks.handle(at(2s), kBridge, answer) == ChannelEnd::unexpected);
        CHECK(state->answered == 1s + 10ms);
    }
    SUBCASE("nor does it for the next question") {
        CHECK(ask(asks, at(4s)).size() == 1);
        CHECK(asks.handle(at(4s), kBridge, answer) == ChannelEnd::unexpected);
    }
}

TEST_CASE("an answer from elsewhere, or by another key, is none") {
    ChannelAsks asks({.k0 = 77, .k1 = 0, .after_zero = {}});
    const std::vector<ChannelPeer> all{{kBridge}};
    asks.replace(1s, all, channel_secret(secret_of({1})));
    const Sent sent = ask(asks, at(1s));
    const auto header = read_channel_header(sent.at(0).second);
    REQUIRE(header);
    Room to;
    const auto right =
        write_channel_presence(to, header->nonce, 1, presence(), channel_secret(secret_of({1})).keys[0]);
    CHECK(asks.handle(at(1s), kBalancer, right) == ChannelEnd::unexpected);
    Room other;
    const auto wrong =
        write_channel_presence(other, header->nonce, 1, presence(), channel_secret(secret_of({2})).keys[0]);
    CHECK(asks.handle(at(1s), kBridge, wrong) == ChannelEnd::no_secret);
    CHECK(asks.handle(at(1s), kBridge, sent[0].second) == ChannelEnd::unexpected);
    CHECK_FALSE(asks.state(kBridge)->answers());
}

TEST_CASE("a clock far off is known though the bridge says nothing else") {
    ChannelAnswers answers(channel_secret(secret_of({1})));
    ChannelAsks asks({.k0 = 77, .k1 = 0, .after_zero = {}});
    const std::vector<ChannelPeer> all{{kBridge}};
    asks.replace(1s, all, channel_secret(secret_of({1})));
    const Sent sent = ask(asks, at(1s));
    Room to;
    const auto [end, answer] = answer_to(answers, at(1s, 1'700'000'000 - 3600), sent.at(0).second, to);
    CHECK(end == ChannelEnd::other_clock);
    CHECK(asks.handle(at(1s), kBridge, answer) == ChannelEnd::other_clock);
    CHECK(asks.state(kBridge)->answers());
    CHECK_FALSE(asks.state(kBridge)->is_present());
    CHECK(asks.state(kBridge)->clock_ahead_ms == -3'600'000);
}

TEST_CASE("who does not answer is asked again soon, is silent after three, and then asked at leisure") {
    ChannelAsks asks({.k0 = 77, .k1 = 0, .after_zero = {}});
    const std::vector<ChannelPeer> all{{kBridge}};
    asks.replace(1s, all, channel_secret(secret_of({1})));
    std::vector<Duration> times;
    for (Duration now = 1s; now < 10s; now += 10ms)
        if (!ask(asks, at(now)).empty()) times.push_back(now);
    REQUIRE(times.size() >= 5);
    CHECK(times[2] == 1s + 2 * kChannelAnswerTime);
    CHECK(asks.state(kBridge)->is_silent());
    CHECK(times[4] - times[3] > 1700ms);
    CHECK(times[4] - times[3] <= 2s + 10ms);
}

TEST_CASE("who does not know the first key is asked by the second, and answers") {
    ChannelAnswers answers(channel_secret(secret_of({2})));
    ChannelAsks asks({.k0 = 77, .k1 = 0, .after_zero = {}});
    const std::vector<ChannelPeer> all{{kBridge}};
    asks.replace(1s, all, channel_secret(secret_of({1, 2})));
    Room to;
    CHECK(answer_to(answers, at(1s), ask(asks, at(1s)).at(0).second, to).end == ChannelEnd::no_secret);
    const auto [end, answer] = answer_to(answers, at(2s), ask(asks, at(2s)).at(0).second, to);
    CHECK(end == ChannelEnd::taken);
    CHECK(asks.handle(at(2s), kBridge, answer) == ChannelEnd::taken);
    CHECK(asks.state(kBridge)->presence->secret.keys[0] ==
          channel_secret(secret_of({2})).fingerprints.keys[0]);
}

TEST_CASE("thousands of bridges are asked a few at a time, each about every two seconds") {
    ChannelAsks asks({.k0 = 77, .k1 = 0, .after_zero = {}});
    asks.replace(1s, peers(4096), channel_secret(secret_of({1})));
    std::map<std::string, int> asked;
    std::size_t most = 0;
    for (Duration now = 1s; now < 21s; now += 10ms) {
        const Sent sent = ask(asks, at(now));
        most = std::max(most, sent.size());
        for (const auto& [to, question] : sent) {
            ++asked[to.to_string()];
            Room room;
            const auto header = read_channel_header(question);
            (void)asks.handle(at(now), to,
                              write_channel_presence(room, header->nonce, 1, presence(),
                                                     channel_secret(secret_of({1})).keys[0]));
        }
    }
    CHECK(most <= kChannelBurst);
    CHECK(asked.size() == 4096);
    for (const auto& [to, count] : asked) {
        CHECK(count >= 9);
        CHECK(count <= 12);
    }
}

TEST_CASE("a check asks all at once, and is told when each has answered or missed its questions") {
    ChannelAsks asks({.k0 = 77, .k1 = 0, .after_zero = {}});
    const std::vector<ChannelPeer> all = peers(2);
    asks.replace(1s, all, channel_secret(secret_of({1})));
    for (Duration now = 1s; now < 6s; now += 10ms) (void)ask(asks, at(now));
    asks.ask_all(6s);
    CHECK_FALSE(asks.all_told_since(6s));
    std::size_t questions = 0;
    Duration now = 6s;
    for (; !asks.all_told_since(6s) && now < 10s; now += 10ms) {
        for (const auto& [to, question] : ask(asks, at(now))) {
            ++questions;
            if (!(to == all[0].address)) continue;
            Room room;
            (void)asks.handle(at(now), to,
                              write_channel_presence(room, read_channel_header(question)->nonce, 1,
                                                     presence(), channel_secret(secret_of({1})).keys[0]));
        }
    }
    CHECK(now <= 6s + 3 * kChannelAnswerTime + 50ms);
    CHECK(questions == 1 + 3);
    CHECK(asks.state(all[0].address)->answers());
    CHECK(asks.state(all[1].address)->is_silent());
}

TEST_CASE("a reload keeps what is known of bridges that stay; another secret is asked for anew") {
    ChannelAsks asks({.k0 = 77, .k1 = 0, .after_zero = {}});
    const std::vector<ChannelPeer> all = peers(2);
    asks.replace(1s, all, channel_secret(secret_of({1})));
    const auto take = [&](Duration now, std::uint64_t key) {
        std::size_t count = 0;
        for (const auto& [to, question] : ask(asks, at(now))) {
            Room room;
            count += asks.handle(at(now), to,
                                 write_channel_presence(
                                     room, read_channel_header(question)->nonce, 1, presence(),
                                     channel_secret(secret_of({key})).keys[0])) == ChannelEnd::taken;
        }
        return count;
    };
    CHECK(take(1s, 1) == 2);
    asks.replace(2s, std::vector{all[1]}, channel_secret(secret_of({1})));
    CHECK(asks.state(all[0].address) == nullptr);
    CHECK(asks.state(all[1].address)->is_present());
    CHECK(take(2s, 1) == 0);
    asks.replace(2s, std::vector{all[1]}, channel_secret(secret_of({2})));
    CHECK_FALSE(asks.state(all[1].address)->is_present());
    CHECK(take(2s, 2) == 1);
}
