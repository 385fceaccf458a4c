#!/usr/bin/env python3
"""What a refusal adds to the opening of a connection: its first bridge's backend does not listen, the next choice answers.

usage: redispatch.py [--openings N] [ENGINE:MODE]...

Two paths by turns over the lab of the benchmark, one of a bridge whose nginx is stopped and one of another: from connect() to the
answer's first byte, each on a connection of its own. No health checks: these would take the bridge out.
"""

import argparse
import os
import socket
import statistics
import sys
import time

from rig import VIP, Refused, Rig, Splice

DEFAULT = ["ebpf:adopt", "ebpf:translate", "nfqueue:translate"]
SILENT = "b2"


def ask(path):
    """Microseconds to the answer's first byte, and the answer's head."""
    began = time.perf_counter()
    with socket.create_connection((VIP, 80), timeout=5) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: lab.test\r\nConnection: close\r\n\r\n".encode())
        head = sock.recv(4096)
        took = (time.perf_counter() - began) * 1e6
        while sock.recv(4096):
            pass
    return took, head.decode("latin-1")


def bridge_of(path):
    lines = ask(path)[1].split("\r\n")
    return next(line.split(": ")[1] for line in lines if line.lower().startswith("x-bridge: "))


def percentile(samples, share):
    return sorted(samples)[min(len(samples) - 1, int(len(samples) * share))]


def measure(rig, openings):
    with rig.lab.inside("client"):
        owners = {path: bridge_of(path) for path in (f"/redispatch/{n}" for n in range(40))}
        refused = next(path for path, owner in owners.items() if owner == SILENT)
        taken = next(path for path, owner in owners.items() if owner != SILENT)
        rig.lab.stop(f"nginx{SILENT[1]}")
        try:
            if bridge_of(refused) == SILENT:
                raise RuntimeError(f"{SILENT} still answers")
            samples = {taken: [], refused: []}
            for _ in range(openings):
                for path, those in samples.items():
                    those.append(ask(path)[0])
        finally:
            rig.lab.start(f"nginx{SILENT[1]}")
    return samples[taken], samples[refused]


def main():
    parser = argparse.ArgumentParser(description="what a refusal adds to an opening")
    parser.add_argument("--openings", type=int, default=2000, help="of each kind; default 2000")
    parser.add_argument("points", nargs="*", default=DEFAULT, metavar="ENGINE:MODE", help=f"default {' '.join(DEFAULT)}")
    options = parser.parse_args()
    with Rig(f"redispatch-{os.getpid()}") as rig:
        for point in options.points:
            variant = Splice(rig, *point.split(":"))
            try:
                variant.start()
            except Refused as reason:
                print(f"{point}: skipped: {reason}")
                continue
            try:
                taken, refused = measure(rig, options.openings)
            finally:
                variant.stop()
            medians = [statistics.median(each) for each in (taken, refused)]
            tails = [percentile(each, 0.99) for each in (taken, refused)]
            print(f"{point}: {options.openings} openings of each kind; median {medians[0]:.0f} us, refused {medians[1]:.0f} us, "
                  f"adds {medians[1] - medians[0]:.0f}; 99th percentile {tails[0]:.0f} us, refused {tails[1]:.0f} us", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
