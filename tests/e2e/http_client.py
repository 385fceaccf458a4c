"""As much HTTP/1.1 as the cases need, on sockets that they keep in their own hands."""

import dataclasses
import selectors
import socket
import time


TCP_STATES = {1: "ESTABLISHED", 2: "SYN_SENT", 4: "FIN_WAIT1", 5: "FIN_WAIT2", 7: "CLOSED", 8: "CLOSE_WAIT"}  # tcp_states.h


@dataclasses.dataclass
class Response:
    status: int
    headers: dict
    body: bytes

    @property
    def bridge(self):
        return self.headers.get("x-bridge")

    @property
    def remote(self):
        return self.headers.get("x-remote")


def request(path, *headers, method="GET"):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: lab", *headers, "", ""]).encode()


def parse(stream):
    """The response that `stream` begins with and what follows it, or None while it is not whole."""
    head, separator, rest = stream.partition(b"\r\n\r\n")
    if not separator:
        return None
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in lines[1:])}
    length = int(headers.get("content-length", 0))
    if len(rest) < length:
        return None
    return Response(int(lines[0].split()[1]), headers, rest[:length]), rest[length:]


def read_response(sock):
    stream = b""
    while not (whole := parse(stream)):
        block = sock.recv(65536)
        if not block:
            raise AssertionError(f"the connection ended after {len(stream)} bytes of the response: {stream[:80]!r}")
        stream += block
    return whole[0]


def ask(sock, path, *headers):
    sock.sendall(request(path, *headers))
    return read_response(sock)


def ask_in_two(sock, path, cut):
    """The same in two segments, of which the first has `cut` bytes; `sock` is without Nagle's algorithm."""
    whole = request(path)
    sock.sendall(whole[:cut])
    time.sleep(0.02)
    sock.sendall(whole[cut:])
    return read_response(sock)


class Crowd:
    """Many connections at once from one thread; each sends a request and reads its response."""

    def __init__(self, world, count, ports=()):
        """ports: of the client, one each; without them the kernel chooses."""
        self.selector = selectors.DefaultSelector()
        self.members = []
        with world.lab.inside("client"):
            for _ in range(count):
                self.members.append(socket.socket(world.af, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
        world.clean_up.callback(self.close)
        for sock, port in zip(self.members, ports):
            sock.bind((world.client, port))
        self.target = (world.vip, 80)
        self.complaints = {}  # of the last ask(): by a member's index what became of its request

    def close(self):
        for sock in self.members:
            sock.close()
        self.selector.close()

    def connect(self):
        for sock in self.members:
            sock.connect_ex(self.target)

    def ask(self, path_of, seconds):
        """Every member asks for path_of(its index); the responses, None where none came in time."""
        waiting = {}
        for index, sock in enumerate(self.members):
            waiting[sock] = (index, b"")
            self.selector.register(sock, selectors.EVENT_WRITE)
        responses = [None] * len(self.members)
        self.complaints = {}
        start = time.monotonic()
        while waiting and time.monotonic() < start + seconds:
            for key, events in self.selector.select(0.1):
                index, stream = waiting[key.fileobj]
                ended = "the connection ended"
                try:
                    if events & selectors.EVENT_WRITE:
                        key.fileobj.send(request(path_of(index)))
                        self.selector.modify(key.fileobj, selectors.EVENT_READ)
                        continue
                    block = key.fileobj.recv(65536)
                except OSError as error:
                    block, ended = b"", repr(error)
                stream += block
                whole = parse(stream)
                waiting[key.fileobj] = (index, stream)
                if whole or not block:
                    responses[index] = whole[0] if whole else None
                    if not whole:
                        self._complain(index, f"{ended} {time.monotonic() - start:.2f} s later, after {len(stream)} bytes")
                    self.selector.unregister(key.fileobj)
                    del waiting[key.fileobj]
        for sock, (index, stream) in waiting.items():
            self._complain(index, f"waits after {seconds} s and {len(stream)} bytes")
            self.selector.unregister(sock)
        return responses

    def _complain(self, index, what):
        sock = self.members[index]
        try:
            port = sock.getsockname()[1]
            state, _, retransmits, _, backoff = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 5)
            state = TCP_STATES.get(state, state)
        except OSError as error:
            port = state = retransmits = backoff = repr(error)
        self.complaints[index] = (f"request {index} from port {port}: {what}; the client's socket is {state}, has repeated "
                                  f"itself {retransmits} times and backed off {backoff} times")
