// The services' addresses on this host, as facts: those that it lacks are added, and removed again; and who
// learns of them on the link.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "balancer/config.hpp"
#include "libsplice/base/address.hpp"
#include "libsplice/base/time.hpp"
#include "libsplice/engine/arp_silence.hpp"
#include "libsplice/engine/interface.hpp"

namespace splice {

struct Vip {
    IpAddress address;
    Presence presence = Presence::automatic;

    friend bool operator==(const Vip&, const Vip&) noexcept = default;
};

// Each address once.
std::vector<Vip> vips_of(const BalancerConfig& config);

class Vips {
  public:
    // The first uplink is the one that takes the addresses.
    explicit Vips(std::vector<std::string> uplinks) : uplinks_(std::move(uplinks)) {}

    // That no other host of the link has those that this one is about to add and announce. The error is a
    // sentence that names the other's MAC address. It takes 0.6 s when there are such, and none is taken.
    [[nodiscard]] std::expected<void, std::string> check_free(const std::vector<Vip>& wanted) const;
    // Which of those on standby another program has given to this host since the last call, and which it took
    // away: the former are announced. At every notice of a change, and every five seconds.
    void follow(const std::vector<Vip>& wanted);
    // Tells the link again of those that were announced a while ago: hosts that learned something else of
    // them just before may not have listened (RFC 5227 section 2.3 says twice, 2 s apart). About once a
    // second.
    void announce_again(Duration now);
    // Leaves those that were added to the next start.
    void keep() noexcept;
    // That the host has each of them. They refer to this.
    [[nodiscard]] HostFactList facts(const std::vector<Vip>& wanted);
    // Those that were added, for the log.
    [[nodiscard]] std::vector<IpAddress> added() const;

  private:
    // Where an address was added, or is announced.
    struct Place {
        std::string interface;
        IpAddress address;

        friend bool operator==(const Place&, const Place&) noexcept = default;
    };

    [[nodiscard]] bool is_announced(const Vip& vip) const;
    [[nodiscard]] bool has(const Place& place) const;
    [[nodiscard]] HostFact fact(const Vip& vip);
    [[nodiscard]] std::optional<std::string> observe(const Place& place) const;
    SystemResult<void> add(const Vip& vip, const Place& place);
    void remove(const Place& place);
    void announce(const Place& place);
    static void tell(const Place& place);

    std::vector<std::string> uplinks_;
    std::vector<std::pair<Place, Duration>> announce_next_;  // and when
    std::vector<std::pair<Place, AddedAddress>> added_;
    ArpSilence silence_;
    std::vector<Place> taken_over_;  // on standby, and here
};

}  // namespace splice
