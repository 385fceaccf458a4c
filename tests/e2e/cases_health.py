"""Health checks: bridges that are checked by the way that users' packets take."""

import asyncio
import itertools
import json
import math
import os
import re
import signal
import threading
import time

from harness import case, equal, eventually, true
from http_client import ask, request
from world import BRIDGES

PATHS = [f"/health/{n}" for n in range(60)]

# By service, without its family.
CHECKS = {
    "web": "{ type: http, path: /check, host: lab.test, body: /check, %s }",
    "tls": "{ type: tls, sni: www.lab.test, %s }",
    "greet": "{ type: tcp, %s }",
    "own": "{ type: http, method: HEAD, path: /own, expect: [200, 300-399], %s }",
    "proxied": "{ type: http, path: /proxied, %s }",
    "by-proxied-source": "{ type: tcp, %s }",
}
QUICK = "interval: 300ms, timeout: 300ms"


def with_checks(text, services, words):
    """balancer.yaml with `health` in these services."""
    for service, health in services.items():
        text = re.sub(rf"(  - name: {service}\n)", rf"\1    health: {health % words}\n", text)
    return text


def health_of(world, service):
    """By bridge, as the balancer's API tells it."""
    status = json.loads(world.page("balancer", "/status"))
    found = next(each for each in status["services"] if each["name"] == service)
    return {each["name"]: each["health"] for each in found["bridges"]}


def check_services(world, services, words=QUICK):
    """These services, by their names without a family, are checked for the rest of the case."""
    named = {f"{name}{world.family}": CHECKS[name] for name in services}
    # After the file is as it was: the next case begins without.
    world.clean_up.callback(lambda: [
        eventually(lambda service=service: not any(health_of(world, service).values()), f"{service} is not checked")
        for service in named])
    world.edited("balancer.yaml", lambda text: with_checks(text, named, words))
    for service in named:
        eventually(lambda service=service: all(health_of(world, service).values()), f"{service} is checked")


def passed(health):
    return {name: each and each["checks"]["passed"] for name, each in health.items()}


@case("each type of health check passes by the way that users' packets take, in full segments too")
def _(world):
    before = world.verdicts()
    check_services(world, CHECKS)
    for name in CHECKS:
        service = f"{name}{world.family}"
        # One check of sixteen has a twin as a full segment.
        eventually(lambda service=service: min(passed(health_of(world, service)).values()) >= 20,
                   lambda service=service: f"checks of {service}: {health_of(world, service)}", seconds=30)
        for bridge, health in health_of(world, service).items():
            equal((health["state"], health["narrow"]), ("up", False), f"{service}, {bridge}")
    after = world.verdicts()
    true(after["hear_check"] > before["hear_check"], "the balancer counts what answers its checks")
    equal(after["drop_check"], before["drop_check"], "packets that look like answers and are none")
    lines = [line for line in world.log_of("balancer", of_this_case=True).splitlines() if "warning" in line]
    true(not [line for line in lines if ": bridge " in line], f"warnings: {lines}")


class Steady(threading.Thread):
    """Asks for PATHS in turn, each on a connection of its own, at a steady rate, whatever became of those before."""

    def __init__(self, world, rate=60, timeout=20):
        super().__init__(daemon=True)
        self._world, self._rate, self._timeout = world, rate, timeout
        self._ends = threading.Event()
        self.asked = []  # when, which path, what became of it ("ok" or what went wrong), how long it took

    async def _ask(self, path):
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                reader, writer = await asyncio.open_connection(self._world.vip, 80, family=self._world.af)
                writer.write(request(path, "Connection: close"))
                answer = await reader.read(-1)
                writer.close()
            outcome = "ok" if answer.startswith(b"HTTP/1.1 200 ") else f"{answer[:40]!r}"
        except (OSError, TimeoutError) as error:
            outcome = type(error).__name__
        self.asked.append((began, path, outcome, time.monotonic() - began))

    async def _all(self):
        asking = set()
        due = time.monotonic()
        for path in itertools.cycle(PATHS):
            if self._ends.is_set():
                break
            task = asyncio.create_task(self._ask(path))
            asking.add(task)
            task.add_done_callback(asking.discard)
            # A busy machine makes up for a tenth of a second at most.
            due = max(due + 1 / self._rate, time.monotonic() - 0.1)
            await asyncio.sleep(max(0, due - time.monotonic()))
        await asyncio.gather(*asking)

    def run(self):
        with self._world.lab.inside("client"):
            asyncio.run(self._all())

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._ends.set()
        self.join()

    def failed(self, since=0.0, until=math.inf):
        """Of the requests that began in that time, after the last one has ended."""
        self.__exit__()
        return [asked for asked in self.asked if since <= asked[0] < until and asked[2] != "ok"]


