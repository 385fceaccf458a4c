"""Programs that end, well or badly, and backends that refuse."""

import json
import socket
import threading

import tcx
from harness import case, equal, eventually, true
from http_client import ask, request
from world import BRIDGES, PROGRAMS

PATHS = [f"/choice/{n}" for n in range(30)]


def traces(world, host):
    """What a program may leave on its host: rules and chains of netfilter, kernel programs, settings, addresses."""
    lines = []
    for save in ("iptables-save", "ip6tables-save"):
        lines += [line.split(" [")[0] for line in world.lab.on(host, save).splitlines() if line[:2] in ("-A", ":S")]
    lines += [line for line in world.lab.on(host, "nft", "-s", "list", "ruleset").splitlines() if "splicelb" in line]
    lines += world.lab.on(host, "ip", "-o", "address").splitlines()
    lines += ["XDP" for word in world.lab.on(host, "ip", "-o", "link", "show", "eth1").split() if "xdp" in word][:1]
    lines += [line for line in world.lab.on(host, "tc", "qdisc", "show", "dev", "eth1").splitlines() if "clsact" in line]
    for interface in ("eth1", "lo"):
        for side in ("ingress", "egress"):
            shown = world.lab.on(host, "tc", "filter", "show", "dev", interface, side).splitlines()
            lines += [f"{interface} {side} {line.split(':[')[0]}" for line in shown]
            lines += [f"bpf at {side} of {interface} by TCX" for _ in tcx.programs(world, host, side, interface) or []]
    lines.append(world.lab.on(host, "sysctl", "net.ipv4.tcp_fwmark_accept", "net.ipv4.conf.eth1.accept_local"))
    return sorted(" ".join(line.split()) for line in lines)


def works(world, path="/again"):
    equal(ask(world.connect(), path).status, 200, "a request")


@case("kill -9 of each executable: the next start cleans up and new connections work")
def _(world):
    for program in PROGRAMS:
        before = traces(world, program)
        world.lab.kill(program)
        world.lab.start(program)
        equal(traces(world, program), before, f"rules and addresses after {program} was killed and started")
        for path in PATHS[:9]:
            works(world, path)


@case("a clean exit leaves no rule, no kernel program and no address")
def _(world):
    for program in PROGRAMS:
        with_it = traces(world, program)
        world.lab.stop(program)
        without_it = traces(world, program)
        world.lab.start(program)
        ours = ("SPLICELB", "splicelb", "NFQUEUE", "XDP", "clsact", "bpf")
        left = [line for line in without_it if any(word in line for word in ours)]
        true(not left, f"left: {left}")
        true(world.vip not in " ".join(without_it) or program != "balancer", f"the VIP is left: {without_it}")
        true(with_it != without_it, "while it ran there was something to clean up")
        equal(traces(world, program), with_it, "after another start the same as before")
    works(world)


@case("a restart of the balancer between two requests does not change the URL's bridge")
def _(world):
    before = [ask(world.connect(), path).bridge for path in PATHS]
    world.lab.stop("balancer")
    world.lab.start("balancer")
    equal([ask(world.connect(), path).bridge for path in PATHS], before, "the bridges")


@case("a backend that refuses: its URLs go to their next choice, the others stay")
def _(world):
    before = {path: ask(world.connect(), path).bridge for path in PATHS}
    true("b2" in before.values(), "some URLs are b2's")
    world.lab.stop("nginx2")
    world.clean_up.callback(world.lab.start, "nginx2")
    moved = {}
    for path in PATHS:
        response = ask(world.connect(), path)
        equal(response.status, 200, f"status of {path}")
        if before[path] != "b2":
            equal(response.bridge, before[path], f"the bridge of {path}")
        else:
            moved[path] = response.bridge
    true(set(moved.values()) <= {"b1", "b3"}, f"the second choices: {moved}")
    equal({path: ask(world.connect(), path).bridge for path in moved}, moved, "the second choices the second time")


@case("every backend refuses: the answer is 503, and all is well when they are back")
def _(world):
    for nginx in ("nginx1", "nginx2", "nginx3"):
        world.lab.stop(nginx)
        world.clean_up.callback(lambda name=nginx: world.lab.runs(name) or world.lab.start(name))
    for path in PATHS[:5]:
        sock = world.connect(timeout=5)
        sock.sendall(request(path))
        answer = b""
        while block := sock.recv(4096):
            answer += block
        true(answer.startswith(b"HTTP/1.1 503"), f"the answer: {answer[:60]!r}")
    for nginx in ("nginx1", "nginx2", "nginx3"):
        world.lab.start(nginx)
    world._asked = {}  # a new nginx counts from nothing
    for path in PATHS[:5]:
        works(world, path)


@case("every backend of a service that speaks first refuses: the client is told by a RST")
def _(world):
    for number in (1, 2, 3):
        world.lab.stop(f"greeter{number}")
        world.clean_up.callback(world.lab.start, f"greeter{number}")
    try:
        data = world.connect(port=2525, timeout=5).recv(100)  # the RST may come while connect() still returns
    except ConnectionResetError:
        return
    raise AssertionError(f"not reset, but {data!r}")


