"""Bytes in both directions, on good and bad networks, with and without TCP's options."""

import hashlib
import itertools
import os
import re
import socket
import time

from harness import case, equal, eventually, true
from http_client import ask, parse, request
from world import BRIDGES, sha256_of


def download(world, size, sock=None, seconds=60):
    """The first `size` bytes of the file, by a range request; fails unless they are the file's own."""
    sock = sock or world.connect(timeout=seconds)
    sock.sendall(request("/file/100m.bin", f"Range: bytes=0-{size - 1}"))
    stream = bytearray()
    while b"\r\n\r\n" not in stream:
        stream += _some(sock, stream)
    head, _, body = bytes(stream).partition(b"\r\n\r\n")
    digest, got = hashlib.sha256(body), len(body)
    while got < size:
        block = _some(sock, stream)
        digest.update(block)
        got += len(block)
    equal(head.split()[1], b"206", "status")
    equal(got, size, "bytes")
    equal(digest.hexdigest(), _digest_of_start(world, size), "SHA-256 of the download")
    return sock


def _some(sock, stream):
    block = sock.recv(1 << 18)
    true(block, f"the connection ended after {len(stream)} bytes")
    return block


def _digest_of_start(world, size):
    with open(world.fastpath_file(), "rb") as file:
        return hashlib.sha256(file.read(size)).hexdigest()


def upload(world, size, name):
    """PUTs `size` random bytes; fails unless the backend's file has the same. The name of its bridge."""
    source = f"{world.lab.run_dir}/{name}"
    with open(source, "wb") as file:
        file.write(os.urandom(size))
    world.clean_up.callback(os.unlink, source)
    head = world.curl("-D", "-", "-o", "/dev/null", "-H", "Expect:", "-T", source, world.url(f"/upload/{name}"))
    bridge = next(line.split(":")[1].strip() for line in head.splitlines() if line.lower().startswith("x-bridge"))
    stored = f"{world.lab.run_dir}/{bridge}/upload/{name}"
    world.clean_up.callback(os.unlink, stored)
    equal(sha256_of(stored), sha256_of(source), f"SHA-256 of what {bridge} stored")
    return bridge


def everything_works(world, name):
    """Short requests and both kinds of transfer, on packets of a wire's size."""
    world.wire_sized_packets()
    paths = [f"/{name}/{n}" for n in range(100)]
    answers = world.curl_all(paths, "-H", "Connection: close")
    equal([line.split()[3] for line in answers], paths, "the request targets that nginx saw")
    download(world, 5_000_000)
    upload(world, 2_000_000, f"{name}.bin")


@case("100 MB come down whole, and not through the balancer")
def _(world):
    size = os.path.getsize(world.fastpath_file())
    before = world.interface_count("balancer", "bytes")
    download(world, size)
    crossed = world.interface_count("balancer", "bytes") - before
    true(crossed < size / 10, f"{crossed} bytes crossed the balancer's interface during a download of {size}")


@case("20 MB go up whole")
def _(world):
    upload(world, 20_000_000, "up.bin")


@case("at 1 % loss in both directions nothing fails")
def _(world):
    down = world.rule("router", "FORWARD", "-o eth0 -p tcp --sport 80 -m statistic --mode random --probability 0.01")
    up = world.rule("router", "FORWARD", "-i eth0 -p tcp --dport 80 -m statistic --mode random --probability 0.01")
    for turn in range(2):
        everything_works(world, f"lossy{turn}")
    true(down.hits() > 5 and up.hits() > 5, f"packets lost: {down.hits()} down, {up.hits()} up")


@case("packets that are reordered and doubled on the way, in both directions")
def _(world):
    end = world.faults("--reorder", "0.05", "--duplicate", "0.03")
    everything_works(world, "mixed")
    counts = end()
    true(counts["reordered"] > 100 and counts["duplicated"] > 50, f"faults: {counts}")


@case("packets that are damaged on the way are lost, not believed")
def _(world):
    end = world.faults("--corrupt", "0.005")
    everything_works(world, "damaged")
    counts = end()
    true(counts["corrupted"] > 10, f"faults: {counts}")


