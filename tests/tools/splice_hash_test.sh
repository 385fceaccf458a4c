#!/usr/bin/env bash
# splice-hash from outside: output, exit codes, the flag's name in each refusal. Usage: splice_hash_test.sh PATH
set -euo pipefail
tool=$1
failures=0
fleet=(--bridge b1=192.168.33.20 --bridge b2=192.168.33.21 --bridge 'b3=2001:db8::22,weight=2')

fail() {
    failures=$((failures + 1))
    printf 'FAIL %s\n  expected: %s\n  got:      %s\n' "$1" "$2" "$3"
}

# prints NAME EXPECTED ARGUMENTS...: exit code 0, and EXPECTED is a line of the output.
prints() {
    local name=$1 expected=$2 got code=0
    shift 2
    got=$("$tool" "$@" </dev/null) || code=$?
    if [[ $code != 0 ]] || ! grep -qxF -- "$expected" <<<"$got"; then fail "$name" "$expected" "$code: $got"; fi
}

# refuses NAME FLAG ARGUMENTS...: exit code 2, nothing on standard output, one line that names FLAG.
refuses() {
    local name=$1 flag=$2 got code=0
    shift 2
    got=$("$tool" "$@" </dev/null 2>&1 >/dev/null) || code=$?
    if [[ $code != 2 || $got == *$'\n'* || $got != *"$flag"* ]]; then
        fail "$name" "2: one line with $flag" "$code: $got"
    fi
}

prints "a URI gets its row and three bridges" $'/a\t0bcfa9bbb5ba7e84\t3023\tb2\tb3\tb1' map "${fleet[@]}" --url /a
prints "without a subcommand the tool maps, as it did" $'/a\t0bcfa9bbb5ba7e84\t3023\tb2\tb3\tb1' "${fleet[@]}" --url /a
prints "the rule cuts the key" $'/img\t5bfe71425177e11a\t23550\tb1\tb2\tb3' \
    map "${fleet[@]}" --hash-key 'uri depth 1' --url '/img/a?b'
prints "an input without a key says why" $'a b\t-\t-\t-\t-\t-\tnot an HTTP/1 request' map "${fleet[@]}" --url 'a b'
prints "a source is hashed by its address" $'192.0.2.1\tde3cbbe5a2240bf0\t56892\tb1\t-\t-' \
    map --bridge b1=192.168.33.20 --hash-key source --url 192.0.2.1
prints "ketama's hash is the key's CRC-32" $'/x\t0d1bd39c\t16\ta\t-\t-' \
    map --bridge a=1.1.1.1:443 --algorithm ketama --url /x
prints "CSV has a heading" 'key,hash,row,first,second,third' map "${fleet[@]}" --format csv --url /a
prints "explain names the row's rule" 'row: 3023' explain "${fleet[@]}" --url /a
prints "balance counts" 'requests: 2' balance "${fleet[@]}" --url /a --url /b
prints "disrupt counts what moves" 'moved_keys_share: 50.00 %' disrupt "${fleet[@]}" --without b2 --url /a --url /b
prints "the help lists the subcommands" \
    '  balance   requests, bytes and distinct objects of each bridge, hot keys, and how sure that is' --help
prints "help groups the flags" 'Placement:' balance --help

refuses "a URL is not taken for a log" "--url /a" "${fleet[@]}" /a
refuses "a URL is not taken for a log by a subcommand" "--url /a" balance "${fleet[@]}" /a
refuses "a misspelt subcommand" "subcommands are" ballance "${fleet[@]}"
refuses "a directory is no log" "is a directory" balance "${fleet[@]}" /
refuses "--spread says what replaces it" "balance" "${fleet[@]}" --spread
refuses "--without says what replaces it" "disrupt" "${fleet[@]}" --without b2
refuses "an unknown flag" '--nonsense' map "${fleet[@]}" --nonsense
refuses "an abbreviated flag" '--row' map "${fleet[@]}" --row 5
refuses "no bridge" '--bridge' map --url /a
refuses "a bridge without an address" '--bridge b1' map --bridge b1
refuses "a bridge with a weight of nothing" '--bridge' map --bridge b1=192.168.33.20,weight=0
refuses "two bridges of one name" '--bridge' map --bridge b1=192.168.33.20 --bridge b1=192.168.33.21
refuses "an unknown algorithm" '--algorithm' map "${fleet[@]}" --algorithm modulo
refuses "weights with jump" 'jump' map "${fleet[@]}" --algorithm jump
refuses "an unknown rule" '--hash-key' map "${fleet[@]}" --hash-key body
refuses "no rows" '--rows' map "${fleet[@]}" --rows 0
refuses "an unknown bridge to leave" '--without' disrupt "${fleet[@]}" --without b9
refuses "all bridges leaving" '--without' disrupt "${fleet[@]}" --without b1 --without b2 --without b3 --url /a
refuses "a weight that the algorithm does not know" 'jump' disrupt --bridge a=10.0.0.1 --bridge b=10.0.0.2 \
    --algorithm jump --weight a=2 --url /a
refuses "nothing that changes" '--without' disrupt "${fleet[@]}"
refuses "an unknown output" '--format' balance "${fleet[@]}" --format xml
refuses "an unknown log format" '--log-format' balance "${fleet[@]}" --log-format ltsv
refuses "an unknown field" '--fields' balance "${fleet[@]}" --fields size=x
refuses "caches without a size" '--sizes' cache "${fleet[@]}"
refuses "an unknown policy" '--policies' cache "${fleet[@]}" --sizes 1MiB --policies mru
refuses "a size that is none" '--sizes' cache "${fleet[@]}" --sizes big
refuses "a loss of nobody" '--lose' cache "${fleet[@]}" --sizes 1MiB --lose b9@1s
refuses "a return before the loss" '--lose' cache "${fleet[@]}" --sizes 1MiB --lose b1@2s-1s
refuses "two sources of bridges" '--bridge' balance --config nowhere.yaml --bridge b=1.2.3.4
refuses "a generated nothing" '--requests' generate --requests 0

if lines=$(printf '/a\r\n/b' | "$tool" map "${fleet[@]}" | grep -c '^/'); [[ $lines != 2 ]]; then
    fail "standard input is read line by line, the last without its end" 2 "$lines"
fi
exit $((failures > 0))
