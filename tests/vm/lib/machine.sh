# shellcheck shell=bash
# Virtual machines: booting, ordering, ending.

declare -A MACHINE_PID=() MACHINE_TO=() MACHINE_FROM=()

# machine_boot NAME MEMORY-MB CPUS KERNEL-WORDS QEMU-WORDS...: starts to boot a machine; what it writes is forgotten
# with it. Software emulation, because a kernel's KVM may be absent, or there and not working.
machine_boot() {
    local name=$1 memory=$2 cpus=$3 words=$4 end
    for end in in out; do [[ -p $RUN/$name.$end ]] || mkfifo "$RUN/$name.$end"; done
    # With this script, however it ends, its machines end.
    TMPDIR=$RUN setpriv --pdeathsig KILL qemu-system-x86_64 -nodefaults -display none -machine q35 \
        -accel "$VM_ACCEL" -cpu "max,la57=off,svm=off,aes=off" -m "$memory" -smp "$cpus" \
        -kernel "$IMAGE/vmlinuz" -initrd "$IMAGE/initrd.img" \
        -append "root=/dev/vda rw console=ttyS0 quiet systemd.show_status=0 systemd.hostname=$name mitigations=off $words" \
        -drive "file=$IMAGE/root.img,if=virtio,format=raw,snapshot=on" \
        -drive "file=$RUN/payload.tar,if=virtio,format=raw,readonly=on" \
        -object rng-random,id=random,filename=/dev/urandom -device virtio-rng-pci,rng=random \
        -serial "file:$LOGS/$name.console" \
        -chardev "pipe,id=control,path=$RUN/$name" \
        -device virtio-serial-pci -device virtserialport,chardev=control,name=splicelb.control \
        "${@:5}" >"$LOGS/$name.qemu" 2>&1 </dev/null &
    MACHINE_PID[$name]=$!
    # Both ways for reading and writing: an open never waits for the other end.
    local to from
    exec {to}<>"$RUN/$name.in" {from}<>"$RUN/$name.out"
    MACHINE_TO[$name]=$to MACHINE_FROM[$name]=$from
}

machine_is_alive() { [[ -n ${MACHINE_PID[$1]:-} ]] && kill -0 "${MACHINE_PID[$1]}" 2>/dev/null; }

# machine_line NAME DEADLINE: the next line from a machine in LINE; 1 when it is dead or the deadline ($SECONDS) is over.
machine_line() {
    local part code
    LINE=
    while true; do
        code=0
        IFS= read -r -t 1 part <&"${MACHINE_FROM[$1]}" || code=$?
        LINE+=$part
        ((code)) || return 0
        machine_is_alive "$1" || { echo "machine $1 is dead: $(cat "$LOGS/$1.qemu")"; return 1; }
        ((SECONDS < $2)) || { echo "machine $1 said nothing in time; its console is in $LOGS/$1.console"; return 1; }
    done
}

# machine_await NAME SECONDS: until its agent has said hello, after a boot or reboot, and systemd has started all.
machine_await() {
    local deadline=$((SECONDS + $2)) state
    until [[ ${LINE:-} == hello ]]; do machine_line "$1" "$deadline" || return 1; done
    LINE=
    state=$(machine_run "$1" "$2" 'systemctl is-system-running --wait; systemctl --failed --no-legend') || true
    [[ $state == running ]] || { echo "machine $1 is up but $state"; return 1; }
}

# machine_run NAME SECONDS SCRIPT: runs a script of bash as root; its output, line by line, and its exit code.
machine_run() {
    local name=$1 seconds=$2 id=${EPOCHREALTIME#*.}$RANDOM deadline
    deadline=$((SECONDS + seconds + 15)) # the machine's own clock ends it; ours is for a machine that hangs
    printf '%s %d %s\n' "$id" "$seconds" "$(base64 -w0 <<<"$3")" >&"${MACHINE_TO[$name]}"
    while machine_line "$name" "$deadline"; do
        case $LINE in
        "$id o "*) printf '%s\n' "${LINE#"$id o "}" ;;
        "$id x 124") echo "not done after $seconds s: $3" && return 124 ;;
        "$id x "*) return "${LINE##* }" ;;
        esac
    done
    printf '%s\n' "$LINE"
    return 125
}

# The machines' ends, awaited: nothing of them is left when this returns.
machines_end() {
    local name
    for name in "${!MACHINE_PID[@]}"; do kill -KILL "${MACHINE_PID[$name]}" 2>/dev/null || true; done
    for name in "${!MACHINE_PID[@]}"; do
        wait "${MACHINE_PID[$name]}" 2>/dev/null || true
        eval "exec ${MACHINE_TO[$name]}>&- ${MACHINE_FROM[$name]}<&-"
        rm -f "$RUN/$name".*
        unset "MACHINE_PID[$name]" "MACHINE_TO[$name]" "MACHINE_FROM[$name]"
    done
}