@case("each connection loses its first SYN-ACK, first payload and first response")
def _(world):
    end = world.faults("--drop-first", "synack", "--drop-first", "payload", "--drop-first", "response")
    for path in ("/unlucky/1", "/unlucky/2"):
        equal(ask(world.connect(), path).bridge, world.bridge_of(path), "the bridge")
    counts = end()
    true(counts["lost_first_synack"] >= 2 and counts["lost_first_payload"] >= 2 and counts["lost_first_response"] >= 2,
         f"faults: {counts}")


OPTIONS = ("timestamps", "sack", "window_scaling")
_TCPI_OPTIONS = {"timestamps": 1, "sack": 2, "window_scaling": 4}


def _register_subset(off):
    names = " and ".join(name.replace("_", " ") for name in off) or "nothing"

    @case(f"a client with {names} switched off")
    def _(world):
        for name in off:
            world.sysctl("client", f"net.ipv4.tcp_{name}", 0)
        sock = world.connect(timeout=30)
        true(ask(sock, "/options").status == 200, "a small request")
        download(world, 5_000_000, sock)
        # tcp_info: the sixth byte holds what was negotiated.
        negotiated = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[5]
        for name in OPTIONS:
            equal(bool(negotiated & _TCPI_OPTIONS[name]), name not in off, f"{name} negotiated")
        upload(world, 2_000_000, "options.bin")
        world.wire_sized_packets()
        # With loss the options are at work: SACK blocks, echoed timestamps, scaled windows.
        lost = world.rule("router", "FORWARD", "-o eth0 -p tcp --sport 80 -m statistic --mode nth --every 200 --packet 50")
        download(world, 2_000_000)
        true(lost.hits() > 0, "packets were lost")


for _count in range(len(OPTIONS) + 1):
    for _off in itertools.combinations(OPTIONS, _count):
        _register_subset(_off)


@case("a link of 1300 bytes on the way to the client: path MTU discovery works through the VIP")
def _(world):
    world.lab.on("router", "ip", "link", "set", "eth0", "mtu", "1300")
    world.clean_up.callback(world.lab.on, "router", "ip", "link", "set", "eth0", "mtu", "1500")
    # Learnt path MTUs stay for minutes; the next case shall find none.
    for bridge in BRIDGES:
        world.clean_up.callback(world.lab.on, bridge, "ip", f"-{world.family}", "route", "flush", "cache")
    download(world, 2_000_000)
    routes = [world.lab.on(bridge, "ip", "route", "get", world.client) for bridge in BRIDGES]
    true(any("mtu 1300" in route for route in routes), f"a backend's host learnt the MTU: {routes}")


def narrow_ways(world, bridges):
    """The balancer's routes to these bridges take 1300 bytes, until the case ends."""
    length = 32 if world.family == 4 else 128
    for bridge in bridges:
        route = [f"{world.bridge_address(bridge)}/{length}", "dev", "eth1", "mtu", "1300"]
        world.lab.on("balancer", "ip", "route", "add", *route)
        world.clean_up.callback(world.lab.on, "balancer", "ip", "route", "del", *route)


def offered_mss(world):
    """What the VIP's SYN-ACK allows, as the client's kernel says it: less the timestamps' 12 bytes."""
    sock = world.connect()
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) + 12
    finally:
        sock.close()


@case("the narrowest way to a bridge is offered as MSS, and 2 MB go up whole where no ICMP error arrives")
def _(world):
    headers = 40 if world.family == 4 else 60
    # What the client has learnt of other ways is none of the offer.
    world.lab.on("client", "ip", f"-{world.family}", "route", "flush", "cache")
    before = offered_mss(world)
    true(before > 1300, f"the MSS of whole ways is {before}")
    world.clean_up.callback(eventually, lambda: offered_mss(world) == before, "the MSS is as it was")
    narrow_ways(world, ["b2"])
    eventually(lambda: offered_mss(world) == 1300 - headers, lambda: f"the MSS {offered_mss(world)} of a way of 1300 bytes")
    eventually(lambda: f" -> {1300 - headers}, what fits" in world.log_of("balancer", of_this_case=True), "the log tells of it")
    icmp = "-p icmp --icmp-type fragmentation-needed" if world.family == 4 else "-p icmpv6 --icmpv6-type packet-too-big"
    world.rule("client", "INPUT", icmp)
    world.wire_sized_packets()
    true("b2" in (upload(world, 2_000_000, f"narrow{n}.bin") for n in range(100)), "an upload went the narrow way")


