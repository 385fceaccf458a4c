// The rules that bring our packets to our queue and keep the kernel from answering them: in a chain of our
// own in the raw and mangle tables, by iptables and ip6tables (`nft ... queue` needs a kernel option that not
// all have). Scoped to exactly what is ours: VIP and port, or address and DSCP. Never a rule about RSTs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/system_error.hpp"

namespace splice {

enum class NetfilterHook : std::uint8_t {
    prerouting,   // raw PREROUTING: before connection tracking
    postrouting,  // mangle POSTROUTING: routed, about to leave
    forward,      // mangle FORWARD
    input,        // mangle INPUT: for this host's own sockets
    output,       // mangle OUTPUT: from this host's own sockets, raw ones too
};

// Packets that match all of it. The addresses decide the family; without any it is a rule of both.
struct NetfilterMatch {
    NetfilterHook hook = NetfilterHook::prerouting;
    std::string interface;  // where it arrives (prerouting, input, forward) or leaves (postrouting, output);
                            // empty = any
    std::optional<IpAddress> source;
    std::optional<IpAddress> destination;
    enum class Kind : std::uint8_t { tcp, icmp_error, any } kind = Kind::tcp;
    std::uint16_t source_port = 0;       // 0 = any
    std::uint16_t destination_port = 0;  // 0 = any
    std::optional<std::uint8_t> dscp;
    std::uint32_t except_mark = 0;  // packets with this mark (SO_MARK) do not match; 0 = whatever their mark
    std::uint16_t queue = 0;
    bool bypass = false;  // pass packets while no process holds the queue
};

// Installed as long as it lives. A crash leaves the chains; the next install() of the same owner replaces
// them.
class NetfilterRules {
  public:
    // `owner`: "BALANCER" or "BRIDGE": the chain is SPLICELB-<owner> (and SPLICELB-<owner>-F, -I, -O for the
    // other mangle hooks, a chain a hook); at most 16 characters of A-Z, 0-9 and -. A jump at the head of the
    // hook's built-in chain leads to it. All rules of the owner are replaced at once, one iptables-restore a
    // family and one commit a table, so that no packet passes between. Two processes with the same owner in
    // one network namespace would take each other's place. Errors: iptables is missing, or refuses (its words
    // are in the text). Then no rule of the owner is left.
    static SystemResult<NetfilterRules> install(const std::string& owner,
                                                const std::vector<NetfilterMatch>& rules);
    NetfilterRules(NetfilterRules&&) noexcept;
    NetfilterRules& operator=(NetfilterRules&&) noexcept;
    ~NetfilterRules();

    // Other rules of the same owner in the place of these (a reload). After an error those before are back.
    SystemResult<void> replace(const std::vector<NetfilterMatch>& rules);

    // Whether the owner's chains and the jumps to them are as they were installed. Asks iptables only when
    // the kernel's rules may have changed since it was asked last.
    [[nodiscard]] bool are_whole();
    // Installs them again.
    SystemResult<void> restore();

  private:
    explicit NetfilterRules(std::string owner) noexcept;
    void remember();

    std::string owner_;  // empty: moved from, nothing to remove
    std::vector<NetfilterMatch> rules_;
    std::vector<std::string> installed_;  // what iptables-save said of the owner's chains then
    std::string stamp_;                   // of the kernel's rules when they were found whole last
};

}  // namespace splice
