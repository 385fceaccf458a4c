#!/usr/bin/env python3
"""Measures SpliceLB beside direct access and two proxies, in alternating slots of one run (docs/bench.md).

usage: run.py [--quick] [--rounds N] [--only VARIANT,...] [--no-micro] [--hashing] [--update-readme] [--out DIR]
"""

import argparse
import dataclasses
import datetime
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys

import hashing
import micro
import replay
import report
from measures import background_load, slot, syn_flood
from rig import SOURCE, Direct, Haproxy, Limit, Nginx, Refused, Rig, Splice

ENGINES_AND_MODES = [("nfqueue", "translate"), ("ebpf", "translate"), ("ebpf", "adopt")]
ON_DEMAND = [("ebpf", "adopt", "generic")]  # measured when --only names it


@dataclasses.dataclass
class Effort:
    rounds: int
    wrk_seconds: int
    transfer_seconds: float
    first_bytes: int
    syn_seconds: float
    micro_seconds: float
    replayed_connections: int
    hashed_requests: int
    piped_requests: int


FULL = Effort(rounds=5, wrk_seconds=2, transfer_seconds=0.8, first_bytes=1000, syn_seconds=3, micro_seconds=0.2,
              replayed_connections=4000, hashed_requests=4_000_000, piped_requests=100_000_000)
QUICK = Effort(rounds=2, wrk_seconds=1, transfer_seconds=0.3, first_bytes=300, syn_seconds=1, micro_seconds=0.02,
               replayed_connections=1000, hashed_requests=1_000_000, piped_requests=4_000_000)


def say(*words):
    print("bench:", *words, file=sys.stderr, flush=True)


def version_of(*command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return re.search(r"\d+\.\d+[\w.+-]*", done.stdout).group(0)
    except (FileNotFoundError, AttributeError):
        return None


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"model name\s*: (.*)", file.read())
    commit = subprocess.run(["git", "-C", SOURCE, "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True, check=False).stdout.strip()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": model.group(1) if model else platform.machine(), "cores": os.cpu_count(),
        "kernel": platform.release(), "commit": commit,
        "nginx": version_of("nginx", "-v"), "haproxy": version_of("haproxy", "-v"), "wrk": version_of("wrk", "-v"),
    }


def come_first():
    """Goes on in a session of the highest priority: other programs of this machine weigh less on what is measured. The
    first process stays behind, to hand it the terminal's signals."""
    if os.environ.get("SPLICELB_BENCH_SESSION"):
        os.setpriority(os.PRIO_PROCESS, 0, -20)
        if os.path.exists("/proc/self/autogroup"):  # where it is, sessions compete rather than processes
            with open("/proc/self/autogroup", "w", encoding="ascii") as file:
                file.write("-20")
        return
    with subprocess.Popen([sys.executable, *sys.argv], start_new_session=True,
                          env=dict(os.environ, SPLICELB_BENCH_SESSION="1")) as session:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: session.send_signal(number))
        sys.exit(session.wait())


def take_turns(rig, variants, effort, result):
    """Round after round, each variant in its turn; one that is refused, or breaks, is left out and said so."""
    for number in range(effort.rounds):
        for variant in list(variants):
            try:
                variant.start()
                try:
                    result["samples"].setdefault(variant.name, []).append(slot(variant, effort))
                    if number == 0 and isinstance(variant, Splice) and variant.xdp_mode == "auto":
                        result["syn_flood"][variant.name] = syn_flood(variant, effort.syn_seconds)
                finally:
                    variant.stop()
            except (Refused, RuntimeError) as reason:
                variants.remove(variant)
                result["skipped"][variant.title] = str(reason)
                say(f"skipped: {variant.title}: {reason}")
        say(f"round {number + 1} of {effort.rounds} done")


def bench_hashing(effort, result):
    """What hashing costs, without the lab: splice-hash, look-ups, and weighing a first payload's choices in the kernel."""
    result["hashing"] = hashing.run(effort.hashed_requests, effort.piped_requests, effort.rounds)
    result["lookups"] = micro.lookups(effort.micro_seconds)
    result["micro"] = micro.choices(say)
    result["machine"]["busy_after"] = background_load()
    return result


def bench(arguments, effort):
    result = {"machine": machine(), "effort": dataclasses.asdict(effort), "variants": {}, "samples": {}, "skipped": {},
              "syn_flood": {}, "micro": []}
    result["machine"]["busy_before"] = background_load()
    if arguments.hashing:
        return bench_hashing(effort, result)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # as exceptions, so that the rig goes whatever happens
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with Rig(f"bench-{os.getpid()}") as rig:
        variants = [Direct(rig), Limit(rig), Haproxy(rig), Nginx(rig)]
        variants += [Splice(rig, engine, mode) for engine, mode in ENGINES_AND_MODES]
        if arguments.only:
            variants += [Splice(rig, *which) for which in ON_DEMAND]
            variants = [v for v in variants if v.name in arguments.only.split(",") or v.name in ("direct", "limit")]
        result["variants"] = {variant.name: variant.title for variant in variants}
        take_turns(rig, variants, effort, result)
    if not arguments.no_micro:
        result["micro"] = micro.run(effort.micro_seconds, say)
        result["lookups"] = micro.lookups(effort.micro_seconds)
        result["replay"] = replay.run(effort.replayed_connections, effort.rounds)
        result["hashing"] = hashing.run(effort.hashed_requests, effort.piped_requests, effort.rounds)
    result["machine"]["busy_after"] = background_load()
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--only", help="direct and limit always; haproxy, nginx, nfqueue-translate, ebpf-translate, ebpf-adopt, and "
                        "ebpf-adopt-generic (generic XDP)")
    parser.add_argument("--no-micro", action="store_true")
    parser.add_argument("--hashing", action="store_true", help="only what hashing costs: splice-hash, look-ups, weighed choices")
    parser.add_argument("--update-readme", action="store_true", help="figures into README.md and docs/bench.svg")
    parser.add_argument("--out", default=os.path.join(SOURCE, "build/bench"))
    parser.add_argument("--report-only", action="store_true", help="the report again, out of report.json")
    arguments = parser.parse_args()
    effort = QUICK if arguments.quick else FULL
    if arguments.rounds:
        effort = dataclasses.replace(effort, rounds=arguments.rounds)
    if os.geteuid() != 0:
        if not shutil.which("sudo"):
            sys.exit("bench: network namespaces need root and there is no sudo here; run this as root")
        say("network namespaces need root; going on through sudo")
        os.execvp("sudo", ["sudo", sys.executable, os.path.realpath(__file__), *sys.argv[1:]])

    come_first()
    os.makedirs(arguments.out, exist_ok=True)
    path = os.path.join(arguments.out, "report.json")
    if arguments.report_only:
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
    else:
        result = bench(arguments, effort)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
    text = report.markdown(result)
    with open(os.path.join(arguments.out, "report.md"), "w", encoding="utf-8") as file:
        file.write(text)
    print(text)
    if arguments.update_readme and not arguments.hashing:
        report.update_readme(result)


if __name__ == "__main__":
    main()
