"""Behind a real HAProxy that sends PROXY headers: what chooses the bridge, and what real nginx makes of the bytes."""

import contextlib
import shutil
import socket
import subprocess

from harness import case, equal, eventually, true
from http_client import request

URI, SOURCE = 8081, 8082  # the services that accept headers, by what they choose by
VERSIONS = {1: "send-proxy", 2: "send-proxy-v2"}
CLIENTS = 16
PATHS = [f"/proxied/{n}" for n in range(8)]


def client_address(world, number):
    return f"127.0.0.{10 + number}" if world.family == 4 else f"fd99::{10 + number:x}"


def haproxy_listens(version, service):
    return 9000 + 100 * version + service % 100


# HAProxy names an IPv4 client as it came to its socket: of one that takes both families, as a mapped IPv6 address.
def named(world, version, address):
    return f"::ffff:{address}" if world.family == 4 and version == 1 else address


def haproxy_configuration(world, checks=False):
    """One listener for each version and service, at any address of the client host, and one for clients without any."""
    listeners = []
    for version, words in VERSIONS.items():
        for service in (URI, SOURCE):
            server = f"server vip {world.vip}:{service} {words}" + (" check inter 100 check-send-proxy" if checks else "")
            port = haproxy_listens(version, service)
            bind = f":::{port} v4v6" if version == 1 else f"0.0.0.0:{port}" if world.family == 4 else f":::{port} v6only"
            listeners.append(f"listen v{version}-{service}\n    bind {bind}\n"
                             f"    bind unix@{world.lab.run_dir}/haproxy-{version}-{service}.sock\n    {server}\n")
    return "\n".join(["global\n    log /dev/null local0\ndefaults\n    mode tcp\n    timeout connect 5s\n    timeout client 30s\n"
                      "    timeout server 30s\n", *listeners])


def needs_haproxy(_):
    return None if find_haproxy() else "there is no haproxy"


def find_haproxy():
    return shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")


@contextlib.contextmanager
def haproxy(world, checks=False):
    """HAProxy on the client host."""
    path = f"{world.lab.run_dir}/haproxy.cfg"
    with open(path, "w", encoding="ascii") as file:
        file.write(haproxy_configuration(world, checks))
    if world.family == 6:
        for number in range(CLIENTS):
            address = ["add", f"{client_address(world, number)}/128", "dev", "lo", "nodad"]
            world.lab.on("client", "ip", "-6", "address", *address)
    command = ["ip", "netns", "exec", world.lab.namespace("client"), find_haproxy(), "-db", "-f", path]
    with open(f"{world.lab.run_dir}/log/haproxy.log", "ab") as log, \
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as program:
        try:
            eventually(lambda: program.poll() is not None or listens(world), "HAProxy listens")
            equal(program.poll(), None, "HAProxy's exit code")
            yield
        finally:
            program.terminate()
            program.wait(10)
            if world.family == 6:
                for number in range(CLIENTS):
                    world.lab.on("client", "ip", "-6", "address", "del", f"{client_address(world, number)}/128", "dev", "lo")


def listens(world):
    return f":{haproxy_listens(2, SOURCE)}" in world.lab.on("client", "ss", "-Hltn")


def ask(world, version, service, path, client):
    """A request of one client through HAProxy; the words of nginx: bridge, peer, the header's client, target."""
    here = client_address(world, client)
    with world.lab.inside("client"):
        sock = socket.socket(world.af, socket.SOCK_STREAM)
    with sock:
        sock.settimeout(10)
        sock.bind((here, 0))
        sock.connect((client_address(world, 0), haproxy_listens(version, service)))
        words = answer_to(sock, path)
        equal(words[2], f"{named(world, version, here)},{sock.getsockname()[1]}", "the client that nginx read out of the header")
        return words


def answer_to(sock, path):
    sock.sendall(request(path, "Connection: close"))
    return body_in(answer_on(sock))


def answer_on(sock):
    stream = b""
    with contextlib.suppress(ConnectionResetError):
        while block := sock.recv(65536):
            stream += block
    return stream


def body_in(stream):
    head, _, body = stream.partition(b"\r\n\r\n")
    true(head.startswith(b"HTTP/1.1 200 "), f"the answer is {stream[:80]!r}")
    return body.decode().split()


