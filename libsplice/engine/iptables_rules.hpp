// Rules of ours by iptables and ip6tables, for kernels whose nftables cannot queue packets: in a chain of our
// own in the raw and mangle tables, a chain a hook.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/netfilter_match.hpp"

namespace splice {

// Installed as long as it lives. A crash leaves the chains; the next install() of the same owner replaces
// them.
class IptablesRules {
  public:
    // `owner`: "BALANCER" or "BRIDGE": the chain is SPLICELB-<owner> (and SPLICELB-<owner>-F, -I, -O for the
    // other mangle hooks); at most 16 characters of A-Z, 0-9 and -. A jump at the head of the hook's built-in
    // chain leads to it. All rules of the owner are replaced at once, one iptables-restore a family and one
    // commit a table, so that no packet passes between. Errors: iptables is missing, or refuses (its words
    // are in the text). Then no rule of the owner is left.
    static SystemResult<IptablesRules> install(const std::string& owner,
                                               const std::vector<NetfilterMatch>& rules);
    IptablesRules(IptablesRules&&) noexcept;
    IptablesRules& operator=(IptablesRules&&) noexcept;
    ~IptablesRules();

    // Other rules of the same owner in the place of these (a reload). After an error those before are back.
    SystemResult<void> replace(const std::vector<NetfilterMatch>& rules);

    // Whether the owner's chains and the jumps to them are as they were installed. Asks iptables only when
    // the kernel's rules may have changed since it was asked last.
    [[nodiscard]] bool are_whole();
    // Installs them again.
    SystemResult<void> restore();

  private:
    explicit IptablesRules(std::string owner) noexcept;
    void remember();

    std::string owner_;  // empty: moved from, nothing to remove
    std::vector<NetfilterMatch> rules_;
    std::vector<std::string> installed_;  // what iptables-save said of the owner's chains then
    std::string stamp_;                   // of the kernel's rules when they were found whole last
};

// Removes what a process before may have left.
void remove_iptables_rules(std::string_view owner);

}  // namespace splice
