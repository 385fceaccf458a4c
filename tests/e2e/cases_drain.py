"""Bridges that are taken out and put back by their `state` in balancer.yaml, while clients ask."""

import json
import threading

from cases_restart import Download
from harness import case, equal, eventually, true
from http_client import ask, request
from world import BRIDGES

PATHS = [f"/drain/{n}" for n in range(60)]


def service(world):
    """Of the balancer's API: the web service."""
    status = json.loads(world.page("balancer", "/status"))
    return next(each for each in status["services"] if each["name"] == f"web{world.family}")


def bridge(world, name):
    return next(each for each in service(world)["bridges"] if each["name"] == name)


def give(world, name, state):
    """The bridge has that state in every service of this family from here on, until the case ends."""
    address = f'"{world.bridge_address(name)}"'
    world.edited("balancer.yaml",
           lambda text: text.replace(f"address: {address}, ", f"address: {address}, state: {state}, "))
    eventually(lambda: bridge(world, name)["state"] == state, f"{name} is {state}")


def take_back(world, name):
    """As it was: without a state."""
    world.rewrite("balancer.yaml", lambda text: text.replace(", state: drain,", ",").replace(", state: down,", ","))
    eventually(lambda: bridge(world, name)["state"] == "ready", f"{name} is ready")


class Requests(threading.Thread):
    """Asks for PATHS again and again, each on a connection of its own, until it is ended."""

    def __init__(self, world):
        super().__init__(daemon=True)
        self._world, self._ends = world, threading.Event()
        self.rounds, self.failure = [], None

    def run(self):
        try:
            while not self._ends.is_set():
                # A request that fails leaves no line.
                self.rounds.append(len(self._world.curl_all(PATHS, "-f", "-H", "Connection: close")))
        except Exception as error:  # told by whoever waits
            self.failure = error

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._ends.set()
        self.join()

    def check(self):
        self.__exit__()
        true(self.failure is None, f"a request failed: {self.failure}")
        true(self.rounds, "some requests were made")
        equal(set(self.rounds), {len(PATHS)}, "answers in a round")


@case("a bridge that drains gets no new connection; what it has goes on; the log tells when it is empty")
def _(world):
    with open(world.fastpath_file(), "rb") as file:
        wanted = file.read(Download.SIZE)
    before = world.owners(PATHS)
    download = Download(world)
    download.read_to(1 << 20)
    drained = download.bridge
    kept = world.connect()
    equal(ask(kept, next(path for path in PATHS if before[path] == drained)).bridge, drained, "the kept connection")

    requests = world.clean_up.enter_context(Requests(world))
    give(world, drained, "drain")
    accepted = world.accepted(drained)
    during = world.owners(PATHS)
    equal(set(during.values()), set(BRIDGES) - {drained}, "the bridges of new connections")
    equal({path: during[path] for path in PATHS if before[path] != drained},
          {path: before[path] for path in PATHS if before[path] != drained}, "the other bridges' keys")
    true(bridge(world, drained)["table_share"] == 0, "its share of the table")
    equal(ask(kept, "/anything").bridge, drained, "the kept connection goes on")
    download.read_to(Download.SIZE)
    true(bytes(download.body) == wanted, "the bytes of the download")
    equal(world.accepted(drained), accepted, "connections that the draining backend has accepted")
    # As of a whole sweep of the kernel's table, which may take a second or two.
    eventually(lambda: bridge(world, drained)["flows"] == 2, lambda: f"2 connections: {bridge(world, drained)}")
    told = f"service web{world.family}: bridge {drained} (drain) is empty"
    true(told not in world.log_of("balancer", of_this_case=True), "it is not empty")

    kept.close()
    download.close()
    eventually(lambda: told in world.log_of("balancer", of_this_case=True), "the log tells that it is empty", seconds=10)
    equal(bridge(world, drained)["flows"], 0, "its connections")
    take_back(world, drained)
    requests.check()
    world.notes.append(f"{sum(requests.rounds)} requests meanwhile")
    equal(world.owners(PATHS), before, "its keys come back, and no other key moves")
    equal(world.log_of("balancer", of_this_case=True).count(told), 1, "lines that tell that it is empty")


