# shellcheck shell=bash disable=SC2034
# Names and addresses. lab.sh draws them.

BRIDGES=(1 2 3)

CLIENT4=10.20.0.2 CLIENT6=fd20::2
ROUTER_NEAR4=10.20.0.1 ROUTER_NEAR6=fd20::1
ROUTER_FAR4=192.168.33.1 ROUTER_FAR6=fd33::1
VIP4=192.168.33.100 VIP6=fd33::100

# Of balancer, balancer2 or balancer3.
balancer_last() { case $1 in balancer) echo 10 ;; *) echo "1${1#balancer}" ;; esac; }
balancer4() { echo "192.168.33.$(balancer_last "$1")"; }
balancer6() { echo "fd33::$(balancer_last "$1")"; }
BALANCER4=$(balancer4 balancer) BALANCER6=$(balancer6 balancer)

bridge4() { echo "192.168.33.2$1"; }
bridge6() { echo "fd33::2$1"; }
backend4() { echo "192.168.33.3$1"; }
backend6() { echo "fd33::3$1"; }

# Everything of a lab is named after it and lives in one directory.
use_lab() {
    LAB_ID=$1
    [[ $LAB_ID =~ ^[a-z0-9-]{1,32}$ ]] || { echo "lab: an ID is of lower-case letters, digits and -: $LAB_ID" >&2; exit 2; }
    RUN=/tmp/splicelb-lab-$LAB_ID
    # As many as it was made with, until it ends.
    LAB_BALANCERS=${LAB_BALANCERS:-1}
    if [[ -e $RUN/balancers ]]; then LAB_BALANCERS=$(<"$RUN/balancers"); fi
    case $LAB_BALANCERS in
    1) BALANCERS=(balancer) ;;
    3) BALANCERS=(balancer balancer2 balancer3) ;;
    *) echo "lab: LAB_BALANCERS is 1 or 3: $LAB_BALANCERS" >&2; exit 2 ;;
    esac
    HOSTS=(client router segment "${BALANCERS[@]}" b1 b2 b3)
}
ns() { echo "splb-$LAB_ID-$1"; }
on() { ip netns exec "$(ns "$1")" "${@:2}"; }
