#!/usr/bin/env python3
"""Unit tests by ctest, each fuzzer for seconds, then the end-to-end suite; the last line counts all.

usage: run_all.py [--unit | --fuzz | --e2e [arguments of e2e/run.py]]
"""

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree

SOURCE = os.path.realpath(os.path.join(os.path.dirname(__file__), ".."))
LOGS = os.path.join(SOURCE, "build/test-logs")
FUZZ_SECONDS = 3  # each; two run side by side
_DOCTEST = re.compile(r"\[doctest\] test cases:\s*\d+ \|\s*(\d+) passed \|\s*(\d+) failed \|\s*(\d+) skipped")
_SKIP_REASON = re.compile(r"^\s*(?:SKIP|skipped|skip):? *(.*)$", re.MULTILINE | re.IGNORECASE)


class Counts:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, passed, failed, skipped):
        self.passed += passed
        self.failed += failed
        self.skipped += skipped


def count_ctest(report, counts):
    """A doctest program counts by its cases, anything else as one; each skip's reason is printed."""
    for test in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
        output = test.findtext("system-out") or ""
        status = test.get("status")
        summary = _DOCTEST.search(output)
        if summary:
            passed, failed, skipped = map(int, summary.groups())
            # A program may fail besides its cases: a sanitizer's word at exit, for one.
            counts.add(passed, failed or int(status == "fail"), skipped)
        elif status == "run":
            counts.add(1, 0, 0)
        elif status == "fail":
            counts.add(0, 1, 0)
        else:
            counts.add(0, 0, 1)
        reasons = _SKIP_REASON.findall(output)
        if status not in ("run", "fail") and not reasons:
            reasons = ["it gave no reason"]
        for reason in reasons:
            print(f"skipped: {test.get('name')}: {reason}")
            counts.skipped += int(status in ("run", "fail"))  # a part of it; the whole is counted above


def run_unit(counts):
    report = os.path.join(LOGS, "unit.xml")
    # Those that ask the kernel wait more than they work.
    jobs = 2 * (os.cpu_count() or 1)
    done = subprocess.run(["ctest", "--test-dir", os.path.join(SOURCE, "build/cmake"), "--output-on-failure", f"-j{jobs}",
                           "--output-junit", report, "--test-output-size-passed", "1000000", "--timeout", "300"],
                          stdin=subprocess.DEVNULL, check=False)
    before = counts.failed
    if os.path.exists(report):
        count_ctest(report, counts)
    if done.returncode != 0 and counts.failed == before:
        counts.failed += 1


def add_counted(counts, name, file, done):
    """What a suite that counts by itself has written down."""
    if not os.path.exists(file):
        counts.failed += 1
        print(f"failed: {name} ended with {done.returncode} before it had counted")
        return
    with open(file, encoding="ascii") as numbers:
        counts.add(*map(int, numbers.read().split()))


def run_fuzz(counts):
    file = os.path.join(LOGS, "fuzz.counts")
    command = [os.path.join(SOURCE, "tests/fuzz/run.py"), "--short", "--seconds", str(FUZZ_SECONDS), "--counts", file]
    add_counted(counts, "fuzzing", file, subprocess.run(command, stdin=subprocess.DEVNULL, check=False))


def run_e2e(counts, arguments):
    """As root in network namespaces: through sudo where it asks for no password, else a counted skip."""
    as_root = []
    if os.geteuid() != 0:
        if not shutil.which("sudo") or subprocess.run(["sudo", "-n", "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            print("skipped: the end-to-end suite: network namespaces need root; run make test as root")
            counts.skipped += 1
            return
        as_root = ["sudo", "-n"]
    file = os.path.join(LOGS, "e2e.counts")
    command = as_root + [os.path.join(SOURCE, "tests/e2e/run.py"), "--counts", file, *arguments]
    add_counted(counts, "the end-to-end suite", file, subprocess.run(command, stdin=subprocess.DEVNULL, check=False))


def main():
    arguments = sys.argv[1:]
    which = arguments.pop(0) if arguments and arguments[0] in ("--unit", "--fuzz", "--e2e") else None
    shutil.rmtree(LOGS, ignore_errors=True)
    os.makedirs(LOGS)
    counts = Counts()
    if which in (None, "--unit"):
        run_unit(counts)
    if which in (None, "--fuzz"):
        run_fuzz(counts)
    if which in (None, "--e2e"):
        run_e2e(counts, arguments)
    sys.stdout.flush()
    print(f"{counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped", flush=True)
    return 1 if counts.failed or not counts.passed else 0


if __name__ == "__main__":
    sys.exit(main())
