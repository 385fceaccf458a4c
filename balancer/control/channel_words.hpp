// What bridges say over the channel against what this balancer expects of them, in words. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "balancer/config.hpp"
#include "libsplice/core/channel_asks.hpp"

namespace splice {

enum class ChannelTrouble : std::uint8_t {
    no_answer,
    secret,        // a key that the other needs is missing
    lane_key,      // by which timestamps name bridges
    clock,         // more than kClockTold apart
    number,        // of the fleet
    service,       // missing there, or with another mark
    window_scale,  // of the service
    backend,       // takes no connections
    leaving,       // the bridge stops
    version,       // another than this balancer's
};
inline constexpr std::size_t kChannelTroubles = 10;
inline constexpr Duration kClockTold = 2s;
[[nodiscard]] std::string_view to_string(ChannelTrouble trouble) noexcept;
// Worth to be told, and nothing is wrong by it: a version, a bridge that stops.
[[nodiscard]] bool is_note(ChannelTrouble trouble) noexcept;

// One bridge of one service.
struct ChannelSubject {
    const ServiceConfig& service;
    const BridgeConfig& bridge;
    const ChannelState* state;  // null: it was not asked yet
    const ChannelFingerprints& own;
    std::uint16_t port = kChannelPort;

    // What it says of the service; null: nothing.
    [[nodiscard]] const ChannelService* told() const noexcept;
};

using ChannelTroubleSet = std::uint32_t;  // bit t: the trouble t
[[nodiscard]] constexpr ChannelTroubleSet bit_of(ChannelTrouble trouble) noexcept {
    return 1U << static_cast<unsigned>(trouble);
}
[[nodiscard]] ChannelTroubleSet troubles_of(const ChannelSubject& subject) noexcept;
// One of its troubles: what is wrong and what to do, without the bridge's name.
[[nodiscard]] std::string describe(ChannelTrouble trouble, const ChannelSubject& subject);

// What is new, for the log. Once a second.
class ChannelWords {
  public:
    struct Line {
        bool warns = false;
        std::string text;
    };
    // At most kLines, and one that counts the others. A bridge that nobody wants connections from is not
    // missed.
    [[nodiscard]] std::vector<Line> tell(const BalancerConfig& config, const ChannelReport& report,
                                         const ChannelFingerprints& own);
    static constexpr std::size_t kLines = 8;

  private:
    std::map<std::string, ChannelTroubleSet> told_;  // by bridge, and by service and bridge
};

}  // namespace splice
