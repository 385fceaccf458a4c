// The channel's packets (libsplice/wire/channel.hpp), and docs/channel.md's worked example.
#include "libsplice/wire/channel.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>
#include <vector>

using namespace splice;

namespace {

constexpr splice_secret kSecret{
    {{0x0706050403020100, 0x0f0e0d0c0b0a0908, {}}, {}}, 1, 1, {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}};

using Room = std::array<std::byte, kChannelMost>;

Endpoint end_of(std::string_view text) {
    return Endpoint::parse(text).value();
}

ChannelPresence example() {
    ChannelPresence presence;
    presence.version = "0.1.0";
    presence.number = 7;
    presence.secret = channel_secret(kSecret).fingerprints;
    presence.connections = 1234;
    presence.opening = 2;
    presence.services_in_all = 2;
    presence.services = {{.dscp = 1,
                          .vip = end_of("192.168.33.10:80"),
                          .window_scale = 7,
                          .backend = ChannelBackend::takes,
                          .adopts = true,
                          .connections = 1234},
                         {.dscp = 2, .vip = end_of("[2001:db8::10]:443"), .window_scale = 7}};
    return presence;
}

std::vector<std::byte> hex_after(const std::string& text, const std::string& label) {
    const auto start = text.find("\n" + label + " ");
    REQUIRE_MESSAGE(start != std::string::npos, label);
    std::istringstream lines(text.substr(start + 1 + label.size()));
    std::vector<std::byte> bytes;
    bool first = true;
    for (std::string line; std::getline(lines, line); first = false) {
        if (!first && (line.empty() || line.front() != ' ')) break;
        std::istringstream words(line);
        for (std::string word; words >> word;)
            bytes.push_back(static_cast<std::byte>(std::stoul(word, nullptr, 16)));
    }
    return bytes;
}

std::string hex(Bytes bytes) {
    std::string text;
    constexpr std::string_view kDigits = "0123456789abcdef";
    for (const std::byte byte : bytes) {
        text += kDigits[std::to_integer<unsigned>(byte) >> 4];
        text += kDigits[std::to_integer<unsigned>(byte) & 15];
        text += ' ';
    }
    return text;
}

}  // namespace

TEST_CASE("the worked example of docs/channel.md is what the code does") {
    std::ifstream file(SPLICELB_SOURCE_DIR "/docs/channel.md");
    std::ostringstream page;
    page << file.rdbuf();
    const std::string text = page.str();
    const splice_key key = channel_secret(kSecret).keys[0];
    constexpr std::uint64_t kNonce = 0x0123456789abcdef;
    Room room;
    const Bytes question = write_channel_question(room, kNonce, 1'700'000'000'000, key);
    INFO(hex(question.first(24)), "... ", hex(question.last(8)));
    const auto head = hex_after(text, "question");
    const auto mac = hex_after(text, "its-mac");
    REQUIRE(question.size() == 1200);
    CHECK(std::ranges::equal(question.first(24), head));
    CHECK(std::ranges::equal(question.last(8), mac));
    const Bytes answer = write_channel_presence(room, kNonce, 1'700'000'000'003, example(), key);
    INFO(hex(answer));
    const auto told = hex_after(text, "answer");
    CHECK(std::ranges::equal(answer, told));
    REQUIRE(read_channel_header(told));
    CHECK(is_channel_mac_right(told, key));
    CHECK(read_channel_presence(told) == example());
}

TEST_CASE("the MAC is SipHash-2-4 over the bytes before it, big-endian") {
    const splice_key key = channel_secret(kSecret).keys[0];
    Room room;
    const Bytes clock = write_channel_clock(room, 5, 6, key);
    REQUIRE(clock.size() == 32);
    // 24 bytes and the length's word.
    std::array<std::uint64_t, 3> words{};
    std::memcpy(words.data(), clock.data(), 24);
    splice_sip_state state = splice_sip_begin(&key, words[0]);
    splice_sip_word(&state, words[1]);
    splice_sip_word(&state, words[2]);
    splice_sip_word(&state, 24ULL << 56);
    state.v2 ^= 0xff;
    for (int i = 0; i < 4; ++i) splice_sip_round(&state);
    const std::uint64_t expected = state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
    std::uint64_t mac = 0;
    for (const std::byte byte : clock.last(8)) mac = mac << 8 | std::to_integer<std::uint64_t>(byte);
    CHECK(mac == expected);
}

TEST_CASE("a presence is read as it was written, and its packet has one form") {
    const splice_key key = channel_secret(kSecret).keys[0];
    Room room;
    const Bytes packet = write_channel_presence(room, 9, -1, example(), key);
    const auto header = read_channel_header(packet);
    REQUIRE(header);
    CHECK(*header == ChannelHeader{ChannelKind::here, 9, -1});
    CHECK(read_channel_presence(packet) == example());
}

TEST_CASE("services that do not fit are left out, and the packet says of how many") {
    ChannelPresence presence = example();
    presence.services.assign(62, presence.services[1]);
    presence.services_in_all = 62;
    Room room;
    const Bytes packet = write_channel_presence(room, 1, 2, presence, channel_secret(kSecret).keys[0]);
    CHECK(packet.size() <= kChannelMost);
    const auto read = read_channel_presence(packet);
    REQUIRE(read);
    CHECK(read->services_in_all == 62);
    CHECK(read->services.size() == 46);
}

TEST_CASE("every byte of a packet is under its MAC") {
    const splice_key key = channel_secret(kSecret).keys[0];
    Room room;
    const Bytes packet = write_channel_presence(room, 1, 2, example(), key);
    REQUIRE(is_channel_mac_right(packet, key));
    for (std::size_t i = 0; i < packet.size(); ++i) {
        room[i] ^= std::byte{1};
        CHECK_FALSE(is_channel_mac_right(packet, key));
        room[i] ^= std::byte{1};
    }
}

TEST_CASE("a packet of another size than it says, cut, or of another form is none") {
    const splice_key key = channel_secret(kSecret).keys[0];
    Room room;
    const Bytes packet = write_channel_question(room, 1, 2, key);
    CHECK(read_channel_header(packet));
    for (std::size_t size = 0; size < packet.size(); ++size)
        CHECK_FALSE(read_channel_header(packet.first(size)));
    for (const std::size_t changed : {0UZ, 4UZ, 5UZ, 6UZ, 7UZ}) {
        const std::byte before = std::exchange(room[changed], std::byte{0xee});
        CHECK_FALSE(read_channel_header(packet));
        room[changed] = before;
    }
}

TEST_CASE("two secrets share no fingerprint and no key, and a fingerprint is not the key") {
    splice_secret other = kSecret;
    other.keys[0].k0 ^= 1;
    const ChannelSecret a = channel_secret(kSecret), b = channel_secret(other);
    CHECK(a.fingerprints.keys[0] != b.fingerprints.keys[0]);
    CHECK(a.keys[0].k0 != b.keys[0].k0);
    CHECK(a.keys[0].k0 != kSecret.keys[0].k0);
    CHECK(a.fingerprints.lane == b.fingerprints.lane);
    other = kSecret;
    other.lane.words[0] ^= 1;
    CHECK(channel_secret(other).fingerprints.lane != a.fingerprints.lane);
}
