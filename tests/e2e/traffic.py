"""All that clients do at once, while something happens; every request and every connection is counted.

Connections that stay have ports that were never used. What becomes of a port that another balancer or bridge remembers has
cases of its own.
"""

import socket
import threading

from cases_health import Steady
from cases_restart import Download
from harness import equal, eventually, true
from http_client import Crowd

A_SECOND = 500  # new connections, each with one request
KEPT = 60
DOWNLOADS = 4
PATIENCE_S = 30  # of a client whose packets are lost for a while: it repeats them ever more seldom


class Kept(threading.Thread):
    """Connections that stay, and ask one request after the other."""

    def __init__(self, world, count=KEPT):
        super().__init__(daemon=True)
        self._crowd = Crowd(world, count, world.fresh_ports(count))
        self._crowd.connect()
        self._ends = threading.Event()
        self.bridges = [set() for _ in range(count)]  # by connection: who has answered it
        self.requests = self.rounds = 0
        self.lost = {}  # by connection: what became of it

    def run(self):
        while not self._ends.is_set() and not self.lost:
            answers = self._crowd.ask(lambda index: f"/kept/{index}", PATIENCE_S)
            for bridges, answer in zip(self.bridges, answers):
                if answer:
                    bridges.add(answer.bridge if answer.status == 200 else f"status {answer.status}")
            self.requests += len(answers)
            self.lost = self._crowd.complaints
            self.rounds += 1
            self._ends.wait(0.02)

    def stop(self):
        self._ends.set()
        self.join()

    def check(self, world):
        self.stop()
        world.notes.append(f"{len(self.lost)} of {len(self.bridges)} kept-alive connections lost in {self.requests} requests")
        equal(list(self.lost.values())[:5], [], "kept-alive connections that were lost")
        equal([bridges for bridges in self.bridges if len(bridges) > 1], [], "connections that two bridges have answered")


class LongDownload(Download):
    SIZE = 100 << 20

    def __init__(self, world):
        super().__init__(world, PATIENCE_S, world.fresh_ports(1)[0])
        # What waits here unread shall not look like packets that come.
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)


class Downloads(threading.Thread):
    """A few downloads that take longer than what happens, for they are read slowly; one that is whole is followed by another."""

    AFTERWARDS = 6 << 20  # bytes that each reads at last, as fast as they come

    def __init__(self, world, count=DOWNLOADS):
        super().__init__(daemon=True)
        self._world = world
        with open(world.fastpath_file(), "rb") as file:
            self._wanted = file.read()
        self._downloads = [LongDownload(world) for _ in range(count)]
        self._whole = [0] * count  # by slot: bytes of those that were there before
        self._ends = threading.Event()
        self.failure = None

    def run(self):
        try:
            while not self._ends.wait(0.02):
                for slot, download in enumerate(self._downloads):
                    if len(download.body) >= LongDownload.SIZE - self.AFTERWARDS:
                        self._finish(slot)
                    else:
                        download.read_to(len(download.body) + 1)
            for download in self._downloads:
                download.read_to(min(len(download.body) + self.AFTERWARDS, LongDownload.SIZE))
                self._check_bytes(download)
        except (OSError, AssertionError) as error:
            self.failure = error

    def _finish(self, slot):
        download = self._downloads[slot]
        download.read_to(LongDownload.SIZE)
        self._check_bytes(download)
        download.close()
        self._whole[slot] += len(download.body)
        self._downloads[slot] = LongDownload(self._world)

    def _check_bytes(self, download):
        true(self._wanted.startswith(bytes(download.body)), f"the {len(download.body)} bytes of a download are the file's")

    def least(self):
        """Bytes of that slot which has read the fewest."""
        return min(whole + len(download.body) for whole, download in zip(self._whole, self._downloads))

    def stop(self):
        self._ends.set()
        self.join()

    def check(self, world):
        self.stop()
        true(self.failure is None, f"a download: {self.failure!r}")
        world.notes.append(f"{len(self._downloads)} downloads went on")


class Traffic:
    """New connections, kept-alive ones and downloads for as long as a block lasts."""

    def __init__(self, world):
        self._world = world
        self.steady = Steady(world, A_SECOND, PATIENCE_S)
        self.kept = Kept(world)
        self.downloads = Downloads(world)

    def __enter__(self):
        self.kept.start()
        self.downloads.start()
        self.steady.start()
        self.goes_on("before anything happens")
        return self

    def __exit__(self, *_):
        for part in (self.steady, self.kept, self.downloads):
            if part is self.steady:
                part.__exit__()
            else:
                part.stop()

    def goes_on(self, when):
        """Waits until each part has got further: so many requests as come in a second, each kept-alive connection, each
        download by more than was under way."""
        asked, rounds, bytes_read = len(self.steady.asked), self.kept.rounds, self.downloads.least()

        def further():
            return (len(self.steady.asked) >= asked + A_SECOND and self.kept.rounds >= rounds + 2
                    and self.downloads.least() >= bytes_read + (1 << 20) or self.kept.lost or self.downloads.failure)

        eventually(further, lambda: f"traffic goes on {when}: {len(self.steady.asked) - asked} requests, "
                   f"{self.kept.rounds - rounds} rounds, {self.downloads.least() - bytes_read} bytes", 2 * PATIENCE_S)

    def check(self):
        """Nothing has failed."""
        lost = self.steady.failed()
        slowest = max(took for _, _, _, took in self.steady.asked)
        self._world.notes.append(f"{len(lost)} of {len(self.steady.asked)} requests failed, the slowest took {slowest:.2f} s")
        self.kept.check(self._world)
        self.downloads.check(self._world)
        equal([(path, outcome, f"{took:.2f} s") for _, path, outcome, took in lost], [], "requests that failed")
