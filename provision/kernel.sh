#!/bin/bash
# kernel.sh SOURCE PACKAGE[/SUITE]: installs a kernel to boot next; from a suite that the box does not know yet, such as
# linux-image-amd64/bookworm-backports, the suite is added first.
set -euo pipefail
source_dir=$(realpath "${1:?the source directory}")
wanted=${2:?which kernel package}
# shellcheck source=provision/common.sh
source "$source_dir/provision/common.sh"

suite=${wanted#*/}
if [[ $suite != "$wanted" ]] && ! grep -rqs "$suite" /etc/apt/sources.list /etc/apt/sources.list.d; then
    mirror=$(awk '/^deb / && /bookworm/ { print $2; exit } /^URIs:/ { print $2; exit }' \
        /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null)
    put "/etc/apt/sources.list.d/splicelb-$suite.list" 0644 <<<"deb $mirror $suite main" || true
    apt-get -q update >/dev/null
fi
DEBIAN_FRONTEND=noninteractive apt-get -q install -y "$wanted" >/dev/null
say "kernel $wanted is installed; this boot has $(uname -r)"
