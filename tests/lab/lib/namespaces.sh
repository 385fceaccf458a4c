# shellcheck shell=bash
# Namespaces, links, addresses and routes; and their end.

# host_settings HOST: before the first link is up.
host_settings() {
    local settings=(
        net.ipv6.conf.all.disable_ipv6=0
        net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.dad_transmits=0  # addresses serve at once
        net.ipv6.conf.default.router_solicitations=0
        net.ipv6.conf.default.accept_ra=0
        net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.default.rp_filter=2           # as systemd sets it: loose
        net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.send_redirects=0
        "net.ipv4.tcp_congestion_control=$CONGESTION"
    )
    case $1 in
    client) settings+=(net.ipv4.tcp_tw_reuse=1 "net.ipv4.ip_local_port_range=10000 59999") ;;
    router) settings+=(net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1) ;;
    b?) settings+=(net.ipv4.tcp_max_syn_backlog=8192 net.core.somaxconn=8192) ;;
    segment) settings+=(net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0) ;;
    esac
    local setting
    for setting in "${settings[@]}"; do
        # A bridge's netfilter settings exist only where that module does.
        [[ -e /proc/sys/$(tr . / <<<"${setting%%=*}") ]] || continue
        on "$1" sysctl -q -w "$setting"
    done
    on "$1" ip link set lo up
}

# segment_port HOST: HOST's eth1, plugged into the segment.
segment_port() {
    ip link add eth1 netns "$(ns "$1")" type veth peer name "to-$1" netns "$(ns segment)"
    on segment ip link set "to-$1" master segment up
    on "$1" ip link set eth1 up
}

# host_address HOST ADDRESS4 ADDRESS6: with the segment's prefix and the way out through the router.
host_address() {
    on "$1" ip address add "$2/24" dev eth1
    on "$1" ip -6 address add "$3/64" dev eth1 nodad
    on "$1" ip route add default via "$ROUTER_FAR4"
    on "$1" ip -6 route add default via "$ROUTER_FAR6"
}

# $NETEM, tc's words, on what the router sends either way.
router_impairment() {
    local interface words
    [[ -n $NETEM ]] || return 0
    read -ra words <<<"$NETEM"
    for interface in eth0 eth1; do on router tc qdisc add dev "$interface" root netem "${words[@]}"; done
}

create_namespaces() {
    local host name i
    for host in "${HOSTS[@]}"; do
        ip netns add "$(ns "$host")"
        host_settings "$host"
    done

    ip link add eth0 netns "$(ns client)" type veth peer name eth0 netns "$(ns router)"
    on client ip link set eth0 up
    on router ip link set eth0 up
    on client ip address add "$CLIENT4/24" dev eth0
    on client ip -6 address add "$CLIENT6/64" dev eth0 nodad
    on router ip address add "$ROUTER_NEAR4/24" dev eth0
    on router ip -6 address add "$ROUTER_NEAR6/64" dev eth0 nodad
    on client ip route add default via "$ROUTER_NEAR4"
    on client ip -6 route add default via "$ROUTER_NEAR6"

    on segment ip link add segment type bridge mcast_snooping 0
    on segment ip link set segment up
    for host in router "${BALANCERS[@]}" b1 b2 b3; do segment_port "$host"; done
    on router ip address add "$ROUTER_FAR4/24" dev eth1
    on router ip -6 address add "$ROUTER_FAR6/64" dev eth1 nodad
    router_impairment
    for name in "${BALANCERS[@]}"; do
        host_address "$name" "$(balancer4 "$name")" "$(balancer6 "$name")"
        # What the balancer gets must have finished checksums: a program at XDP cannot finish them.
        on segment ethtool -K "to-$name" tx off >/dev/null
        # And what it sends arrives at a veth only where that merges packets.
        on segment ethtool -K "to-$name" gro on >/dev/null
    done
    for i in "${BRIDGES[@]}"; do
        host_address "b$i" "$(bridge4 "$i")" "$(bridge6 "$i")"
        on "b$i" ip address add "$(backend4 "$i")/32" dev eth1
        on "b$i" ip -6 address add "$(backend6 "$i")/128" dev eth1 nodad
    done
    if ((${#BALANCERS[@]} > 1)); then
        router_knows_balancers
        for i in "${BRIDGES[@]}"; do host_asks_router "b$i"; done
    fi
}

lab_network() {
    if [[ -e /run/netns/$(ns client) || -e $RUN ]]; then
        echo "lab: lab $LAB_ID is there already; lab.sh down $LAB_ID ends it" >&2
        trap - EXIT
        exit 1
    fi
    mkdir -p "$RUN"/{log,pid,www/file,bpffs}
    echo "$LAB_BALANCERS" >"$RUN/balancers"
    # Out here: what is mounted in a host's mount namespace goes with the program that runs there.
    if grep -qw bpf /proc/filesystems; then mount -t bpf bpf "$RUN/bpffs"; fi
    create_namespaces
    backends_prepare
    local i name
    for i in "${BRIDGES[@]}"; do program_start "nginx$i"; done
    for name in "${BALANCERS[@]}"; do
        wait_until 5 on client ping -c 1 -W 1 "$(balancer4 "$name")"
        wait_until 5 on client ping -c 1 -W 1 "$(balancer6 "$name")"
    done
}

lab_processes() {
    local host
    for host in "${HOSTS[@]}"; do
        if [[ -e /run/netns/$(ns "$host") ]]; then ip netns pids "$(ns "$host")"; fi
    done
}

# Politely first: an executable's clean exit removes what it added; the namespaces take the rest with them.
lab_destroy() {
    trap '' INT TERM
    local host pids
    mapfile -t pids < <(lab_processes)
    if ((${#pids[@]})); then
        kill -TERM "${pids[@]}" 2>/dev/null || true
        wait_until 3 lab_is_quiet 2>/dev/null || true
        mapfile -t pids < <(lab_processes)
        ((${#pids[@]})) && kill -KILL "${pids[@]}" 2>/dev/null
        wait_until 3 lab_is_quiet || true
    fi
    for host in "${HOSTS[@]}"; do
        if [[ -e /run/netns/$(ns "$host") ]]; then ip netns delete "$(ns "$host")"; fi
    done
    umount "$RUN/bpffs" 2>/dev/null || true
    rm -rf "$RUN"
    lab_left_nothing
}

lab_is_quiet() {
    local pid
    for pid in $(lab_processes); do is_running "$pid" && return 1; done
    return 0
}

# The proof: no namespace, no directory, no process whose command line names this lab's directory.
lab_left_nothing() {
    local left=() words file pid
    mapfile -t left < <(ip netns list | grep -o "^splb-$LAB_ID-[a-z0-9]*" || true)
    [[ ! -e $RUN ]] || left+=("$RUN")
    for file in /proc/[0-9]*/cmdline; do
        pid=${file//[!0-9]/}
        mapfile -d '' -t words 2>/dev/null <"$file" || continue
        [[ ${words[*]} != *"$RUN/"* ]] || is_gone "$pid" || left+=("process $pid")
    done
    if ((${#left[@]})); then
        echo "lab: lab $LAB_ID left behind: ${left[*]}" >&2
        return 1
    fi
}

# A lab that did not come up says why and goes.
on_failure() {
    local log
    for log in "$RUN"/log/*.log; do
        [[ -s $log ]] || continue
        echo "--- the end of $(basename "$log")" >&2
        tail -n 15 "$log" >&2
    done
    lab_destroy
}
