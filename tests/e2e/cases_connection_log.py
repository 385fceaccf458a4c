"""The connection log: a line at the balancer and one at the bridge for each connection of the sample, in every engine and mode,
and what they say is true."""

import json
import os
import signal
import socket
import struct

from harness import case, equal, eventually, true
from http_client import ask, request
from world import PROGRAMS


def file_of(world, program):
    return f"{world.lab.run_dir}/{program}-connections-{world.family}.log"


def reloads(world, program):
    return world.log_of(program).count("reloaded (")


def logged(world, program, settings, more=""):
    """The program has this connection log for the rest of the case."""
    count = reloads(world, program)
    line = f"log: {{ {more}connections: {{ {settings}, file: {file_of(world, program)} }} }}\n"
    # Both are called when the case ends: the file is as it was, and then that is what runs.
    before = [0]
    world.clean_up.callback(lambda: eventually(lambda: reloads(world, program) > before[0], f"{program} is as before", 15))
    world.edited(f"{program}.yaml", lambda text: text + line)
    world.clean_up.callback(lambda: before.__setitem__(0, reloads(world, program)))
    eventually(lambda: reloads(world, program) > count, lambda: f"a reload of {program}: {world.log_of(program, of_this_case=True)[-500:]}", 15)


def all_log(world, settings="sample: 1"):
    for program in PROGRAMS:
        path = file_of(world, program)
        if os.path.exists(path):
            os.remove(path)
        logged(world, program, settings)
        true(os.path.exists(path), f"{path} is there")


