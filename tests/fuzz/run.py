#!/usr/bin/env python3
"""Builds the fuzzers and runs each for a while, on its seeds and on what earlier runs have added to them.

usage: run.py [--seconds S] [--only NAME] [--short] [--counts FILE]

One line a fuzzer; the last line counts them. A finding stands under build-fuzz/found/<name>, and the line below its
fuzzer repeats it. --short is `make test`'s: from the seeds alone and always with the same random numbers, so that a
commit is judged as the one before it was.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build-fuzz"
SEEDS = ROOT / "tests/fuzz/corpus"
COMPILER = "clang++-19"
INPUT_SECONDS = 10  # an input that takes longer is a finding
MEMORY_MIB = 2048
_STATUS = re.compile(r"^#(\d+)\s.*?\bcov: (\d+)", re.MULTILINE)
_FOUND = re.compile(r"Test unit written to (\S+)")
_REASON = re.compile(r"broken promise: .*|runtime error: .*|ERROR: (?:Address|Leak)Sanitizer:? .*|ERROR: libFuzzer: .*|what\(\): .*")


def why_not():
    """What this machine lacks for fuzzing, or nothing."""
    if not shutil.which(COMPILER):
        return f"there is no {COMPILER}; scripts/deps.sh --fuzz installs it"
    for runtime in ("libclang_rt.fuzzer-x86_64.a", "libclang_rt.fuzzer.a", "libclang_rt.fuzzer-aarch64.a"):
        said = subprocess.run([COMPILER, f"-print-file-name={runtime}"], capture_output=True, text=True, check=False)
        if os.path.isabs(said.stdout.strip()):
            return None
    return f"{COMPILER} has no libFuzzer; scripts/deps.sh --fuzz installs it"


def build(targets):
    """Whether it went well; the log is shown when it did not."""
    log = ROOT / "build-fuzz.log"
    with open(log, "wb") as output:
        done = subprocess.run(["cmake", "--preset", "fuzz"], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, check=False)
        if done.returncode == 0:
            command = ["cmake", "--build", "--preset", "fuzz", "--parallel", str(os.cpu_count() or 1), "--target", *targets]
            done = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode == 0:
        log.unlink()
        return True
    print(log.read_text(errors="replace")[-4000:], end="")
    return False


def fuzz(name, seconds, short):
    """The line of one fuzzer, and whether it passed."""
    program = BUILD / "fuzz" / f"fuzz_{name}"
    found = BUILD / "found" / name
    found.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", f"-artifact_prefix={found}/", f"-timeout={INPUT_SECONDS}",
               f"-rss_limit_mb={MEMORY_MIB}", "-print_final_stats=0"]
    if (SEEDS / f"{name}.dict").exists():
        options.append(f"-dict={SEEDS / name}.dict")
    if short:
        options.append("-seed=1")
    with tempfile.TemporaryDirectory() as empty:
        kept = BUILD / "corpus" / name
        if short:
            kept = pathlib.Path(empty)
        kept.mkdir(parents=True, exist_ok=True)
        begin = time.monotonic()
        done = subprocess.run([str(program), *options, str(kept), str(SEEDS / name)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    output = done.stderr.decode(errors="replace")
    runs, coverage = (_STATUS.findall(output) or [("0", "0")])[-1]
    line = f"fuzz_{name:<14} {int(runs):>9} runs  coverage {int(coverage):>5}  {time.monotonic() - begin:4.0f} s  "
    # Not one run, or no code that was reached, would pass unnoticed otherwise.
    if done.returncode == 0 and int(runs) and int(coverage):
        return line + "passed", True
    (BUILD / "found" / f"{name}.log").write_text(output)
    reasons = _REASON.findall(output)
    line += "FAILED: " + (reasons[0] if reasons else f"exit code {done.returncode}") + f" (build-fuzz/found/{name}.log)"
    for file in _FOUND.findall(output)[:1]:
        line += f"\n  again: {program.relative_to(ROOT)} {os.path.relpath(file, ROOT)}"
        line += f"\n  to keep it: cp {os.path.relpath(file, ROOT)} tests/fuzz/corpus/{name}/found-WHAT"
    return line, False


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--only", metavar="NAME")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--counts", metavar="FILE")
    options = parser.parse_args()

    names = sorted(folder.name for folder in SEEDS.iterdir() if folder.is_dir())
    if options.only:
        if options.only not in names:
            print(f"fuzz: there is no fuzzer {options.only}; there are {', '.join(names)}", file=sys.stderr)
            return 2
        names = [options.only]
    passed = failed = skipped = 0
    reason = why_not()
    if reason:
        print(f"skipped: fuzzing: {reason}")
        skipped = len(names)
    elif not build([f"fuzz_{name}" for name in names]):
        print("failed: fuzzing: the fuzzers were not built; the compiler's words are above")
        failed = len(names)
    else:
        # One a processor: each is one thread.
        with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            for line, good in pool.map(lambda name: fuzz(name, options.seconds, options.short), names):
                print(line, flush=True)
                passed += good
                failed += not good
    if options.counts:
        pathlib.Path(options.counts).write_text(f"{passed} {failed} {skipped}\n", encoding="ascii")
    print(f"fuzz: {passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
