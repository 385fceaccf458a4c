"""Many connections, ports used again, connections that come to nothing."""

import socket

from harness import case, equal, eventually, true
from http_client import Crowd, ask
from world import BRIDGES


def check_all(world, responses, path_of):
    failed = [n for n, response in enumerate(responses) if not response or response.status != 200]
    equal(len(failed), 0, f"of {len(responses)} requests those that failed")
    for n, response in enumerate(responses):
        equal(response.body.split()[3].decode(), path_of(n), "the request target that nginx saw")


@case("500 connections at once are all answered")
def _(world):
    crowd = Crowd(world, 500)
    crowd.connect()
    check_all(world, crowd.ask(lambda n: f"/crowd/{n}", 20), lambda n: f"/crowd/{n}")


@case("5,000 connections held open all answer a second time")
def _(world):
    crowd = Crowd(world, 5000)
    for start in range(0, 5000, 1000):
        for sock in crowd.members[start:start + 1000]:
            sock.connect_ex(crowd.target)
    check_all(world, crowd.ask(lambda n: f"/held/{n}", 30), lambda n: f"/held/{n}")
    check_all(world, crowd.ask(lambda n: f"/held/again/{n}", 30), lambda n: f"/held/again/{n}")


@case("one source port is used 40 times, the server closing first")
def _(world):
    for n in range(40):
        sock = world.connect(source_port=9002)
        response = ask(sock, f"/port/{n}", "Connection: close")
        equal((response.status, response.body.split()[3]), (200, f"/port/{n}".encode()), f"use {n}")
        equal(sock.recv(100), b"", "after the response the server closes")
        sock.close()


@case("one source port is used 40 times, the client ending each with a RST")
def _(world):
    for n in range(40):
        sock = world.connect(source_port=9003)
        response = ask(sock, f"/port/{n}")
        equal((response.status, response.body.split()[3]), (200, f"/port/{n}".encode()), f"use {n}")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()


@case("connect and close without data opens nothing at a backend")
def _(world):
    before = {bridge: world.accepted(bridge) for bridge in BRIDGES}
    for _ in range(50):
        world.connect().close()
    equal(ask(world.connect(), "/after/closing").status, 200, "a request afterwards")
    opened = sum(world.accepted(bridge) - before[bridge] for bridge in BRIDGES)
    equal(opened, 1, "connections that the backends accepted")


@case("a connection whose client and server have both closed leaves nothing at the backend but TIME_WAIT")
def _(world):
    sock = world.connect(source_port=9004)
    bridge = ask(sock, "/orderly").bridge
    true(world.sockets_of(bridge, 9004), "while it is open the backend has a socket")
    sock.close()
    eventually(lambda: all("TIME-WAIT" in line for line in world.sockets_of(bridge, 9004)),
               lambda: f"{bridge} still has {world.sockets_of(bridge, 9004)}")
