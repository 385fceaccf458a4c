// The rules that bring our packets to our queue and keep the kernel from answering them: in a chain of our own in
// the raw and mangle tables, by iptables and ip6tables (`nft ... queue` needs a kernel option that not all have).
// Scoped to exactly what is ours: VIP and port, or address and DSCP. Never a rule about RSTs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/engine/error.hpp"

namespace splice {

enum class NetfilterHook : std::uint8_t {
    prerouting,   // raw PREROUTING: before connection tracking
    postrouting,  // mangle POSTROUTING: routed, about to leave
};

struct NetfilterMatch {
    NetfilterHook hook = NetfilterHook::prerouting;
    std::string interface;             // in or out by the hook; empty = any
    std::optional<IpAddress> source;
    std::optional<IpAddress> destination;
    enum class Kind : std::uint8_t { tcp, icmp_error } kind = Kind::tcp;
    std::uint16_t source_port = 0;       // 0 = any
    std::uint16_t destination_port = 0;  // 0 = any
    std::optional<std::uint8_t> dscp;
    std::uint16_t queue = 0;
    bool bypass = false;  // pass packets while no process holds the queue
};

// Installed as long as it lives. A crash leaves the chains; the next install() of the same owner replaces them.
class NetfilterRules {
 public:
    // `owner`: "BALANCER" or "BRIDGE": the chain is SPLICELB-<owner>. All rules of the owner are replaced at once,
    // one iptables-restore a table and family, so that no packet passes between.
    static SystemResult<NetfilterRules> install(const std::string& owner, const std::vector<NetfilterMatch>& rules);
    NetfilterRules(NetfilterRules&&) noexcept;
    NetfilterRules& operator=(NetfilterRules&&) noexcept;
    ~NetfilterRules();

    // Other rules of the same owner in the place of these (a reload).
    SystemResult<void> replace(const std::vector<NetfilterMatch>& rules);

 private:
    explicit NetfilterRules(std::string owner) noexcept;
    std::string owner_;
};

}  // namespace splice