@case("a way of 1300 bytes to the bridges: the client learns it, and 2 MB go up whole")
def _(world):
    # Offered as if nobody knew, as it is of a tunnel behind a router.
    world.edited("balancer.yaml", lambda text: f"mss: {1500 - (40 if world.family == 4 else 60)}\n" + text)
    eventually(lambda: "reloaded (" in world.log_of("balancer", of_this_case=True), "the reload")
    narrow_ways(world, BRIDGES)
    # The client keeps what it learns for minutes; the next case shall find nothing.
    world.clean_up.callback(world.lab.on, "client", "ip", f"-{world.family}", "route", "flush", "cache")
    world.wire_sized_packets()
    before = world.verdicts()
    upload(world, 2_000_000, "narrow.bin")
    after = world.verdicts()
    true(after["answer_too_big"] > before["answer_too_big"], "the balancer has told the client")
    route = world.lab.on("client", "ip", "route", "get", world.vip)
    true("mtu 1300" in route, f"the client has learnt the MTU: {route}")


@case("half-close: the client ends its side and still gets all of a download")
def _(world):
    sock = world.connect(port=2525)
    file = sock.makefile("rb")
    file.readline()
    sock.sendall(b"SEND 20000000\r\n")
    sock.shutdown(socket.SHUT_WR)
    got = 0
    while block := file.read(1 << 18):
        true(not block.strip(b"x"), "the bytes are those that were sent")
        got += len(block)
    equal(got, 20_000_000, "bytes after the half-close")


@case("a RST in the middle of a download ends it at the backend, and the port works again")
def _(world):
    sock = world.connect(source_port=9001)
    sock.sendall(request("/file/100m.bin"))
    stream = b""
    while len(stream) < 1_000_000:
        stream += sock.recv(1 << 16)
    bridge = stream.split(b"X-Bridge: ")[1].split(b"\r\n")[0].decode()
    true(world.sockets_of(bridge, 9001), "while it runs the backend has a socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close() sends a RST
    sock.close()
    end = time.monotonic() + 5
    while world.sockets_of(bridge, 9001):
        true(time.monotonic() < end, f"{bridge} still has {world.sockets_of(bridge, 9001)}")
        time.sleep(0.05)
    equal(ask(world.connect(source_port=9001), "/after").status, 200, "a new connection from the same port")


@case("two requests sent at once are both answered")
def _(world):
    sock = world.connect()
    sock.sendall(request("/first") + request("/second"))
    stream = b""
    bodies = []
    while len(bodies) < 2:
        while not (whole := parse(stream)):
            stream += _some(sock, stream)
        bodies.append(whole[0].body.split()[3])
        stream = whole[1]
    equal(bodies, [b"/first", b"/second"], "the answers")


def only_translate(world):
    return None if world.lab.mode == "translate" else "the kernel adopts no connection whose windows it would not scale"


@case("a backend that scales no window is told the client's whole window", requires=only_translate)
def _(world):
    for name in BRIDGES:
        world.sysctl(name, "net.ipv4.tcp_window_scaling", 0)
    sock = world.connect(source_port=9002)
    name = ask(sock, "/unscaled").bridge
    # What ss tells of the socket stands in the line behind it.
    told = world.lab.on(name, "ss", "-Htinn", "state", "established", "dport", "=", ":9002")
    window = int(re.search(r"snd_wnd:(\d+)", told).group(1))
    true(window > 32768, f"the window that the backend knows is {window}")  # the client's is 64 KB and more
    download(world, 20_000_000, sock)
