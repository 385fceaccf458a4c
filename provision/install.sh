#!/bin/bash
# install.sh SOURCE [BUILD]: builds SOURCE and installs the executables into /usr/local/sbin. With BUILD, a directory
# that holds executables built on the same release, it only installs those and what they need to run.
set -euo pipefail
source_dir=$(realpath "${1:?the source directory}")
# shellcheck source=provision/common.sh
source "$source_dir/provision/common.sh"

if [[ -n ${2:-} ]]; then
    # shellcheck disable=SC2046
    need_packages $("$source_dir/scripts/deps.sh" --runtime)
    for program in balancer packetbridge splice-hash splicectl; do
        install -C -m 0755 "$2/$program" "/usr/local/sbin/$program"
    done
else
    need_packages make
    make -C "$source_dir" deps build install
fi
say "installed $(/usr/local/sbin/balancer --version)"