@case("a connection of a bridge that restarts: an adopted one goes on, a translated one is ended by a RST")
def _(world):
    sock = world.connect(timeout=5)
    bridge = ask(sock, "/before/restart").bridge
    world.lab.stop(bridge)
    world.lab.start(bridge)
    if world.lab.mode == "adopt":
        equal(ask(sock, "/after/restart").status, 200, "the connection is the backend's own socket")
        return
    try:
        sock.sendall(request("/after/restart"))
        data = sock.recv(4096)
    except ConnectionResetError:
        works(world)
        return
    raise AssertionError(f"not reset, but {data[:60]!r}")


def only_translate(world):
    return None if world.lab.mode == "translate" else "adopted connections are the kernel's own and live on"


@case("a balancer that stops resets what it strands, and what clients asked meanwhile is answered by the next")
def _(world):
    downloads = [Download(world) for _ in range(3)]
    for download in downloads:
        download.read_to(1 << 20)
    stopping = threading.Thread(target=world.lab.stop, args=("balancer",))
    stopping.start()
    try:
        eventually(lambda: "at the client's next packet, for" in world.log_of("balancer", of_this_case=True), "the log tells")
        # Reading makes room, of which the client tells the server.
        for download in downloads:
            try:
                download.read_to(Download.SIZE)
            except ConnectionResetError:
                continue
            raise AssertionError("a download went on without its balancer")
    finally:
        stopping.join()
        world.lab.start("balancer")
    works(world)


def open_at(world, bridge):
    """Connections of the web service that the balancer counts as open at that bridge."""
    services = json.loads(world.page("balancer", "/status"))["services"]
    web = next(each for each in services if each["name"] == f"web{world.family}")
    return next(each for each in web["bridges"] if each["name"] == bridge)["flows"]


@case("a bridge that stops ends its translated connections at both ends at once", requires=only_translate)
def _(world):
    before = {bridge: open_at(world, bridge) for bridge in BRIDGES}
    busy = Download(world)
    busy.read_to(1 << 20)
    bridge = busy.bridge
    path = next(path for path in (f"/before/stop/{n}" for n in range(100)) if world.bridge_of(path) == bridge)
    idle = world.connect(timeout=5)
    ask(idle, path)
    ports = [idle.getsockname()[1], busy.port]
    true(all(world.sockets_of(bridge, port) for port in ports), "the backend has both")
    eventually(lambda: open_at(world, bridge) >= before[bridge] + 2, "the balancer counts both", seconds=15)
    world.clean_up.callback(world.lab.start, bridge)
    world.lab.stop(bridge)
    for what in (lambda: idle.recv(1), lambda: busy.read_to(Download.SIZE)):
        try:
            what()
        except ConnectionResetError:
            continue
        raise AssertionError("a connection went on without its bridge")
    eventually(lambda: not any(world.sockets_of(bridge, port) for port in ports), "the backend has forgotten both")
    # Clients that are reset say nothing more: the bridge has told the balancer.
    eventually(lambda: open_at(world, bridge) <= before[bridge],
               lambda: f"the balancer counts neither: {open_at(world, bridge)}, {before[bridge]} before", seconds=15)
    true(": reset at both ends" in world.log_of(bridge, of_this_case=True), "the log tells of it")


def only_ebpf(world):
    return None if world.lab.engine == "ebpf" else "the nfqueue engine's connections stand still without it"


class Download:
    """20 MB of the file in pieces, of which the reader says how many: little more than it reads is on the way."""

    SIZE = 20 << 20

    def __init__(self, world, timeout=10, source_port=0):
        self._sock = world.connect(timeout=timeout, source_port=source_port)
        # Left to itself the client's kernel takes in all 20 MB at times, and nobody would miss the rest.
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 << 10)
        self._sock.sendall(request("/file/100m.bin", f"Range: bytes=0-{self.SIZE - 1}"))
        self.body, self._head = bytearray(), bytearray()
        while b"\r\n\r\n" not in self._head:
            self._head += self._sock.recv(1 << 16)
        self.body += self._head.split(b"\r\n\r\n", 1)[1]

    @property
    def bridge(self):
        return next(line.split(b":", 1)[1].strip().decode() for line in self._head.split(b"\r\n")
                    if line.lower().startswith(b"x-bridge:"))

    @property
    def port(self):
        return self._sock.getsockname()[1]

    def close(self):
        self._sock.close()

    def read_to(self, count):
        while len(self.body) < count:
            block = self._sock.recv(1 << 16)
            true(block, f"the connection ended after {len(self.body)} bytes")
            self.body += block


@case("kill -9 of each executable in the middle of three downloads: they go on without it and with the next one",
      requires=only_ebpf)
def _(world):
    with open(world.fastpath_file(), "rb") as file:
        wanted = file.read(Download.SIZE)
    for program in PROGRAMS:
        downloads = [Download(world) for _ in range(3)]
        for download in downloads:
            download.read_to(1 << 20)
        world.lab.kill(program)
        try:
            for download in downloads:
                download.read_to(12 << 20)
        finally:
            world.lab.start(program)
        for download in downloads:
            download.read_to(Download.SIZE)
            true(bytes(download.body) == wanted, f"the bytes, {program} killed meanwhile")


@case("requests go on while an executable is dead that its kernel program needs for none of them", requires=only_ebpf)
def _(world):
    for program in PROGRAMS if world.lab.mode == "adopt" else ("balancer",):
        world.lab.kill(program)
        try:
            for path in PATHS[:9]:
                works(world, path)
        finally:
            world.lab.start(program)
