// The services' addresses on this host: those that it lacks are added to the uplink, and removed again.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/engine/interface.hpp"

namespace splice {

class Vips {
  public:
    explicit Vips(std::string interface) : interface_(std::move(interface)) {}

    // Adds those of `wanted` that the host does not have. Errors: nothing that this call added is left.
    SystemResult<void> add_missing(const std::vector<IpAddress>& wanted);
    // Removes those that were added and are not in `wanted`.
    void remove_others(const std::vector<IpAddress>& wanted);
    // Leaves those that were added to the next start.
    void keep() noexcept;
    // That the host has each of them.
    [[nodiscard]] HostFactList facts(const std::vector<IpAddress>& wanted);
    // Those that were added, for the log.
    [[nodiscard]] std::vector<IpAddress> added() const;

  private:
    [[nodiscard]] bool has(const IpAddress& address) const;
    [[nodiscard]] std::string words_of(const IpAddress& address) const;
    SystemResult<void> add_again(const IpAddress& address);

    std::string interface_;
    std::vector<std::pair<IpAddress, AddedAddress>> added_;
};

}  // namespace splice
