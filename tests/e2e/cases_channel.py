"""The channel between balancers and bridges: what bridges say of themselves, what is told of those that do not fit, and who
gets no answer."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading

from cases_control import Api
from channel_packets import CLOCK, HERE, PORT, Secret, header
from harness import case, equal, eventually, true
from http_client import ask, request
from world import BRIDGES, BUILD, SOURCE

sys.path.insert(0, os.path.join(SOURCE, "tests/support"))
import promql  # noqa: E402


def web(world):
    return f"web{world.family}"


def told(world):
    """By bridge of the web service: what the balancer knows by the channel."""
    services = json.loads(world.page("balancer", "/status"))["services"]
    service = next(each for each in services if each["name"] == web(world))
    return {bridge["name"]: bridge["channel"] for bridge in service["bridges"]}


def troubles(world, bridge):
    return {each["what"] for each in told(world)[bridge]["troubles"]}


def settles(world, bridge, wanted, seconds=15):
    now = None

    def is_so():
        nonlocal now
        now = told(world)[bridge]
        return {each["what"] for each in now["troubles"]} == wanted and (now["answers"] or "no_answer" in wanted)

    eventually(is_so, lambda: f"the troubles of {bridge} are {wanted}: {now}", seconds)


def check(world, *words):
    """`splicectl check` on the balancer's host: exit code, standard output, standard error."""
    done = subprocess.run(["ip", "netns", "exec", world.lab.namespace("balancer"), os.path.join(BUILD, "splicectl"), *words, "check", web(world)],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def check_says(world, code, *words):
    """Once it does: exit code and words of its output."""
    said = None

    def is_so():
        nonlocal said
        said = check(world)
        return said[0] == code and all(word in said[1] + said[2] for word in words)

    eventually(is_so, lambda: f"splicectl check ends with {code} and says {words}: {said}", 20)
    return said[1]


def log_says(world, program, *words, seconds=15):
    eventually(lambda: any(all(word in line for word in words) for line in world.log_of(program, of_this_case=True).splitlines()),
               lambda: f"{program} logs {words}: {world.log_of(program, of_this_case=True)[-1500:]}", seconds)


def metric(world, program, name, **wanted):
    for found, labels, value in promql.samples(world.page(program, "/metrics")):
        if found == name and all(labels.get(key) == text for key, text in wanted.items()):
            return value
    return None


def counted(world, bridge, result):
    return int(metric(world, bridge, "splicelb_bridge_channel_packets_total", result=result))


def owner_of(world, path):
    return json.loads(world.page("balancer", f"/explain?service={web(world)}&url={path}"))["choices"][0]["bridge"]


def secret_of(world, program):
    return Secret.of_file(f"{world.lab.run_dir}/{program}.secret")


@contextlib.contextmanager
def udp(world, host, local=None):
    with world.lab.inside(host):
        sock = socket.socket(world.af, socket.SOCK_DGRAM)
    sock.settimeout(0.3)
    try:
        if local:
            sock.bind(local)
        yield sock
    finally:
        sock.close()


def answers(sock, count=1):
    """What comes within a moment, at most so many."""
    got = []
    with contextlib.suppress(socket.timeout):
        while len(got) < count:
            got.append(sock.recv(4096))
    return got


@case("bridges say by the channel what they are, and how many connections they have")
def _(world):
    for bridge in BRIDGES:
        settles(world, bridge, set())
    path = "/channel-counts"
    owner = world.bridge_of(path)
    before = told(world)[owner]
    equal((before["number"], before["version"], before["services"]), (int(owner[1]), before["version"], 12), f"what {owner} says")
    equal(before["mode"], world.lab.mode, "its mode")
    report = Api(world).call("GET", "/check", status=200)
    equal((report["ok"], report["channel"], len({each["service"] for each in report["bridges"]})), (True, PORT, 12), "GET /check")
    true(abs(before["clock_ahead_ms"]) < 2000, f"one host, one clock: {before}")
    held = []
    for _ in range(3):
        sock = world.connect()
        equal(ask(sock, path).status, 200, "the answer")
        held.append(sock)
    now = None

    def counts():
        nonlocal now
        now = told(world)[owner]
        return now["connections"] is not None and now["connections"] >= 3 and now["connections_of_all"] >= 3

    eventually(counts, lambda: f"{owner} has three connections: {now}", 10)
    true(metric(world, "balancer", "splicelb_balancer_bridge_reported_connections", service=web(world), bridge=owner) >= 3,
         "the balancer's metric")
    true(metric(world, owner, "splicelb_bridge_connections", service=f"{world.bracketed(world.vip)}:80") >= 3, "the bridge's metric")
    for sock in held:
        sock.close()
    eventually(lambda: told(world)[owner]["connections"] < 3, lambda: f"they are gone: {told(world)[owner]}", 10)


@case("a bridge of another number, or with a service by another mark: one line says so, and one that it is well again", once=True)
def _(world):
    bridge = "b2"
    settles(world, bridge, set())
    world.edited("b2.yaml", lambda text: text.replace("number: 2\n", "number: 9\n"))
    settles(world, bridge, {"number"})
    check_says(world, 1, "b2 (", "its number is 9, and here its number is 2", "1 of 3 do not fit")
    log_says(world, "balancer", "channel: bridge b2", "its number is 9, and here its number is 2")
    equal(metric(world, "balancer", "splicelb_balancer_bridge_trouble", service=web(world), bridge=bridge, trouble="number"), 1, "the metric")
    world.rewrite("b2.yaml", lambda text: text.replace("number: 9\n", "number: 2\n"))
    settles(world, bridge, set())
    output = check_says(world, 0)
    equal(len(output.splitlines()), 4, f"lines of a check that finds nothing: {output}")
    log_says(world, "balancer", "channel: bridge b2", "is well again")
    lines = [line for line in world.log_of("balancer", of_this_case=True).splitlines()
             if "its number is 9" in line and f"({world.bridge_address(bridge)})" in line]
    equal(len(lines), 1, f"lines of it: {lines}")
    dscp = f"dscp: {world.dscp},"
    world.edited("b2.yaml", lambda text: text.replace(dscp, "dscp: 40,"))
    settles(world, bridge, {"service"})
    log_says(world, "balancer", "channel: bridge b2", f"service {web(world)}", f"by DSCP 40, and here it is {world.dscp}")


@case("a bridge with another secret does not answer, and says whom it does not know; with the balancer's it answers again")
def _(world):
    bridge = "b3"
    settles(world, bridge, set())
    before = world.edited("b3.secret", lambda text: text[31::-1] + text[32:])
    settles(world, bridge, {"no_answer"})
    log_says(world, "balancer", "channel: bridge b3", "no answer on UDP port 20531", "another secret")
    check_says(world, 1, "b3 (", "no answer on UDP port 20531", "1 of 3 do not fit")
    eventually(lambda: counted(world, bridge, "no_secret") > 0, "the bridge counts questions by another secret")
    world.rewrite("b3.secret", lambda _: before)
    settles(world, bridge, set())


@case("a key that is added first on the balancer alone is missed at bridges, by its fingerprint, and nothing else is", once=True)
def _(world):
    key = "00112233445566778899aabbccddeeff"
    settles(world, "b1", set())
    world.edited("balancer.secret", lambda text: key + "\n" + text)
    settles(world, "b1", {"secret"})
    log_says(world, "balancer", "channel: bridge b1", "lacks the first key of this balancer's secret")
    check_says(world, 1, "differs", "lacks the first key of this balancer's secret", "3 of 3 do not fit")
    report = json.loads(check(world, "--format", "json")[1])
    true(not report["ok"] and len(report["secret"]) == 2 and report["bridges"][0]["secret"] == report["secret"][1:], f"fingerprints: {report}")


@case("a bridge that is killed does not answer, and answers when it is back", once=True)
def _(world):
    world.clean_up.callback(world.repair)
    settles(world, "b1", set())
    world.lab.kill("b1")
    # The check asks by itself, and says at once what the balancer will know a little later.
    code, output, _ = check(world)
    true(code == 1 and "b1 (" in output and "no answer" in output, f"the check: {code} {output}")
    settles(world, "b1", {"no_answer"})
    equal(metric(world, "balancer", "splicelb_balancer_bridge_answers", service=web(world), bridge="b1"), 0, "the metric")
    world.lab.start("b1")
    settles(world, "b1", set())


@case("channel: off says what is missing, at a bridge and at the balancer", once=True)
def _(world):
    def off(program):
        # A running program keeps its channel, and says so.
        world.edited(f"{program}.yaml", lambda text: "channel: off\n" + text)
        log_says(world, program, "channel cannot change")
        world.lab.stop(program)
        world.lab.start(program)
        log_says(world, program, "channel off: balancers do not learn")

    world.clean_up.callback(lambda: [(world.lab.stop(each), world.lab.start(each)) for each in ("b2", "balancer")])
    off("b2")
    settles(world, "b2", {"no_answer"})
    off("balancer")
    code, output, errors = check(world)
    true(code == 1 and "channel off" in output and "no bridge was asked" in errors, f"the check: {code} {output} {errors}")
    equal(told(world), {bridge: None for bridge in BRIDGES}, "what the balancer knows by the channel")
    equal(ask(world.connect(), "/channel-is-off").status, 200, "clients are served")


@case("who does not know the secret gets no answer and is counted, a flood of it keeps nobody from asking, and answers are not larger")
def _(world):
    address = world.bridge_address("b1")
    right = secret_of(world, "b1")
    with udp(world, "client") as sock:
        to = (address, PORT)
        before = {result: counted(world, "b1", result) for result in ("no_secret", "malformed", "unexpected", "other_clock")}
        sock.sendto(Secret("ff" * 16).question(1), to)
        sock.sendto(b"", to)
        sock.sendto(b"\x55" * 1200, to)
        sock.sendto(right.question(2)[:-1], to)
        sock.sendto(right.question(3) + b"\0", to)
        sock.sendto(right.packet(CLOCK, 4), to)
        equal(answers(sock), [], "answers to strangers")
        for result, count in (("no_secret", 1), ("malformed", 4), ("unexpected", 1)):
            equal(counted(world, "b1", result), before[result] + count, f"packets counted as {result}")
        forged = Secret("ee" * 16).question(5)
        for _ in range(5000):
            sock.sendto(forged, to)
        question = right.question(6)
        for _ in range(20):
            sock.sendto(question, to)
            if got := answers(sock):
                break
        true(got, "an answer beside a flood")
        kind, size, nonce, _ = header(got[0])
        equal((kind, size, nonce), (HERE, len(got[0]), 6), "the answer")
        true(right.is_right(got[0]) and len(got[0]) <= len(question), f"{len(got[0])} bytes under its MAC")
        true(answers(sock, 100) is not None, "what else came is read")
        for ahead in (-60, 60):
            sock.sendto(right.question(7, ahead_s=ahead), to)
            (clock,) = answers(sock)
            equal((header(clock)[0], len(clock)), (CLOCK, 32), "the answer to a question of another time")
        equal(counted(world, "b1", "other_clock"), before["other_clock"] + 2, "counted so")
        for nonce in range(100, 200):
            sock.sendto(right.question(nonce), to)
        got = answers(sock, 101)
        true(len(got) < 100, f"{len(got)} answers within the budget")
        true(counted(world, "b1", "over_budget") > 0, "the rest is counted")
    # The balancer has a budget of its own.
    eventually(lambda: told(world)["b1"]["answers"], "the balancer is answered", 10)
    settles(world, "b1", set())


@case("a bridge whose clock is wrong: the balancer says by how much, and believes no answer that it did not ask for", once=True)
def _(world):
    world.clean_up.callback(world.repair)
    bridge = "b2"
    secret = secret_of(world, bridge)
    settles(world, bridge, set())
    world.lab.stop(bridge)
    settles(world, bridge, {"no_answer"})
    unexpected = metric(world, "balancer", "splicelb_balancer_channel_packets_total", result="unexpected")
    forged = metric(world, "balancer", "splicelb_balancer_channel_packets_total", result="no_secret")
    ends = threading.Event()

    def serve(sock):
        while not ends.is_set():
            try:
                question, whom = sock.recvfrom(4096)
            except socket.timeout:
                continue
            nonce = header(question)[2]
            sock.sendto(Secret("aa" * 16).packet(CLOCK, nonce), whom)
            sock.sendto(secret.packet(CLOCK, nonce ^ 1, ahead_s=500), whom)
            for _ in range(2):
                sock.sendto(secret.packet(CLOCK, nonce, ahead_s=-100), whom)

    with udp(world, bridge, (world.bridge_address(bridge), PORT)) as sock:
        thread = threading.Thread(target=serve, args=(sock,))
        thread.start()
        try:
            settles(world, bridge, {"clock"})
            check_says(world, 1, "s behind this host's")
            now = told(world)[bridge]
            true(-100_500 < now["clock_ahead_ms"] < -99_500, f"the clock's difference: {now}")
            log_says(world, "balancer", "channel: bridge b2", "s behind this host's")
            true(metric(world, "balancer", "splicelb_balancer_channel_packets_total", result="unexpected") > unexpected, "answers nobody asked for")
            true(metric(world, "balancer", "splicelb_balancer_channel_packets_total", result="no_secret") > forged, "answers by another secret")
        finally:
            ends.set()
            thread.join()
    world.lab.start(bridge)
    settles(world, bridge, set())


@case("a bridge with as many connections as it may have is passed over for new keys, which come back when it has fewer")
def _(world):
    def bound(text):
        end = f'address: "{world.bridge_address("b1")}", number: 1 }}'
        begin, service = text.split(f"  - name: {web(world)}\n")
        return f"{begin}  - name: {web(world)}\n{service.replace(end, end.replace(' }', ', max_connections: 4 }'), 1)}"

    def full():
        services = json.loads(world.page("balancer", "/loadbalancers"))
        service = next(each for each in services if each["name"] == web(world))
        return {bridge["name"]: bridge["full"] for bridge in service["backends"]}

    def eventually_full(bridges):
        eventually(lambda: {name for name, is_full in full().items() if is_full} == bridges, lambda: f"{bridges} are full: {full()}", 10)

    paths = [f"/file/100m.bin?{n}" for n in range(60)]
    small = [f"/full/{n}" for n in range(60)]
    owners = world.owners(small)
    mine = [path for path in small if owners[path] == "b1"]
    world.edited("balancer.yaml", bound)
    log_says(world, "balancer", "reloaded")
    eventually_full(set())
    # Downloads that nobody reads go on until they are closed.
    downloads = []
    for path in paths:
        if len(downloads) == 5:
            break
        before = told(world)["b1"]["connections"]
        sock = world.connect()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.sendall(request(path))
        eventually(lambda sock=sock: len(sock.recv(4096, socket.MSG_PEEK)) > 100, "the download has begun")
        if owner_of(world, path) == "b1":
            downloads.append(sock)
        else:
            sock.close()
        true(before is not None, "b1 says how many connections it has")
    true(len(downloads) >= 4, f"downloads from b1: {len(downloads)}")
    eventually_full({"b1"})
    log_says(world, "balancer", f"service {web(world)}: bridge b1 has", "max_connections is 4")
    equal(metric(world, "balancer", "splicelb_balancer_bridge_full", service=web(world), bridge="b1"), 1, "the metric")
    now = world.owners(small)
    equal([path for path in mine if now[path] == "b1"], [], "paths of b1 that still go there")
    equal({path: now[path] for path in small if path not in mine}, {path: owners[path] for path in small if path not in mine}, "the others")
    explanation = json.loads(world.page("balancer", f"/explain?service={web(world)}&url={mine[0]}"))
    equal(explanation["serves"]["bridge"], now[mine[0]], f"who serves, as explained: {explanation['why']}")
    true("b1 would be before it, but it is full" in explanation["why"], f"why: {explanation['why']}")
    for sock in downloads:
        true(len(sock.recv(65536)) > 0, "the downloads go on")
        sock.close()
    eventually_full(set())
    equal(world.owners(small), owners, "all are as before")
