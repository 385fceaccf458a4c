#!/usr/bin/env python3
"""What the connection log costs: requests a second, each on a connection of its own, and the processor time of each, without it
and with it.

usage: connection_log.py [--rounds N] [--seconds S] [--sample SHARE] [ENGINE:MODE]...

In each round both are measured twice, in the order without, with, with, without, so that what drifts is in both alike; balancer
and bridges change by a reload. Of the rounds' ratios the mean and its 95 % interval are printed (Student's t). The processor time
is that of the lab's processes, in whose context nearly all of its packets are handled: on a busy machine it says more than the
rate does.
"""

import argparse
import contextlib
import math
import os
import re
import resource
import signal
import statistics
import sys

from measures import requests
from rig import Refused, Rig, Splice, cpu_seconds

from harness import eventually  # noqa: E402  (the end-to-end suite's, whose folder rig has added)

DEFAULT = ["ebpf:adopt", "ebpf:translate", "nfqueue:translate"]
PROGRAMS = ["balancer", "b1", "b2", "b3"]
# Two-sided 95 % by degrees of freedom.
STUDENT = [0, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131]


def configure(rig, sample):
    """All programs have a log of that sample from here on; "0": none."""
    for program in PROGRAMS:
        log = f"{rig.lab.run_dir}/log/{program}.log"
        path = f"{rig.lab.run_dir}/{program}.yaml"

        def reloads(log=log):
            with open(log, encoding="utf-8") as file:
                return file.read().count("reloaded (")

        count = reloads()
        with open(path, encoding="utf-8") as file:
            text = re.sub(r"^log: .*\n", "", file.read(), flags=re.MULTILINE)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"{text}log: {{ connections: {{ sample: {sample}, limit: 1000000, file: {rig.scratch}/{program}.log }} }}\n")
        os.kill(rig.lab.pid(program), signal.SIGHUP)
        eventually(lambda count=count, reloads=reloads: reloads() > count, f"a reload of {program}", 15)


def measured(variant, seconds):
    """Connections a second, and microseconds of processor time for each."""
    def spent():
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime + sum(cpu_seconds(pid) for host in PROGRAMS for pid in variant.rig.pids(host))

    samples, before = {}, spent()
    requests(variant, samples, "requests", seconds, "Connection: close")
    return samples["requests"], (spent() - before) / (samples["requests"] * seconds) * 1e6


def interval(values):
    half = STUDENT[min(len(values) - 1, len(STUDENT) - 1)] * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values), half


def main():
    parser = argparse.ArgumentParser(description="what the connection log costs of throughput")
    parser.add_argument("--rounds", type=int, default=9, help="default 9; at least 2")
    parser.add_argument("--seconds", type=int, default=2, help="of each of a round's four measurements; default 2")
    parser.add_argument("--sample", default="1%", help="default 1%%")
    parser.add_argument("points", nargs="*", default=DEFAULT, metavar="ENGINE:MODE", help=f"default {' '.join(DEFAULT)}")
    options = parser.parse_args()
    with Rig(f"log-{os.getpid()}") as rig:
        for point in options.points:
            variant = Splice(rig, *point.split(":"))
            try:
                variant.start()
            except Refused as reason:
                print(f"{point}: skipped: {reason}")
                continue
            try:
                ratios, rates = ([], []), ([], [])
                for _ in range(options.rounds):
                    sums = {"0": [0.0, 0.0], options.sample: [0.0, 0.0]}
                    for sample in ("0", options.sample, options.sample, "0"):
                        configure(rig, sample)
                        for i, value in enumerate(measured(variant, options.seconds)):
                            sums[sample][i] += value
                    for i in (0, 1):
                        ratios[i].append(sums[options.sample][i] / sums["0"][i] - 1)
                        rates[i].append(sums["0"][i] / 2)
            finally:
                variant.stop()
            lines = 0
            for program in PROGRAMS:
                with contextlib.suppress(FileNotFoundError):  # a sample of 0 makes none: that is how wrong the figures may be
                    with open(f"{rig.scratch}/{program}.log", encoding="utf-8") as file:
                        lines += sum(1 for _ in file)
                    os.remove(f"{rig.scratch}/{program}.log")
            print(f"{point}: without a log and what a sample of {options.sample} changes, {options.rounds} rounds, {lines} lines", flush=True)
            for i, what in enumerate(("connections a second", "us of processor time for each")):
                mean, half = interval(ratios[i])
                print(f"  {statistics.mean(rates[i]):7.0f} {what}: {mean * 100:+.2f} % "
                      f"(95 % interval {(mean - half) * 100:+.2f} to {(mean + half) * 100:+.2f} %)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