@case("behind HAProxy's PROXY headers of both versions each client's URL gets the URL's own bridge", requires=needs_haproxy)
def _(world):
    bridges = set()
    with haproxy(world):
        for path in PATHS:
            expected = world.bridge_of(path)
            bridges.add(expected)
            for version in VERSIONS:
                for client in (1, 2, 3):
                    equal(ask(world, version, URI, path, client)[::3], [expected, path], f"bridge and target, version {version}")
    true(len(bridges) > 1, f"{len(PATHS)} URLs spread: {bridges}")


@case("key source spreads by the address in HAProxy's PROXY header, and not by HAProxy's own", requires=needs_haproxy)
def _(world):
    bridges = {}
    with haproxy(world):
        for client in range(CLIENTS):
            got = {ask(world, version, SOURCE, path, client)[0] for version in VERSIONS for path in PATHS[:2]}
            equal(len(got), 1, f"bridges that client {client} got, by both versions and for two URLs")
            bridges[client] = got.pop()
    true(len(set(bridges.values())) > 1, f"{CLIENTS} clients behind one HAProxy spread: {bridges}")


@case("a client of HAProxy without an address, and HAProxy's own checks, are served by HAProxy's address", requires=needs_haproxy)
def _(world):
    before = {reason: world.fallbacks(reason) for reason in ("proxy_unknown", "proxy_local")}
    answers = []
    with haproxy(world, checks=True):
        for service in (SOURCE, URI):
            for path in PATHS[:4]:
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.settimeout(10)
                    sock.connect(f"{world.lab.run_dir}/haproxy-1-{service}.sock")
                    answers.append((service, path, answer_to(sock, path)))
        eventually(lambda: world.fallbacks("proxy_local") > before["proxy_local"], "a check's header says LOCAL")
    equal(len({words[0] for service, _, words in answers if service == SOURCE}), 1, "bridges that HAProxy's address got")
    for service, path, words in answers:
        if service == URI:
            equal(words[0], world.bridge_of(path), f"the bridge of {path}, which asks for no address")
    equal(world.fallbacks("proxy_unknown") - before["proxy_unknown"], 4, "headers without an address where one was wanted")


def header_v1(world, number):
    family = "TCP4" if world.family == 4 else "TCP6"
    return f"PROXY {family} {client_address(world, number)} {world.vip} 5000 80\r\n".encode()


@case("a PROXY header and its request in segments of their own, and cut in the header's middle")
def _(world):
    path = PATHS[0]
    header = header_v1(world, 5)
    stream = header + request(path, "Connection: close")
    late, too_late, wrong = world.late_first_payloads(), 0, world.fallbacks("bad_proxy_header")
    for cuts in [len(header)], [7], [len(header) - 1], [1, len(header) - 1, len(header) + 3]:
        # Until its first payload is forwarded nothing of it is acknowledged, so each piece is a segment.
        sock = world.connect(port=URI, nagle=False)
        for begin, end in zip([0, *cuts], [*cuts, len(stream)]):
            sock.send(stream[begin:end])
        answer = answer_on(sock)
        # nginx looks at what has come by then, and refuses a header of which that is only the beginning.
        if not answer and min(cuts) < len(header):
            continue
        bridge, *rest = body_in(answer)
        equal(rest, [world.client, f"{client_address(world, 5)},5000", path], f"what nginx saw, cut at {cuts}")
        if world.late_first_payloads() == late:
            equal(bridge, world.bridge_of(path), f"the bridge, cut at {cuts}")
        else:
            late, too_late = world.late_first_payloads(), too_late + 1
            world.notes[:] = [f"{too_late} requests' pieces came too late on this machine"]
    equal(world.fallbacks("bad_proxy_header"), wrong, "headers that the balancer found wrong")


@case("without a PROXY header, or with a wrong one, the packet's own address chooses, and nginx refuses")
def _(world):
    before = world.fallbacks("bad_proxy_header")
    for beginning in (b"", header_v1(world, 5).replace(b"PROXY ", b"PROXY  "), b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\0"):
        sock = world.connect(port=URI)
        sock.sendall(beginning + request(PATHS[0]))
        with contextlib.suppress(ConnectionResetError):
            equal(sock.recv(100), b"", "what nginx answers")
    equal(world.fallbacks("bad_proxy_header") - before, 3, "headers that were wrong")
