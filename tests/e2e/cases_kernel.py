"""What the kernel's programs must survive: handing over, ports and backends under pressure, a flood."""

import ctypes
import random
import socket
import threading
import time

from cases_restart import Download, only_ebpf, works
from harness import case, equal, true
from http_client import Crowd, ask
from raw_tcp import PORTS, SYN, packet
from world import PROGRAMS


def edited(world, name, edit):
    """A configuration file of the lab is edit(its text) for the rest of the case."""
    path = f"{world.lab.run_dir}/{name}"
    with open(path, encoding="ascii") as file:
        before = file.read()

    def write(text):
        with open(path, "w", encoding="ascii") as file:
            file.write(text)

    after = edit(before)
    true(after != before, f"{name} changes")
    world.clean_up.callback(write, before)
    write(after)


def restart(world, program):
    if world.lab.runs(program):
        world.lab.stop(program)
    world.lab.start(program)


@case("with --keep a new process takes over in the middle of three downloads", requires=only_ebpf)
def _(world):
    with open(world.fastpath_file(), "rb") as file:
        wanted = file.read(Download.SIZE)
    for program in PROGRAMS:
        world.clean_up.callback(restart, world, program)  # once more without it, which cleans up
        edited(world, f"{program}.yaml", lambda text: text + "keep: true\n")
        restart(world, program)
    for program in PROGRAMS:
        downloads = [Download(world) for _ in range(3)]
        for download in downloads:
            download.read_to(1 << 20)
        world.lab.stop(program)
        for download in downloads:
            download.read_to(12 << 20)
        world.lab.start(program)
        for download in downloads:
            download.read_to(Download.SIZE)
            true(bytes(download.body) == wanted, f"the bytes, {program} replaced meanwhile")
        works(world)


@case("a client that uses its few ports again and again, the server closing first, never stalls")
def _(world):
    ports = 500
    world.sysctl("client", "net.ipv4.ip_local_port_range", f"30000 {30000 + ports - 1}")
    world.sysctl("client", "net.ipv4.tcp_tw_reuse", "1")
    said = world.lab.on("client", "wrk", "-t", "1", "-c", "32", "-d", "4s", "-H", "Connection: close", world.url("/few"))
    errors = [line.strip() for line in said.splitlines() if "Socket errors" in line or "Non-2xx" in line]
    equal(errors, [], "errors that wrk saw")
    requests = int(said.split(" requests in")[0].split()[-1])
    true(requests > 2 * ports, f"{requests} requests from {ports} ports")


def listen_overflows(world, host):
    names, values = [line.split() for line in world.lab.on(host, "cat", "/proc/net/netstat").splitlines()
                     if line.startswith("TcpExt:")]
    return int(values[names.index("ListenOverflows")])


class LateServer:
    """In nginx's place: room for one or two connections, and for a second it accepts none."""

    def __init__(self, world, bridge):
        with world.lab.inside(bridge):
            self._listener = socket.socket(world.af, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((world.backend_address(bridge), 80))
        self._listener.listen(1)
        self._listener.settimeout(0.1)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        world.clean_up.callback(self._end)

    def _serve(self):
        self._ends.wait(1.0)
        while not self._ends.is_set():
            try:
                sock = self._listener.accept()[0]
            except TimeoutError:
                continue
            with sock:
                sock.settimeout(5)
                try:
                    target = sock.recv(4096).split()[1]
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(target), target))
                except (OSError, IndexError):
                    continue  # the client's side of the case says what is missing

    def _end(self):
        self._ends.set()
        self._thread.join()
        self._listener.close()


