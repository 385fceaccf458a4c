#!/usr/bin/env python3
"""Each verdict of datapath/verdicts.h has a test that produces it and a line in docs/verdicts.md.

A test produces a verdict when it names it: SPLICE_<name> in a C++ test, or <name> in an end-to-end case that reads
the counters.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def names() -> list[str]:
    text = (ROOT / "libsplice/datapath/verdicts.h").read_text()
    return re.findall(r"^\s*X\(\w+, (\w+),", text, re.MULTILINE)


def tests() -> str:
    folders = ("unit", "bpf", "replay", "simulation", "e2e")
    suffixes = {".cpp", ".c", ".h", ".hpp", ".py", ".txt", ".expected"}
    found = []
    for folder in folders:
        for path in sorted((ROOT / "tests" / folder).rglob("*")):
            if path.is_file() and path.suffix in suffixes:
                found.append(path.read_text(errors="replace"))
    return "\n".join(found)


def main() -> int:
    verdicts = names()
    words = set(re.findall(r"\w+", tests()))
    page = set(re.findall(r"\w+", (ROOT / "docs/verdicts.md").read_text()))
    untested = [name for name in verdicts if not {name, "SPLICE_" + name} & words]
    undocumented = [name for name in verdicts if name not in page]
    for name in untested:
        print(f"{name}: no test produces it")
    for name in undocumented:
        print(f"{name}: no line in docs/verdicts.md")
    print(f"verdicts: {len(verdicts)}, {len(untested)} without a test, {len(undocumented)} without a line")
    return 1 if untested or undocumented or not verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
