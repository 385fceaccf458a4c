// What the firewall of a host has, out of the words of its own programs: no system call tells of a
// rule what it does. What is not understood is taken for harmless by some questions and for harmful by
// others; each says so.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/time.hpp"

namespace splice {

// Each is empty where its program is not installed or fails.
struct FirewallRules {
    std::string ipv4;  // iptables-save, of nftables' rules and of the legacy tables
    std::string ipv6;  // ip6tables-save, likewise
    std::string nft;   // nft list ruleset, without elements of named sets
};

// Runs the programs: some ten milliseconds, more where there are thousands of rules.
[[nodiscard]] FirewallRules read_firewall_rules();

// The first line that `matches`, without the blanks around it; empty: none does.
[[nodiscard]] std::string first_rule(const FirewallRules& rules, bool (*matches)(const std::string&));

// The chains at that hook of IPv4's or IPv6's path, "input" or "output", whose policy drops what no rule of
// theirs accepts, in words: "OUTPUT of iptables' table filter", "chain out of nft's table inet mine".
[[nodiscard]] std::vector<std::string> dropping_chains(const FirewallRules& rules, std::string_view hook);

// Whether the kernel would take an adopted segment from its socket, for packets of that family (4 or 6): it
// does where two things meet. A chain of type nat of any hook, also an empty one, has it run
// nf_nat_*_local_in, which compares the socket's port with the tracked connection's; what adoption makes is
// no socket yet and has no port, so it is let go of. And some rule needs connection tracking, for without a
// tracked connection there is nothing to compare. A chain or a legacy table that a rule once made stays when
// the rule is gone; tracking ends with the last rule that needs it.
[[nodiscard]] bool nat_takes_adopted_segments(const FirewallRules& rules, int family);

// Whether a rule keeps all segments to the backend from being tracked (`notrack`). False also where a rule
// has conditions that are not understood here; interfaces are not looked at.
[[nodiscard]] bool leaves_untracked(const FirewallRules& rules, const Endpoint& backend);

// The rules, read anew when the kernel says that they may have changed, at most every five seconds.
class FirewallWatch {
  public:
    // `now`: of the monotonic clock.
    const FirewallRules& look(Duration now);

  private:
    FirewallRules rules_;
    std::string stamp_;  // of rules_
    Duration next_read_{};
};

}  // namespace splice
