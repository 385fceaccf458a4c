"""Flows that a balancer has never seen: the timestamps that their clients echo name their bridges."""

import threading

from cases_restart import Download
from harness import case, equal, eventually, true
from http_client import Crowd, ask, read_response, request

KEPT = 60


def forget(world, **changes):
    """Another balancer in the place of the one that runs, which takes its table with it and resets nothing."""
    world.clean_up.callback(world.lab.start, "balancer")
    world.edited("balancer.yaml", lambda text: "stop_resets: false\n" + text)
    eventually(lambda: reloads(world) > 0, "it resets nothing when it stops")
    world.lab.stop("balancer")
    for edit in changes.values():
        world.edited("balancer.yaml", edit)
    world.lab.start("balancer")
    world.clean_up.callback(world.lab.stop, "balancer")


def plain(text):
    return text.replace("    bridges:", "    timestamps: plain\n    bridges:")


def reloads(world, program="balancer"):
    return world.log_of(program, of_this_case=True).count("reloaded (")


def without_timestamps(world):
    world.sysctl("client", "net.ipv4.tcp_timestamps", 0)


@case("a balancer that knows nothing finds the bridge of every connection: kept-alive ones, and downloads")
def _(world):
    crowd = Crowd(world, KEPT)
    crowd.connect()
    first = crowd.ask(lambda index: f"/lanes/{index}", 20)
    true(all(first), f"the first requests: {list(crowd.complaints.values())[:3]}")
    downloads = [Download(world) for _ in range(4)]
    for download in downloads:
        download.read_to(1 << 20)
    forget(world)
    then = crowd.ask(lambda index: f"/lanes/{index}", 20)
    true(all(then), f"lost of {KEPT}: {list(crowd.complaints.values())[:3]}")
    equal([each.bridge for each in then], [each.bridge for each in first], "the bridges of the connections")
    for download in downloads:
        download.read_to(download.SIZE)
    true(world.verdicts()["forward_lane"] > KEPT, f"by their lanes: {world.verdicts()}")
    equal(world.verdicts()["drop_bad_clock"], 0, "first payloads refused")


@case("an upload goes on over a balancer that knows nothing")
def _(world):
    sock = world.connect(timeout=20)
    body = bytes(range(256)) * 8192
    sock.sendall(request("/lanes/upload", f"Content-Length: {len(body)}", method="POST") + body[:65536])
    ask(world.connect(), "/lanes/other")
    forget(world)
    sock.sendall(body[65536:])
    true(sock.recv(12).startswith(b"HTTP/1.1 "), "an answer")


@case("timestamps: plain: no lane, and the clock of the SYN-ACK goes on")
def _(world):
    # The next case's connections have lanes.
    world.clean_up.callback(lambda: eventually(lambda: reloads(world) == 2, "lanes again"))
    world.edited("balancer.yaml", plain)
    eventually(lambda: reloads(world) == 1, "no lanes")
    for number in range(6):
        equal(ask(world.connect(), f"/plain/{number}").status, 200, "a request")
    equal(world.verdicts()["drop_bad_clock"], 0, "first payloads refused")


@case("timestamps: plain: a clock that names nobody is no reason to give up a connection that loses packets")
def _(world):
    world.clean_up.callback(lambda: eventually(lambda: reloads(world) == 2, "lanes again"))
    world.edited("balancer.yaml", plain)
    eventually(lambda: reloads(world) == 1, "no lanes")
    socks = [world.connect(timeout=30) for _ in range(40)]
    for number, sock in enumerate(socks):
        equal(ask(sock, f"/plain/{number}").status, 200, "the first request")
    end = world.faults("--loss", "0.1")
    for turn in range(4):
        for sock in socks:
            sock.sendall(request(f"/plain/more/{turn}"))
        for number, sock in enumerate(socks):
            equal(read_response(sock).status, 200, f"a request on connection {number}, whose packets were lost")
    true(end()["lost"] > 0, "packets were lost")


@case("clients without timestamps are served, and counted")
def _(world):
    def counted():
        page = world.page("balancer", "/metrics")
        name = "splicelb_balancer_connections_without_timestamps_total "
        return next(int(float(line.split()[1])) for line in page.splitlines() if line.startswith(name))

    before = counted()
    without_timestamps(world)
    for number in range(6):
        equal(ask(world.connect(), f"/untimed/{number}").status, 200, "a request")
    true(counted() >= before + 6, f"counted {counted()} after {before}")


@case("a lane that leads to a bridge which is down: the client is told by a RST")
def _(world):
    sock = world.connect(timeout=5)
    bridge = ask(sock, "/lanes/down").bridge
    address = f'"{world.bridge_address(bridge)}"'
    forget(world, down=lambda text: text.replace(f"address: {address}, ", f"address: {address}, state: down, "))
    try:
        sock.sendall(request("/lanes/down"))
        data = sock.recv(100)
    except ConnectionResetError:
        return
    except TimeoutError:
        data = f"silence: {world.verdicts()}"
    raise AssertionError(f"not reset, but {data!r}")


@case("a lane that leads to no bridge of this balancer is dropped by name, not reset")
def _(world):
    sock = world.connect(timeout=2)
    bridge = ask(sock, "/lanes/unknown").bridge
    forget(world, number=lambda text: text.replace(f", number: {bridge[1]} }}", f", number: {900 + int(bridge[1])} }}"))
    sock.sendall(request("/lanes/unknown"))
    eventually(lambda: world.verdicts()["drop_lane_unknown"] > 0, "the verdict")


@case("six restarts of the balancer in a row, under requests on kept-alive connections: none is lost")
def _(world):
    sock = world.connect(timeout=20)
    answers = []
    stop = threading.Event()

    def go_on():
        while not stop.wait(0.02):
            answers.append(ask(sock, "/lanes/again").status)

    worker = threading.Thread(target=go_on)
    worker.start()
    try:
        forget(world)
        for _ in range(5):
            world.lab.stop("balancer")
            world.lab.start("balancer")
            before = len(answers)
            eventually(lambda at=before: len(answers) > at, "an answer after the restart", 10)
    finally:
        stop.set()
        worker.join()
    equal(set(answers), {200}, "the answers")
