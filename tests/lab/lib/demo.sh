# shellcheck shell=bash
# `make lab`: the whole way of a request, shown.

DEMO_URLS=(/ /index.html /logo.svg /app.js /app.js?v=2 /video/intro/1.ts /video/intro/2.ts /video/intro/3.ts
    /img/cat.jpg '/img/cat.jpg?w=640' '/search?q=direct+server+return' /api/v1/items/42)
LADDER_PORT=9000

title() {
    if [[ -t 1 && -z ${NO_COLOR:-} ]]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi
}

# Fetches each URL in a connection of its own; the bridges' names, one a line.
bridges_of_urls() {
    local base=$1 url
    for url in "${DEMO_URLS[@]}"; do on client curl -sS -g --max-time 5 "$base$url"; done | cut -d' ' -f1
}

demo_urls() {
    local first second six i mark kept=0
    title "Twelve URLs, asked twice over IPv4 and once over IPv6"
    mapfile -t first < <(bridges_of_urls "http://$VIP4")
    mapfile -t second < <(bridges_of_urls "http://$VIP4")
    mapfile -t six < <(bridges_of_urls "http://[$VIP6]")
    printf '  %-36s %-8s %-8s %s\n' URL first second IPv6
    for i in "${!DEMO_URLS[@]}"; do
        mark=differs
        if [[ -n ${first[i]:-} && ${first[i]} == "${second[i]:-}" && ${first[i]} == "${six[i]:-}" ]]; then
            mark=same
            kept=$((kept + 1))
        fi
        printf '  %-36s %-8s %-8s %-8s %s\n' "${DEMO_URLS[i]}" "${first[i]:--}" "${second[i]:--}" "${six[i]:--}" "$mark"
    done
    ((kept == ${#DEMO_URLS[@]}))
}

# capture HOST INTERFACE FILE EXPRESSION...: a tcpdump that already listens.
capture() {
    local host=$1 interface=$2 file=$3
    shift 3
    ip netns exec "$(ns "$host")" tcpdump -Z root -U --immediate-mode -n -B 16384 -i "$interface" -w "$file" "$@" 2>"$file.log" &
    CAPTURES+=($!)
    disown $!
    wait_until 5 grep -q 'listening on' "$file.log"
}
end_captures() {
    local pid
    sleep 0.1 # the last packets are under way
    for pid in "${CAPTURES[@]}"; do
        kill -TERM "$pid" 2>/dev/null || true
        wait_until 5 is_gone "$pid"
    done
    CAPTURES=()
}

demo_ladder() {
    local url=/app.js bridge i dir=$RUN/ladder
    title "One connection, with the sequence numbers that each host saw"
    bridge=$(on client curl -sS --max-time 5 "http://$VIP4$url" | cut -d' ' -f1)
    i=${bridge#b}
    mkdir -p "$dir"
    # What nginx's sockets see and say is on no wire: netfilter shows it to tcpdump.
    on "$bridge" iptables -w -A INPUT -p tcp -d "$(backend4 "$i")" --sport "$LADDER_PORT" -j NFLOG --nflog-group 7 --nflog-threshold 1
    on "$bridge" iptables -w -A OUTPUT -p tcp -s "$(backend4 "$i")" --dport "$LADDER_PORT" -j NFLOG --nflog-group 7 --nflog-threshold 1
    capture client eth0 "$dir/client.pcap" tcp port "$LADDER_PORT"
    capture balancer eth1 "$dir/balancer.pcap" tcp port "$LADDER_PORT"
    capture "$bridge" eth1 "$dir/$bridge.pcap" tcp port "$LADDER_PORT"
    capture "$bridge" nflog:7 "$dir/$bridge-backend.pcap"
    on client curl -sS --max-time 5 --local-port "$LADDER_PORT" -o /dev/null "http://$VIP4$url"
    end_captures
    "$LAB_DIR/ladder.py" --client "$CLIENT4" --client-port "$LADDER_PORT" --vip "$VIP4" --bridge "$bridge" \
        --backend "$(backend4 "$i")" "$dir"
}

balancer_bytes() { on balancer cat "/sys/class/net/eth1/statistics/$1_bytes"; }

demo_download() {
    local received sent origin copy seconds toward from_vip from_bytes
    title "A download of 100 MB, and what of it crossed the balancer"
    capture balancer eth1 "$RUN/download.pcap" -s 128 tcp port 80
    received=$(balancer_bytes rx) sent=$(balancer_bytes tx)
    seconds=$(on client curl -sS --max-time 60 -o "$RUN/copy.bin" -w '%{time_total}' "http://$VIP4/file/100m.bin")
    received=$(($(balancer_bytes rx) - received)) sent=$(($(balancer_bytes tx) - sent))
    end_captures
    origin=$(sha256sum <"$RUN/www/file/100m.bin") copy=$(sha256sum <"$RUN/copy.bin")
    SPEED=$(awk -v s="$seconds" -v b="$(stat -c %s "$RUN/copy.bin")" 'BEGIN { printf "%.0f", b / s / 1e6 }')
    read -r toward _ from_vip from_bytes < <("$LAB_DIR/count_responses.py" "$RUN/download.pcap" "$VIP4" 80)
    echo "  bytes      $(stat -c %s "$RUN/copy.bin") in $seconds s, $SPEED MB/s"
    echo "  origin     sha256 ${origin%% *}"
    echo "  download   sha256 ${copy%% *}"
    echo "  the balancer's interface: $received bytes in, $sent out (the client's requests and ACKs)"
    echo "  captured at the balancer: $toward packets for the VIP; from it $from_vip, with $from_bytes bytes of payload"
    [[ $origin == "$copy" ]] && ((toward > 0 && from_bytes == 0 && received < 50000000 && sent < 50000000))
}

demo() {
    local failed=()
    CAPTURES=()
    lab_network
    lab_start_all
    sed -n '4,14p' "$LAB_DIR/lab.sh" | cut -c3-
    demo_urls || failed+=("a URL changed its bridge")
    demo_ladder || failed+=("the ladder's numbers do not fit")
    demo_download || failed+=("the download or its proof failed")
    echo
    if ((${#failed[@]})); then
        printf 'lab: FAILED: %s; the programs said:\n' "$(IFS=';' && echo "${failed[*]}")"
        tail -n 5 "$RUN"/log/{balancer,b1,b2,b3}.log
        return 1
    fi
    echo "lab: ${#DEMO_URLS[@]} URLs kept their bridge, 100 MB came whole at $SPEED MB/s, and no response byte crossed the balancer"
}
