// Which number a bridge's address has in flow entries and placement rows. A number means one address for as
// long as entries may refer to it, over any number of reloads.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/time.hpp"

namespace splice {

// A value: a reload works on a copy and keeps it when all else has succeeded.
class BridgeIndex {
  public:
    BridgeIndex() = default;
    // Numbers that an earlier process gave and flows in the kernel still bear; unspecified addresses are
    // gaps. Those that no configuration names again rest from `now` on.
    BridgeIndex(const std::vector<IpAddress>& addresses, Duration now);

    // The numbers of the addresses, in their order; the same address always has the same. An address that is
    // no longer asked for keeps its number, so that its flows come to their end: another address gets it only
    // when all numbers are given out, and not before the longest `rest` (the longest idle time-out) that was
    // ever asked for has passed. Errors: none is left.
    std::expected<std::vector<std::uint16_t>, std::string> assign(const std::vector<IpAddress>& addresses,
                                                                  Duration now, Duration rest);

    // By number, those that are no longer asked for too.
    [[nodiscard]] std::vector<IpAddress> addresses() const;

  private:
    struct Slot {
        IpAddress address;
        bool used = false;
        Duration left{};  // unused: since when
    };

    [[nodiscard]] std::optional<std::uint16_t> find(const IpAddress& address) const noexcept;
    std::optional<std::uint16_t> take(const IpAddress& address, Duration now);

    std::vector<Slot> slots_;
    Duration longest_rest_{};
};

}  // namespace splice