@case("a full accept queue loses no connection: each opens when there is room")
def _(world):
    path = "/late"
    bridge = world.bridge_of(path)
    nginx = f"nginx{bridge[1]}"
    world.lab.stop(nginx)
    world.clean_up.callback(world.lab.start, nginx)
    LateServer(world, bridge)
    before = listen_overflows(world, bridge)
    # Few: they retransmit at the same moments, ever farther apart, and each time only some find room.
    crowd = Crowd(world, 6)
    crowd.connect()
    bodies = [response and response.body for response in crowd.ask(lambda _: path, 30)]
    equal(bodies, [path.encode()] * 6, "the answers")
    true(listen_overflows(world, bridge) > before, "the queue was full")


@case("nginx with reuseport: both workers of each backend get connections")
def _(world):
    for number in (1, 2, 3):
        nginx = f"nginx{number}"
        world.clean_up.callback(restart, world, nginx)
        edited(world, f"b{number}/nginx.conf",
               lambda text: text.replace("worker_processes 1;", "worker_processes 2;")
               .replace("backlog=8192;", "backlog=8192 reuseport;")
               .replace("add_header X-Bridge", "add_header X-Worker $pid always;\n        add_header X-Bridge"))
        restart(world, nginx)
    workers = {}
    for n in range(120):
        response = ask(world.connect(), f"/worker/{n}")
        equal(response.status, 200, f"status of request {n}")
        workers.setdefault(response.bridge, set()).add(response.headers["x-worker"])
    equal({bridge: len(pids) for bridge, pids in sorted(workers.items())}, {"b1": 2, "b2": 2, "b3": 2}, "workers")


class SynFlood:
    """As many SYNs a second as one thread's sendmmsg(2) manages, from ports that the client's kernel hides."""

    BATCH = 1024  # what one call may take (UIO_MAXIOV)

    class _Message(ctypes.Structure):
        """struct mmsghdr of 64-bit Linux."""

        _fields_ = [("name", ctypes.c_void_p), ("name_length", ctypes.c_uint32), ("vector", ctypes.c_void_p),
                    ("vector_length", ctypes.c_size_t), ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t),
                    ("flags", ctypes.c_int), ("sent_length", ctypes.c_uint32)]

    class _Vector(ctypes.Structure):
        _fields_ = [("base", ctypes.c_char_p), ("length", ctypes.c_size_t)]

    def __init__(self, world):
        with world.lab.inside("client"):
            self._socket = socket.socket(world.af, socket.SOCK_RAW, socket.IPPROTO_RAW)
        world.clean_up.callback(self._socket.close)
        self._socket.connect((world.vip, 0))
        rng = random.Random(17)
        self._packets = [packet(world.client, world.vip, rng.randint(*PORTS), 80, rng.getrandbits(32), 0, SYN)
                         for _ in range(self.BATCH)]
        self._vectors = (self._Vector * self.BATCH)(*[(data, len(data)) for data in self._packets])
        size = ctypes.sizeof(self._Vector)
        self._messages = (self._Message * self.BATCH)(*[
            self._Message(vector=ctypes.addressof(self._vectors) + n * size, vector_length=1) for n in range(self.BATCH)])
        self.sent = 0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        world.clean_up.callback(self.end)
        self._thread.start()

    def _run(self):
        libc = ctypes.CDLL(None, use_errno=True)
        while not self._ends.is_set():
            self.sent += max(0, libc.sendmmsg(self._socket.fileno(), self._messages, self.BATCH, 0))

    def end(self):
        self._ends.set()
        self._thread.join()


@case("200 of 200 requests succeed in the middle of as many SYNs a second as one thread can send",
      requires=lambda world: None if world.lab.engine == "ebpf" else "the nfqueue engine answers each SYN in user space")
def _(world):
    flood = SynFlood(world)
    for _ in range(10):
        sent = flood.sent
        crowd = Crowd(world, 20)
        crowd.connect()
        statuses = [response and response.status for response in crowd.ask(lambda n: f"/flood/{n}", 20)]
        equal(statuses, [200] * 20, "statuses")
        time.sleep(0.3)
        true(flood.sent > sent, "the flood went on meanwhile")
    flood.end()
    true(flood.sent > 20_000, f"SYNs sent: {flood.sent}")
