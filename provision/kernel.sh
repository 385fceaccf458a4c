#!/bin/bash
# kernel.sh SOURCE adopting|PACKAGE[/SUITE]: installs a kernel to boot next.
#
# PACKAGE from a suite that the box does not know yet, such as linux-image-amd64/bookworm-backports: the suite is added
# first. "adopting" asks for a kernel on which the bridge adopts connections: nothing is done where one runs already; a
# mirror that has none leaves the box as it is, where the bridge translates.
set -euo pipefail
source_dir=$(realpath "${1:?the source directory}")
wanted=${2:?adopting, or which kernel package}
# shellcheck source=provision/common.sh
source "$source_dir/provision/common.sh"

ADOPTING=6.9

# add_suite SUITE: from the mirror that the box uses. Where the mirror lacks it, apt knows of none afterwards.
add_suite() {
    local mirror list=/etc/apt/sources.list.d/splicelb-$1.list
    grep -rqs "$1" /etc/apt/sources.list /etc/apt/sources.list.d && return
    mirror=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources || true; } 2>/dev/null |
        awk '/^deb / { for (i = 2; i <= NF; i++) if ($i ~ /^https?:/) { print $i; exit } } /^URIs: *http/ { print $2; exit }')
    put "$list" 0644 <<<"deb $mirror $1 main" || true
    apt-get -q update -o APT::Update::Error-Mode=any >/dev/null && return
    rm -f "$list"
    return 1
}

install_kernel() {
    local suite=${1#*/}
    [[ $suite == "$1" ]] || add_suite "$suite" || return
    DEBIAN_FRONTEND=noninteractive apt-get -q install -y "$1" >/dev/null
}

if [[ $wanted == adopting ]]; then
    running=$(uname -r)
    if [[ $(printf '%s\n' "$ADOPTING" "${running%%-*}" | sort -V | head -n 1) == "$ADOPTING" ]]; then
        say "kernel $running adopts connections"
        exit 0
    fi
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    wanted=linux-image-$(dpkg --print-architecture)/$release-backports
    if ! install_kernel "$wanted"; then
        say "no $wanted to be had: kernel $running stays, on which bridges translate"
        exit 0
    fi
else
    install_kernel "$wanted"
fi
say "kernel $wanted is installed; this boot has $(uname -r)"
