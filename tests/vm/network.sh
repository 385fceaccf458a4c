# shellcheck shell=bash
# The end-to-end suite's core on Debian's kernel, in network namespaces of one machine: as it is, and over a bad long way
# that this kernel's netem makes. Two congestion controls, because they answer loss and short round trips differently.

CORE=(--only "same URL gets the same bridge" --only "own address can be a VIP" --only "20 MB go up"
    --only "SYN-ACK mirrors" --only "overlapping and repeated" --only "FIN with the first payload")

# end_to_end FLAGS...: tests/e2e/run.py in the machine, its lines as they come, its cases in our count.
end_to_end() {
    local started=$SECONDS log counts
    log=$LOGS/end-to-end$(printf -- '-%s' "$@" | tr -cs 'a-zA-Z0-9' - | cut -c1-80).log
    progress "end to end in the machine: run.py $*"
    # The machine's own words are the story; its last line counts.
    machine_run network 1500 "cd /vagrant && LAB_PATIENCE=20 tests/e2e/run.py $(printf '%q ' "$@") --logs /tmp/logs --counts /tmp/counts" |
        tee "$log" | sed -u 's/^/    /; /end to end: /d; /^ *skipped: /d' || true
    counts=$(machine_run network 20 'cat /tmp/counts; rm /tmp/counts') || true
    if [[ $counts =~ ^([0-9]+)\ ([0-9]+)\ ([0-9]+)$ ]]; then
        PASSED=$((PASSED + BASH_REMATCH[1])) FAILED=$((FAILED + BASH_REMATCH[2])) SKIPPED=$((SKIPPED + BASH_REMATCH[3]))
        printf '    %d passed, %d failed, %d skipped in %d s\n' "${BASH_REMATCH[@]:1}" $((SECONDS - started))
    else
        outcome FAIL "the end-to-end suite in the machine came to its end" $((SECONDS - started))
    fi
}

network_is_up() {
    machine_await network 240
    expect "the kernel" "$(machine_run network 20 'uname -r')" "6.1.*"
    # Namespaces may choose only what the whole machine allows.
    machine_run network 20 'modprobe tcp_bbr && sysctl -w net.ipv4.tcp_allowed_congestion_control="reno cubic bbr"'
}

# The ebpf engine: this kernel cannot adopt (6.9 can); asked to, the bridge says so; left to choose, it translates

# bridge_start ENGINE MODE: the script that runs a packet bridge on an interface of its own for five seconds.
bridge_start() {
    cat <<SCRIPT
ip link add eth7 type dummy 2>/dev/null
ip address replace 192.168.33.20/24 dev eth7
ip link set eth7 up
(umask 077; echo 73706c6963656c622d6c61622d6b6579 >/tmp/secret)
code=0
timeout 5 /vagrant/build/packetbridge --interface eth7 --address 192.168.33.20 --secret-file /tmp/secret --api off \
    --engine $1 --mode $2 || code=\$?
# 124: it ran until its time was up, as it should.
((code == 124)) || exit "\$code"
SCRIPT
}

adoption_is_refused_with_a_word() {
    local said code=0
    said=$(machine_run network 30 "$(bridge_start ebpf adopt)") || code=$?
    echo "$said"
    expect "the exit code" "$code" 1
    grep -E 'adopt' <<<"$said" | grep -E '6\.9|bpf_sk_assign_tcp_reqsk'
}

auto_translates() {
    local said
    said=$(machine_run network 30 "$(bridge_start auto auto)") || true
    echo "$said"
    grep -E 'ready.*engine ebpf.*mode translate' <<<"$said"
}

part_network() {
    echo "One machine with Debian's kernel and the lab's namespaces in it:"
    progress "booting it"
    machine_boot network 2048 2 net.ifnames=0
    check "it boots Linux 6.1 with BBR and CUBIC" network_is_up
    end_to_end --point nfqueue:translate "${CORE[@]}"
    end_to_end --point nfqueue:translate --wan bbr
    end_to_end --point nfqueue:translate --wan cubic
    part_network_ebpf
    machines_end
}

part_network_ebpf() {
    check "engine ebpf: adoption is refused, with the reason" adoption_is_refused_with_a_word
    check "engine auto, mode auto: ebpf, translating" auto_translates
    end_to_end --point ebpf:translate "${CORE[@]}"
    end_to_end --point ebpf:translate --wan cubic
}