def is_in(world, bridge, *states):
    return health_of(world, f"web{world.family}")[bridge]["state"] in states


def log_says(world, *words):
    return any(all(word in line for word in words)
               for line in world.log_of("balancer", of_this_case=True).splitlines())


def check_out_and_back(world, bridge, before, steady, break_it, mend, states, why):
    """A bridge is broken, is taken out, told of with the reason, mended, and has its keys again. Returns when it was
    broken, and when its keys had moved."""
    break_it()
    broken_since = time.monotonic()
    eventually(lambda: is_in(world, bridge, *states), lambda: f"{bridge} is {states}: {health_of(world, f'web{world.family}')}",
               seconds=15)
    eventually(lambda: share(world, bridge) == 0, f"{bridge} is not placed")
    out_since = time.monotonic()
    during = world.owners(PATHS)
    equal(set(during.values()), set(BRIDGES) - {bridge}, "the bridges of new connections")
    equal({path: during[path] for path in PATHS if before[path] != bridge},
          {path: before[path] for path in PATHS if before[path] != bridge}, "the other bridges' keys")
    true(log_says(world, f"bridge {bridge} (", "is ill", *why), f"the log tells why {bridge} is ill")
    mend()
    eventually(lambda: is_in(world, bridge, "up"), f"{bridge} is up again", seconds=15)
    eventually(lambda: share(world, bridge) > 0, f"{bridge} is placed again")
    true(log_says(world, f"bridge {bridge} (", "is up again"), f"the log tells that {bridge} is up again")
    equal(world.owners(PATHS), before, "its keys come back, and no other key moves")
    world.notes.append(f"{len(steady.asked)} requests meanwhile")
    return broken_since, out_since


def share(world, bridge, service="web"):
    """Of the keys, by the placement that packets meet: it follows the bridges' health within moments."""
    status = json.loads(world.page("balancer", "/status"))
    found = next(each for each in status["services"] if each["name"] == f"{service}{world.family}")
    return next(each for each in found["bridges"] if each["name"] == bridge)["table_share"]


@case("nginx ends and comes back: its bridge is ill and up again, and no request fails meanwhile")
def _(world):
    before = world.owners(PATHS)
    check_services(world, ["web"])
    with Steady(world) as steady:
        broken_since, _ = check_out_and_back(world, "b2", before, steady, lambda: world.lab.stop("nginx2"),
                                             lambda: world.lab.start("nginx2"), ["ill"], ["its backend does not listen"])
        # What it had taken when it was stopped may be lost.
        equal(steady.failed(since=broken_since), [], "requests that failed")


@case("nginx hangs: its bridge is ill, its keys go elsewhere, and what it had taken is answered when it goes on")
def _(world):
    before = world.owners(PATHS)
    check_services(world, ["web"])
    stopped = world.lab.pid("nginx1")
    workers = [int(pid) for pid in world.lab.on("b1", "pgrep", "-P", str(stopped)).split()]

    def signal_all(number):
        for pid in (stopped, *workers):
            os.kill(pid, number)

    world.clean_up.callback(signal_all, signal.SIGCONT)
    with Steady(world) as steady:
        check_out_and_back(world, "b1", before, steady, lambda: signal_all(signal.SIGSTOP),
                           lambda: signal_all(signal.SIGCONT), ["ill"], ["did not come in time"])
        equal(steady.failed(), [], "requests that failed")


def cut_off(world, bridge):
    world.lab.on("segment", "ip", "link", "set", f"to-{bridge}", "down")


def plug_in(world, bridge):
    world.lab.on("segment", "ip", "link", "set", f"to-{bridge}", "up")


@case("a bridge's link is down: openings go elsewhere, its connections are reset, no request fails, and it comes back")
def _(world):
    before = world.owners(PATHS)
    check_services(world, ["web"])
    kept = world.connect(timeout=5)
    equal(ask(kept, next(path for path in PATHS if before[path] == "b3")).bridge, "b3", "the kept connection")
    world.clean_up.callback(plug_in, world, "b3")

    def mend():
        try:
            kept.sendall(request("/after"))
            data = kept.recv(4096)
            raise AssertionError(f"not reset, but {data[:60]!r}")
        except ConnectionResetError:
            pass
        plug_in(world, "b3")

    with Steady(world) as steady:
        broken_since, _ = check_out_and_back(world, "b3", before, steady, lambda: cut_off(world, "b3"), mend, ["gone"],
                                             ["no answer at all"])
        # What it had taken when its link went down is lost.
        equal(steady.failed(since=broken_since), [], "requests that failed")
    true(log_says(world, "bridge b3 (", "is gone"), "the log tells that the bridge is gone")


