#!/bin/bash
# `make vm-test`: what needs a kernel of its own, run for real in virtual machines with Debian's kernel.
#
#   run.sh [PART]...     parts: vagrantfile boxes network uplinks; all of them when none is named
#
# Environment: VM_ACCEL (qemu's -accel; software emulation by default), VM_LOGS (build/test-logs/vm).
set -euo pipefail

VM_DIR=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
SOURCE_DIR=$(realpath "$VM_DIR/../..")
# shellcheck disable=SC2034  # read by the parts
IMAGE=$SOURCE_DIR/build/vm
LOGS=${VM_LOGS:-$SOURCE_DIR/build/test-logs/vm}
VM_ACCEL=${VM_ACCEL:-tcg,thread=multi}

for part in lib/cases lib/image lib/machine vagrantfile boxes network uplinks; do
    # shellcheck source=/dev/null
    source "$VM_DIR/$part.sh"
done

# Why nothing can run here, or nothing.
obstacle() {
    local said tool
    if [[ $(uname -m) != x86_64 ]]; then echo "the machines are x86_64, this one is $(uname -m)"; return; fi
    if ! grep -q '^VERSION_CODENAME=bookworm' /etc/os-release; then
        echo "the machines run Debian 12 and need executables that were built on it"
        return
    fi
    if ! said=$("$SOURCE_DIR/scripts/deps.sh" --vm 2>&1); then echo "${said##*$'\n'}"; return; fi
    for tool in qemu-system-x86_64 mmdebstrap mke2fs setpriv; do
        if ! command -v "$tool" >/dev/null; then echo "no $tool here"; return; fi
    done
    for tool in balancer packetbridge splice-hash splicectl; do
        if [[ ! -x $SOURCE_DIR/build/$tool ]]; then echo "build/$tool is not there: make build"; return; fi
    done
}

clean_up() {
    trap '' INT TERM
    machines_end
    rm -rf "$RUN"
}

if [[ $EUID -ne 0 ]]; then
    if ! sudo -n true 2>/dev/null; then
        echo "skipped: vm-test: a root file system is built as root, and sudo asks for a password here"
        echo "0 passed, 0 failed, 1 skipped"
        exit 0
    fi
    exec sudo -n env VM_ACCEL="$VM_ACCEL" VM_LOGS="$LOGS" "$VM_DIR/run.sh" "$@"
fi

parts=("$@")
((${#parts[@]})) || parts=(vagrantfile boxes network uplinks)
for part in "${parts[@]}"; do
    [[ $part =~ ^(vagrantfile|boxes|network|uplinks)$ ]] || { sed -n 's/^#   //p' "$VM_DIR/run.sh" >&2; exit 2; }
done

reason=$(obstacle)
if [[ -n $reason ]]; then
    echo "skipped: vm-test: $reason"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi

rm -rf "$LOGS"
mkdir -p "$LOGS"
RUN=$(mktemp -d /tmp/splicelb-vm-XXXXXX)
trap clean_up EXIT
trap 'exit 130' INT TERM
image_prepare
payload_prepare
for part in "${parts[@]}"; do "part_$part"; done
echo "vm-test: $SECONDS s"
closing_line
((FAILED == 0 && PASSED > 0))
