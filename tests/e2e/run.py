#!/usr/bin/env python3
"""The end-to-end suite: real programs in a lab of network namespaces, once for each engine, mode and family.

usage: run.py [--only WORD] [--family 4|6] [--point ENGINE:MODE]... [--wan CONTROL | --slow | --full] [--jobs N] [--repeat N]
              [--logs DIR] [--counts FILE] [--list]

A case that is marked `once` has nothing to do with engine, mode and family: it runs in one of their combinations.
"""

import argparse
import os
import resource
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import cases_routing  # noqa: E402,F401  (importing a file registers its cases, in this order)
import cases_choice  # noqa: E402,F401
import cases_transfer  # noqa: E402,F401
import cases_segments  # noqa: E402,F401
import cases_crowds  # noqa: E402,F401
import cases_tls  # noqa: E402,F401
import cases_proxied  # noqa: E402,F401
import cases_hostile  # noqa: E402,F401
import cases_restart  # noqa: E402,F401
import cases_lanes  # noqa: E402,F401
import cases_limits  # noqa: E402,F401
import cases_drain  # noqa: E402,F401
import cases_kernel  # noqa: E402,F401
import cases_health  # noqa: E402,F401
import cases_checks  # noqa: E402,F401
import cases_failures  # noqa: E402,F401
import cases_host  # noqa: E402,F401
import cases_hosts  # noqa: E402,F401
import cases_caches  # noqa: E402,F401
import cases_control  # noqa: E402,F401
import cases_splicectl  # noqa: E402,F401
import cases_page  # noqa: E402,F401
import cases_metrics  # noqa: E402,F401
import cases_connection_log  # noqa: E402,F401
import cases_channel  # noqa: E402,F401
import cases_keepalived  # noqa: E402,F401
import cases_presence  # noqa: E402,F401
import cases_uplinks  # noqa: E402,F401
import cases_firewalls  # noqa: E402,F401
import cases_narrow  # noqa: E402,F401
import cases_by_service  # noqa: E402,F401
import cases_slow  # noqa: E402,F401
import cases_ecmp  # noqa: E402,F401
import cases_wan  # noqa: E402,F401
import harness  # noqa: E402
import raw_tcp  # noqa: E402
import side_by_side  # noqa: E402
from points import POINTS, why_no_multipath, why_not  # noqa: E402
from world import BRIDGES, SOURCE, Lab, World  # noqa: E402

FAMILIES = [4, 6]
LABS_A_CORE = 2  # one alone keeps half a core busy
SLICES = 2  # of a point's and family's cases, each in a lab of its own: what is side by side then ends nearly together
# On both of the router's interfaces: 40 ms there and back, 2 % lost each way, one in twenty not delayed.
WAN = "delay 20ms loss 2% duplicate 1% reorder 5%"


def parse_arguments():
    parser = argparse.ArgumentParser(description="the end-to-end suite")
    parser.add_argument("--only", action="append", help="cases whose sentence contains this; may be given again")
    parser.add_argument("--family", type=int, choices=FAMILIES, action="append", help="4 or 6; default both")
    parser.add_argument("--point", action="append", help=f"engine:mode; default {' '.join(POINTS)}")
    parser.add_argument("--wan", metavar="CONTROL", help="the cases for a bad long way, made by netem, with this TCP "
                        "congestion control on every host (bbr, cubic, ...) instead of the others")
    parser.add_argument("--slow", action="store_true", help="the cases that wait for minutes instead of the others")
    parser.add_argument("--full", action="store_true", help="the cases that wait for minutes, too (make e2e-full)")
    parser.add_argument("--jobs", type=int, default=LABS_A_CORE * (os.cpu_count() or 1), help="so many labs side by side, each "
                        f"with a slice of one point's and family's cases; default: {LABS_A_CORE} a core")
    parser.add_argument("--repeat", type=int, default=1, help="the chosen cases so many times in each lab: once in a hundred is a fault")
    parser.add_argument("--logs", default=os.path.join(SOURCE, "build/test-logs/e2e"), help="where logs of failing cases go")
    parser.add_argument("--counts", help="write 'passed failed skipped' there")
    parser.add_argument("--slice", metavar="I/N", default="0/1", help="the Ith of N slices of the cases, from 0")
    parser.add_argument("--share", metavar="I/N", default="0/1", help="of the cases that run once, those that fall to the Ith "
                        "of N combinations of engine, mode and family")
    parser.add_argument("--tally", help="write what became of the cases there, as JSON, instead of printing it at the end")
    parser.add_argument("--list", action="store_true", help="print the sentences and end")
    return parser.parse_args()


