# shellcheck shell=bash
# The balancer and the packet bridges: their files, and starting and ending any program of the lab.

random_key() {
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n'
}

# Each host has a file of its own with the one secret.
splice_prepare() {
    local i name secret
    [[ -e $RUN/balancer.yaml ]] && return
    secret="$(random_key)"$'\n'"lane $(random_key)"
    for name in "${BALANCERS[@]}" b1 b2 b3; do (umask 077 && echo "$secret" >"$RUN/$name.secret"); done
    for name in "${BALANCERS[@]}"; do balancer_yaml "$name" >"$RUN/$name.yaml"; done
    for i in "${BRIDGES[@]}"; do bridge_yaml "$i" >"$RUN/b$i.yaml"; done
}

# Service NAME VIP PORT DSCP PROTOCOL KEY FAMILY [PROXY_PROTOCOL]
balancer_service() {
    local i address
    printf '  - name: %s\n    vip: "%s"\n    port: %s\n    dscp: %s\n    protocol: %s\n    hash: { key: %s }\n' "${@:1:6}"
    printf '    proxy_protocol: "%s"\n    bridges:\n' "${8:-off}"
    for i in "${BRIDGES[@]}"; do
        address=$("bridge$7" "$i")
        printf '      - { name: b%s, address: "%s", number: %s }\n' "$i" "$address" "$i"
    done
}

# balancer_yaml BALANCER
balancer_yaml() {
    # Connections that one strands another finds; each has the VIPs, and the router says which gets a packet. The
    # service at its own address is the first one's alone.
    local resets="" own=""
    if ((${#BALANCERS[@]} > 1)); then resets=$'stop_resets: false\npresence: none'; fi
    if [[ $1 == balancer ]]; then
        own="$(balancer_service own4 "$BALANCER4" 8080 5 http uri 4)
$(balancer_service own6 "$BALANCER6" 8080 6 http uri 6)"
    fi
    cat <<YAML
secret_file: $RUN/$1.secret
interface: eth1
engine: $BALANCER_ENGINE
bpffs: $RUN/bpffs/splicelb${1#balancer}
$resets
api: { listen: "127.0.0.1:10001", state: "$RUN/$1.state.json" }
ipam: ["192.168.33.200/29", "fd33::200/125"]
services:
$(balancer_service web4 "$VIP4" 80 1 http uri 4)
$(balancer_service web6 "$VIP6" 80 2 http uri 6)
$(balancer_service greet4 "$VIP4" 2525 3 tcp source 4)
$(balancer_service greet6 "$VIP6" 2525 4 tcp source 6)
$own
$(balancer_service tls4 "$VIP4" 443 7 tls sni 4)
$(balancer_service tls6 "$VIP6" 443 8 tls sni 6)
$(balancer_service proxied4 "$VIP4" 8081 9 http uri 4 accept)
$(balancer_service proxied6 "$VIP6" 8081 10 http uri 6 accept)
$(balancer_service by-proxied-source4 "$VIP4" 8082 11 http source 4 accept)
$(balancer_service by-proxied-source6 "$VIP6" 8082 12 http source 6 accept)
YAML
}

bridge_yaml() {
    local i=$1
    cat <<YAML
secret_file: $RUN/b$i.secret
interface: eth1
address: ["$(bridge4 "$i")", "$(bridge6 "$i")"]
number: $i
engine: $BRIDGE_ENGINE
bpffs: $RUN/bpffs/splicelb-b$i
mode: $MODE
api: { listen: "127.0.0.1:10002" }
services:
  - { dscp: 1, vip: "$VIP4", port: 80, backend: "$(backend4 "$i"):80" }
  - { dscp: 2, vip: "$VIP6", port: 80, backend: "[$(backend6 "$i")]:80" }
  - { dscp: 3, vip: "$VIP4", port: 2525, backend: "$(backend4 "$i"):2525" }
  - { dscp: 4, vip: "$VIP6", port: 2525, backend: "[$(backend6 "$i")]:2525" }
  - { dscp: 5, vip: "$BALANCER4", port: 8080, backend: "$(backend4 "$i"):80" }
  - { dscp: 6, vip: "$BALANCER6", port: 8080, backend: "[$(backend6 "$i")]:80" }
  - { dscp: 7, vip: "$VIP4", port: 443, backend: "$(backend4 "$i"):443" }
  - { dscp: 8, vip: "$VIP6", port: 443, backend: "[$(backend6 "$i")]:443" }
  - { dscp: 9, vip: "$VIP4", port: 8081, backend: "$(backend4 "$i"):8081" }
  - { dscp: 10, vip: "$VIP6", port: 8081, backend: "[$(backend6 "$i")]:8081" }
  - { dscp: 11, vip: "$VIP4", port: 8082, backend: "$(backend4 "$i"):8082" }
  - { dscp: 12, vip: "$VIP6", port: 8082, backend: "[$(backend6 "$i")]:8082" }
YAML
}

# What PROGRAM is: its host, its command, and how one sees that it serves.
program_describe() {
    case $1 in
    balancer | balancer[23])
        HOST=$1 COMMAND=("$BUILD/balancer" --config "$RUN/$1.yaml")
        READY=(says_ready "$1")
        ;;
    b[123])
        HOST=$1 COMMAND=("$BUILD/packetbridge" --config "$RUN/$1.yaml")
        READY=(says_ready "$1")
        ;;
    nginx[123]) HOST=b${1#nginx} READY=(nginx_answers "${1#nginx}") && backend_command "$1" ;;
    greeter[123]) HOST=b${1#greeter} READY=(greeter_answers "${1#greeter}") && backend_command "$1" ;;
    *) echo "lab: no program $1" >&2 && exit 2 ;;
    esac
}

says_ready() { tail -c "+$((LOG_BEFORE + 1))" "$RUN/log/$1.log" | grep -q -w ready; }

program_pid() { cat "$RUN/pid/$1" 2>/dev/null; }

program_start() {
    local pid
    splice_prepare
    program_describe "$1"
    LOG_BEFORE=$(stat -c %s "$RUN/log/$1.log" 2>/dev/null || echo 0)
    # Each step replaces itself by the next, so that the number is the program's own; a session of its own, so that
    # a terminal's Ctrl-C is the lab's to answer.
    setsid ip netns exec "$(ns "$HOST")" "${COMMAND[@]}" >>"$RUN/log/$1.log" 2>&1 </dev/null &
    pid=$!
    disown "$pid"
    echo "$pid" >"$RUN/pid/$1"
    wait_until 10 serves_or_died "$pid" "${READY[@]}"
    if is_gone "$pid"; then
        echo "lab: $1 ended at its start:" >&2
        tail -n 5 "$RUN/log/$1.log" >&2
        return 1
    fi
}
serves_or_died() { is_gone "$1" || "${@:2}"; }

program_stop() { program_signal TERM "$1"; }
program_kill() { program_signal KILL "$1"; }
program_signal() {
    local pid
    pid=$(program_pid "$2") || { echo "lab: $2 does not run" >&2 && return 1; }
    kill "-$1" "$pid" 2>/dev/null || true
    wait_until 10 is_gone "$pid"
    rm -f "$RUN/pid/$2"
}

lab_start_all() {
    local i
    for i in "${BRIDGES[@]}"; do
        program_start "greeter$i"
        program_start "b$i"
    done
    local name
    for name in "${BALANCERS[@]}"; do program_start "$name"; done
}
