"""Requests that go on while something happens, each on a connection of its own, and how many of them failed."""

import contextlib
import errno
import selectors
import socket
import threading
import time

from http_client import parse, request

A_SECOND = 100
PATIENCE_S = 2.0  # a SYN is repeated after one


class Steady(threading.Thread):
    """From the client to the world's web service, until stop(). What became of those that ended: served, failed."""

    def __init__(self, world, paths):
        super().__init__()
        self._world, self._paths = world, paths
        self._ends = threading.Event()
        self._open = {}  # by socket: the request's deadline and what has come of its response
        self.served = self.failed = 0
        self.why = {}  # failed, by what the client saw

    def stop(self):
        self._ends.set()
        self.join()

    def run(self):
        with self._world.lab.inside("client"), selectors.DefaultSelector() as selector:
            due, number = time.monotonic(), 0
            while self._open or not self._ends.is_set():
                now = time.monotonic()
                if now >= due and not self._ends.is_set():
                    self._begin(selector, self._paths[number % len(self._paths)], now)
                    # What a busy machine has missed is not made up for.
                    due, number = max(due + 1 / A_SECOND, now), number + 1
                for key, _ in selector.select(max(0, min(due - now, 0.1))):
                    self._go_on(selector, key)
                # After the answers that are there: this thread may have been late itself.
                for sock in [sock for sock, (deadline, _) in self._open.items() if now >= deadline]:
                    self._end(selector, sock, "no answer")

    def _begin(self, selector, path, now):
        sock = socket.socket(self._world.af, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._open[sock] = (now + PATIENCE_S, b"")
        selector.register(sock, selectors.EVENT_WRITE, request(path, "Connection: close"))
        error = sock.connect_ex((self._world.vip, 80))
        if error not in (0, errno.EINPROGRESS):
            self._end(selector, sock, errno.errorcode[error])

    def _go_on(self, selector, key):
        sock = key.fileobj
        deadline, stream = self._open[sock]
        try:
            if key.events & selectors.EVENT_WRITE:
                sock.sendall(key.data)
                selector.modify(sock, selectors.EVENT_READ)
                return
            block = sock.recv(65536)
        except OSError as error:
            self._end(selector, sock, errno.errorcode[error.errno])
            return
        self._open[sock] = (deadline, stream + block)
        whole = parse(stream + block)
        if whole:
            self._end(selector, sock, None if whole[0].status == 200 else f"status {whole[0].status}")
        elif not block:
            self._end(selector, sock, "closed early")

    def _end(self, selector, sock, why):
        selector.unregister(sock)
        sock.close()
        del self._open[sock]
        if why:
            self.failed += 1
            self.why[why] = self.why.get(why, 0) + 1
        else:
            self.served += 1


@contextlib.contextmanager
def steady(world, paths):
    """Requests at a steady pace for as long as the block lasts."""
    requests = Steady(world, paths)
    requests.start()
    try:
        yield requests
    finally:
        requests.stop()
