#!/bin/bash
# The lab: a client, a router, a balancer and three bridge hosts with nginx, each a network namespace.
#
#     client                 router                                segment (a Linux bridge of its own)
#   10.20.0.2  ---------  10.20.0.1 | 192.168.33.1  ---------+-----------+-----------+-----------+
#   fd20::2               fd20::1   | fd33::1                |           |           |           |
#                                                        balancer       b1          b2          b3
#                                           address      .10 ::10     .21 ::21    .22 ::22    .23 ::23
#                                           VIP          .100 ::100   (the balancer adds it and removes it)
#                                           backend, nginx            .31 ::31    .32 ::32    .33 ::33
#
# Requests: client -> router -> balancer -> bridge. Responses: bridge -> router -> client: they have no way
# through the balancer but by its being sent them, which `lab.sh demo` shows does not happen.
#
#   lab.sh up|down [ID]              bring a lab up with all its programs; end it and prove that nothing is left
#   lab.sh shell HOST [ID]           a shell on client, router, segment, balancer, b1, b2 or b3
#   lab.sh demo                      a lab of its own, shown at work, ended
#   lab.sh network ID                namespaces and backends only (the end-to-end suite starts the rest)
#   lab.sh start|stop|kill PROGRAM ID    balancer, b1, b2, b3 (the packet bridges), nginx1, nginx2, nginx3
#
# LAB_BALANCERS=3 in the environment of up or network makes a lab with two more balancers, balancer2 (.12 ::12) and
# balancer3 (.13 ::13). All have the VIP, and the router spreads what is for it by addresses and ports, by plain
# multipath of the kernel (lib/spread.sh). What bridges send to the VIP goes by the router, too.
#
#   lab.sh spread NAME,NAME ID       over these balancers from here on: a rehash, where they are others than before
#
# Several labs run side by side: ID is part of every name. Environment: ENGINE (nfqueue) of all, BALANCER_ENGINE and
# BRIDGE_ENGINE of either, MODE (translate), BUILD (the directory of the executables), CONGESTION (every host's TCP
# congestion control: reno, because a machine's default may be bbr, which hides loss), NETEM (what a kernel with netem
# does to packets on the router, in tc's words).
set -euo pipefail

LAB_DIR=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
SOURCE_DIR=$(realpath "$LAB_DIR/../..")
BUILD=${BUILD:-$SOURCE_DIR/build}
ENGINE=${ENGINE:-nfqueue}
BALANCER_ENGINE=${BALANCER_ENGINE:-$ENGINE}
BRIDGE_ENGINE=${BRIDGE_ENGINE:-$ENGINE}
MODE=${MODE:-translate}
CONGESTION=${CONGESTION:-reno}
NETEM=${NETEM:-}

for part in topology wait spread namespaces backends splice demo; do
    # shellcheck source=/dev/null
    source "$LAB_DIR/lib/$part.sh"
done

need_root() {
    [[ $EUID -eq 0 ]] && return
    if command -v sudo >/dev/null; then
        echo "lab: network namespaces need root; going on through sudo" >&2
        exec sudo BUILD="$BUILD" BALANCER_ENGINE="$BALANCER_ENGINE" BRIDGE_ENGINE="$BRIDGE_ENGINE" \
            MODE="$MODE" CONGESTION="$CONGESTION" NETEM="$NETEM" LAB_BALANCERS="${LAB_BALANCERS:-}" "$LAB_DIR/lab.sh" "$@"
    fi
    echo "lab: network namespaces need root and there is no sudo here; run this as root" >&2
    exit 1
}

usage() {
    sed -n '/^#   lab.sh/s/^#   //p' "$LAB_DIR/lab.sh" >&2
    exit 2
}

command=${1:-}
[[ $command =~ ^(up|down|shell|demo|network|start|stop|kill|spread)$ ]] || usage
need_root "$@"
shift
case $command in
up)
    use_lab "${1:-lab}"
    trap 'on_failure' EXIT
    trap 'exit 130' INT TERM
    lab_network
    lab_start_all
    trap - EXIT
    echo "lab $LAB_ID is up: make lab-shell, then curl http://$VIP4/any/url or http://[$VIP6]/any/url"
    ;;
network)
    use_lab "${1:?}"
    trap 'on_failure' EXIT
    trap 'exit 130' INT TERM
    lab_network
    trap - EXIT
    ;;
down)
    use_lab "${1:-lab}"
    lab_destroy
    ;;
shell)
    host=${1:?which host: client, router, segment, balancer, b1, b2 or b3}
    use_lab "${2:-lab}"
    [[ -e /run/netns/$(ns "$host") ]] || { echo "lab: no host $host in lab $LAB_ID; make lab-up first" >&2; exit 1; }
    exec ip netns exec "$(ns "$host")" env PS1="$host# " bash --norc
    ;;
start | stop | kill)
    program=${1:?which program}
    use_lab "${2:?which lab}"
    "program_$command" "$program"
    ;;
spread)
    names=${1:?which balancers}
    use_lab "${2:?which lab}"
    IFS=, read -ra names <<<"$names"
    router_spreads "${names[@]}"
    ;;
demo)
    use_lab "demo-$$"
    trap 'lab_destroy' EXIT
    trap 'exit 130' INT TERM
    demo
    ;;
esac
