"""The microbenchmarks: of the rules and machines (google-benchmark), and of the kernel programs (test runs)."""

import json
import os
import subprocess

from rig import PROGRAMS

# Each in a process of its own: what one leaves in the allocator is not the next one's.
_ALONE = "memory"
# By turns, for each is set beside another.
_LOOKUPS = "^BM_lookup_"


def _run(program, *words):
    done = subprocess.run(["taskset", "-c", "1", program, "--benchmark_format=json", *words], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, check=True)
    return json.loads(done.stdout)["benchmarks"]


def run(seconds, say):
    """[{name, label, nanoseconds, counters}]"""
    machines = os.path.join(PROGRAMS, "bench_micro")
    timed = _run(machines, f"--benchmark_min_time={seconds}", f"--benchmark_filter=-{_ALONE}|{_LOOKUPS}")
    listed = subprocess.run([machines, "--benchmark_list_tests", f"--benchmark_filter={_ALONE}"], stdout=subprocess.PIPE,
                            text=True, check=True).stdout.split()
    counted = [one for test in listed for one in _run(machines, f"--benchmark_filter=^{test}$")]
    for kernel in ("bench_kernel", "bench_kernel_bridge"):
        try:
            timed += _run(os.path.join(PROGRAMS, kernel))
        except subprocess.CalledProcessError as error:
            say(f"skipped: the kernel programs' microbenchmarks: {error.stderr.strip().splitlines()[-1]}")
    return [_entry(one) for one in timed + counted]


def choices(say):
    """Of the balancer's kernel program, what weighing a first payload's choices adds."""
    try:
        timed = _run(os.path.join(PROGRAMS, "bench_kernel"))
    except subprocess.CalledProcessError as error:
        say(f"skipped: the kernel program's microbenchmarks: {error.stderr.strip().splitlines()[-1]}")
        return []
    return [_entry(one) for one in timed if one["name"].startswith("BM_kernel_first_payload")]


def lookups(seconds):
    """[{name, bridges, label, nanoseconds}]: an algorithm, or ALGORITHM_PEER; medians of five turns"""
    turns = _run(os.path.join(PROGRAMS, "bench_micro"), f"--benchmark_min_time={seconds}", f"--benchmark_filter={_LOOKUPS}",
                 "--benchmark_repetitions=5", "--benchmark_enable_random_interleaving=true",
                 "--benchmark_report_aggregates_only=true")
    figures = []
    for one in turns:
        if one["aggregate_name"] == "median":
            name, bridges = one["run_name"].removeprefix("BM_lookup_").split("/")
            figures.append({"name": name, "bridges": int(bridges), "label": one.get("label", ""),
                            "nanoseconds": one["cpu_time"]})
    return figures


def _entry(one):
    if one.get("error_occurred"):
        raise RuntimeError(f"{one['name']}: {one['error_message']}")
    counters = {key: one[key] for key in ("bytes_per_flow", "bytes_left", "flows_left") if key in one}
    return {"name": one["name"].split("/iterations")[0].removeprefix("BM_"), "label": one.get("label", ""),
            "nanoseconds": one["cpu_time"], "counters": counters}
