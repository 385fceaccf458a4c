"""Many connections, ports used again, connections that come to nothing."""

import errno
import socket

from harness import case, equal, eventually, true
from http_client import Crowd, ask, read_response, request
from world import BRIDGES


def check_all(crowd, responses, path_of):
    complaints = list(crowd.complaints.values())
    true(not complaints, f"of {len(responses)} requests {len(complaints)} have no answer: {'; '.join(complaints[:5])}")
    equal([n for n, response in enumerate(responses) if response.status != 200], [], "requests with another status than 200")
    for n, response in enumerate(responses):
        equal(response.body.split()[3].decode(), path_of(n), "the request target that nginx saw")


@case("500 connections at once are all answered")
def _(world):
    crowd = Crowd(world, 500)
    crowd.connect()
    check_all(crowd, crowd.ask(lambda n: f"/crowd/{n}", 20), lambda n: f"/crowd/{n}")


def wrk(world, *words):
    said = world.lab.on("client", "wrk", "-t", "1", "-c", "32", "-d", "2s", *words, world.url("/wrk"))
    errors = [line.strip() for line in said.splitlines() if "Socket errors" in line or "Non-2xx" in line]
    equal(errors, [], "errors that wrk saw")
    # Each connection was answered at least once, however slow the machine is.
    true(int(said.split(" requests in")[0].split()[-1]) >= 32, f"wrk got through at least 32 requests: {said}")


@case("wrk on 32 connections that stay sees no error")
def _(world):
    wrk(world)


@case("wrk on a new connection for each request sees no error")
def _(world):
    wrk(world, "-H", "Connection: close")


@case("5,000 connections held open all answer a second time")
def _(world):
    crowd = Crowd(world, 5000)
    for start in range(0, 5000, 1000):
        for sock in crowd.members[start:start + 1000]:
            sock.connect_ex(crowd.target)
    check_all(crowd, crowd.ask(lambda n: f"/held/{n}", 30), lambda n: f"/held/{n}")
    check_all(crowd, crowd.ask(lambda n: f"/held/again/{n}", 30), lambda n: f"/held/again/{n}")


def connect_from(world, port, address=None):
    """As soon as the client's kernel has had the last ACK for the port's earlier connection."""

    def attempt():
        try:
            return world.connect(address, source_port=port)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            return None

    return eventually(attempt, f"the client's port {port} is free")


@case("one source port is used 40 times, the server closing first")
def _(world):
    for n in range(40):
        sock = connect_from(world, 9002)
        response = ask(sock, f"/port/{n}", "Connection: close")
        equal((response.status, response.body.split()[3]), (200, f"/port/{n}".encode()), f"use {n}")
        equal(sock.recv(100), b"", "after the response the server closes")
        sock.close()


@case("one source port at two services of the same backends: each connection has a backend of its own, and both live")
def _(world):
    first = world.connect(world.balancer, 8080, source_port=9004)
    second = world.connect(source_port=9004)
    bridges = [ask(sock, "/two/services").bridge for sock in (first, second)]
    true(bridges[0] != bridges[1], f"the bridges {bridges} differ")
    equal([ask(sock, "/two/again").status for sock in (first, second, first)], [200] * 3, "statuses")


@case("one source port is used 40 times, the client ending each with a RST")
def _(world):
    for n in range(40):
        sock = world.connect(source_port=9003)
        response = ask(sock, f"/port/{n}")
        equal((response.status, response.body.split()[3]), (200, f"/port/{n}".encode()), f"use {n}")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()


@case("one source port is used 40 times, each request in two segments that follow at once")
def _(world):
    for n in range(40):
        sock = world.connect(source_port=9005, nagle=False)
        whole = request("/pieces")  # one URL: one bridge, which still knows the port's last connection
        sock.sendall(whole[:-10])
        sock.sendall(whole[-10:])
        equal(read_response(sock).status, 200, f"use {n}")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()


@case("connect without data opens nothing at a backend")
def _(world):
    before = {bridge: world.accepted(bridge) for bridge in BRIDGES}
    for _ in range(50):
        world.connect()
    equal(ask(world.connect(), "/after/silence").status, 200, "a request afterwards")
    opened = sum(world.accepted(bridge) - before[bridge] for bridge in BRIDGES)
    equal(opened, 1, "connections that the backends accepted")


@case("connect and close without data ends at once, here and there")
def _(world):
    ports = []
    for _ in range(50):
        sock = world.connect()
        ports.append(sock.getsockname()[1])
        sock.close()

    def left():
        hosts = ("client", *BRIDGES)
        lines = [line for host in hosts
                 for line in world.lab.on(host, "ss", f"-{world.family}Htan", "exclude", "time-wait").splitlines()]
        return [line for line in lines if any(f":{port} " in line + " " for port in ports)]

    eventually(lambda: not left(), lambda: f"sockets left: {left()[:3]}")


@case("a connection whose client and server have both closed leaves nothing at the backend but TIME_WAIT")
def _(world):
    sock = world.connect(source_port=9004)
    bridge = ask(sock, "/orderly").bridge
    true(world.sockets_of(bridge, 9004), "while it is open the backend has a socket")
    sock.close()
    eventually(lambda: all("TIME-WAIT" in line for line in world.sockets_of(bridge, 9004)),
               lambda: f"{bridge} still has {world.sockets_of(bridge, 9004)}")
