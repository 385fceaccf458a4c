// The services' addresses on this host, as facts: those that it lacks are added to the uplink, and removed
// again.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/engine/interface.hpp"

namespace splice {

class Vips {
  public:
    explicit Vips(std::string interface) : interface_(std::move(interface)) {}

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

    std::string interface_;
    std::vector<std::pair<IpAddress, AddedAddress>> added_;
};

}  // namespace splice
