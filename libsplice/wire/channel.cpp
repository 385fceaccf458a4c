#include "libsplice/wire/channel.hpp"

#include <algorithm>
#include <cstring>

#include "libsplice/base/limits.hpp"
#include "libsplice/datapath/carriage.h"

namespace splice {
namespace {

constexpr std::uint32_t kMagic = 0x53704368;  // "SpCh"
constexpr std::uint8_t kFormat = 1;
constexpr std::size_t kBody = 44;        // of `here`, before the services
constexpr std::size_t kServiceOf4 = 12;  // bytes of a service of IPv4
constexpr std::size_t kServiceOf6 = 24;  // and of IPv6
constexpr std::uint8_t kLeaving = 1;     // flags of `here`
constexpr std::uint8_t kFlagIpv6 = 1;    // flags of a service
constexpr unsigned kBackendShift = 1;    // two bits
constexpr std::uint8_t kFlagAdopts = 8;
constexpr unsigned kScaleShift = 4;      // four bits
constexpr std::uint8_t kMostScale = 14;  // RFC 7323 section 2.3

// The second word tells these messages from cookies', marks' and lanes': it is no address that a client has.
std::uint64_t derived(const splice_key& key, std::uint64_t what) noexcept {
    return splice_siphash_48(&key, ~0ULL, what, 0, 0, 0, 0);
}
enum Derived : std::uint64_t { kLowWord = 0x100, kHighWord = 0x101, kFingerprint = 0x102 };

std::uint64_t little_endian(const std::byte* from, std::size_t count) noexcept {
    std::uint64_t word = 0;
    for (std::size_t i = count; i-- > 0;) word = word << 8 | std::to_integer<std::uint64_t>(from[i]);
    return word;
}

// SipHash-2-4 of any 8 bytes or more.
std::uint64_t siphash(const splice_key& key, Bytes message) noexcept {
    splice_sip_state state = splice_sip_begin(&key, little_endian(message.data(), 8));
    std::size_t at = 8;
    for (; at + 8 <= message.size(); at += 8) splice_sip_word(&state, little_endian(message.data() + at, 8));
    splice_sip_word(&state, little_endian(message.data() + at, message.size() - at) |
                                static_cast<std::uint64_t>(message.size()) << 56);
    state.v2 ^= 0xff;
    for (int round = 0; round < 4; ++round) splice_sip_round(&state);
    return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

// Bytes in their order; whoever asks has seen that they are there.
class Reader {
  public:
    explicit Reader(Bytes bytes) noexcept : bytes_(bytes) {}
    std::uint64_t number(std::size_t bytes) noexcept {
        std::uint64_t value = 0;
        for (const std::byte byte : take(bytes)) value = value << 8 | std::to_integer<std::uint64_t>(byte);
        return value;
    }
    template <class T>
    T as() noexcept {
        return static_cast<T>(number(sizeof(T)));
    }
    Bytes take(std::size_t count) noexcept {
        const Bytes taken = bytes_.first(count);
        bytes_ = bytes_.subspan(count);
        return taken;
    }
    [[nodiscard]] std::size_t left() const noexcept { return bytes_.size(); }

  private:
    Bytes bytes_;
};

class Writer {
  public:
    explicit Writer(MutableBytes to) noexcept : to_(to) {}
    template <class T>
    void put(T value) noexcept {
        for (std::size_t i = sizeof(T); i-- > 0;)
            to_[at_++] = static_cast<std::byte>(static_cast<std::uint64_t>(value) >> (8 * i));
    }
    void put(Bytes bytes) noexcept {
        std::ranges::copy(bytes, to_.begin() + static_cast<std::ptrdiff_t>(at_));
        at_ += bytes.size();
    }
    void header(ChannelKind kind, std::uint64_t nonce, std::int64_t unix_ms) noexcept {
        put(kMagic);
        put(kFormat);
        put(kind);
        put(std::uint16_t{0});  // the length, known at the end
        put(nonce);
        put(unix_ms);
    }
    // Zeros up to there.
    void fill(std::size_t end) noexcept {
        while (at_ < end) to_[at_++] = std::byte{};
    }
    Bytes finish(const splice_key& key) noexcept {
        const std::size_t size = at_ + kChannelMac;
        to_[6] = static_cast<std::byte>(size >> 8);
        to_[7] = static_cast<std::byte>(size);
        put(siphash(key, to_.first(at_)));
        return to_.first(size);
    }
    [[nodiscard]] std::size_t left() const noexcept { return to_.size() - kChannelMac - at_; }

  private:
    MutableBytes to_;
    std::size_t at_ = 0;
};

bool is_visible(std::byte byte) noexcept {
    return byte > std::byte{' '} && byte < std::byte{0x7f};
}

std::size_t size_of(const ChannelService& service) noexcept {
    return service.vip.address.family() == 4 ? kServiceOf4 : kServiceOf6;
}

// Its text, then zeros.
std::optional<std::string> read_version(Bytes bytes) {
    const auto end = std::ranges::find_if_not(bytes, is_visible);
    if (end == bytes.begin() || !std::all_of(end, bytes.end(), [](std::byte b) { return b == std::byte{}; }))
        return std::nullopt;
    return std::string(as_text(bytes.first(static_cast<std::size_t>(end - bytes.begin()))));
}

std::optional<ChannelService> read_service(Reader& from) {
    if (from.left() < kServiceOf4) return std::nullopt;
    ChannelService service;
    service.dscp = from.as<std::uint8_t>();
    const auto flags = from.as<std::uint8_t>();
    service.vip.port = from.as<std::uint16_t>();
    service.connections = from.as<std::uint32_t>();
    const unsigned backend = flags >> kBackendShift & 3U;
    service.window_scale = static_cast<std::uint8_t>(flags >> kScaleShift);
    service.adopts = (flags & kFlagAdopts) != 0;
    service.backend = static_cast<ChannelBackend>(backend);
    if (service.dscp == 0 || service.dscp > SPLICE_CARRIAGE_LAST || service.vip.port == 0 || backend > 2 ||
        service.window_scale > kMostScale)
        return std::nullopt;
    if ((flags & kFlagIpv6) == 0) {
        service.vip.address = IpAddress::from_ipv4(from.as<std::uint32_t>());
        return service;
    }
    splice_address address{};
    if (from.left() < sizeof(address.bytes)) return std::nullopt;
    std::memcpy(address.bytes, from.take(sizeof(address.bytes)).data(), sizeof(address.bytes));
    service.vip.address = IpAddress(address);
    if (service.vip.address.family() == 4) return std::nullopt;  // it has the shorter form
    return service;
}

void put_service(Writer& to, const ChannelService& service) noexcept {
    const splice_address& address = service.vip.address.raw();
    const bool is_ipv4 = service.vip.address.family() == 4;
    to.put(service.dscp);
    to.put(static_cast<std::uint8_t>(
        (is_ipv4 ? 0 : kFlagIpv6) | static_cast<unsigned>(service.backend) << kBackendShift |
        (service.adopts ? kFlagAdopts : 0U) | static_cast<unsigned>(service.window_scale) << kScaleShift));
    to.put(service.vip.port);
    to.put(service.connections);
    const Bytes bytes = std::as_bytes(std::span(address.bytes));
    to.put(is_ipv4 ? bytes.subspan(12) : bytes);
}

}  // namespace

ChannelSecret channel_secret(const splice_secret& secret) noexcept {
    ChannelSecret channel;
    channel.fingerprints.count = std::min<std::uint32_t>(secret.count, 2);
    for (std::size_t i = 0; i < channel.fingerprints.count; ++i) {
        const splice_key& key = secret.keys[i];
        channel.keys[i].k0 = derived(key, kLowWord);
        channel.keys[i].k1 = derived(key, kHighWord);
        channel.fingerprints.keys[i] = static_cast<std::uint32_t>(derived(key, kFingerprint) >> 32);
    }
    const splice_key of_lane{.k0 = secret.lane.words[0], .k1 = secret.lane.words[1], .after_zero = {}};
    channel.fingerprints.lane = static_cast<std::uint32_t>(derived(of_lane, kFingerprint) >> 32);
    return channel;
}

std::optional<ChannelHeader> read_channel_header(Bytes packet) noexcept {
    if (packet.size() < kChannelHeader + kChannelMac || packet.size() > kChannelMost) return std::nullopt;
    Reader from(packet);
    if (from.as<std::uint32_t>() != kMagic || from.as<std::uint8_t>() != kFormat) return std::nullopt;
    ChannelHeader header;
    header.kind = static_cast<ChannelKind>(from.as<std::uint8_t>());
    if (from.as<std::uint16_t>() != packet.size()) return std::nullopt;
    header.nonce = from.as<std::uint64_t>();
    header.unix_ms = from.as<std::int64_t>();
    switch (header.kind) {
        case ChannelKind::who:
            if (packet.size() != kChannelMost) return std::nullopt;
            return header;
        case ChannelKind::here:
            if (packet.size() < kChannelHeader + kBody + kChannelMac) return std::nullopt;
            return header;
        case ChannelKind::clock:
            if (packet.size() != kChannelHeader + kChannelMac) return std::nullopt;
            return header;
    }
    return std::nullopt;
}

bool is_channel_mac_right(Bytes packet, const splice_key& key) noexcept {
    Reader from(packet.last(kChannelMac));
    return siphash(key, packet.first(packet.size() - kChannelMac)) == from.as<std::uint64_t>();
}

std::optional<ChannelPresence> read_channel_presence(Bytes packet) {
    Reader from(packet.subspan(kChannelHeader, packet.size() - kChannelHeader - kChannelMac));
    ChannelPresence presence;
    presence.number = from.as<std::uint16_t>();
    const auto flags = from.as<std::uint8_t>();
    presence.leaving = (flags & kLeaving) != 0;
    presence.secret.count = from.as<std::uint8_t>();
    for (std::uint32_t& key : presence.secret.keys) key = from.as<std::uint32_t>();
    presence.secret.lane = from.as<std::uint32_t>();
    presence.connections = from.as<std::uint32_t>();
    presence.opening = from.as<std::uint32_t>();
    const bool has_keys =
        presence.secret.count == 2 || (presence.secret.count == 1 && presence.secret.keys[1] == 0);
    auto version = read_version(from.take(kChannelVersionMost));
    presence.services_in_all = from.as<std::uint16_t>();
    const auto told = from.as<std::uint16_t>();
    if (presence.number > kMaxBridgeNumber || (flags & ~kLeaving) != 0 || !has_keys || !version ||
        told > presence.services_in_all)
        return std::nullopt;
    presence.version = std::move(*version);
    for (unsigned i = 0; i < told; ++i) {
        const auto service = read_service(from);
        if (!service) return std::nullopt;
        presence.services.push_back(*service);
    }
    if (from.left() != 0) return std::nullopt;
    return presence;
}

Bytes write_channel_question(MutableBytes to, std::uint64_t nonce, std::int64_t unix_ms,
                             const splice_key& key) noexcept {
    Writer writer(to.first(kChannelMost));
    writer.header(ChannelKind::who, nonce, unix_ms);
    writer.fill(kChannelMost - kChannelMac);
    return writer.finish(key);
}

Bytes write_channel_clock(MutableBytes to, std::uint64_t nonce, std::int64_t unix_ms,
                          const splice_key& key) noexcept {
    Writer writer(to.first(kChannelMost));
    writer.header(ChannelKind::clock, nonce, unix_ms);
    return writer.finish(key);
}

Bytes write_channel_presence(MutableBytes to, std::uint64_t nonce, std::int64_t unix_ms,
                             const ChannelPresence& presence, const splice_key& key) noexcept {
    std::size_t fit = 0;
    std::size_t room = kChannelMost - kChannelHeader - kBody - kChannelMac;
    while (fit < presence.services.size() && size_of(presence.services[fit]) <= room)
        room -= size_of(presence.services[fit++]);
    Writer writer(to.first(kChannelMost));
    writer.header(ChannelKind::here, nonce, unix_ms);
    writer.put(presence.number);
    writer.put(static_cast<std::uint8_t>(presence.leaving ? kLeaving : 0));
    writer.put(static_cast<std::uint8_t>(presence.secret.count));
    for (const std::uint32_t fingerprint : presence.secret.keys) writer.put(fingerprint);
    writer.put(presence.secret.lane);
    writer.put(presence.connections);
    writer.put(presence.opening);
    const std::string_view version(presence.version);
    writer.put(as_bytes(version.substr(0, kChannelVersionMost)));
    writer.fill(kChannelHeader + kBody - 4);
    writer.put(presence.services_in_all);
    writer.put(static_cast<std::uint16_t>(fit));
    for (std::size_t i = 0; i < fit; ++i) put_service(writer, presence.services[i]);
    return writer.finish(key);
}

}  // namespace splice
