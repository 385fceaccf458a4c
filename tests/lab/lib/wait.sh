# shellcheck shell=bash
# Waits poll a condition; the limit is there for what never comes.

# wait_until SECONDS COMMAND...: polls every 20 ms; fails with a word about what did not come true. LAB_PATIENCE: so many
# times as long, on a slow machine.
wait_until() {
    local limit=$(($1 * ${LAB_PATIENCE:-1})) started=$SECONDS
    shift
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS - started > limit)); then
            echo "lab: not true after $limit s: $*" >&2
            return 1
        fi
        sleep 0.02
    done
}

# A process that runs: neither gone nor a zombie that waits to be collected. The first thread may be a zombie while
# another is on its way out and still holds the process's locks, so every thread counts.
is_running() { grep -q '^[^ZX]' < <(sed 's/.*) //' /proc/"$1"/task/*/stat 2>/dev/null); }
is_gone() { ! is_running "$1"; }
