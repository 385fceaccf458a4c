"""What takes minutes, so that it runs only when it is asked for (--slow)."""

import socket
import threading
import time

from harness import SLOW_CASES, case, equal, true

ANSWER = 5_000_000  # bytes: more than a window


def ask_and_think(world, seconds, results):
    """A client that asks, ends its side, and gets what the server sends after so many seconds."""
    begin = time.monotonic()
    sock = world.connect(port=2525, timeout=seconds + 60)
    try:
        file = sock.makefile("rb")
        greeting = file.readline()
        sock.sendall(f"THINK {seconds} {ANSWER}\r\n".encode())
        sock.shutdown(socket.SHUT_WR)
        got = 0
        while block := file.read(1 << 18):
            true(not block.strip(b"x"), "the bytes are those that were sent")
            got += len(block)
        results[seconds] = (greeting.split()[:1], got, time.monotonic() - begin >= seconds)
    except (OSError, AssertionError) as error:
        results[seconds] = error


@case("half-closed clients whose server thinks for one, for two and for five minutes get all of the answer", cases=SLOW_CASES)
def _(world):
    results = {}
    threads = [threading.Thread(target=ask_and_think, args=(world, seconds, results)) for seconds in (75, 120, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(results, {seconds: ([b"220"], ANSWER, True) for seconds in (75, 120, 300)}, "greeting, bytes and patience by seconds")
