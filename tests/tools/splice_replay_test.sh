#!/usr/bin/env bash
# splice-replay from outside: output, files, exit codes, the flag's name in each refusal.
# Usage: splice_replay_test.sh PATH CAPTURES
set -euo pipefail
tool=$1
captures=$2
capture=$captures/one-request.pcap
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

fail() {
    failures=$((failures + 1))
    printf 'FAIL %s\n  expected: %s\n  got:      %s\n' "$1" "$2" "$3"
}

# prints NAME PATTERN ARGUMENTS...: exit code 0, and a line of the output matches PATTERN (grep -E).
prints() {
    local name=$1 expected=$2 got code=0
    shift 2
    got=$("$tool" "$@" </dev/null 2>"$work/errors") || code=$?
    if [[ $code != 0 ]] || ! grep -qE -- "$expected" <<<"$got"; then fail "$name" "$expected" "$code: $got"; fi
}

# refuses NAME CODE TEXT ARGUMENTS...: that exit code, and TEXT in what stands on standard error.
refuses() {
    local name=$1 expected=$2 text=$3 got code=0
    shift 3
    got=$("$tool" "$@" </dev/null 2>&1 >/dev/null) || code=$?
    if [[ $code != "$expected" || $got != *"$text"* ]]; then fail "$name" "$expected: $text" "$code: $got"; fi
}

# one_line NAME ARGUMENTS...: the refusal of a wrong flag is one line.
one_line() {
    local name=$1 got
    shift
    got=$("$tool" "$@" </dev/null 2>&1 >/dev/null) || true
    [[ $got != *$'\n'* ]] || fail "$name" "one line" "$got"
}

cat >"$work/balancer.yaml" <<YAML
secret_file: $work/secret
services:
  - name: cdn
    vip: 10.77.0.2
    port: 80
    dscp: 1
    hash: { key: uri, algorithm: rendezvous }
    bridges:
      - { name: left, address: 192.168.33.20 }
      - { name: right, address: 192.168.33.21 }
YAML
cat >"$work/packetbridge.yaml" <<YAML
address: 192.168.33.20
services:
  - { dscp: 1, vip: 10.77.0.2, port: 80, backend: "192.168.33.30:8080" }
YAML

prints "a key is seven fields between tabs" $'^10\\.77\\.0\\.1\t[0-9]+\t10\\.77\\.0\\.2\t80\turi\t/a\tb[123]$' \
    --any-vip --keys "$capture"
prints "a request is a JSON line" \
    '^\{"time":[0-9.]+,"client":"10\.77\.0\.1",.*"uri":"/a","host":"cdn\.example","status":200,"bridge":"b[123]","bytes":17\}$' \
    --any-vip --requests "$capture"
prints "every request of a connection is one" '"uri":"/three"' --any-vip --requests "$captures/keep-alive.pcap"
prints "every packet has a line" '^0\.[0-9]+ 4 \| client>balancer .* \| balancer forward_first_payload \(uri=/a\)' \
    --any-vip "$capture"
prints "a configured fleet has its own names" $'\turi\t/a\t(left|right)$' \
    --config "$work/balancer.yaml" --keys "$capture"
grep -q 'a fixed secret is used' "$work/errors" || fail "the fixed secret is told" "a remark" "$(<"$work/errors")"
prints "the bridges' configuration says where they deliver" 'backend>.* 192\.168\.33\.30:8080 > 10\.77\.0\.1' \
    --config "$work/balancer.yaml" --bridge-config "$work/packetbridge.yaml" "$capture"
prints "the ladder names the bridge" '^ +client +balancer +b[123] +backend$' --any-vip --ladder "$capture"
prints "help groups the flags" '^Services:' --help
prints "the version" '^splice-replay [0-9]' --version

# A secret of the file's own makes other cookies.
fixed=$("$tool" --config "$work/balancer.yaml" "$capture" 2>/dev/null)
(umask 077; echo 00112233445566778899aabbccddeeff >"$work/secret")
own=$("$tool" --config "$work/balancer.yaml" "$capture")
[[ $fixed != "$own" ]] || fail "the secret file is read" "another cookie" "the same"

