// The services' addresses on this host, as facts: those that it lacks are added to the uplink, and removed
// again.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/time.hpp"
#include "libsplice/engine/interface.hpp"

namespace splice {

class Vips {
  public:
    explicit Vips(std::string interface) : interface_(std::move(interface)) {}

    // Tells the link again of those that were added a while ago: hosts that learned something else of them
    // just before may not have listened (RFC 5227 section 2.3 says twice, 2 s apart). About once a second.
    void announce_again(Duration now);
    // Leaves those that were added to the next start.
    void keep() noexcept;
    // That the host has each of them. They refer to this.
    [[nodiscard]] HostFactList facts(const std::vector<IpAddress>& wanted);
    // Those that were added, for the log.
    [[nodiscard]] std::vector<IpAddress> added() const;

  private:
    [[nodiscard]] bool has(const IpAddress& address) const;
    [[nodiscard]] std::string words_of(const IpAddress& address) const;
    [[nodiscard]] std::optional<std::string> observe(const IpAddress& address) const;
    SystemResult<void> add(const IpAddress& address);
    void remove(const IpAddress& address);

    void announce(const IpAddress& address) const;

    std::string interface_;
    std::vector<std::pair<IpAddress, Duration>> announce_next_;  // and when
    std::vector<std::pair<IpAddress, AddedAddress>> added_;
};

}  // namespace splice