@case("a bridge that is back gets its keys over slow_start: each comes back once, and no other key moves")
def _(world):
    before = world.owners(PATHS)
    check_services(world, ["web"], f"{QUICK}, slow_start: 6s")
    world.lab.stop("nginx2")
    world.clean_up.callback(lambda: world.lab.runs("nginx2") or world.lab.start("nginx2"))
    eventually(lambda: share(world, "b2") == 0, "b2 is not placed", seconds=15)
    away = world.owners(PATHS)
    with Steady(world) as steady:
        world.lab.start("nginx2")
        eventually(lambda: share(world, "b2") > 0, "b2 has some keys again", seconds=15)
        true(log_says(world, "bridge b2 (", "is up again", "its keys come back within 6s"), "the log tells of the slow start")
        owners, seen = away, 0
        while owners != before:
            mine = [path for path in PATHS if owners[path] == "b2"]
            now = world.owners(PATHS)
            equal({path: now[path] for path in mine}, {path: "b2" for path in mine}, "keys that are back")
            equal({path: now[path] for path in PATHS if now[path] != "b2"},
                  {path: away[path] for path in PATHS if now[path] != "b2"}, "keys that are not back")
            seen += len(mine) != len([path for path in PATHS if now[path] == "b2"])
            owners = now
        equal(owners, before, "in the end all keys are where they were")
        true(seen > 1, f"they came back in {seen} steps")
        eventually(lambda: log_says(world, "bridge b2 (", "has all its keys again"), "the log tells of the end")
        equal(health_of(world, f"web{world.family}")["b2"]["slow_start"], 1, "its share")
        equal(steady.failed(), [], "requests that failed")
        world.notes.append(f"{len(steady.asked)} requests, keys came back in {seen} steps")


@case("checks that are taken out of the file and put in again begin anew: nobody is ill from before")
def _(world):
    check_services(world, ["web"])
    world.lab.stop("nginx2")
    world.clean_up.callback(lambda: world.lab.runs("nginx2") or world.lab.start("nginx2"))
    eventually(lambda: share(world, "b2") == 0, "b2 is not placed", seconds=15)
    checked, _ = world.rewrite("balancer.yaml", lambda text: re.sub(r"(?m)^    health: .*\n", "", text))
    eventually(lambda: not any(health_of(world, f"web{world.family}").values()), "nothing is checked")
    eventually(lambda: share(world, "b2") > 0, "unchecked it is placed")
    world.lab.start("nginx2")
    world.rewrite("balancer.yaml", lambda _: checked)
    eventually(lambda: all(health_of(world, f"web{world.family}").values()), "web is checked")
    lines = [line for line in world.log_of("balancer", of_this_case=True).splitlines() if "health off -> " in line]
    true(lines and not any("keys move" in line for line in lines[1:]), f"no key moves when checks begin: {lines}")
    true(share(world, "b2") > 0, "b2 is placed")


@case("a bridge tells of a backend that does not listen, and when it does again: on its page, by /readyz and once in the log", once=True)
def _(world):
    vip, told = world.vip, "refuses connections"
    world.edited("b2.yaml", lambda text: text + "backend_check: 1s\n")

    def state():
        services = json.loads(world.page("b2", "/status"))["services"]
        return next(each["backend_state"] for each in services if each["vip"] in (f"{vip}:80", f"[{vip}]:80"))

    eventually(lambda: state() == "listens", "its backend listens", seconds=10)
    equal(world.api("b2", "/readyz"), (200, "ready\n"), "readiness")
    world.clean_up.callback(lambda: world.lab.runs("nginx2") or world.lab.start("nginx2"))
    world.lab.stop("nginx2")
    eventually(lambda: state() == "refuses", "its backend refuses", seconds=10)
    world.not_ready("b2", told)
    true('splicelb_bridge_backend_up{backend="' in world.page("b2", "/metrics"), "the metrics have it")
    time.sleep(3)
    mine = [line for line in world.log_of("b2", of_this_case=True).splitlines() if told in line]
    equal(len(mine), len({line.split(told)[0].split("backend")[1] for line in mine}), f"each backend is told of once: {mine}")
    world.lab.start("nginx2")
    world._asked = {}
    eventually(lambda: state() == "listens", "its backend listens again", seconds=10)
    eventually(lambda: world.api("b2", "/readyz")[0] == 200, "readiness is back")
