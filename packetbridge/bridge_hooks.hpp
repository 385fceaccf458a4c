// Where the bridge's kernel programs hang: what takes marked packets in, at the ingress of the interfaces by
// which balancers send and of loopback, where a balancer on this host sends; and what gives answers the VIP,
// at the egress of every interface by which this host may answer, those included that come later.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/host_fact.hpp"
#include "libsplice/engine/interface.hpp"
#include "libsplice/engine/tc_program.hpp"

namespace splice {

// Detached at destruction, unless they are kept.
class BridgeHooks {
  public:
    // `how` is not automatic; `pin_folder` is on a bpffs. Of several uplinks one may be away while they run.
    BridgeHooks(TcAttach how, std::vector<std::string> uplinks, std::string pin_folder);

    // Hangs the programs, which are descriptors that outlive this; each in the place of what a process before
    // left there. No `egress`: what hung there goes. Errors are the uplinks' and loopback's; an interface
    // that takes no program is told in the log.
    SystemResult<void> hang(int ingress, std::optional<int> egress);
    void keep() noexcept;
    // Whether hang() was given one: connections that it serves live on when no service needs it any more.
    [[nodiscard]] bool has_egress() const noexcept { return egress_program_.has_value(); }
    // That they hang there. They refer to this.
    [[nodiscard]] HostFactList facts();

  private:
    using Hung = std::map<std::string, TcProgram>;  // by interface

    [[nodiscard]] TcPlace place_of(const std::string& interface, TcSide side) const;
    [[nodiscard]] int program_of(TcSide side) const noexcept;
    [[nodiscard]] Hung& hung_at(TcSide side) noexcept;
    SystemResult<void> attach(const std::string& interface, TcSide side);
    [[nodiscard]] std::vector<std::string> missing() const;
    void follow_interfaces();
    void remove_egress();
    void remove_other_ingress();
    [[nodiscard]] bool is_away(const std::string& interface) const noexcept;
    [[nodiscard]] bool is_uplink(const std::string& interface) const noexcept;
    // That have facts of their own: uplinks and loopback.
    [[nodiscard]] std::vector<std::string> named() const;
    [[nodiscard]] HostFact fact_of(const std::string& interface, TcSide side);

    TcAttach how_;
    std::vector<std::string> uplinks_;
    std::string pin_folder_;
    int ingress_program_ = -1;
    std::optional<int> egress_program_;
    std::set<std::uint32_t> hopeless_;  // interfaces that take no program, by index
    Hung egress_;
    Hung ingress_;  // gone first: nothing is asked that nobody answers
};

// The interfaces by which this host may answer, loopback included. Errors: the system refuses to list them.
SystemResult<std::vector<InterfaceInfo>> answering_interfaces();

}  // namespace splice
