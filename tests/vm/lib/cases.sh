# shellcheck shell=bash
# Cases with sentences for names; a failure does not stop the rest, a skip has a reason, and all are counted.

PASSED=0 FAILED=0 SKIPPED=0

progress() { printf '  %4d s  %s\n' "$SECONDS" "$*"; }

# check SENTENCE FUNCTION ARGUMENTS...: a case. It fails where any command of the function does; its output is kept.
# A function that ends with `skip REASON` could not run.
check() {
    local sentence=$1 started=$SECONDS log code
    log=$LOGS/$(tr -cs 'a-zA-Z0-9\n' - <<<"$sentence" | cut -c1-60).log
    shift
    set +e
    (set -euo pipefail; "$@") >"$log" 2>&1
    code=$?
    set -e
    case $code in
    0) outcome ok "$sentence" $((SECONDS - started)) ;;
    77) outcome skip "$sentence" $((SECONDS - started)) "$(tail -n 1 "$log")" ;;
    *)
        outcome FAIL "$sentence" $((SECONDS - started))
        tail -n 25 "$log" | sed 's/^/      /'
        echo "      (all of it: $log)"
        ;;
    esac
}

skip() { echo "$*"; exit 77; }

# outcome ok|skip|FAIL SENTENCE SECONDS [REASON]
outcome() {
    printf '  %-4s %4d s  %s%s\n' "$1" "$3" "$2" "${4:+ ($4)}"
    case $1 in
    ok) PASSED=$((PASSED + 1)) ;;
    skip) SKIPPED=$((SKIPPED + 1)) ;;
    FAIL) FAILED=$((FAILED + 1)) ;;
    esac
}

# expect WHAT ACTUAL PATTERN: a word of its own about what differs.
expect() {
    # shellcheck disable=SC2053  # the right side is a pattern
    [[ $2 == $3 ]] || { echo "$1: got '$2', expected '$3'"; return 1; }
}

closing_line() { echo "$PASSED passed, $FAILED failed, $SKIPPED skipped"; }
