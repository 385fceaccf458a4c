# shellcheck shell=bash
# Several balancers for one VIP: the router's multipath over them.
#
# Nexthop 4NN or 6NN of the router is the balancer at .NN or ::NN; groups 4 and 6 are those that it spreads over. A group
# is exchanged as one, so no packet finds it empty.
#
# The hash is of the five fields that name a flow, as a router's hardware has it. Policy 1 means the same, but takes a hash
# that is with the packet already. Over veth that is the one of the client's socket: it is no hash of the five fields, and the
# socket takes another one at each retransmission time-out.

HASH_FIELDS=0x37 # addresses, protocol, ports (ip-sysctl, fib_multipath_hash_fields)

router_knows_balancers() {
    local family name last
    for family in ipv4 ipv6; do
        on router sysctl -q -w "net.$family.fib_multipath_hash_policy=3" "net.$family.fib_multipath_hash_fields=$HASH_FIELDS"
    done
    for name in "${BALANCERS[@]}"; do
        last=$(balancer_last "$name")
        on router ip nexthop add id "4$last" via "$(balancer4 "$name")" dev eth1
        on router ip nexthop add id "6$last" via "$(balancer6 "$name")" dev eth1
    done
    router_spreads "${BALANCERS[@]}"
    on router ip route add "$VIP4/32" nhid 4
    on router ip -6 route add "$VIP6/128" nhid 6
}

# router_spreads BALANCER...: over these.
router_spreads() {
    local name last group4=() group6=()
    for name; do
        last=$(balancer_last "$name")
        group4+=("4$last") group6+=("6$last")
    done
    on router ip nexthop replace id 4 group "$(IFS=/ && echo "${group4[*]}")"
    on router ip nexthop replace id 6 group "$(IFS=/ && echo "${group6[*]}")"
}

# host_asks_router HOST: every balancer would answer ARP for the VIP.
host_asks_router() {
    on "$1" ip route add "$VIP4/32" via "$ROUTER_FAR4"
    on "$1" ip -6 route add "$VIP6/128" via "$ROUTER_FAR6"
}
