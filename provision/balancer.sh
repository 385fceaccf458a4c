#!/bin/bash
# balancer.sh SOURCE: makes this host the lab's balancer. Its VIP is its own address, 192.168.33.10; whatever else
# listens there (ssh) is left alone.
set -euo pipefail
source_dir=$(realpath "${1:?the source directory}")
# shellcheck source=provision/common.sh
source "$source_dir/provision/common.sh"

lab_interface
lab_secret "$source_dir"
unit splicelb-balancer "$source_dir"
