// The rules that bring our packets to our queue and keep the kernel from answering them, scoped to exactly
// what is ours: VIP and port, or address and DSCP. Never a rule about RSTs.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "libsplice/base/netfilter_tool.hpp"
#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/iptables_rules.hpp"
#include "libsplice/engine/netfilter_match.hpp"
#include "libsplice/engine/nft_table.hpp"

namespace splice {

// Installed as long as it lives. A crash leaves them; the next install() of the same owner replaces them,
// whichever tool made them.
class NetfilterRules {
  public:
    // `owner`: "BALANCER" or "BRIDGE": the table is splicelb-<owner> in small letters, the chains of iptables
    // are SPLICELB-<owner>. Two processes with the same owner in one network namespace would take each
    // other's place. Errors: the tool is missing, or refuses (its words are in the text). Then no rule of the
    // owner is left.
    static SystemResult<NetfilterRules> install(const std::string& owner,
                                                const std::vector<NetfilterMatch>& rules,
                                                NetfilterTool tool = NetfilterTool::automatic);

    // Other rules of the same owner in the place of these (a reload). After an error those before are back.
    // The same rules cost nothing: iptables, asked many times, takes up to some tenths of a second.
    SystemResult<void> replace(const std::vector<NetfilterMatch>& rules);

    // Whether they are as they were installed. Cheap while no rule of this host has changed.
    [[nodiscard]] bool are_whole();
    // Installs them again.
    SystemResult<void> restore();

    // What made them: never automatic.
    [[nodiscard]] NetfilterTool tool() const noexcept;

  private:
    NetfilterRules(std::variant<NftTable, IptablesRules> installed,
                   std::vector<NetfilterMatch> rules) noexcept
        : installed_(std::move(installed)), rules_(std::move(rules)) {}

    std::variant<NftTable, IptablesRules> installed_;
    std::vector<NetfilterMatch> rules_;
};

// Whether the kernel's nftables can queue packets. The error says what it answers.
SystemResult<void> nftables_can_queue();

}  // namespace splice
