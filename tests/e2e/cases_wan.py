"""What a bad long way must not change; sized for a lossy link of 40 ms there and back, and for emulated machines.

Run alone, with `run.py --wan`. On such a way a request's segments may overtake each other or come too late to be
judged together, so that only requests of one segment have a bridge that the URL alone decides.
"""

import hashlib
import itertools
import json
import os
import random
import socket
import threading
import time

from cases_segments import answered
from cases_transfer import download
from harness import WAN_CASES, case, equal, true
from http_client import ask, request
from raw_tcp import ACK, PSH, Connection
from world import sha256_of


@case("the network is as bad as it should be: it loses, doubles and delays in both directions", cases=WAN_CASES)
def _(world):
    # A super-packet is lost whole or not at all: of few of them none may be.
    world.wire_sized_packets()

    def lost(interface):
        (netem,) = json.loads(world.lab.on("router", "tc", "-s", "-j", "qdisc", "show", "dev", interface, "root"))
        equal(netem["kind"], "netem", f"the queueing of the router's {interface}")
        return netem["drops"]

    interfaces = ("eth0", "eth1")
    for _ in range(30):
        download(world, 300_000)
        if all(lost(interface) for interface in interfaces):
            break
    true(all(lost(interface) for interface in interfaces), "packets were lost in both directions")
    with world.lab.inside("client"):
        sock = socket.create_connection((world.vip, 80), timeout=30)
    ask(sock, "/far")
    rtt_us = int.from_bytes(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 72)[68:72], "little")
    sock.close()
    true(rtt_us > 10_000, f"the client's smoothed round trip: {rtt_us} us")


@case("the same URL gets the same bridge, from connection to connection, over a bad way", cases=WAN_CASES)
def _(world):
    paths = [f"/far/{n}?quality={n % 3}" for n in range(12)]
    rounds = [world.curl_all(paths, "-H", "Connection: close") for _ in range(2)]
    for path, *lines in zip(paths, *rounds):
        equal(len({line.split()[0] for line in lines}), 1, f"bridges that {path} got")
        equal(lines[0].split()[3], path, "the request target that nginx saw")


@case("50 requests on one connection over a bad way reach one bridge in one connection", cases=WAN_CASES)
def _(world):
    paths = [f"/keep/{n}" for n in range(50)]
    answers = world.curl_all(paths)
    equal([line.split()[3] for line in answers], paths, "the request targets")
    equal(len({tuple(line.split()[:3]) for line in answers}), 1, "bridges and ports that nginx saw")


@case("four downloads at once come whole over a bad way", cases=WAN_CASES)
def _(world):
    errors = []

    def one(sock):
        try:
            download(world, 400_000, sock)
        except (AssertionError, OSError) as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(world.connect(timeout=60),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(errors, [], "downloads that failed")


@case("an upload arrives whole over a bad way", cases=WAN_CASES)
def _(world):
    source = f"{world.lab.run_dir}/far.bin"
    with open(source, "wb") as file:
        file.write(os.urandom(500_000))
    world.clean_up.callback(os.unlink, source)
    head = world.curl("-D", "-", "-o", "/dev/null", "-H", "Expect:", "-T", source, world.url("/upload/far.bin"))
    bridge = next(line.split(":")[1].strip() for line in head.splitlines() if line.lower().startswith("x-bridge"))
    stored = f"{world.lab.run_dir}/{bridge}/upload/far.bin"
    world.clean_up.callback(os.unlink, stored)
    equal(sha256_of(stored), sha256_of(source), f"SHA-256 of what {bridge} stored")


@case("a request in 2 to 4 segments, in any order and over a bad way, is answered", cases=WAN_CASES)
def _(world):
    path = "/cut/" + "far" * 24
    whole = request(path)
    for count in range(2, 5):
        cuts = [len(whole) * n // count for n in range(count + 1)]
        orders = list(itertools.permutations(zip(cuts, cuts[1:])))
        for order in random.Random(count).sample(orders, 2):
            connection = Connection(world, timestamps=True, sack=True)
            connection.handshake()

            def send_all(sending=connection, pieces=order):
                for start, end in pieces:
                    sending.send(ACK | PSH, start, whole[start:end])

            send_all()
            connection.read_until(answered, len(whole), seconds=20, resend=send_all)
            response = answered(connection)[0]
            equal((response.status, response.body.split()[3].decode()), (200, path), f"status and target, order {order}")
            connection.close(len(whole))


@case("half-close over a bad way: the client ends its side and still gets all", cases=WAN_CASES)
def _(world):
    # It does not wait for the greeting: a SYN-ACK with a cookie is sent once, so that when the last ACK is lost only
    # what the client says afterwards opens the connection.
    sock = world.connect(port=2525, timeout=60)
    sock.sendall(b"SEND 300000\r\n")
    sock.shutdown(socket.SHUT_WR)
    file = sock.makefile("rb")
    true(file.readline().decode().endswith(f"greets {world.client}\r\n"), "the greeting")
    got = file.read()
    equal(hashlib.sha256(got).hexdigest(), hashlib.sha256(b"x" * 300_000).hexdigest(), f"SHA-256 of {len(got)} bytes")


@case("the port of a connection that was closed works again over a bad way, when its last packets are gone", cases=WAN_CASES)
def _(world):
    for path in ("/first", "/second", "/third"):
        sock = world.connect(source_port=9003, timeout=30)
        equal(ask(sock, path).status, 200, f"status of {path}")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close() sends a RST
        sock.close()
        # At once, an old packet's echo could meet the new connection before its first payload comes, and end it.
        time.sleep(0.2)
