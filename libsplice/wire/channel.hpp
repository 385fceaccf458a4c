// The channel's packets: what balancers ask bridges, and what these answer, over UDP. docs/channel.md draws
// them and works an example, which a test decodes.
//
// All numbers are big-endian. Every packet ends with a MAC over all that is before it: SipHash-2-4 keyed by
// what channel_secret() derives from a key of the secret. A packet has one form: what is read and written
// again is the same bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/bytes.hpp"
#include "libsplice/datapath/cookie.h"

namespace splice {

inline constexpr std::uint16_t kChannelPort = 20531;
inline constexpr std::size_t kChannelMost = 1200;  // bytes of a packet; a question has as many
inline constexpr std::size_t kChannelHeader = 24;
inline constexpr std::size_t kChannelMac = 8;
inline constexpr std::size_t kChannelVersionMost = 16;

enum class ChannelKind : std::uint8_t {
    who = 1,    // a question: who is there
    here = 2,   // the answer to it
    clock = 3,  // the answer to one of another time: only the header, with this host's clock
};

// What is known of a secret without knowing it. A key's is 32 bits of SipHash of a constant.
struct ChannelFingerprints {
    std::array<std::uint32_t, 2> keys{};  // in the secret file's order
    std::uint32_t count = 0;              // 1 or 2
    std::uint32_t lane = 0;
    friend bool operator==(const ChannelFingerprints&, const ChannelFingerprints&) = default;
};

struct ChannelSecret {
    std::array<splice_key, 2> keys{};  // that authenticate packets; as many as fingerprints.count
    ChannelFingerprints fingerprints;
};
[[nodiscard]] ChannelSecret channel_secret(const splice_secret& secret) noexcept;

struct ChannelHeader {
    ChannelKind kind{};
    std::uint64_t nonce = 0;   // of the question, and in its answer
    std::int64_t unix_ms = 0;  // the sender's clock
    friend bool operator==(const ChannelHeader&, const ChannelHeader&) = default;
};

enum class ChannelBackend : std::uint8_t { unknown, takes, takes_none };

inline constexpr std::uint32_t kConnectionsUnknown = 0xffffffff;

struct ChannelService {
    std::uint8_t dscp = 1;  // 1 to 62
    Endpoint vip;
    std::uint8_t window_scale = 0;  // 0 to 14
    ChannelBackend backend = ChannelBackend::unknown;
    bool adopts = false;                              // else it translates
    std::uint32_t connections = kConnectionsUnknown;  // that are open now
    friend bool operator==(const ChannelService&, const ChannelService&) = default;
};

// The body of `here`.
struct ChannelPresence {
    std::string version;       // 1 to kChannelVersionMost visible characters
    std::uint16_t number = 0;  // 1 to kMaxBridgeNumber; 0: the bridge has none
    bool leaving = false;      // it stops, and opens nothing any more
    ChannelFingerprints secret;
    std::uint32_t connections = kConnectionsUnknown;  // of all services
    std::uint32_t opening = 0;                        // of them, handshakes that are being replayed
    std::uint16_t services_in_all = 0;
    std::vector<ChannelService> services;  // those that fit into a packet
    friend bool operator==(const ChannelPresence&, const ChannelPresence&) = default;
};

// The header of a packet whose size, magic number, form and kind are right; of its MAC nothing is said. A
// question has kChannelMost bytes.
[[nodiscard]] std::optional<ChannelHeader> read_channel_header(Bytes packet) noexcept;
// Of a packet with a header.
[[nodiscard]] bool is_channel_mac_right(Bytes packet, const splice_key& key) noexcept;
// The body of a packet with a header of the kind `here`; nothing: it is malformed.
[[nodiscard]] std::optional<ChannelPresence> read_channel_presence(Bytes packet);

// Each writes into `to`, which has kChannelMost bytes, and gives the bytes of the packet.
Bytes write_channel_question(MutableBytes to, std::uint64_t nonce, std::int64_t unix_ms,
                             const splice_key& key) noexcept;
Bytes write_channel_clock(MutableBytes to, std::uint64_t nonce, std::int64_t unix_ms,
                          const splice_key& key) noexcept;
// Services that do not fit are left out, as the packet says. A version that is too long is cut.
Bytes write_channel_presence(MutableBytes to, std::uint64_t nonce, std::int64_t unix_ms,
                             const ChannelPresence& presence, const splice_key& key) noexcept;

}  // namespace splice
