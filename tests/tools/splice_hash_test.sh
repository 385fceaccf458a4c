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

prints "a URI gets its row and three bridges" $'/a\t0bcfa9bbb5ba7e84\t3023\tb2\tb3\tb1' "${fleet[@]}" /a
prints "the rule cuts the key" $'/img\t5bfe71425177e11a\t23550\tb1\tb2\tb3' \
    "${fleet[@]}" --hash-key 'uri depth 1' /img/a?b
prints "a URI that moves says where to" $'/a\t0bcfa9bbb5ba7e84\t3023\tb2\tb3\tb1\tmoves to b3' \
    "${fleet[@]}" --without b2 /a /b
prints "moves are summed up" '# without b2: 1 of 2 keys move (50.00 %)' "${fleet[@]}" --without b2 /a /b
prints "an input without a key says why" $'a b\t-\t-\t-\t-\t-\tnot an HTTP/1 request' "${fleet[@]}" 'a b'
prints "a source is hashed by its address" $'192.0.2.1\tde3cbbe5a2240bf0\t56892\tb1\t-\t-' \
    --bridge b1=192.168.33.20 --hash-key source 192.0.2.1
prints "ketama's hash is the key's CRC-32" $'/x\t0d1bd39c\t16\ta\t-\t-' \
    --bridge a=1.1.1.1:443 --algorithm ketama /x
prints "the spread of given keys" $'b2\t1\t25.00\t1\t50.00' "${fleet[@]}" --spread /a /b
prints "help groups the flags" 'Placement:' --help

refuses "an unknown flag" '--nonsense' "${fleet[@]}" --nonsense
refuses "an abbreviated flag" '--row' "${fleet[@]}" --row 5
refuses "no bridge" '--bridge' /a
refuses "a bridge without an address" '--bridge b1' --bridge b1
refuses "a bridge with a weight of nothing" '--bridge' --bridge b1=192.168.33.20,weight=0
refuses "two bridges of one name" '--bridge' --bridge b1=192.168.33.20 --bridge b1=192.168.33.21
refuses "an unknown algorithm" '--algorithm' "${fleet[@]}" --algorithm modulo
refuses "weights with jump" 'jump' "${fleet[@]}" --algorithm jump
refuses "an unknown rule" '--hash-key' "${fleet[@]}" --hash-key body
refuses "no rows" '--rows' "${fleet[@]}" --rows 0
refuses "an unknown bridge to leave" '--without' "${fleet[@]}" --without b9

if lines=$(printf '/a\r\n/b' | "$tool" "${fleet[@]}" | grep -c '^/'); [[ $lines != 2 ]]; then
    fail "standard input is read line by line, the last without its end" 2 "$lines"
fi
exit $((failures > 0))
