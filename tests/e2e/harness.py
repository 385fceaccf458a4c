"""Cases with sentences for names, run one after another against one lab; a failure does not stop the rest."""

import contextlib
import json
import os
import shutil
import sys
import time
import traceback

CASES = []
WAN_CASES = []
SLOW_CASES = []


class Skip(Exception):
    """Raised by a case that can not run here; its text is the reason, which is counted and printed."""


def case(sentence, requires=None, cases=CASES, balancers=1, once=False):
    """Registers a function of one argument (the world, see world.py) under a sentence.

    requires: a function of the world that gives the reason why the case can not run there, or None.
    cases: the list that it belongs to.
    balancers: how many the lab has that it runs in, 1 or 3.
    once: it has nothing to do with engine, mode and family, and runs in one combination of them, whichever: so `requires`
    must not ask for one.
    """

    def register(function):
        assert sentence not in [known.sentence for known in cases], sentence
        cases.append(Case(sentence, function, requires, balancers, once))
        return function

    return register


class Case:
    def __init__(self, sentence, function, requires, balancers, once):
        self.sentence = sentence
        self.function = function
        self.requires = requires
        self.balancers = balancers
        self.once = once

    def slug(self):
        return "".join(c if c.isalnum() else "-" for c in self.sentence)[:60].strip("-")


def _short(value):
    text = repr(value)
    return text if len(text) < 500 else f"{text[:400]} ... {text[-80:]}"


def equal(actual, expected, what):
    if actual != expected:
        raise AssertionError(f"{what}: {_short(actual)}, expected {_short(expected)}")


def true(condition, what):
    if not condition:
        raise AssertionError(what)


def eventually(condition, what, seconds=5.0):
    """Polls until condition() is true; its last value, or a failure that says `what`."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what() if callable(what) else what}")
        time.sleep(0.02)


class Tally:
    def __init__(self):
        self.passed = 0
        self.failed = []
        self.skipped = []

    def save(self, path):
        with open(path, "w", encoding="utf-8") as file:
            json.dump(vars(self), file)

    def add_saved(self, path):
        with open(path, encoding="utf-8") as file:
            saved = json.load(file)
        self.passed += saved["passed"]
        self.failed += map(tuple, saved["failed"])
        self.skipped += map(tuple, saved["skipped"])

    def closing_line(self):
        return f"{self.passed} passed, {len(self.failed)} failed, {len(self.skipped)} skipped"


def _last_lines(path, count=8):
    """Of what a program wrote, which is all that is seen of a failure where the logs are not kept."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()[-count:]
    except FileNotFoundError:
        return []


def _paint(text, colour):
    return f"\033[{colour}m{text}\033[0m" if sys.stdout.isatty() else text


def run_cases(world, cases, tally, log_dir):
    """Runs the cases against one world; logs of a failing case are kept under log_dir."""
    print(f"{world.title()}:", flush=True)
    for item in cases:
        run_case(world, item, tally, log_dir)


def run_case(world, item, tally, log_dir):
    name = f"{world.title()}: {item.sentence}"
    started = time.monotonic()
    verdict, note = "ok", ""
    world.notes = []
    world.mark_logs()
    try:
        reason = item.requires and item.requires(world)
        if reason:
            raise Skip(reason)
        with contextlib.ExitStack() as clean_up:
            world.clean_up = clean_up
            item.function(world)
        world.check_programs()
    except Skip as reason:
        verdict, note = "skip", str(reason)
        tally.skipped.append((name, note))
    except Exception as error:  # a case may fail in any way; the next one still runs
        verdict, note = "FAIL", f"{type(error).__name__}: {error}"
        story = traceback.format_exc().strip()
        tally.failed.append((name, note))
    else:
        tally.passed += 1
        note = ", ".join(world.notes)
    seconds = time.monotonic() - started
    colour = {"ok": 32, "skip": 33, "FAIL": 31}[verdict]
    print(f"  {_paint(f'{verdict:4}', colour)} {seconds:6.2f} s  {item.sentence}" + (f" ({note})" if note and verdict in ("ok", "skip") else ""), flush=True)
    if verdict == "FAIL":
        print("    " + story.replace("\n", "\n    "), flush=True)
        kept = os.path.join(log_dir, world.slug(), item.slug())
        shutil.rmtree(kept, ignore_errors=True)
        world.keep_logs(kept)
        print(f"    logs of this case: {kept}", flush=True)
        for name in world.lab.programs:
            for line in _last_lines(os.path.join(kept, name)):
                print(f"      {name}: {line}", flush=True)
        world.repair()
