// What the bridge's counters say to an operator, in words.
#pragma once

#include <array>

#include "libsplice/ops/counter_warnings.hpp"

namespace splice {

inline constexpr std::array kBridgeTrouble{
    CounterWarning{
        SPLICE_bounce_not_mine,
        "of no connection here and without a valid cookie; after a restart of this bridge that is ordinary, "
        "else "
        "the secrets or clocks of balancer and bridge differ, or the packets come from no balancer of ours"},
    CounterWarning{
        SPLICE_drop_bad_cookie,
        "the secrets or clocks of balancer and bridge differ, or the packets come from no balancer of ours"},
    CounterWarning{
        SPLICE_drop_not_balancer,
        "marked for a service, but sent by none of `balancers`; is one missing there, does a router "
        "stand between, or does somebody else on this network mark packets? try: ip neigh"},
    CounterWarning{SPLICE_pass_mark_of_no_service,
                   "marked for a service that this bridge does not have; is it missing here, or do balancer "
                   "and bridge name "
                   "different DSCPs?"},
    CounterWarning{SPLICE_pass_mark_lost,
                   "with our cookie but without a mark; a network on the way from the balancer clears DSCP"},
    CounterWarning{SPLICE_pass_unmarked_known_flow,
                   "without a mark, of connections that are spliced here; a network on the way from the "
                   "balancer clears DSCP"},
    CounterWarning{SPLICE_bounce_refused,
                   "nobody listens at a service's backend address and port; is the cache running?"},
    CounterWarning{SPLICE_drop_adopt_refused,
                   "the kernel refused to adopt; is the listener an MPTCP or a marked socket? --mode "
                   "translate works for both"},
    CounterWarning{SPLICE_drop_flow_table_full,
                   "new connections are refused; raise max_flows, or look for a flood"},
    CounterWarning{SPLICE_drop_hold_full,
                   "the memory for what waits is used up; does the backend accept connections?"},
    CounterWarning{SPLICE_drop_ask_overrun,
                   "user space does not keep up with what the kernel programs ask it; look for a flood"},
};

}  // namespace splice
