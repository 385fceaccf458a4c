"""How fast splice-replay is over a capture of many connections that overlap (bench_capture writes it)."""

import os
import statistics
import subprocess
import tempfile
import time

from rig import PROGRAMS, SOURCE

CONFIG = """
secret_file: {folder}/none
services:
  - name: ipv4
    vip: 198.51.100.10
    port: 80
    dscp: 1
    bridges: [{{ name: left, address: 192.168.33.20 }}, {{ name: right, address: 192.168.33.21 }}]
  - name: ipv6
    vip: "2001:db8:1::80"
    port: 80
    dscp: 2
    bridges: [{{ name: left6, address: "2001:db8:33::20" }}, {{ name: right6, address: "2001:db8:33::21" }}]
"""


def _seconds(words):
    """Processor time and elapsed time of one run."""
    begun = time.monotonic()
    with subprocess.Popen([os.path.join(SOURCE, "build/splice-replay"), *words], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"splice-replay {' '.join(words)}: {said}")
    return used.ru_utime + used.ru_stime, time.monotonic() - begun


def run(connections, rounds):
    """{packets, bytes, flags: {flags: packets/s of processor time and of elapsed time}}"""
    with tempfile.TemporaryDirectory(prefix="splicelb-bench-") as folder:
        capture, config = os.path.join(folder, "crowd.pcap"), os.path.join(folder, "balancer.yaml")
        packets = int(subprocess.run([os.path.join(PROGRAMS, "bench_capture"), capture, str(connections)], text=True,
                                     stdout=subprocess.PIPE, check=True).stdout)
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(folder=folder))
        result = {"packets": packets, "bytes": os.path.getsize(capture), "flags": {}}
        for flags in (["--config", config, "--keys"], ["--any-vip", "--keys"], ["--any-vip"]):
            used, elapsed = zip(*(_seconds([*flags, capture]) for _ in range(rounds)))
            name = " ".join(flags).replace(config, "FILE")
            result["flags"][name] = {"processor": packets / statistics.median(used),
                                     "elapsed": packets / statistics.median(elapsed)}
        return result