def lines(world, program, path=None):
    """What the file has, less the lines about lines that it has not; each line is JSON, or this fails."""
    try:
        with open(path or file_of(world, program), encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return []
    return [each for each in map(json.loads, text.splitlines()) if each["event"] != "left_out"]


def name_of(world, sock):
    return f"{world.bracketed(world.client)}:{sock.getsockname()[1]}"


def of(world, program, client):
    return [each for each in lines(world, program) if each["client"] == client]


def exchange(sock, path, *headers):
    """Asks, and reads until the server closes: all bytes that came."""
    sock.sendall(request(path, *headers))
    stream = b""
    while block := sock.recv(65536):
        stream += block
    return stream


def one(world, program, client, what):
    found = eventually(lambda: of(world, program, client), lambda: f"a line of {program} about {what} {client}", 10)
    equal(len(found), 1, f"lines of {program} about {what} {client}: {found}")
    return found[0]


def check_pair(world, client, path, bridge, sent, received, end):
    """The lines of both about one connection; the bridge's, whose fields are compared with what the client knows."""
    choice = one(world, "balancer", client, path)
    expected = {"program": "balancer", "event": "chosen", "vip": f"{world.bracketed(world.vip)}:80", "service": f"web{world.family}",
                "bridge": bridge, "bridge_address": world.bridge_address(bridge), "key": path, "rank": 1}
    equal({name: choice.get(name) for name in expected}, expected, f"the balancer's line about {path}")
    ended = one(world, bridge, client, path)
    expected = {"program": "packetbridge", "event": "ended", "vip": choice["vip"], "bridge": world.bridge_address(bridge),
                "mode": world.lab.mode, "bytes": received, "bytes_received": sent, "end": end}
    equal({name: ended.get(name) for name in expected}, expected, f"the line of {bridge} about {path}")
    true(0 <= ended["duration_ms"] < 60_000, f"a duration: {ended}")
    return choice, ended


@case("with a sample of all each connection has a line at the balancer and one at its bridge, that meet and are true")
def _(world):
    all_log(world)
    asked = []
    for n in range(12):
        path = f"/connection-log/{n}"
        sock = world.connect()
        client = name_of(world, sock)
        stream = exchange(sock, path, "Connection: close")
        sock.close()
        bridge = stream.partition(b"X-Bridge: ")[2].split(b"\r\n")[0].decode()
        asked.append((client, path, bridge, len(request(path, "Connection: close")), len(stream)))
    true(len({bridge for _, _, bridge, _, _ in asked}) > 1, "more than one bridge has some")
    for client, path, bridge, sent, received in asked:
        choice, _ = check_pair(world, client, path, bridge, sent, received, "fin")
        true(len(choice["hash"]) == 16 and int(choice["hash"], 16) > 0, f"a hash: {choice}")
    for program in PROGRAMS:
        clients = [each["client"] for each in lines(world, program) if each["client"].startswith(world.bracketed(world.client))]
        equal(len(clients), len(set(clients)), f"one line a connection at {program}")


@case("a connection that its client resets, and one of 20 MB that is kept for several requests, are logged as they were")
def _(world):
    all_log(world)
    sock = world.connect()
    client, path = name_of(world, sock), "/connection-log/reset"
    bridge = ask(sock, path).bridge
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    ended = one(world, bridge, client, path)
    equal((ended["end"], ended["bytes_received"]), ("reset", len(request(path))), f"a reset: {ended}")
    true(ended["bytes"] > 0, f"an answer: {ended}")

    sock = world.connect()
    client, path, received, sent = name_of(world, sock), "/file/100m.bin", 0, 0
    for turn in range(2):
        headers = ["Range: bytes=0-9999999", *(["Connection: close"] if turn else [])]
        sock.sendall(request(path, *headers))
        sent += len(request(path, *headers))
        stream, whole = b"", None
        while whole is None or len(stream) < whole:
            block = sock.recv(1 << 20)
            true(block, "the download goes on")
            stream += block
            head, separator, _ = stream.partition(b"\r\n\r\n")
            if separator and whole is None:
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                whole = len(head) + 4 + int(length.split(b":")[1])
                bridge = stream.partition(b"X-Bridge: ")[2].split(b"\r\n")[0].decode()
        received += len(stream)
    true(not sock.recv(1), "the server closes")
    sock.close()
    true(received >= 20_000_000, f"{received} bytes were asked for")
    check_pair(world, client, path, bridge, sent, received, "fin")


@case("a key with any bytes in it is a line of valid JSON, and one that is long is cut off and says so")
def _(world):
    all_log(world)
    for key, expected in [(b"/caf\xe9\xff", "/caf\\xe9\\xff"), ("/über".encode(), "/über"), (b'/"quoted"\\', '/"quoted"\\'),
                          (b"/long/" + b"x" * 600, None)]:
        sock = world.connect()
        client = name_of(world, sock)
        sock.sendall(b"GET " + key + b" HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")
        true(sock.recv(65536), f"an answer to {key[:20]}")
        sock.close()
        choice = one(world, "balancer", client, key[:20])
        if expected is None:
            equal((choice["key"], choice["key_truncated"]), (key[:256].decode(), True), "a long key")
        else:
            equal((choice["key"], "key_truncated" in choice), (expected, False), "the key")
        true("hash" in choice, f"a hash: {choice}")


@case("a request in two segments, and a client that says nothing which has a key, are logged, too")
def _(world):
    all_log(world)
    sock = world.connect(nagle=False)
    client, whole = name_of(world, sock), request("/connection-log/in-two", "Connection: close")
    sock.sendall(whole[:9])
    choice = one(world, "balancer", client, "half a request line")
    equal((choice["key"], choice["fallback"]), (world.client, "wait_expired"), "the client's address chose")
    sock.sendall(whole[9:])
    true(sock.recv(65536), "an answer")


@case("a sample of none makes no file, and one that has lines has none any more when a reload ends it")
def _(world):
    path = file_of(world, "balancer")
    if os.path.exists(path):
        os.remove(path)
    logged(world, "balancer", "sample: 0")
    equal(ask(world.connect(), "/connection-log/none").status, 200, "a request")
    true(not os.path.exists(path), "no file")


def left_out(world, why="limit"):
    line = next(each for each in world.page("balancer", "/metrics").splitlines()
                if each.startswith(f'splicelb_balancer_connection_log_left_out_total{{why="{why}"}}'))
    return int(float(line.split()[-1]))


@case("more lines a second than the limit are left out, counted, and told in a line")
def _(world):
    path = file_of(world, "balancer")
    if os.path.exists(path):
        os.remove(path)
    before = left_out(world)
    logged(world, "balancer", "sample: 100%, limit: 2")
    count = 40
    for n in range(count):
        equal(ask(world.connect(), f"/connection-log/limit-{n}").status, 200, "a request")

    def told():
        with open(path, encoding="utf-8") as file:
            return sum(each["lines"] for each in map(json.loads, file) if each["event"] == "left_out")

    eventually(lambda: len(lines(world, "balancer")) + left_out(world) - before == count,
               lambda: f"{count} connections: {len(lines(world, 'balancer'))} lines, {left_out(world) - before} left out", 10)
    true(left_out(world) > before, "some were left out")
    eventually(lambda: told() == left_out(world) - before, lambda: f"{left_out(world) - before} are told: {told()}", 10)


@case("a log that was moved away goes on in a new file after SIGHUP, at the balancer and at a bridge")
def _(world):
    all_log(world)
    sock = world.connect()
    first = exchange(sock, "/connection-log/before", "Connection: close")
    sock.close()
    bridge = first.partition(b"X-Bridge: ")[2].split(b"\r\n")[0].decode()
    for program in ("balancer", bridge):
        path = file_of(world, program)
        eventually(lambda program=program: lines(world, program), f"a line of {program}", 10)
        os.rename(path, f"{path}.1")
        world.clean_up.callback(os.remove, f"{path}.1")
        os.kill(world.lab.pid(program), signal.SIGHUP)
        eventually(lambda path=path: os.path.exists(path), f"{path} is there again", 10)
        equal(lines(world, program), [], f"a new file of {program}")
    sock = world.connect()
    client = name_of(world, sock)
    exchange(sock, "/connection-log/before", "Connection: close")
    sock.close()
    one(world, "balancer", client, "the request after")
    one(world, bridge, client, "the request after")
    for program in ("balancer", bridge):
        equal([each for each in lines(world, program, f"{file_of(world, program)}.1") if each["client"] == client], [], "the file that was moved")


@case("a wrong connection log is refused with file, line and key, and what runs goes on", once=True)
def _(world):
    for wrong, words in [("sample: 2", "expected a share such as"), ("sample: 1, limit: 0", "limit '0'"),
                         ("sample: 1, file: here.log", "a path from / on"), ("sample: 1, file: /no/such/folder/log", "/no/such/folder/log")]:
        for program in ("balancer", "b1"):
            size = len(world.log_of(program))
            _, after = world.rewrite(f"{program}.yaml", lambda text, wrong=wrong: text + f"log: {{ connections: {{ {wrong} }} }}\n")
            eventually(lambda program=program, size=size: "refused" in world.log_of(program)[size:], f"{program} refuses {wrong}", 15)
            said = world.log_of(program)[size:]
            true(words in said, f"{program} says {words}: {said}")
            if "folder" not in wrong:
                true(f"{program}.yaml:{len(after.splitlines())}:" in said, f"file and line: {said}")
            count = reloads(world, program)
            world.rewrite(f"{program}.yaml", lambda text: text[:text.rindex("log: {")])
            eventually(lambda program=program, count=count: reloads(world, program) > count, f"{program} takes the right file", 15)
    equal(ask(world.connect(), "/connection-log/refused").status, 200, "a request")


@case("log.format json writes objects, with the fields of what their message names", once=True)
def _(world):
    size = len(world.log_of("balancer"))
    logged(world, "balancer", "sample: 0", more="format: json, ")
    world.rewrite("balancer.yaml", lambda text: text.replace("name: b3,", "name: b3, state: drain,"))
    world.clean_up.callback(world.rewrite, "balancer.yaml", lambda text: text.replace("name: b3, state: drain,", "name: b3,"))

    def objects():
        return [json.loads(line) for line in world.log_of("balancer")[size:].splitlines() if line.startswith("{")]

    drains = eventually(lambda: [each for each in objects() if each.get("state") == "drain"], "a line about the bridge that drains", 15)
    equal({(each["program"], each["bridge"], each["level"]) for each in drains}, {("balancer", "b3", "info")}, "its fields")
    true(all(each["service"] and each["service"] in each["message"] for each in drains), f"its service: {drains}")
    eventually(lambda: [each for each in objects() if each.get("why") and each.get("took_ms", -1) >= 0], "a line about the reload", 15)
