"""Points of the matrix side by side, each as a run of its own: cases wait more than they work."""

import concurrent.futures
import os
import queue
import signal
import subprocess
import sys
import tempfile

_END = None  # no line follows


class _Run:
    """One point's run. Its lines wait until somebody takes them."""

    def __init__(self, program, arguments, point, folder):
        self.point = point
        self.tally = os.path.join(folder, point)
        self._command = [sys.executable, program, *arguments, "--point", point, "--tally", self.tally]
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


def _without_points(arguments):
    """The arguments that are not --point's or --counts'."""
    kept, words = [], iter(arguments)
    for word in words:
        name, given, _ = word.partition("=")
        if name in ("--point", "--counts"):
            if not given:
                next(words)
        else:
            kept.append(word)
    return kept


def run(program, arguments, points, jobs, tally):
    """program: run.py; arguments: its own. Prints one point after the other, in their order."""
    with tempfile.TemporaryDirectory(prefix="splicelb-e2e-") as folder:
        runs = [_Run(program, _without_points(arguments), point, folder) for point in points]
        pool = concurrent.futures.ThreadPoolExecutor(jobs)
        try:
            for each in runs:
                pool.submit(each.go)
            for each in runs:
                each.print_lines()
                if os.path.exists(each.tally):
                    tally.add_saved(each.tally)
                else:
                    tally.failed.append((each.point, f"its run ended with {each.exit_code()} before it had counted"))
        finally:
            # Each takes its lab away.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            pool.shutdown(wait=False, cancel_futures=True)
            for each in runs:
                each.end()
            pool.shutdown()
