"""Which bridge a request gets, and who the backend believes that it talks to."""

import collections

from harness import case, equal, true
from http_client import ask
from world import BRIDGES


@case("the same URL gets the same bridge, from connection to connection")
def _(world):
    paths = [f"/video/{n}/segment.ts?quality={n % 3}" for n in range(24)]
    rounds = [world.curl_all(paths, "-H", "Connection: close") for _ in range(3)]
    equal(len(rounds[0]), len(paths), "answers")
    for path, *lines in zip(paths, *rounds):
        equal(len({line.split()[0] for line in lines}), 1, f"bridges that {path} got")
        equal(lines[0].split()[3], path, "the request target that nginx saw")


@case("URLs spread fairly over the bridges")
def _(world):
    answers = world.curl_all([f"/spread/{n}" for n in range(300)], "-H", "Connection: close")
    counts = collections.Counter(line.split()[0] for line in answers)
    equal(sum(counts.values()), 300, "answers")
    for bridge in BRIDGES:
        true(70 <= counts[bridge] <= 130, f"of 300 URLs {bridge} got {counts[bridge]}, expected 100 +- 30")


@case("nginx sees the client's own address and port")
def _(world):
    sock = world.connect()
    response = ask(sock, "/who")
    equal(response.remote, world.client, "X-Remote")
    equal(response.body.split()[2].decode(), str(sock.getsockname()[1]), "the client's port")


@case("300 requests on one connection reach one bridge in one connection")
def _(world):
    paths = [f"/keep/{n}" for n in range(300)]
    answers = world.curl_all(paths)
    equal(len(answers), 300, "answers")
    equal(len({tuple(line.split()[:3]) for line in answers}), 1, "bridges and ports that nginx saw")
    equal([line.split()[3] for line in answers], paths, "the request targets")


@case("a URL of 8 KB is hashed whole")
def _(world):
    long_path = "/" + "a" * 8000
    got = {}
    for end in "0123456789":
        response = ask(world.connect(), long_path + end)
        equal(response.status, 200, "status")
        equal(response.body.split()[3].decode(), long_path + end, "the request target that nginx saw")
        equal(ask(world.connect(), long_path + end).bridge, response.bridge, "the bridge the second time")
        got[end] = response.bridge
    true(len(set(got.values())) > 1, f"URLs that differ in their last byte spread: {got}")


@case("headers of 14 KB arrive whole and the URL still chooses")
def _(world):
    headers = [f"X-Filler-{n}: {'f' * 1000}" for n in range(14)]
    for n in range(6):
        path = f"/large/{n}"
        response = ask(world.connect(), path, *headers)
        equal((response.status, response.bridge), (200, world.bridge_of(path)), "status and bridge")


@case("the balancer's own address can be a VIP, and its other ports are untouched")
def _(world):
    response = ask(world.connect(world.balancer, 8080), "/own")
    equal(response.status, 200, "status")
    try:
        world.connect(world.balancer, 8081)
    except ConnectionRefusedError:
        return
    raise AssertionError("a port without a service was not refused by the host")


@case("a server that speaks first greets, when the service chooses by source")
def _(world):
    greetings = set()
    for _ in range(3):
        sock = world.connect(port=2525)
        file = sock.makefile("rwb")
        greeting = file.readline().decode()
        true(greeting.endswith(f"greets {world.client}\r\n"), f"the greeting: {greeting!r}")
        greetings.add(greeting)
        file.write(b"EHLO lab\r\n")
        file.flush()
        equal(file.readline(), b"EHLO lab\r\n", "the echo")
    equal(len(greetings), 1, "greetings: one source, one bridge")
