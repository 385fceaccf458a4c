// The channel's packets (libsplice/wire/channel.hpp) from anybody, at both ends (core/channel_answers,
// core/channel_asks).
//
// Aborts when a packet that is read is not the same bytes again when it is written; when what was read is
// beyond its bounds; when a packet without the secret is answered, an answer is larger than its question, or
// anything but a balancer's own question makes it know a bridge.
//
// Input: what is done to the packet, then its bytes: they are taken as they are, or as what follows the
// header of a packet whose size and MAC are right.
#include "libsplice/wire/channel.hpp"

#include <cstring>

#include "libsplice/base/limits.hpp"
#include "libsplice/core/channel_answers.hpp"
#include "libsplice/core/channel_asks.hpp"
#include "tests/fuzz/support/fuzzer.hpp"

namespace splice::fuzz {
namespace {

constexpr std::int64_t kNow = 1'700'000'000;

splice_secret secret_of(std::uint64_t key) {
    splice_secret secret{};
    secret.count = 1;
    secret.keys[0].k0 = key;
    return secret;
}

// A packet of a kind with that body, under the key. The MAC of a presence is taken from a packet of ours with
// the same bytes, where there is one; else the packet goes without.
std::vector<std::byte> framed(ChannelKind kind, Bytes body, std::uint64_t nonce, std::int64_t unix_ms) {
    std::vector<std::byte> packet(
        kChannelHeader + std::min(body.size(), kChannelMost - kChannelHeader - kChannelMac) + kChannelMac);
    constexpr unsigned char kMagic[4] = {0x53, 0x70, 0x43, 0x68};
    std::memcpy(packet.data(), kMagic, 4);
    packet[4] = std::byte{1};
    packet[5] = static_cast<std::byte>(kind);
    packet[6] = static_cast<std::byte>(packet.size() >> 8);
    packet[7] = static_cast<std::byte>(packet.size());
    for (std::size_t i = 0; i < 8; ++i) {
        packet[8 + i] = static_cast<std::byte>(nonce >> (56 - 8 * i));
        packet[16 + i] = static_cast<std::byte>(static_cast<std::uint64_t>(unix_ms) >> (56 - 8 * i));
    }
    std::memcpy(packet.data() + kChannelHeader, body.data(), packet.size() - kChannelHeader - kChannelMac);
    return packet;
}

void require_bounds(const ChannelPresence& presence) {
    FUZZ_REQUIRE(presence.number <= kMaxBridgeNumber, "number {}", presence.number);
    FUZZ_REQUIRE(!presence.version.empty() && presence.version.size() <= kChannelVersionMost, "{}",
                 printable(presence.version));
    for (const char c : presence.version)
        FUZZ_REQUIRE(c > ' ' && c < '\x7f', "{}", printable(presence.version));
    FUZZ_REQUIRE(presence.services.size() <= presence.services_in_all, "{} services",
                 presence.services.size());
    for (const ChannelService& service : presence.services)
        FUZZ_REQUIRE(
            service.dscp >= 1 && service.dscp <= 62 && service.vip.port != 0 && service.window_scale <= 14,
            "dscp {}, port {}", service.dscp, service.vip.port);
}

void read_and_write(Bytes packet) {
    const ExactCopy copy(packet);
    const auto header = read_channel_header(copy.bytes());
    if (!header || header->kind != ChannelKind::here) return;
    const auto presence = read_channel_presence(copy.bytes());
    if (!presence) return;
    require_bounds(*presence);
    std::array<std::byte, kChannelMost> room;
    const Bytes again = write_channel_presence(room, header->nonce, header->unix_ms, *presence, splice_key{});
    FUZZ_REQUIRE(again.size() == packet.size() &&
                     std::memcmp(again.data(), packet.data(), again.size() - kChannelMac) == 0,
                 "{} bytes were {}", again.size(), packet.size());
}

void at_a_bridge(Bytes packet) {
    const ExactCopy copy(packet);
    ChannelAnswers answers(channel_secret(secret_of(1)));
    std::array<std::byte, kChannelMost> room;
    const Instant now{.monotonic = std::chrono::seconds(1), .unix_s = kNow};
    const auto told = [] {
        ChannelPresence presence;
        presence.version = "1";
        return presence;
    };
    const auto result = answers.handle(now, IpAddress::from_ipv4(1), copy.bytes(), told, room);
    FUZZ_REQUIRE(result.answer.size() <= packet.size(), "{} bytes are answered by {}", packet.size(),
                 result.answer.size());
    // Nobody guesses a MAC.
    FUZZ_REQUIRE(result.answer.empty(), "{}", to_string(result.end));
}

void at_a_balancer(Bytes packet) {
    const ExactCopy copy(packet);
    ChannelAsks asks(splice_key{});
    const std::vector<ChannelPeer> peers{{IpAddress::from_ipv4(1)}};
    asks.replace(std::chrono::seconds(1), peers, channel_secret(secret_of(1)));
    const Instant now{.monotonic = std::chrono::seconds(1), .unix_s = kNow};
    asks.ask(now, [](const IpAddress&, Bytes) {});
    const ChannelEnd end = asks.handle(now, peers[0].address, copy.bytes());
    FUZZ_REQUIRE(end != ChannelEnd::taken && end != ChannelEnd::other_clock, "{}", to_string(end));
    FUZZ_REQUIRE(!asks.state(peers[0].address)->answered, "{}", "it is believed");
}

}  // namespace
}  // namespace splice::fuzz

FUZZER(channel)(splice::Bytes input) {
    using namespace splice;
    using namespace splice::fuzz;
    Input choices(input);
    const unsigned choice = choices.number8();
    const std::uint64_t nonce = choices.number32();
    const Bytes rest = choices.rest();
    std::vector<std::byte> packet(rest.begin(), rest.end());
    if (choice & 1) packet = framed(static_cast<ChannelKind>(choice >> 1 & 3), rest, nonce, kNow * 1000);
    if ((choice & 8) && packet.size() > 2) packet.resize(packet.size() - 1);
    read_and_write(packet);
    at_a_bridge(packet);
    at_a_balancer(packet);
}