@case("a bridge that is down: its connections are reset at their client's next packet, the others go on")
def _(world):
    before = world.owners(PATHS)
    down = "b2"
    sockets = {}
    for name in BRIDGES:
        sockets[name] = world.connect(timeout=5)
        equal(ask(sockets[name], next(path for path in PATHS if before[path] == name)).bridge, name, "the bridge")
    give(world, down, "down")
    for name in BRIDGES:
        if name != down:
            equal(ask(sockets[name], "/after").bridge, name, "a connection of another bridge")
    try:
        sockets[down].sendall(request("/after"))
        data = sockets[down].recv(4096)
        raise AssertionError(f"not reset, but {data[:60]!r}")
    except ConnectionResetError:
        pass
    true(world.verdicts()["answer_down_rst"] >= 1, "the balancer counts its RST")
    equal(set(world.owners(PATHS).values()), set(BRIDGES) - {down}, "the bridges of new connections")
    take_back(world, down)
    equal(world.owners(PATHS), before, "its keys come back")


@case("a service with fewer bridges than it needs is told by /readyz until they are back", once=True)
def _(world):
    name = f"web{world.family}"
    world.edited("balancer.yaml", lambda text: text.replace(f"  - name: {name}\n", f"  - name: {name}\n    need: 3\n"))
    eventually(lambda: f"service {name}: need off -> 3" in world.log_of("balancer", of_this_case=True), "the reload")
    equal(world.api("balancer", "/readyz"), (200, "ready\n"), "readiness with all bridges")
    give(world, "b3", "drain")
    told = f"the service {name} has 2 of the 3 bridges that it needs"
    world.not_ready("balancer", told)
    eventually(lambda: told in world.log_of("balancer", of_this_case=True), "the log tells of it")
    world.owners(PATHS)  # which it goes on to serve
    take_back(world, "b3")
    eventually(lambda: world.api("balancer", "/readyz")[0] == 200, "readiness with all bridges again")


# With addresses of no host: benchmarking's (RFC 2544) and documentation's (RFC 3849).
CROWD_NETWORK = {4: "198.18.{}.{}", 6: "2001:db8:c0::{:x}:{:x}"}


def crowd_name(world, number):
    return f"crowd{number}-ipv{world.family}"


def crowd(world, number, weight):
    """A service with 1,000 bridges that nobody asks for; one of them has that weight."""
    address = CROWD_NETWORK[world.family].format
    lines = [f'  - name: {crowd_name(world, number)}\n    vip: "{address(100 + number, 1)}"\n    port: 80\n    dscp: {40 + number}\n    bridges:']
    lines += [f'      - {{ name: c{i}, address: "{address(i // 250, i % 250 + 1)}", weight: {weight if i == 7 else 1} }}'
              for i in range(1000)]
    return "\n".join(lines) + "\n"


@case("reloads of three services with 1,000 bridges each, one weight changed each time, lose no request")
def _(world):
    path = f"{world.lab.run_dir}/balancer.yaml"
    with open(path, encoding="ascii") as file:
        lab = file.read()

    def reload(weight):
        # The lab's services are the last of its file.
        with open(path, "w", encoding="ascii") as file:
            file.write(lab + "".join(crowd(world, number, weight if number == 1 else 1) for number in range(3)))

    before = world.owners(PATHS)
    world.edited("balancer.yaml", lambda text: text + "".join(crowd(world, number, 1) for number in range(3)))
    eventually(lambda: f"service {crowd_name(world, 2)}: added" in world.log_of("balancer", of_this_case=True), "the crowd is there")
    kept = world.connect()
    owner = ask(kept, "/kept").bridge
    requests = world.clean_up.enter_context(Requests(world))
    for turn in range(6):
        weight = 2 if turn % 2 == 0 else 1
        reload(weight)
        told = f"service {crowd_name(world, 1)}: weight of c7 {3 - weight} -> {weight}; 0.1 % of its keys move"
        count = turn // 2 + 1
        eventually(lambda: world.log_of("balancer", of_this_case=True).count(told) == count, told, seconds=10)
        equal(ask(kept, "/kept").bridge, owner, "the kept connection's bridge")
    requests.check()
    # What came before the crowd is the end of another case's change.
    log = world.log_of("balancer", of_this_case=True).split(f"service {crowd_name(world, 2)}: added", 1)[1]
    true(f"service {crowd_name(world, 0)}: weight" not in log and f"service web{world.family}:" not in log, "other services are as they were")
    equal(world.owners(PATHS), before, "no key has moved")
    took = [int(words.split(" ms")[0]) for words in log.split("it took ")[2:]]
    world.notes.append(f"{sum(requests.rounds)} requests meanwhile; reloads took {min(took)} to {max(took)} ms")
