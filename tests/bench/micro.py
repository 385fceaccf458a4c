"""The microbenchmarks: programs of google-benchmark, run one after the other."""

import json
import os
import subprocess

from rig import PROGRAMS

_NAMES = ("bench_micro",)
# Each in a process of its own: what one leaves in the allocator is not the next one's.
_ALONE = "memory"


def _run(program, core, *words):
    done = subprocess.run(["taskset", "-c", core, program, "--benchmark_format=json", *words], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True, check=True)
    return json.loads(done.stdout)["benchmarks"]


def run(seconds, say):
    """[{name, label, nanoseconds, counters}]"""
    found = []
    for name in _NAMES:
        program = os.path.join(PROGRAMS, name)
        if not os.path.exists(program):
            say(f"skipped: {name}: it is not built")
            continue
        timed = _run(program, "1", f"--benchmark_min_time={seconds}", f"--benchmark_filter=-{_ALONE}")
        listed = subprocess.run([program, "--benchmark_list_tests", f"--benchmark_filter={_ALONE}"],
                                stdout=subprocess.PIPE, text=True, check=True).stdout.split()
        counted = [one for test in listed for one in _run(program, "1", f"--benchmark_filter=^{test}$")]
        found += [_entry(one) for one in timed + counted]
    return found


def _entry(one):
    if one.get("error_occurred"):
        raise RuntimeError(f"{one['name']}: {one['error_message']}")
    counters = {key: one[key] for key in ("bytes_per_flow", "bytes_left", "flows_left") if key in one}
    return {"name": one["name"].split("/iterations")[0].removeprefix("BM_"), "label": one.get("label", ""),
            "nanoseconds": one["cpu_time"], "counters": counters}
