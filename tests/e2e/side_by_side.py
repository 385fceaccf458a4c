"""Points of the matrix side by side, slices of each family's cases as runs of their own: cases wait more than they work."""

import concurrent.futures
import os
import queue
import signal
import subprocess
import sys
import tempfile

_END = None  # no line follows


class _Run:
    """A slice of one point's and family's cases. Its lines wait until somebody takes them."""

    def __init__(self, program, arguments, folder, *, point, family, share, slice_):
        self.title = f"IPv{family} {point}, slice {slice_}"
        self.tally = os.path.join(folder, self.title.translate(str.maketrans("/ ", "--")))
        self._command = [sys.executable, program, *arguments, "--point", point, "--family", str(family), "--share", share,
                         "--slice", slice_, "--tally", self.tally]
        self._lines = queue.SimpleQueue()
        self._process = None

    def go(self):
        # pylint: disable-next=consider-using-with
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        for line in self._process.stdout:
            self._lines.put(line)
        self._process.wait()
        self._lines.put(_END)

    def print_lines(self):
        """As they come, to the last."""
        while (line := self._lines.get()) is not _END:
            print(line, end="", flush=True)

    def end(self):
        if self._process and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def exit_code(self):
        return self._process.returncode


def _without_parts(arguments):
    """The arguments that are not --point's, --family's or --counts'."""
    kept, words = [], iter(arguments)
    for word in words:
        name, given, _ = word.partition("=")
        if name in ("--point", "--family", "--counts"):
            if not given:
                next(words)
        else:
            kept.append(word)
    return kept


def run(program, arguments, parts, slices, jobs, tally):
    """program: run.py; arguments: its own; parts: points with their family. Prints one after the other what runs side by side.
    The last slices come first: their cases take longest, and what is left for the end should be short."""
    with tempfile.TemporaryDirectory(prefix="splicelb-e2e-") as folder:
        runs = [_Run(program, _without_parts(arguments), folder, point=point, family=family, share=f"{index}/{len(parts)}",
                     slice_=f"{number}/{slices}")
                for number in reversed(range(slices)) for index, (point, family) in enumerate(parts)]
        pool = concurrent.futures.ThreadPoolExecutor(jobs)
        try:
            for each in runs:
                pool.submit(each.go)
            for each in runs:
                each.print_lines()
                if os.path.exists(each.tally):
                    tally.add_saved(each.tally)
                else:
                    tally.failed.append((each.title, f"its run ended with {each.exit_code()} before it had counted"))
        finally:
            # Each takes its lab away.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            pool.shutdown(wait=False, cancel_futures=True)
            for each in runs:
                each.end()
            pool.shutdown()
