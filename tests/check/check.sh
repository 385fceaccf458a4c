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
links() { tests/check/links.py; }

# scripts SUFFIX INTERPRETER: the files of that name or first line; INTERPRETER is a pattern of grep -E.
scripts() {
    git ls-files | while read -r file; do
        [[ -f $file && ! -L $file ]] || continue
        [[ $file == *$1 ]] || head -c 64 "$file" | head -n 1 | grep -qE "^#!.*\b$2\$" || continue
        echo "$file"
    done
}

shell() { scripts .sh '(ba)?sh' | xargs -r shellcheck -x; }

# What Python would find out only when it comes to the line: names that do not exist, and what nobody uses.
python() { scripts .py 'python3?' | xargs -r flake8 --isolated --select=E9,F; }

# build PRESET [TARGET...]: goes on behind what does not compile, so that one run names it all.
build() {
    local preset=$1
    shift
    cmake --preset "$preset" -DSPLICELB_BENCH=ON &&
        cmake --build --preset "$preset" --parallel "$JOBS" ${1:+--target "$@"} -- -k 0
}

# The programs of the benchmark, too, which nothing else builds.
gcc() { build release all bench_programs; }
clang() { build clang all bench_programs; }

pure() { tests/check/pure.py build/cmake/libsplice/libsplice_{base,wire,core}.a; }

# Each source once, as clang compiles it; headers with the sources that include them.
tidy() {
    local sources
    build clang bpf_skeletons || return
    mapfile -t sources < <(git ls-files 'libsplice/*.cpp' 'balancer/*.cpp' 'packetbridge/*.cpp' 'tools/*.cpp')
    printf '%s\n' "${sources[@]}" |
        xargs -P "$JOBS" -n 4 clang-tidy-19 -p build-clang --quiet --warnings-as-errors='*'
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
for stage in tools format includes verdicts links shell python gcc pure clang tidy sanitize threads; do
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