# What one run printed and wrote, the next one finds again; another capture's is a difference with both packets.
"$tool" --any-vip -o "$work/left.pcap" "$capture" >"$work/expected.txt"
prints "printed lines are as expected" '^$|' --any-vip --expect "$work/expected.txt" "$capture"
prints "written packets are as expected" '^$|' --any-vip --expect "$work/left.pcap" "$capture"
for expectation in expected.txt left.pcap; do
    refuses "a difference in $expectation shows both" 1 'expected: ' \
        --any-vip --expect "$work/$expectation" "$captures/no-sack.pcap"
    refuses "a difference in $expectation shows both" 1 'got:  ' \
        --any-vip --expect "$work/$expectation" "$captures/no-sack.pcap"
done
head -n 3 "$work/expected.txt" >"$work/short.txt"
refuses "more than was expected" 1 'expected: nothing' --any-vip --expect "$work/short.txt" "$capture"

"$tool" --any-vip --svg "$work/ladder.svg" "$capture" >/dev/null
grep -q '</svg>' "$work/ladder.svg" || fail "the ladder is drawn" "an SVG file" "$(head -c 200 "$work/ladder.svg")"

refuses "an unknown flag" 2 '--nonsense' --nonsense "$capture"
refuses "an abbreviated flag" 2 '--key' --any-vip --key "$capture"
refuses "no services" 2 '--config or --any-vip' "$capture"
refuses "two kinds of services" 2 '--any-vip' --any-vip --config "$work/balancer.yaml" "$capture"
refuses "bridges without a balancer" 2 '--bridge-config' --any-vip --bridge-config x "$capture"
refuses "two ways to print" 2 '--keys' --any-vip --keys --ladder "$capture"
refuses "two kinds of lines" 2 '--requests' --any-vip --keys --requests "$capture"
refuses "no capture" 2 'CAPTURE' --any-vip
refuses "two captures" 2 'also' --any-vip "$capture" also
refuses "a wrong configuration" 2 "$work/packetbridge.yaml:1:1" --config "$work/packetbridge.yaml" "$capture"
refuses "a configuration that is not there" 1 '/nonexistent.yaml' --config /nonexistent.yaml "$capture"
refuses "a capture that is not there" 1 'open the capture /nonexistent.pcap: No such file' --any-vip /nonexistent.pcap
refuses "a file that is no capture" 1 'unknown file format' --any-vip "$work/balancer.yaml"
refuses "an output that cannot be written" 1 '/nonexistent/left.pcap' --any-vip -o /nonexistent/left.pcap "$capture"
refuses "a drawing that cannot be written" 1 '/nonexistent/l.svg' --any-vip --svg /nonexistent/l.svg "$capture"
refuses "an expectation that is not there" 1 '/nonexistent' --any-vip --expect /nonexistent "$capture"
head -c 700 "$capture" >"$work/damaged.pcap"
refuses "a damaged capture" 1 "$work/damaged.pcap: packet " --any-vip "$work/damaged.pcap"

# A byte of the request is another: its checksum is wrong, which costs the connection, or is ignored.
python3 - "$capture" "$work/wrong.pcap" <<'PYTHON'
import sys
data = open(sys.argv[1], "rb").read()
open(sys.argv[2], "wb").write(data.replace(b"GET /a ", b"GET /b ", 1))
PYTHON
prints "a wrong checksum costs the connection" $'\t-\t-\t-$' --any-vip --keys "$work/wrong.pcap"
grep -q 'wrong checksum: 1 (--ignore-checksums' "$work/errors" || fail "dropped packets are told" "a remark" "$(<"$work/errors")"
prints "a wrong checksum is ignored" $'\turi\t/b\tb[123]$' --any-vip --keys --ignore-checksums "$work/wrong.pcap"
grep -q 'wrong checksum, which was ignored: 1$' "$work/errors" || fail "ignored packets are told" "a remark" "$(<"$work/errors")"

one_line "a wrong flag" --nonsense "$capture"
one_line "a wrong configuration" --config "$work/packetbridge.yaml" "$capture"

# Wireshark's judgement of what leaves.
if command -v tshark >/dev/null; then
    for each in "$captures"/*.pcap; do
        "$tool" --any-vip --keys -o "$work/left.pcap" "$each" >/dev/null
        wrong=$(tshark -o tcp.check_checksum:TRUE -o ip.check_checksum:TRUE -r "$work/left.pcap" \
            -Y 'tcp.checksum.status == "Bad" || ip.checksum.status == "Bad" || _ws.malformed' 2>/dev/null)
        [[ -z $wrong ]] || fail "no checksum error in what left of ${each##*/}" "none" "$wrong"
    done
else
    echo "SKIP Wireshark's judgement of checksums: tshark is not installed"
fi
exit $((failures > 0))
