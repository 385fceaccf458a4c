# shellcheck shell=bash disable=SC2034
# Names and addresses. lab.sh draws them.

HOSTS=(client router segment balancer b1 b2 b3)
BRIDGES=(1 2 3)

CLIENT4=10.20.0.2 CLIENT6=fd20::2
ROUTER_NEAR4=10.20.0.1 ROUTER_NEAR6=fd20::1
ROUTER_FAR4=192.168.33.1 ROUTER_FAR6=fd33::1
BALANCER4=192.168.33.10 BALANCER6=fd33::10
VIP4=192.168.33.100 VIP6=fd33::100

bridge4() { echo "192.168.33.2$1"; }
bridge6() { echo "fd33::2$1"; }
backend4() { echo "192.168.33.3$1"; }
backend6() { echo "fd33::3$1"; }

# Everything of a lab is named after it and lives in one directory.
use_lab() {
    LAB_ID=$1
    [[ $LAB_ID =~ ^[a-z0-9-]{1,32}$ ]] || { echo "lab: an ID is of lower-case letters, digits and -: $LAB_ID" >&2; exit 2; }
    RUN=/tmp/splicelb-lab-$LAB_ID
}
ns() { echo "splb-$LAB_ID-$1"; }
on() { ip netns exec "$(ns "$1")" "${@:2}"; }
