"""How fast splice-hash answers, on one core, from files in the page cache: its own traffic, so that anybody can repeat it."""

import contextlib
import os
import statistics
import subprocess
import tempfile
import threading
import time

from rig import SOURCE

TOOL = os.path.join(SOURCE, "build/splice-hash")
FLEET = [word for number in range(1, 5) for word in ("--bridge", f"b{number}=192.168.33.2{number}")]
CACHE = ["cache", *FLEET, "--sizes", "256MiB", "--policies", "lru,fifo,sieve,s3-fifo", "--format", "csv", "--log-format", "trace"]
ONE_CORE = ["taskset", "-c", "1"]


class _Memory(threading.Thread):
    """The most memory that a process has had, looked at ten times a second. (What wait4() tells begins with ours: a child is a
    copy of this process before it is the program.)"""

    def __init__(self, process, program):
        super().__init__(daemon=True)
        self._folder, self._program, self.bytes = f"/proc/{process.pid}", program, 0
        self.start()

    def run(self):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            while True:
                with open(f"{self._folder}/comm", encoding="ascii") as file:
                    is_it = file.read().strip() == self._program
                with open(f"{self._folder}/status", encoding="ascii") as file:
                    peak = [int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:")]
                if is_it and peak:
                    self.bytes = max(self.bytes, *peak)
                time.sleep(0.1)


def _run(words, stdin=subprocess.DEVNULL):
    """Processor time, elapsed time and the most memory (bytes) of one run."""
    begun = time.monotonic()
    with subprocess.Popen(words, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        memory = _Memory(process, "splice-hash")
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        elapsed = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {said}")
    memory.join()
    return used.ru_utime + used.ru_stime, elapsed, memory.bytes


def _generate(path, requests, kind):
    with open(path, "wb") as file:
        subprocess.run([TOOL, "generate", "--requests", str(requests), "--objects", "200000", "--as", kind], stdout=file, check=True)


def _piped(requests):
    """As many generated requests, through a pipe into the simulation of four caches, on all cores."""
    with subprocess.Popen([TOOL, "generate", "--requests", str(requests), "--objects", "1000000"],
                          stdout=subprocess.PIPE) as traffic:
        generated = _Memory(traffic, "splice-hash")
        used, elapsed, memory = _run([TOOL, *CACHE], stdin=traffic.stdout)
    if traffic.returncode != 0:
        raise RuntimeError(f"splice-hash generate ended with {traffic.returncode}")
    return {"requests": requests, "elapsed": requests / elapsed, "processor": requests / used, "memory": memory,
            "generate_memory": generated.bytes}


def run(requests, piped, rounds):
    """{requests, rates: [{what, bytes_a_line, processor, elapsed}], zcat: seconds, piped: ...}; rates a second."""
    with tempfile.TemporaryDirectory(prefix="splicelb-bench-") as folder:
        paths = {kind: os.path.join(folder, kind) for kind in ("plain", "combined", "trace")}
        for kind, path in paths.items():
            _generate(path, requests, kind)
        packed = os.path.join(folder, "combined.gz")
        with open(packed, "wb") as file:
            subprocess.run(["gzip", "-c", paths["combined"]], stdout=file, check=True)
        asked = [("balance, plain URLs", ["balance", *FLEET], paths["plain"]),
                 ("balance, combined log", ["balance", *FLEET], paths["combined"]),
                 ("balance, combined log, gzip", ["balance", *FLEET], packed),
                 ("balance with bounded load, hot keys and warm-up, trace",
                  ["balance", *FLEET, "--bounded-load", "1.25", "--spread", "2", "--warmup", "2%"], paths["trace"]),
                 ("cache, lru,fifo,sieve,s3-fifo at once, 256 MiB a bridge, trace", CACHE, paths["trace"])]
        samples = {what: [] for what, _, _ in asked}
        zcat = []
        for _ in range(rounds):  # by turns, so that a busy moment weighs on all
            for what, words, path in asked:
                samples[what].append(_run([*ONE_CORE, TOOL, *words, path]))
            zcat.append(_run([*ONE_CORE, "zcat", packed]))
        rates = []
        for what, _, path in asked:
            used, elapsed, memory = zip(*samples[what])
            rates.append({"what": what, "bytes_a_line": os.path.getsize(path) / requests, "memory": max(memory),
                          "processor": requests / statistics.median(used), "elapsed": requests / statistics.median(elapsed)})
        return {"requests": requests, "rates": rates, "zcat": requests / statistics.median(used for used, _, _ in zcat),
                "piped": _piped(piped)}
