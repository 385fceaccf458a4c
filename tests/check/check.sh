#!/bin/bash
# Everything that judges the code without judging what it does on a wire: `make check`. Stages go on after a failure;
# the last line counts them. CHECK_ONLY="format includes" chooses stages.
set -uo pipefail

cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../.." || exit 1
JOBS=${JOBS:-$(nproc)}
LOGS=build/check
mkdir -p "$LOGS"

# clang-tidy and the formatter are no part of what building and testing need.
tools() { scripts/deps.sh --check; }

format() {
    git ls-files '*.cpp' '*.hpp' | xargs -r clang-format-19 --dry-run -Werror
}

includes() { tests/check/includes.py; }
verdicts() { tests/check/verdicts.py; }

shell() {
    git ls-files | while read -r file; do
        [[ -f $file && ! -L $file ]] || continue
        [[ $file == *.sh ]] || head -c 64 "$file" | head -n 1 | grep -qE '^#!.*\b(ba)?sh$' || continue
        echo "$file"
    done | xargs -r shellcheck -x
}

# build PRESET [TARGET...]: goes on behind what does not compile, so that one run names it all.
build() {
    local preset=$1
    shift
    cmake --preset "$preset" && cmake --build --preset "$preset" --parallel "$JOBS" ${1:+--target "$@"} -- -k 0
}

gcc() { build release; }
clang() { build clang; }

pure() { tests/check/pure.py build/cmake/libsplice/libsplice_{base,wire,core}.a; }

# Each source once, as the release build compiles it.
tidy() {
    local sources
    mapfile -t sources < <(git ls-files 'libsplice/*.cpp' 'balancer/*.cpp' 'packetbridge/*.cpp' 'tools/*.cpp')
    printf '%s\n' "${sources[@]}" |
        xargs -P "$JOBS" -n 4 clang-tidy-19 -p build/cmake --quiet --warnings-as-errors='*'
}

# Unit tests, replay and simulation; the end-to-end suite runs the release build.
sanitize() {
    build sanitize &&
        ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1 \
            ctest --test-dir build-sanitize --output-on-failure --parallel "$JOBS"
}

# What has threads: the executables' loops, reloads and counters.
threads() {
    build tsan unit_ops unit_engine unit_balancer unit_packetbridge balancer packetbridge &&
        ctest --test-dir build-tsan --output-on-failure -R '^(unit_(ops|engine|balancer|packetbridge)|cli)$'
}

passed=0
failed=()
for stage in tools format includes verdicts shell gcc pure clang tidy sanitize threads; do
    [[ -z ${CHECK_ONLY:-} || " $CHECK_ONLY " == *" $stage "* ]] || continue
    begin=$SECONDS
    if "$stage" >"$LOGS/$stage.log" 2>&1 </dev/null; then
        printf '  ok   %4d s  %s\n' $((SECONDS - begin)) "$stage"
        passed=$((passed + 1))
    else
        printf '  FAIL %4d s  %s: the end of %s\n' $((SECONDS - begin)) "$stage" "$LOGS/$stage.log"
        tail -n 25 "$LOGS/$stage.log" | sed 's/^/       /'
        failed+=("$stage")
    fi
done
echo "check: $passed passed, ${#failed[@]} failed, 0 skipped"
[[ ${#failed[@]} -eq 0 ]]
