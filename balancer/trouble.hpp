// What the balancer's counters say to an operator, in words.
#pragma once

#include <array>
#include <string_view>

#include "libsplice/datapath/guesses.h"
#include "libsplice/ops/counter_warnings.hpp"

namespace splice {

inline constexpr std::string_view kLanesDisagreeAdvice =
    "has a second host the number of one of the bridges, or has a bridge another number than here? Such "
    "connections end with their entry in this balancer's table; see docs/lanes.md";

// By enum splice_guess_scope: in metrics, and in words.
struct GuessScope {
    std::string_view name;
    std::string_view who;
    std::string_view whence;
};
inline constexpr std::array<GuessScope, SPLICE_GUESS_SCOPES> kGuessScopes{
    {{"source", "one address (IPv6: /64)", "from there"},
     {"network", "one network (IPv4 /16, IPv6 /48)", "from there"},
     {"all", "the Internet as a whole", "from everywhere"}}};

inline constexpr std::array kBalancerTrouble{
    CounterWarning{
        SPLICE_answer_no_bridge_503,
        "a service has no bridge that takes connections; are all of them ill, or without a weight above 0 "
        "and the state ready?"},
    CounterWarning{
        SPLICE_answer_no_bridge_rst,
        "a service has no bridge that takes connections; are all of them ill, or without a weight above 0 "
        "and the state ready?"},
    CounterWarning{SPLICE_answer_refused_503,
                   "every bridge that was asked refused a connection; do the caches listen, and does each "
                   "bridge have the "
                   "service with the same DSCP, VIP and port?"},
    CounterWarning{SPLICE_answer_refused_rst,
                   "every bridge that was asked refused a connection; do the caches listen, and does each "
                   "bridge have the "
                   "service with the same DSCP, VIP and port?"},
    CounterWarning{
        SPLICE_answer_not_mine_rst,
        "of connections that no bridge has; after a restart of a bridge that is ordinary, else the secrets "
        "or clocks of balancers and bridges differ, or two bridges have one number"},
    CounterWarning{SPLICE_drop_flow_table_full,
                   "new connections are refused; raise max_flows, or look for a flood"},
    CounterWarning{SPLICE_drop_source_share,
                   "the flow table is nearly full, and single addresses have most of it: look for a flood"},
    CounterWarning{SPLICE_drop_first_payload_memory,
                   "first payloads that come in pieces fill the memory for them; look for a flood"},
    CounterWarning{SPLICE_drop_ask_overrun,
                   "user space does not keep up with what the kernel program asks it; look for a flood"},
    CounterWarning{SPLICE_drop_no_next_hop,
                   "a bridge's next hop is not known; is it up, and in this network? try: ip neigh"},
    CounterWarning{SPLICE_answer_too_big,
                   "the way to a bridge is narrower than clients were told; set the service's mss to that "
                   "MTU less 40 (IPv4) "
                   "or 60 (IPv6)"},
};

}  // namespace splice