def run_point(point, families, cases, tally, log_dir, balancers):
    """One lab, with so many balancers, for a matrix point and these families."""
    engine, mode = point.split(":")
    lab = Lab(f"e2e-{os.getpid()}", engine, mode, balancers)
    try:
        lab.command("network")
        for number in (1, 2, 3):
            lab.start(f"greeter{number}")
        for program in (*BRIDGES, *lab.balancers):
            lab.start(program)
        raw_tcp.hide_from_kernel(lab)
        for family in families:
            harness.run_cases(World(lab, family), cases, tally, log_dir)
    finally:
        # A second Ctrl-C shall not leave half of it.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        lab.command("down")
        listen_for_the_end()


def listen_for_the_end():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def leave_out_others(cases, share, slice_):
    """Of the cases that run once only those that fall to this combination, and of all of these one slice."""
    index, runs = map(int, share.split("/"))
    once = [item for item in cases if item.once]
    others = [item for number, item in enumerate(once) if number % runs != index]
    mine = [item for item in cases if item not in others]
    index, slices = map(int, slice_.split("/"))
    return mine[len(mine) * index // slices:len(mine) * (index + 1) // slices]


def chosen_list(arguments):
    if arguments.wan:
        return harness.WAN_CASES
    if arguments.slow:
        return harness.SLOW_CASES
    return harness.CASES + (harness.SLOW_CASES if arguments.full else [])


def say_what_is_left_out(arguments):
    if arguments.wan or arguments.slow or arguments.only:
        return
    if arguments.full:
        print(f"of these, make test leaves out {len(harness.SLOW_CASES)} that wait for minutes")
        return
    for item in harness.SLOW_CASES:
        print(f"left to make e2e-full, for it waits for minutes: {item.sentence}")


def run_or_say_why_not(point, families, cases, tally, log_dir):
    for balancers in sorted({item.balancers for item in cases}):
        chosen = [item for item in cases if item.balancers == balancers]
        title = point if balancers == 1 else f"{point} with {balancers} balancers"
        if reason := why_not(point) or (balancers > 1 and why_no_multipath()):
            print(f"{title}: skipped: {reason}", flush=True)
            tally.skipped += [(f"IPv{family} {title}: all {len(chosen)} cases", reason) for family in families]
            continue
        try:
            run_point(point, families, chosen, tally, log_dir, balancers)
        except RuntimeError as error:  # the lab itself: no case can run, which is a failure of its own
            print(f"FAIL the lab for {title}: {error}", flush=True)
            tally.failed.append((f"the lab for {title}", str(error)))


def main():
    arguments = parse_arguments()
    known = chosen_list(arguments)
    cases = arguments.repeat * [item for item in known if any(word in item.sentence for word in arguments.only or [""])]
    if arguments.list:
        print("\n".join(item.sentence for item in cases))
        return 0
    if arguments.wan:
        os.environ.update(NETEM=WAN, CONGESTION=arguments.wan)
    listen_for_the_end()
    tally = harness.Tally()
    points = arguments.point or POINTS
    parts = [(point, family) for point in points for family in arguments.family or FAMILIES]
    if len(parts) > 1 and arguments.jobs > 1:
        side_by_side.run(os.path.realpath(__file__), sys.argv[1:], parts, SLICES, arguments.jobs, tally)
        listen_for_the_end()
    else:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20000), hard))
        cases = leave_out_others(cases, arguments.share, arguments.slice)
        for point in points:
            run_or_say_why_not(point, arguments.family or FAMILIES, cases, tally, arguments.logs)
    if arguments.tally:
        tally.save(arguments.tally)
        return 0
    for name, reason in tally.skipped:
        print(f"skipped: {name}: {reason}")
    for name, reason in tally.failed:
        print(f"failed: {name}: {reason}")
    say_what_is_left_out(arguments)
    if arguments.counts:
        with open(arguments.counts, "w", encoding="ascii") as file:
            file.write(f"{tally.passed} {len(tally.failed)} {len(tally.skipped)}\n")
    print(f"end to end: {tally.closing_line()}", flush=True)
    return 1 if tally.failed or not tally.passed else 0


if __name__ == "__main__":
    sys.exit(main())
